//! What one seed stands for: a shape of the result, of server, store and network, a reader, and faults.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Most rows of a result.
pub(super) const MAX_ROWS: usize = 2400;
/// Most rows of a file: bodies stay below the size that is decoded in another thread, for threads have no seed.
const MAX_FILE_ROWS: usize = 700;

/// A schedule. Everything of it follows from the seed.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) files: Vec<File>,
    pub(super) batch_rows: usize,
    /// Rows at the end of the last file that its link does not declare.
    pub(super) surplus_rows: usize,
    pub(super) compression: bool,
    pub(super) checksums: bool,
    pub(super) empty_frames: bool,
    pub(super) links_first: usize,
    /// Links an answer, or any number.
    pub(super) links: Option<usize>,
    pub(super) next_on: NextOn,
    pub(super) null_fields: bool,
    pub(super) starts_early: bool,
    pub(super) total: Total,
    pub(super) truncated: bool,
    pub(super) hints: Hints,
    pub(super) byte_count: ByteCount,
    pub(super) lifetime: Duration,
    pub(super) tells_expiration: bool,
    pub(super) skew_ms: i64,
    pub(super) hosts: usize,
    pub(super) refusal: u16,
    pub(super) ignores_ranges: bool,
    pub(super) tells_ranges: bool,
    pub(super) entity_tag: EntityTag,
    pub(super) content_length: bool,
    pub(super) polls: u32,
    /// Of the way to the server and, for each place, of the time it takes there.
    pub(super) latency: Span,
    pub(super) api_time: Span,
    pub(super) store_time: Span,
    pub(super) piece_pause: Span,
    pub(super) piece_bytes: usize,
    pub(super) memory_budget: usize,
    pub(super) max_concurrent_downloads: usize,
    pub(super) max_attempts: u32,
    pub(super) min_wait: Duration,
    pub(super) max_wait: Duration,
    pub(super) max_elapsed: Duration,
    pub(super) silence: Duration,
    pub(super) reader: Reader,
    pub(super) rules: Vec<Rule>,
}

pub(super) type Span = (Duration, Duration);

/// A result file: its place in the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) index: i64,
    pub(super) offset: usize,
    pub(super) rows: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NextOn {
    Link,
    Answer,
    Both,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Total {
    Exact,
    Absent,
    Zero,
    Off(i64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hints {
    Absent,
    Exact,
    Partial,
    Wrong,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ByteCount {
    Wire,
    Content,
    Absent,
    Wrong,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EntityTag {
    Absent,
    Weak,
    Strong,
}

/// What the one who reads does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reader {
    /// Drops a call for the next batch after this long and makes another.
    pub(super) patience: Option<Duration>,
    /// Stops reading for a while, again and again.
    pub(super) stall: Option<(usize, Duration)>,
    pub(super) leave: Option<Leave>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Leave {
    Drop { after_batches: usize },
    Close { after_batches: usize },
    WhileOpening { after: Duration },
}

/// Which requests a rule is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Operation {
    OpenSession,
    Execute,
    Poll,
    Links,
    Download,
    CloseStatement,
    CloseSession,
}

/// Breaks some requests.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) on: Operation,
    /// The file asked for, where it matters.
    pub(super) file: Option<usize>,
    pub(super) skip: u32,
    pub(super) times: u32,
    pub(super) fault: Fault,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    // Of any request.
    Delay(Duration),
    Refused,
    Lost,
    Reset,
    BodyReset(f64),
    BodySilence(f64),
    Status(u16, RetryAfter),
    Garbage,
    // Of downloads.
    Expired,
    Short(f64),
    FewerRows,
    Corrupt(u64),
    EmptyBody,
    BytesBehind,
    PartUnasked,
    WrongContentRange(i64),
    LongRange,
    NoSuchRange(bool),
    WholeInsteadOfRange,
    /// Other rows from now on; the second of the two joins them to what was fetched before.
    Changed(bool),
    // Of answers with links.
    Moved(i64),
    OtherRowCount(i64),
    Next(i64),
    EndsEarly,
    NeverEnds,
    LinkTwice,
    NoLinks,
    DeadLink,
    NoUrl,
    PrivateUrl,
    Negative,
    Huge,
    OtherRowsWhenRenewed(i64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RetryAfter {
    Absent,
    Seconds(u64),
    Date(u64),
}

impl Fault {
    /// How many kinds there are.
    pub(super) const KINDS: usize = 33;

    pub(super) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap().to_owned()
    }

    fn is_of_a_link(&self) -> bool {
        use Fault::{
            DeadLink, EndsEarly, Huge, LinkTwice, Moved, Negative, NeverEnds, Next, NoLinks, NoUrl, OtherRowCount,
            OtherRowsWhenRenewed, PrivateUrl,
        };
        matches!(
            self,
            Moved(_)
                | OtherRowCount(_)
                | Next(_)
                | EndsEarly
                | NeverEnds
                | LinkTwice
                | NoLinks
                | DeadLink
                | NoUrl
                | PrivateUrl
                | Negative
                | Huge
                | OtherRowsWhenRenewed(_)
        )
    }
}

/// What a fault may cost at worst, if it is one that must be survived.
enum Harm {
    None,
    /// A repetition, at most.
    Retry,
    /// A repetition of which few are granted.
    Refetch,
    Renewal,
    /// It may well end in an error.
    Error,
}

impl Rule {
    fn harm(&self, plan: &Plan) -> Harm {
        let is_statement = self.on == Operation::Execute;
        match self.fault {
            _ if matches!(self.on, Operation::CloseStatement | Operation::CloseSession) => Harm::None,
            Fault::Delay(delay) if delay + plan.longest_answer() <= plan.silence => Harm::None,
            Fault::Refused | Fault::Status(429, _) => Harm::Retry,
            Fault::Status(503, after) if after != RetryAfter::Absent => Harm::Retry,
            Fault::LinkTwice | Fault::WrongContentRange(_) | Fault::NoSuchRange(_) | Fault::WholeInsteadOfRange => {
                Harm::None
            }
            _ if is_statement => Harm::Error,
            Fault::Delay(_)
            | Fault::Lost
            | Fault::Reset
            | Fault::BodyReset(_)
            | Fault::BodySilence(_)
            | Fault::Status(408 | 500 | 502 | 503 | 504, _)
            | Fault::PartUnasked
            | Fault::LongRange => Harm::Retry,
            Fault::Garbage if self.on == Operation::Download => Harm::Refetch,
            Fault::Short(_)
            | Fault::FewerRows
            | Fault::Corrupt(_)
            | Fault::EmptyBody
            | Fault::BytesBehind
            | Fault::Changed(_) => Harm::Refetch,
            Fault::Expired | Fault::DeadLink => Harm::Renewal,
            _ => Harm::Error,
        }
    }
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let ms = |random: &mut StdRng, most: u64| Duration::from_millis(random.random_range(0..=most));
        let span = |random: &mut StdRng, most: u64| {
            let least = random.random_range(0..=most);
            (Duration::from_millis(least), Duration::from_millis(random.random_range(least..=most)))
        };
        let files = files(random);
        let max_elapsed = if random.random_bool(0.1) { random.random_range(20..200) } else { 900 };
        let mut plan = Self {
            seed,
            batch_rows: *[17, 100, 1000].choose(random).unwrap(),
            surplus_rows: if random.random_bool(0.15) { random.random_range(1..60) } else { 0 },
            compression: random.random_bool(0.7),
            checksums: random.random_bool(0.6),
            empty_frames: random.random_bool(0.3),
            links_first: random.random_range(0..=files.len().min(8)),
            links: match random.random_range(0..10) {
                0..4 => Some(1),
                4..7 => Some(random.random_range(2..9)),
                7..9 => Some(usize::MAX),
                _ => None,
            },
            next_on: *[NextOn::Link, NextOn::Link, NextOn::Both, NextOn::Answer].choose(random).unwrap(),
            null_fields: random.random(),
            starts_early: random.random_bool(0.1),
            total: match random.random_range(0..40) {
                0 => Total::Zero,
                1 => Total::Off(random.random_range(1..50)),
                2 => Total::Off(-random.random_range(1..50)),
                3..8 => Total::Absent,
                _ => Total::Exact,
            },
            truncated: random.random_bool(0.08),
            hints: *[Hints::Exact, Hints::Exact, Hints::Exact, Hints::Absent, Hints::Partial, Hints::Wrong]
                .choose(random)
                .unwrap(),
            byte_count: *[ByteCount::Wire, ByteCount::Wire, ByteCount::Content, ByteCount::Absent, ByteCount::Wrong]
                .choose(random)
                .unwrap(),
            lifetime: match random.random_range(0..10) {
                0 => ms(random, 3000),
                1..4 => Duration::from_secs(random.random_range(10..120)),
                _ => Duration::from_secs(900),
            },
            tells_expiration: random.random_bool(0.9),
            skew_ms: match random.random_range(0..10) {
                0 => random.random_range(-2_000_000..2_000_000),
                1 => random.random_range(-40_000..40_000),
                _ => 0,
            },
            hosts: random.random_range(1..=2),
            refusal: *[400, 401, 403, 404].choose(random).unwrap(),
            ignores_ranges: random.random_bool(0.15),
            tells_ranges: random.random(),
            entity_tag: *[EntityTag::Strong, EntityTag::Strong, EntityTag::Weak, EntityTag::Absent]
                .choose(random)
                .unwrap(),
            content_length: random.random_bool(0.85),
            polls: if random.random_bool(0.3) { random.random_range(1..4) } else { 0 },
            latency: span(random, 60),
            api_time: span(random, 400),
            store_time: span(random, 400),
            piece_pause: span(random, 30),
            piece_bytes: random.random_range(500..20_000),
            memory_budget: 1 << random.random_range(8..22),
            max_concurrent_downloads: random.random_range(1..17),
            max_attempts: random.random_range(4..=6),
            min_wait: Duration::from_millis(random.random_range(10..1000)),
            max_wait: Duration::from_millis(random.random_range(1000..10_000)),
            max_elapsed: Duration::from_secs(max_elapsed),
            silence: Duration::from_secs(random.random_range(5..30)),
            reader: reader(random),
            rules: Vec::new(),
            files,
        };
        // Where all that could tell is missing, a lie about the links is the truth.
        let may_lie = plan.total == Total::Exact && !plan.truncated;
        let calm = random.random_bool(0.4);
        let mut least = Some(random.random_range(0..4_u32));
        while let Some(left) = least {
            let rule = plan.rule(random);
            if rule.fault.is_of_a_link() && !may_lie {
                continue;
            }
            if calm && matches!(rule.harm(&plan), Harm::Error) {
                continue;
            }
            let times = if calm { 1 } else { rule.times };
            if left > 0 {
                plan.rules.push(Rule { times, ..rule });
            }
            least = left.checked_sub(1);
        }
        if plan.entity_tag == EntityTag::Strong && !plan.files.is_empty() && random.random_bool(0.1) {
            // A file that changes between two ranges, or while it is to be fetched from where it broke off.
            let file = Some(random.random_range(0..plan.files.len()));
            let rule = |fault, skip| Rule { on: Operation::Download, file, skip, times: 1, fault };
            let part = random.random_range(0.1..0.9);
            plan.rules.push(rule(Fault::BodyReset(part), 0));
            plan.rules.push(rule(Fault::Changed(random.random()), 0));
        }
        plan
    }

    fn rule(&self, random: &mut StdRng) -> Rule {
        let on = match random.random_range(0..20) {
            0 => Operation::OpenSession,
            1 => Operation::Execute,
            2 => Operation::Poll,
            3 if random.random() => Operation::CloseStatement,
            3 => Operation::CloseSession,
            4..12 => Operation::Links,
            _ => Operation::Download,
        };
        let part = random.random_range(0.0..1.0);
        let number = random.random_range(1..40);
        let signed = if random.random() { number } else { -number };
        let fault = match (random.random_range(0..20), on) {
            (0, _) => Fault::Delay(Duration::from_millis(random.random_range(100..40_000))),
            (1, _) => Fault::Refused,
            (2, _) => Fault::Lost,
            (3, _) => Fault::Reset,
            (4, _) => Fault::BodyReset(part),
            (5, _) => Fault::BodySilence(part),
            (6, _) => Fault::Status(*[400, 401, 403, 404, 501].choose(random).unwrap(), RetryAfter::Absent),
            (7, _) => Fault::Garbage,
            (8..12, Operation::Download) => {
                // Uncompressed it may be as long as the right one, and ranges of both would be joined.
                let other = if self.compression { Fault::FewerRows } else { Fault::EmptyBody };
                [Fault::Expired, Fault::Short(part), other, Fault::EmptyBody, Fault::BytesBehind]
                    [random.random_range(0..5)]
            }
            (12..14, Operation::Download) if self.compression && self.checksums => Fault::Corrupt(random.random()),
            (12..17, Operation::Download) => [
                Fault::PartUnasked,
                Fault::WrongContentRange(signed),
                Fault::LongRange,
                Fault::NoSuchRange(random.random()),
                Fault::WholeInsteadOfRange,
            ][random.random_range(0..5)],
            // Where nothing tells one version of a file from the other, their ranges are joined and nobody can know.
            (17..20, Operation::Download) if self.entity_tag == EntityTag::Strong => Fault::Changed(random.random()),
            (8..17, Operation::Links | Operation::Execute | Operation::Poll) => [
                Fault::Moved(signed),
                Fault::OtherRowCount(signed),
                Fault::Next(random.random_range(-3..3)),
                Fault::EndsEarly,
                Fault::NeverEnds,
                Fault::LinkTwice,
                Fault::NoLinks,
                Fault::DeadLink,
                Fault::NoUrl,
                Fault::PrivateUrl,
                Fault::Negative,
                Fault::Huge,
                Fault::OtherRowsWhenRenewed(signed),
            ][random.random_range(0..13)],
            _ => {
                let after = match random.random_range(0..3) {
                    0 => RetryAfter::Absent,
                    1 => RetryAfter::Seconds(random.random_range(0..20)),
                    _ => RetryAfter::Date(random.random_range(0..20)),
                };
                Fault::Status(*[429, 503, 500, 502, 504, 408].choose(random).unwrap(), after)
            }
        };
        Rule {
            on,
            file: random.random_bool(0.3).then(|| random.random_range(0..self.files.len().max(1))),
            skip: if random.random_bool(0.6) { 0 } else { random.random_range(1..4) },
            times: match random.random_range(0..10) {
                0..6 => 1,
                6..9 => random.random_range(2..6),
                _ => u32::MAX,
            },
            fault,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// What the manifest announces.
    pub(super) fn announced(&self) -> Option<i64> {
        let rows = self.rows() as i64;
        match self.total {
            Total::Exact => Some(rows),
            Total::Absent => None,
            Total::Zero => Some(0),
            Total::Off(by) => Some((rows + by).max(0)),
        }
    }

    pub(super) fn announces_other_rows(&self) -> bool {
        !self.truncated && self.announced().is_some_and(|total| total != self.rows() as i64)
    }

    /// The longest time from a request to the first of its answer, there and back.
    fn longest_answer(&self) -> Duration {
        self.latency.1 * 2 + self.api_time.1.max(self.store_time.1)
    }

    /// Tells whether all that happens is of a kind and number that must be survived.
    pub(super) fn must_succeed(&self) -> bool {
        let (mut retries, mut refetches, mut renewals) = (0_u64, 0_u64, 0_u64);
        for rule in &self.rules {
            let times = u64::from(rule.times);
            match rule.harm(self) {
                Harm::None => {}
                Harm::Retry => retries += times,
                Harm::Refetch => refetches += times,
                Harm::Renewal => renewals += times,
                Harm::Error => return false,
            }
        }
        // A reader that stalls may let links expire, and each repetition may find its link expired.
        let lives_short = self.lifetime < Duration::from_secs(900) || !self.tells_expiration;
        let granted = if self.skew_ms != 0 {
            (self.lifetime >= Duration::from_secs(10)) && retries + refetches + renewals == 0
        } else if lives_short {
            self.lifetime >= Duration::from_secs(10) && retries + refetches + renewals <= 2
        } else {
            true
        };
        granted
            && retries + refetches <= 3
            && refetches <= 2
            && renewals <= 2
            && !self.announces_other_rows()
            && !(self.files.is_empty() && matches!(self.total, Total::Off(_)))
            && (retries == 0 || self.max_elapsed >= Duration::from_secs(900))
            && self.max_elapsed >= Duration::from_secs(100)
    }

    /// A time in which every schedule ends, however bad: requests and their repetitions one after the other.
    pub(super) fn deadline(&self) -> Duration {
        let request = self.max_elapsed + self.silence * 3 + self.body_time();
        let files = self.files.len() as u32 + 10;
        request * (files * (5 + 3 * self.max_concurrent_downloads as u32)) + self.stalls() * 2
    }

    /// The same for schedules that must succeed: what goes on without faults, one after the other, and the faults' price.
    pub(super) fn usual_time(&self) -> Duration {
        let trip = self.latency.1 + self.api_time.1.max(self.store_time.1) + self.body_time();
        let fault = self.silence * 2 + self.max_wait * 2 + Duration::from_secs(90);
        let times: u32 = self.rules.iter().map(|rule| rule.times.min(10)).sum();
        trip * (12 * self.files.len() as u32 + 20) + fault * times + self.stalls() + Duration::from_secs(2)
    }

    fn body_time(&self) -> Duration {
        self.piece_pause.1 * (200_000 / self.piece_bytes) as u32
    }

    fn stalls(&self) -> Duration {
        let batches = self.rows() / self.batch_rows + self.files.len() * 2;
        self.reader.stall.map_or(Duration::ZERO, |(every, pause)| pause * (batches / every + 1) as u32)
    }
}

fn files(random: &mut StdRng) -> Vec<File> {
    let rows = if random.random_bool(0.04) { 0 } else { random.random_range(1..=MAX_ROWS - 100) };
    let usual = *[40, 150, 500, MAX_FILE_ROWS].choose(random).unwrap();
    let (shares_indexes, skips_indexes) = (random.random_bool(0.1), random.random_bool(0.1));
    let has_empty = random.random_bool(0.2);
    let mut files = Vec::new();
    let (mut offset, mut index) = (0, 0);
    while offset < rows {
        let size = if has_empty && random.random_bool(0.2) { 0 } else { random.random_range(usual / 2 + 1..=usual) };
        let file = File { index, offset, rows: size.min(rows - offset) };
        offset += file.rows;
        files.push(file);
        // A file without rows lies where the next one starts: with the same index they would be the same place.
        if !(shares_indexes && file.rows > 0 && random.random_bool(0.3)) {
            index += if skips_indexes { random.random_range(1..4) } else { 1 };
        }
    }
    files
}

fn reader(random: &mut StdRng) -> Reader {
    let ms = |random: &mut StdRng, most: u64| Duration::from_millis(random.random_range(1..most));
    Reader {
        patience: random.random_bool(0.25).then(|| ms(random, 300)),
        stall: random.random_bool(0.25).then(|| {
            let most = if random.random_bool(0.2) { 1_000_000 } else { 3000 };
            (random.random_range(1..8), ms(random, most))
        }),
        leave: match random.random_range(0..20) {
            0 => Some(Leave::Drop { after_batches: random.random_range(0..12) }),
            1 => Some(Leave::Close { after_batches: random.random_range(0..12) }),
            2 => Some(Leave::WhileOpening { after: ms(random, 3000) }),
            _ => None,
        },
    }
}
