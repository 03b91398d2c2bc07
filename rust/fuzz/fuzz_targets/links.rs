//! Presigned links: what a single one may be, how they join to a chain, and what a renewal may change.
#![no_main]

mod number;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use seakernel::fuzzing::{Chain, Link};
use serde_json::{Value, json};

use number::Number;

const SECRET: &str = "canary5b1d";

#[derive(Arbitrary, Debug)]
enum Place {
    Usual,
    Https(String),
    Any(String),
}

#[derive(Arbitrary, Debug)]
struct LinkAnswer {
    place: Place,
    chunk_index: Number,
    row_offset: Number,
    row_count: i16,
    any_row_count: Option<i64>,
    byte_count: Option<i64>,
    next_chunk_index: Number,
    headers: Vec<String>,
    expiration: Option<u32>,
}

#[derive(Arbitrary, Debug)]
struct Answer {
    links: Vec<LinkAnswer>,
    next_chunk_index: Option<i64>,
}

impl Answer {
    /// Writes the answer of a server that means chunk `chunk_index` at row `row_offset`, mostly.
    fn json(&self, mut chunk_index: i64, mut row_offset: i64) -> Vec<u8> {
        let mut links = Vec::new();
        for link in &self.links {
            let rows = link.any_row_count.unwrap_or(i64::from(link.row_count));
            let mut url = match &link.place {
                Place::Usual => "https://store.example/chunk".to_owned(),
                Place::Https(rest) => format!("https://{rest}"),
                Place::Any(text) => text.clone(),
            };
            url.push_str("?sig=");
            url.push_str(SECRET);
            // Names of headers may be shown, their values never.
            let names = link.headers.iter().filter(|name| !name.contains(SECRET));
            let headers: BTreeMap<&String, &str> = names.map(|name| (name, SECRET)).collect();
            let at = link.row_offset.from(row_offset);
            let mut value = json!({
                "external_link": url,
                "row_count": rows,
                "byte_count": link.byte_count,
                "next_chunk_index": link.next_chunk_index.from(chunk_index.saturating_add(1)),
                "http_headers": headers,
                "expiration": link.expiration.map(|year| format!("{:04}-06-01T00:00:00Z", year % 10_000)),
            });
            for (key, number) in [("chunk_index", link.chunk_index.from(chunk_index)), ("row_offset", at)] {
                if let (Some(number), Value::Object(fields)) = (number, &mut value) {
                    fields.insert(key.to_owned(), number.into());
                }
            }
            links.push(value);
            chunk_index = chunk_index.saturating_add(1);
            row_offset = at.unwrap_or(0).saturating_add(rows);
        }
        json!({"external_links": links, "next_chunk_index": self.next_chunk_index}).to_string().into_bytes()
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Follow(Answer),
    Take(u8),
    /// Renews the link handed over that long ago.
    Renew(u8, Answer),
}

#[derive(Arbitrary, Debug)]
struct Input {
    first: Answer,
    steps: Vec<Step>,
}

/// What the chain has handed over so far.
#[derive(Default)]
struct Reader {
    taken: Vec<Link>,
    rows: i64,
}

impl Reader {
    fn take(&mut self, chain: &mut Chain) -> bool {
        let Some(link) = chain.take() else { return false };
        assert_safe(&link);
        assert_eq!(link.row_offset(), self.rows, "a link does not start where the last one ended");
        self.rows = self.rows.checked_add(link.rows()).expect("rows can be counted");
        self.taken.push(link);
        true
    }
}

fn assert_safe(link: &Link) {
    assert!(link.chunk_index() >= 0 && link.row_offset() >= 0 && link.rows() >= 0);
    assert!(link.row_offset().checked_add(link.rows()).is_some());
    let url = link.url();
    assert!(url.starts_with("https://"), "{url}");
    let host = &url["https://".len()..];
    let host = &host[..host.find(['/', '?', '#']).unwrap_or(host.len())];
    assert!(!host.contains('@'), "{url}");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    assert!(!["localhost", "localhost."].contains(&name), "{url}");
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        assert!(!address.is_private() && !address.is_loopback() && !address.is_link_local(), "{url}");
    }
    // A path is shown, and the parser may find the end of the path elsewhere than this target meant it.
    if url.find('?').is_some_and(|query| !url[..query].contains(SECRET)) {
        assert!(!link.printed().contains(SECRET), "{}", link.printed());
    }
}

fn told(error: &seakernel::Error) {
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
}

fuzz_target!(|input: Input| {
    let mut chain = match Chain::start(&input.first.json(0, 0)).expect("an answer as it is written") {
        Ok(chain) => chain,
        Err(error) => return told(&error),
    };
    let mut reader = Reader::default();
    for step in &input.steps {
        match step {
            Step::Follow(answer) => {
                let Some((chunk_index, row_offset)) = chain.next() else { continue };
                assert!(reader.taken.iter().all(|link| link.chunk_index() < chunk_index), "a cycle");
                if let Err(error) = chain.follow(&answer.json(chunk_index, row_offset)).expect("an answer") {
                    told(&error);
                    break;
                }
            }
            Step::Take(count) => {
                for _ in 0..*count {
                    if !reader.take(&mut chain) {
                        break;
                    }
                }
            }
            Step::Renew(back, answer) => {
                let Some(stale) = reader.taken.iter().rev().nth(usize::from(*back)) else { continue };
                match chain.renew(stale, &answer.json(stale.chunk_index(), stale.row_offset())).expect("an answer") {
                    Ok(Some(fresh)) => {
                        assert_safe(&fresh);
                        assert_eq!(
                            (fresh.chunk_index(), fresh.row_offset(), fresh.rows()),
                            (stale.chunk_index(), stale.row_offset(), stale.rows())
                        );
                    }
                    Ok(None) => {}
                    Err(error) => told(&error),
                }
            }
        }
    }
    while reader.take(&mut chain) {}
    if let Some((_, row_offset)) = chain.next() {
        assert_eq!(row_offset, reader.rows, "the chain counts other rows than it hands over");
    }
});
