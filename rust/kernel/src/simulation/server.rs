//! The other side: a workspace and its stores, with their own idea of the protocol and a book of what they were asked.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use lz4_flex::frame::{FrameEncoder, FrameInfo};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use reqwest::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::network::{Delivery, Ending, Network, Outcome, Place, Reply, Request};
use super::plan::{
    ByteCount, EntityTag, Fault, Hints, MAX_ROWS, NextOn, Operation, Plan, RetryAfter, Rule, Span, Total,
};

pub(super) const STATEMENT_ID: &str = "01ef-simulated";
/// No log, error or other host may ever see one of these.
pub(super) const TOKEN: &str = "canary-token";
const SIGNATURE: &str = "canary";
/// Ids are multiples of this, plus the version of the file they came from.
pub(super) const ID_STEP: i64 = 1000;
/// More requests than any schedule needs.
const MAX_REQUESTS: usize = 30_000;

/// Every row that a result can have, and the surplus behind them.
pub(super) static TABLE: LazyLock<RecordBatch> = LazyLock::new(|| {
    let rows = 0..(MAX_ROWS + 100) as i64;
    let ids = Int64Array::from_iter_values(rows.clone().map(|row| row * ID_STEP));
    let names: StringArray = rows
        .map(|row| {
            let noise = (row as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (row % 7 != 3).then(|| format!("row {row} {:x}", noise >> (row % 40)))
        })
        .collect();
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("name", Arc::new(names))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
});

/// What a schedule has shown to the other side.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Rules of conduct that the client has broken.
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    /// Faults that were not only planned.
    pub(super) faults: BTreeMap<String, u32>,
    pub(super) statement_told: bool,
    pub(super) closed: u32,
    pub(super) session_closed: u32,
    pub(super) requests: usize,
    pub(super) ranges: usize,
    pub(super) renewals: usize,
}

pub(super) struct Server {
    plan: Arc<Plan>,
    start: tokio::time::Instant,
    chance: StdRng,
    rules: Vec<Rule>,
    bodies: HashMap<(usize, u32), Bytes>,
    versions: HashMap<usize, u32>,
    polls_left: u32,
    /// File and time of issue of each link.
    issued: Vec<(usize, Duration)>,
    /// Chunk calls that follow from what was said.
    told: HashSet<(i64, i64)>,
    delivered: HashSet<usize>,
    refused: bool,
    lied: bool,
    links_disturbed: bool,
    not_before: HashMap<(Operation, Option<usize>), Duration>,
    held: HashSet<usize>,
    taken_rows: usize,
    reader_done_at: Option<Duration>,
    pub(super) book: Book,
}

/// What an answer names as the next chunk.
#[derive(Clone, Copy)]
struct Named(Option<i64>);

/// A request, understood.
struct Asked {
    on: Operation,
    file: Option<usize>,
    what: What,
}

enum What {
    OpenSession,
    Execute,
    Poll,
    Links { index: i64, row_offset: i64 },
    Download { file: usize },
    Close,
}

impl Server {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            chance: StdRng::seed_from_u64(plan.seed ^ 0x5EA),
            rules: plan.rules.clone(),
            bodies: HashMap::new(),
            versions: HashMap::new(),
            polls_left: plan.polls,
            issued: Vec::new(),
            told: HashSet::from([(0, 0)]),
            delivered: HashSet::new(),
            refused: false,
            lied: false,
            links_disturbed: false,
            not_before: HashMap::new(),
            held: HashSet::new(),
            taken_rows: 0,
            reader_done_at: None,
            book: Book::default(),
            plan,
        }
    }

    /// The reader has taken this many rows in all.
    pub(super) fn taken(&mut self, rows: usize) {
        self.taken_rows = rows;
        let plan = Arc::clone(&self.plan);
        self.held.retain(|file| plan.files.get(*file).is_some_and(|file| file.offset + file.rows > rows));
    }

    /// The reader has come to an end or gone: nothing may be fetched from here on.
    pub(super) fn reader_is_done(&mut self) {
        self.reader_done_at = Some(self.start.elapsed());
    }

    pub(super) fn note(&mut self, event: &str) {
        let now = self.start.elapsed();
        self.book.trace.push(format!("{:>10.3} {event}", now.as_secs_f64()));
    }

    fn violation(&mut self, text: String) {
        self.note(&format!("VIOLATION {text}"));
        self.book.violations.push(text);
    }

    pub(super) fn respond(&mut self, request: &Request) -> Delivery {
        self.book.requests += 1;
        if self.book.requests > MAX_REQUESTS {
            if self.book.requests == MAX_REQUESTS + 1 {
                self.violation("requests without end".to_owned());
            }
            return Delivery { after: Duration::ZERO, outcome: Outcome::Silence };
        }
        let Some(asked) = self.understand(request) else {
            self.violation(format!("a request for {} {}", request.method, request.url.path()));
            return self.delivery(Place::Api, Outcome::Reply(empty(404)));
        };
        self.check_conduct(request, &asked);
        let fault = self.fault(&asked, request);
        let outcome = match fault {
            Some(Fault::Refused) => Outcome::Refused,
            Some(Fault::Status(status, after)) => {
                // Of ranges that are fetched together the others have been on their way.
                let alone = !request.headers.contains_key(RANGE);
                Outcome::Reply(self.status(&asked, status, after, alone))
            }
            _ => self.answer(request, &asked, fault),
        };
        let outcome = disturb(outcome, fault);
        let summary = match &outcome {
            Outcome::Reply(reply) => {
                let bytes: usize = reply.pieces.iter().map(|(_, piece)| piece.len()).sum();
                format!("{} with {bytes} bytes, {:?}", reply.status, reply.ending)
            }
            other => format!("{other:?}"),
        };
        let range = request.headers.get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let query = if request.place == Place::Api { request.url.query().unwrap_or("") } else { "" };
        let path = request.url.path();
        let fault_text = fault.map(|fault| format!(" [{fault:?}]")).unwrap_or_default();
        self.note(&format!("{} {path}?{query} {range} -> {summary}{fault_text}", request.method));
        let mut delivery = self.delivery(request.place, outcome);
        if let Some(Fault::Delay(delay)) = fault {
            delivery.after += delay;
        }
        delivery
    }

    fn understand(&self, request: &Request) -> Option<Asked> {
        let path: Vec<&str> = request.url.path().trim_matches('/').split('/').collect();
        let asked = |on, file, what| Some(Asked { on, file, what });
        if request.place == Place::Storage {
            let file: usize = path.first()?.strip_prefix("file-")?.parse().ok()?;
            let host = format!("store-{}.example", file % self.plan.hosts);
            let is_there = request.url.host_str() == Some(&host) && file < self.plan.files.len();
            return is_there.then(|| asked(Operation::Download, Some(file), What::Download { file }))?;
        }
        let path = path.strip_prefix(&["api", "2.0", "sql"])?;
        match (&request.method, path) {
            (&Method::POST, ["sessions"]) => asked(Operation::OpenSession, None, What::OpenSession),
            (&Method::DELETE, ["sessions", _]) => asked(Operation::CloseSession, None, What::Close),
            (&Method::POST, ["statements"]) => asked(Operation::Execute, None, What::Execute),
            (&Method::GET, ["statements", STATEMENT_ID]) => asked(Operation::Poll, None, What::Poll),
            (&Method::POST, ["statements", STATEMENT_ID, "cancel"]) => {
                asked(Operation::CloseStatement, None, What::Close)
            }
            (&Method::DELETE, ["statements", STATEMENT_ID]) => asked(Operation::CloseStatement, None, What::Close),
            (&Method::GET, ["statements", STATEMENT_ID, "result", "chunks", index]) => {
                let index = index.parse().ok()?;
                let row_offset = request.url.query()?.strip_prefix("row_offset=")?.parse().ok()?;
                let file = self.file_at(index, row_offset);
                asked(Operation::Links, file, What::Links { index, row_offset })
            }
            _ => None,
        }
    }

    fn file_at(&self, index: i64, row_offset: i64) -> Option<usize> {
        self.plan.files.iter().position(|file| file.index == index && file.offset as i64 == row_offset)
    }

    fn check_conduct(&mut self, request: &Request, asked: &Asked) {
        let now = self.start.elapsed();
        match request.place {
            Place::Api => {
                let token = format!("Bearer {TOKEN}");
                if request.headers.get(AUTHORIZATION).is_none_or(|value| *value != *token) {
                    self.violation("an API request without the token".to_owned());
                }
            }
            Place::Storage => {
                let told =
                    |value: &HeaderValue| value.as_bytes().windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
                if request.headers.contains_key(AUTHORIZATION) || request.headers.values().any(told) {
                    self.violation("the token was shown to a store".to_owned());
                }
                if request.headers.get("x-key").is_none_or(|value| value != "canary-key") {
                    self.violation("a link's header was left out".to_owned());
                }
            }
        }
        let fetches = matches!(asked.on, Operation::Links | Operation::Download);
        // What arrives in the same instant was sent before.
        if fetches && self.reader_done_at.is_some_and(|end| self.start.elapsed() > end) {
            self.violation(format!("{:?} of file {:?} after the end", asked.on, asked.file));
        }
        let place = (asked.on, asked.file);
        // A hinted call that is given up, and the chain's own to the same chunk, know nothing of each other.
        let one_of_two = asked.on == Operation::Links && !matches!(self.plan.hints, Hints::Absent);
        if fetches && self.not_before.remove(&place).is_some_and(|at| now < at) && !one_of_two {
            self.violation(format!("{:?} of file {:?} before the time of Retry-After", asked.on, asked.file));
        }
        match asked.what {
            What::Links { index, row_offset } => {
                if !self.lied && !self.told.contains(&(index, row_offset)) {
                    self.violation(format!("a call for chunk {index} at row {row_offset}, which nothing has named"));
                }
                if let Some(file) = asked.file.filter(|file| self.delivered.contains(file)) {
                    self.book.renewals += 1;
                    if !self.may_ask_again(now) {
                        self.violation(format!("the link of file {file} was asked for twice"));
                    }
                }
            }
            What::Download { file } => {
                // One without rows is done with as soon as it is there.
                if self.plan.files[file].offset + self.plan.files[file].rows > self.taken_rows {
                    self.held.insert(file);
                }
                // A chunk that has failed holds nothing any more.
                let survives = self.plan.must_succeed();
                if survives && matches!(self.plan.byte_count, ByteCount::Wire | ByteCount::Content) {
                    let held = self.held.clone();
                    let sizes: Vec<usize> = held.into_iter().map(|file| self.least_bytes(file)).collect();
                    let most = sizes.iter().copied().max().unwrap_or(0).max(self.plan.memory_budget);
                    if sizes.iter().sum::<usize>() > most {
                        let (files, sum) = (sizes.len(), sizes.iter().sum::<usize>());
                        self.violation(format!("{sum} bytes of {files} files are held; the budget is {most}"));
                    }
                }
            }
            _ => {}
        }
    }

    fn least_bytes(&mut self, file: usize) -> usize {
        self.body(file, 0).len().min(self.content(file, 0).len())
    }

    /// Tells whether anything excuses a second call for a link.
    fn may_ask_again(&self, now: Duration) -> bool {
        let plan = &self.plan;
        let shares_indexes = plan.files.windows(2).any(|pair| pair[0].index == pair[1].index);
        let half = plan.lifetime.saturating_sub(Duration::from_secs(30)).max(plan.lifetime / 2);
        self.refused
            || self.lied
            || plan.skew_ms != 0
            || now >= half
            || plan.hints == Hints::Wrong
            || (plan.hints == Hints::Partial && plan.files.iter().any(|file| file.rows == 0))
            || plan.starts_early
            // Where the first answer has one link the next are taken to have one too, and are asked for concurrently.
            || (plan.hints != Hints::Absent && plan.links != Some(1))
            || shares_indexes
            || self.links_disturbed
    }

    fn fault(&mut self, asked: &Asked, request: &Request) -> Option<Fault> {
        let is_ranged = request.headers.contains_key(RANGE);
        let on = asked.on;
        let fault = self.rules.iter_mut().find_map(|rule| {
            let fits = match rule.fault {
                Fault::WrongContentRange(_) | Fault::LongRange | Fault::NoSuchRange(_) | Fault::WholeInsteadOfRange => {
                    is_ranged
                }
                Fault::PartUnasked => !is_ranged,
                _ => true,
            };
            let file_fits = !matches!(on, Operation::Links | Operation::Download)
                || rule.file.is_none_or(|file| Some(file) == asked.file);
            if rule.on != on || !fits || !file_fits || rule.times == 0 {
                return None;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            if rule.times != u32::MAX {
                rule.times -= 1;
            }
            Some(rule.fault)
        })?;
        *self.book.faults.entry(fault.name()).or_default() += 1;
        self.links_disturbed |= on == Operation::Links;
        Some(fault)
    }

    fn status(&mut self, asked: &Asked, status: u16, after: RetryAfter, alone: bool) -> Reply {
        let now = self.start.elapsed();
        let mut headers = HeaderMap::new();
        match after {
            RetryAfter::Absent => {}
            RetryAfter::Seconds(seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                // A call that a renewal has made superfluous is forgotten with what it was told.
                if alone && self.plan.lifetime >= Duration::from_secs(900) && !self.refused {
                    self.not_before.insert((asked.on, asked.file), now + Duration::from_secs(seconds));
                }
            }
            RetryAfter::Date(seconds) => {
                let date = httpdate::fmt_http_date(Network::server_time(now + Duration::from_secs(seconds)));
                headers.insert(RETRY_AFTER, HeaderValue::from_str(&date).unwrap());
            }
        }
        if asked.on == Operation::Download && matches!(status, 400 | 401 | 403 | 404) {
            self.refused = true;
        }
        let body = json!({"error_code": "SIMULATED", "message": "simulated"}).to_string();
        Reply { headers, ..whole(status, body.into_bytes()) }
    }

    fn answer(&mut self, request: &Request, asked: &Asked, fault: Option<Fault>) -> Outcome {
        let is_api = request.place == Place::Api;
        if let Some(Fault::Garbage) = fault {
            return Outcome::Reply(whole(200, b"<html><title>simulated</title></html>".to_vec()));
        }
        let answer = match asked.what {
            What::OpenSession => json!({"session_id": "simulated"}),
            What::Execute if self.plan.polls > 0 => {
                self.book.statement_told = true;
                json!({"statement_id": STATEMENT_ID, "status": {"state": "PENDING"}})
            }
            What::Poll if self.polls_left > 1 => {
                self.polls_left -= 1;
                json!({"statement_id": STATEMENT_ID, "status": {"state": "RUNNING"}})
            }
            What::Execute | What::Poll => {
                self.book.statement_told = true;
                self.first_answer(fault)
            }
            What::Links { index, row_offset } => match asked.file {
                Some(file) => self.links_from(file, fault),
                // It goes by the index alone, as a server that knows no row_offset does.
                None => match self.plan.files.iter().position(|file| file.index == index) {
                    Some(file) if self.plan.null_fields => self.links_from(file, fault),
                    _ => {
                        let text = json!({"error_code": "BAD_REQUEST", "message": format!("no chunk at {row_offset}")});
                        return Outcome::Reply(whole(400, text.to_string().into_bytes()));
                    }
                },
            },
            What::Download { file } => return Outcome::Reply(self.download(file, request, fault)),
            What::Close => {
                match asked.on {
                    Operation::CloseStatement if request.method == Method::DELETE => self.book.closed += 1,
                    Operation::CloseSession => self.book.session_closed += 1,
                    _ => {}
                }
                json!({})
            }
        };
        debug_assert!(is_api);
        Outcome::Reply(whole(200, answer.to_string().into_bytes()))
    }

    fn first_answer(&mut self, fault: Option<Fault>) -> Value {
        let plan = Arc::clone(&self.plan);
        let columns = json!([
            {"name": "id", "type_text": "BIGINT", "type_name": "LONG", "position": 0},
            {"name": "name", "type_text": "STRING", "type_name": "STRING", "position": 1},
        ]);
        let mut manifest = json!({"format": "ARROW_STREAM", "schema": {"column_count": 2, "columns": columns},
            "total_chunk_count": 3, "truncated": plan.truncated});
        if plan.compression {
            manifest["result_compression"] = json!("LZ4_FRAME");
        }
        if let Some(total) = plan.announced() {
            manifest["total_row_count"] = json!(total);
        }
        let mut chunks = Vec::new();
        for (number, file) in plan.files.iter().enumerate() {
            let wrong = if plan.hints == Hints::Wrong { self.chance.random_range(0..3) } else { 0 };
            if plan.hints == Hints::Partial && self.chance.random_bool(0.3) {
                continue;
            }
            let (index, offset) = (file.index + wrong, file.offset as i64);
            self.told.insert((index, offset));
            chunks.push(json!({"chunk_index": index, "row_offset": offset, "row_count": file.rows as i64 + wrong,
                "byte_count": self.content(number, 0).len()}));
        }
        if plan.hints != Hints::Absent {
            manifest["chunks"] = json!(chunks);
        }
        // Without links, something has to say that there are rows.
        let says_so = plan.total == Total::Exact || plan.hints == Hints::Exact;
        let links_first = if says_so { plan.links_first } else { plan.links_first.max(1) };
        let result = match plan.files.len() {
            0 => json!({}),
            _ if links_first == 0 => json!({}),
            _ => self.links(0, links_first, fault),
        };
        json!({"statement_id": STATEMENT_ID, "status": {"state": "SUCCEEDED"}, "manifest": manifest, "result": result})
    }

    fn links_from(&mut self, file: usize, fault: Option<Fault>) -> Value {
        let plan = Arc::clone(&self.plan);
        let count = plan.links.unwrap_or_else(|| self.chance.random_range(1..6));
        let early = if plan.starts_early && self.chance.random_bool(0.3) {
            self.chance.random_range(0..=file.min(2))
        } else {
            0
        };
        self.links(file - early, count.saturating_add(early), fault)
    }

    /// Links to `count` files and more, for those of one index come together.
    fn links(&mut self, first: usize, count: usize, fault: Option<Fault>) -> Value {
        let plan = Arc::clone(&self.plan);
        let mut end = first.saturating_add(count).min(plan.files.len());
        while end < plan.files.len() && plan.files[end].index == plan.files[end - 1].index {
            end += 1;
        }
        let mut links = Vec::new();
        for number in first..end {
            let next =
                plan.files[number..].iter().map(|file| file.index).find(|index| *index > plan.files[number].index);
            links.push(self.link(number, next));
        }
        let next = plan.files.get(end).map(|file| file.index);
        let mut answer = Map::new();
        let lie = self.lie(fault, &mut links, first, next);
        let next = lie.map_or(next, |Named(lie)| lie);
        if let Some(last) = links.last_mut().filter(|_| lie.is_some()) {
            last["next_chunk_index"] = json!(next);
        }
        for link in &links {
            let at = |key: &str| link.get(key).and_then(Value::as_i64).unwrap_or(0);
            self.told.insert((at("chunk_index"), at("row_offset")));
            // The link that ends last says where the next chunk starts.
            self.told.extend(next.map(|next| (next, at("row_offset").saturating_add(at("row_count")))));
        }
        if plan.next_on != NextOn::Link && (next.is_some() || plan.null_fields) {
            answer.insert("next_chunk_index".to_owned(), json!(next));
        }
        if plan.next_on == NextOn::Answer {
            for link in links.iter_mut().filter_map(Value::as_object_mut) {
                link.remove("next_chunk_index");
            }
        }
        self.delivered.extend(first..end);
        // In any order.
        if links.len() > 1 && self.chance.random_bool(0.1) {
            links.reverse();
        }
        answer.insert("external_links".to_owned(), Value::Array(links));
        Value::Object(answer)
    }

    fn link(&mut self, number: usize, next: Option<i64>) -> Value {
        let plan = Arc::clone(&self.plan);
        let file = plan.files[number];
        let now = self.start.elapsed();
        self.issued.push((number, now));
        let host = number % plan.hosts;
        let signature = format!("{SIGNATURE}{}", self.issued.len() - 1);
        let mut link = json!({"external_link": format!("https://store-{host}.example/file-{number}?sig={signature}"),
            "chunk_index": file.index, "row_offset": file.offset, "row_count": file.rows,
            "http_headers": {"x-key": "canary-key"}});
        let bytes = match plan.byte_count {
            ByteCount::Wire => Some(self.body(number, 0).len()),
            ByteCount::Content => Some(self.content(number, 0).len()),
            ByteCount::Absent => None,
            ByteCount::Wrong => Some(self.chance.random_range(0..100_000)),
        };
        if let Some(bytes) = bytes {
            link["byte_count"] = json!(bytes);
        }
        if plan.tells_expiration {
            let end = OffsetDateTime::from(Network::server_time(now + plan.lifetime));
            link["expiration"] = json!(end.format(&Rfc3339).unwrap());
        }
        if next.is_some() || plan.null_fields {
            link["next_chunk_index"] = json!(next);
        }
        if plan.null_fields {
            link["http_headers"]["x-more"] = json!("1");
        }
        link
    }

    /// Makes an answer untrue; returns what it then names as the next chunk, if that is the lie.
    fn lie(&mut self, fault: Option<Fault>, links: &mut Vec<Value>, first: usize, next: Option<i64>) -> Option<Named> {
        let fault = fault?;
        let known = self.delivered.contains(&first);
        let last = links.len().checked_sub(1)?;
        let place = self.chance.random_range(0..=last);
        let plan = Arc::clone(&self.plan);
        let add = |link: &mut Value, key: &str, by: i64| link[key] = json!(link[key].as_i64().unwrap_or(0) + by);
        let index = plan.files[first].index;
        match fault {
            Fault::Moved(by) => add(&mut links[place], "row_offset", by),
            Fault::OtherRowCount(by) => add(&mut links[place], "row_count", by),
            Fault::OtherRowsWhenRenewed(by) if known => add(&mut links[0], "row_count", by),
            Fault::LinkTwice => {
                let twin = links[place].clone();
                links.insert(place, twin);
            }
            Fault::NoLinks => links.clear(),
            Fault::DeadLink => {
                links[place]["external_link"] =
                    json!(links[place]["external_link"].as_str().unwrap().replace("sig=", "sig=dead-"));
            }
            Fault::NoUrl => drop(links[place].as_object_mut()?.remove("external_link")),
            Fault::PrivateUrl => links[place]["external_link"] = json!("https://10.0.0.1/file-0?sig=canary"),
            Fault::Negative => links[place]["row_count"] = json!(-1),
            Fault::Huge => links[place]["row_count"] = json!(i64::MAX),
            Fault::Next(by) => {
                self.lied = true;
                return Some(Named(Some(next.unwrap_or(index) + by)));
            }
            Fault::EndsEarly => {
                self.lied = true;
                return Some(Named(None));
            }
            Fault::NeverEnds => {
                self.lied = true;
                return Some(Named(Some(next.unwrap_or_else(|| plan.files.last().map_or(0, |file| file.index) + 1))));
            }
            _ => return None,
        }
        self.lied = true;
        None
    }

    fn content(&mut self, number: usize, version: u32) -> Bytes {
        let key = (number + self.plan.files.len(), version);
        if let Some(content) = self.bodies.get(&key) {
            return content.clone();
        }
        let content = self.encoded(number, version, 0);
        self.bodies.insert(key, content.clone());
        content
    }

    /// The Arrow stream of a file, or of all but the last rows of it.
    fn encoded(&self, number: usize, version: u32, fewer: usize) -> Bytes {
        let plan = &self.plan;
        let file = plan.files[number];
        let surplus = if number + 1 == plan.files.len() { plan.surplus_rows } else { 0 };
        let rows =
            TABLE.slice(file.offset, if fewer > 0 { file.rows.saturating_sub(fewer) } else { file.rows + surplus });
        let ids = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let ids: Int64Array = ids.values().iter().map(|id| id + i64::from(version)).collect();
        let schema =
            Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::clone(rows.column(1))]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        for at in (0..rows.num_rows()).step_by(plan.batch_rows) {
            writer.write(&rows.slice(at, plan.batch_rows.min(rows.num_rows() - at))).unwrap();
        }
        Bytes::from(writer.into_inner().unwrap())
    }

    fn compressed(&self, content: Bytes) -> Bytes {
        let plan = &self.plan;
        if plan.compression {
            let frame = |content: &[u8]| {
                let info = FrameInfo::new().block_checksums(plan.checksums).content_checksum(plan.checksums);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            };
            let mut body = Vec::new();
            for piece in content.chunks(content.len().div_ceil(3)) {
                body.extend(frame(piece));
                if plan.empty_frames {
                    body.extend(frame(&[]));
                }
            }
            Bytes::from(body)
        } else {
            content
        }
    }

    fn body(&mut self, number: usize, version: u32) -> Bytes {
        if let Some(body) = self.bodies.get(&(number, version)) {
            return body.clone();
        }
        let content = self.content(number, version);
        let body = self.compressed(content);
        assert!(body.len() <= 64 << 10, "bodies of this size are decoded in another thread");
        self.bodies.insert((number, version), body.clone());
        body
    }

    fn download(&mut self, number: usize, request: &Request, fault: Option<Fault>) -> Reply {
        let plan = Arc::clone(&self.plan);
        let now = self.start.elapsed();
        let signature = request.url.query().and_then(|query| query.strip_prefix("sig=canary")?.parse::<usize>().ok());
        let valid = signature
            .and_then(|signature| self.issued.get(signature))
            .is_some_and(|(file, issued)| *file == number && now < *issued + plan.lifetime);
        if !valid || matches!(fault, Some(Fault::Expired)) {
            self.refused = true;
            return whole(plan.refusal, b"<Error><Code>AccessDenied</Code><Message>canary</Message></Error>".to_vec());
        }
        if matches!(fault, Some(Fault::Changed(_))) {
            *self.versions.entry(number).or_default() += 1;
        }
        let version = self.versions.get(&number).copied().unwrap_or(0);
        let body = match fault {
            // A body in order that lacks the last row.
            Some(Fault::FewerRows) => self.compressed(self.encoded(number, version, 1)),
            _ => self.body(number, version),
        };
        let mut headers = HeaderMap::new();
        if plan.tells_ranges && !plan.ignores_ranges {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        let tag = match plan.entity_tag {
            EntityTag::Absent => None,
            EntityTag::Weak => Some(format!("W/\"{number}\"")),
            EntityTag::Strong => Some(format!("\"{number}-{version}\"")),
        };
        if let Some(tag) = &tag {
            headers.insert(ETAG, HeaderValue::from_str(tag).unwrap());
        }
        let asked = request.headers.get(RANGE).and_then(|value| range(value.to_str().ok()?));
        let same = request
            .headers
            .get(IF_RANGE)
            .is_none_or(|value| Some(value.as_bytes()) == tag.as_deref().map(str::as_bytes))
            || matches!(fault, Some(Fault::Changed(true)));
        let whole_instead = matches!(fault, Some(Fault::WholeInsteadOfRange));
        match (asked, fault) {
            (Some(_), Some(Fault::NoSuchRange(tells))) => {
                let mut reply = Reply { headers, ..empty(416) };
                if tells {
                    reply.headers.insert(CONTENT_RANGE, content_range("*", body.len()));
                }
                reply
            }
            (None, Some(Fault::PartUnasked)) => {
                headers.insert(CONTENT_RANGE, content_range("0-9", body.len()));
                Reply { headers, ..self.paced(206, body.slice(..10.min(body.len()))) }
            }
            (Some((first, last)), _) if same && !whole_instead && !plan.ignores_ranges => {
                self.book.ranges += 1;
                if first >= body.len() {
                    headers.insert(CONTENT_RANGE, content_range("*", body.len()));
                    return Reply { headers, ..empty(416) };
                }
                let end = last.map_or(body.len(), |last| (last + 1).min(body.len()));
                let (told_first, told_length) = match fault {
                    Some(Fault::WrongContentRange(by)) if by % 2 == 0 => {
                        (first.saturating_add_signed(by as isize), body.len())
                    }
                    Some(Fault::WrongContentRange(by)) => (first, body.len() + by.unsigned_abs() as usize),
                    _ => (first, body.len()),
                };
                headers.insert(CONTENT_RANGE, content_range(&format!("{told_first}-{}", end - 1), told_length));
                let mut reply = self.paced(206, body.slice(first..end));
                if matches!(fault, Some(Fault::LongRange)) {
                    reply.pieces.push_back((Duration::ZERO, Bytes::from_static(b"more")));
                    reply.content_length = None;
                }
                Reply { headers, ..spoil(reply, fault) }
            }
            _ => {
                let reply = self.paced(200, body);
                Reply { headers, ..spoil(reply, fault) }
            }
        }
    }

    /// Cuts a body into pieces, each a while after the one before.
    fn paced(&mut self, status: u16, body: Bytes) -> Reply {
        let plan = Arc::clone(&self.plan);
        let length = body.len();
        let mut pieces = VecDeque::new();
        let mut rest = body;
        while !rest.is_empty() {
            let piece = rest.split_to(plan.piece_bytes.min(rest.len()));
            pieces.push_back((self.span(plan.piece_pause), piece));
        }
        let content_length = plan.content_length.then_some(length as u64);
        Reply { status, headers: HeaderMap::new(), content_length, pieces, ending: Ending::End }
    }

    fn delivery(&mut self, place: Place, outcome: Outcome) -> Delivery {
        let time = if place == Place::Api { self.plan.api_time } else { self.plan.store_time };
        let after = self.span(time) + self.span(self.plan.latency);
        Delivery { after, outcome }
    }

    fn span(&mut self, (least, most): Span) -> Duration {
        self.chance.random_range(least..=most)
    }
}

fn empty(status: u16) -> Reply {
    whole(status, Vec::new())
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    let content_length = Some(body.len() as u64);
    let pieces = VecDeque::from([(Duration::ZERO, Bytes::from(body))]);
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-request-id"), HeaderValue::from_static("simulated"));
    Reply { status, headers, content_length, pieces, ending: Ending::End }
}

fn content_range(range: &str, length: usize) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes {range}/{length}")).unwrap()
}

/// First and last byte, both as asked for.
fn range(text: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()))
}

/// Damages the bytes of a body.
fn spoil(mut reply: Reply, fault: Option<Fault>) -> Reply {
    if !matches!(fault, Some(Fault::Short(_) | Fault::Corrupt(_) | Fault::EmptyBody | Fault::BytesBehind)) {
        return reply;
    }
    let mut body: Vec<u8> = reply.pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
    let length = body.len();
    match fault {
        Some(Fault::Short(part)) => {
            body.truncate((length as f64 * part) as usize);
            reply.content_length = None;
        }
        Some(Fault::Corrupt(seed)) => {
            let random = &mut StdRng::seed_from_u64(seed);
            for _ in 0..random.random_range(1..9) {
                if length > 0 {
                    body[random.random_range(0..length)] ^= random.random_range(1..=255_u8);
                }
            }
        }
        Some(Fault::EmptyBody) => {
            body.clear();
            reply.content_length = Some(0);
        }
        _ => {
            body.extend_from_slice(b"behind");
            reply.content_length = None;
        }
    }
    reply.pieces = VecDeque::from([(Duration::ZERO, Bytes::from(body))]);
    reply
}

/// Loses what was answered, or a part of it.
fn disturb(outcome: Outcome, fault: Option<Fault>) -> Outcome {
    let cut = |outcome: Outcome, part: f64, ending: Ending| match outcome {
        Outcome::Reply(mut reply) => {
            let length: usize = reply.pieces.iter().map(|(_, piece)| piece.len()).sum();
            let mut left = (length as f64 * part) as usize;
            for (_, piece) in &mut reply.pieces {
                piece.truncate(left);
                left -= piece.len();
            }
            reply.pieces.retain(|(_, piece)| !piece.is_empty());
            Outcome::Reply(Reply { ending, ..reply })
        }
        other => other,
    };
    match fault {
        Some(Fault::Lost) => Outcome::Silence,
        Some(Fault::Reset) => Outcome::Reset,
        Some(Fault::BodyReset(part)) => cut(outcome, part, Ending::Reset),
        Some(Fault::BodySilence(part)) => cut(outcome, part, Ending::Silence),
        _ => outcome,
    }
}
