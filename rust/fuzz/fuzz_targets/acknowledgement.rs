//! What a service of Zerobus answers, by either protocol, and what a stream makes of it while requests come and go.
#![no_main]

mod number;

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use seakernel_zerobus::IngestMode;
use seakernel_zerobus::fuzzing::{self, Outcome, Step, Told};
use serde_json::{Map, Value};

use number::Number;

const SECRET: &str = "canary5b1d";

#[derive(Arbitrary, Debug)]
enum Piece {
    Text(String),
    Code6006,
    Token,
}

#[derive(Arbitrary, Debug)]
struct Status {
    code: u8,
    message: Vec<Piece>,
    reason: u8,
    causes: Vec<Piece>,
    error_code: Vec<Piece>,
    retry: Option<(i64, i32)>,
    details: Option<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Submit(u8),
    Write,
    CloseOurs,
    /// By Protobuf.
    Created(String),
    Acknowledge(Number),
    CloseSignal(Option<(i64, i32)>),
    Nothing,
    /// By Arrow Flight.
    Put(Put),
    /// Whatever is in the place of a message, or of its metadata.
    Message(Vec<u8>),
    Metadata(Vec<u8>),
    /// Not even a message.
    Raw(Vec<u8>),
    End(Status),
}

#[derive(Arbitrary, Debug)]
struct Opening {
    name: Option<String>,
    ready: Put,
    any: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Put {
    offset: Number,
    records: Number,
    close_ms: Option<u64>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    by_flight: bool,
    opening: Opening,
    events: Vec<Event>,
}

/// What a stream should make of all this.
#[derive(Default)]
struct Model {
    queue: VecDeque<(usize, u64)>,
    /// Request, rows, and how many of them are acknowledged.
    sent: Vec<(usize, u64, u64)>,
    submitted: usize,
    refused: Vec<usize>,
    told: Vec<Told>,
    stored: u64,
    is_closed: bool,
    is_ended: bool,
    /// Bytes came that this model does not read.
    is_lost: bool,
}

impl Model {
    fn rows(&self) -> u64 {
        self.sent.iter().map(|(_, rows, _)| rows).sum()
    }

    fn offset(&self) -> i64 {
        self.sent.iter().take_while(|(_, rows, acked)| rows == acked).count() as i64 - 1
    }

    fn submit(&mut self, rows: u64) {
        if self.is_closed {
            self.refused.push(self.submitted);
        } else {
            self.queue.push_back((self.submitted, rows));
        }
        self.submitted += 1;
    }

    fn write(&mut self) {
        if !self.is_closed {
            self.sent.extend(self.queue.drain(..).map(|(request, rows)| (request, rows, 0)));
        }
    }

    fn acknowledge(&mut self, rows: u64) {
        let mut left = rows - self.stored;
        self.stored = rows;
        for (request, rows, acked) in &mut self.sent {
            let taken = left.min(*rows - *acked);
            if taken > 0 {
                *acked += taken;
                left -= taken;
                self.told.push(Told::Acked { request: *request, rows: taken as usize });
            }
        }
    }

    fn acknowledge_offset(&mut self, offset: Option<i64>) {
        let acked = self.offset();
        match offset {
            Some(offset) if offset >= acked.max(0) && offset < self.sent.len() as i64 => {
                let rows = self.sent.iter().take(offset as usize + 1).map(|(_, rows, _)| rows).sum();
                self.acknowledge(rows);
            }
            _ => self.is_ended = true,
        }
    }

    fn acknowledge_rows(&mut self, offset: Option<i64>, rows: Option<u64>) {
        let is_right = offset.is_none_or(|offset| offset < self.sent.len() as i64);
        match rows.filter(|rows| is_right && (self.stored..=self.rows()).contains(rows)) {
            Some(rows) => self.acknowledge(rows),
            None => self.is_ended = true,
        }
    }

    /// The service wants to close: what was not sent goes back at once.
    fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            let back = self.queue.drain(..);
            self.told.extend(back.map(|(request, _)| Told::Returned { request, written: false, first: false }));
        }
    }

    fn end(&mut self) {
        self.is_ended = true;
        let written = self.sent.iter().filter(|(_, rows, acked)| acked < rows).map(|(request, ..)| (*request, true));
        let left: Vec<_> = written.chain(self.queue.iter().map(|(request, _)| (*request, false))).collect();
        let back = left.into_iter().enumerate();
        self.told.extend(back.map(|(at, (request, written))| Told::Returned { request, written, first: at == 0 }));
    }
}

fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn number(tag: u64, value: i64) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3, &mut field);
    varint(value as u64, &mut field);
    field
}

fn bytes(tag: u64, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3 | 2, &mut field);
    varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

fn duration((seconds, nanos): (i64, i32)) -> Vec<u8> {
    [number(1, seconds), number(2, nanos.into())].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

impl Put {
    fn said(&self, offset: i64, rows: i64) -> (Option<i64>, Option<u64>) {
        (self.offset.from(offset), self.records.from(rows).and_then(|rows| u64::try_from(rows).ok()))
    }
}

fn metadata(offset: Option<i64>, rows: Option<u64>, close: Option<u64>) -> Vec<u8> {
    let mut said = Map::new();
    said.extend(offset.map(|offset| ("ack_up_to_offset".to_owned(), offset.into())));
    said.extend(rows.map(|rows| ("ack_up_to_records".to_owned(), rows.into())));
    said.extend(close.map(|close| ("close_stream_duration_ms".to_owned(), close.into())));
    Value::Object(said).to_string().into_bytes()
}

fn text(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Code6006 => "6006".to_owned(),
        Piece::Token => SECRET.to_owned(),
    };
    pieces.iter().map(piece).collect()
}

impl Status {
    fn trailers(&self) -> Vec<(&'static str, Vec<u8>)> {
        let reason = ["", "SCHEMA_VALIDATION_FAILED"][usize::from(self.reason % 2)];
        let pair =
            |key: &str, value: String| bytes(3, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
        let pairs = [pair("causes", text(&self.causes)), pair("error_code", text(&self.error_code))].concat();
        let info = [bytes(1, reason.as_bytes()), pairs].concat();
        let any = |name: &str, value: &[u8]| {
            let url = format!("type.googleapis.com/google.rpc.{name}");
            bytes(3, &[bytes(1, url.as_bytes()), bytes(2, value)].concat())
        };
        let mut details = any("ErrorInfo", &info);
        if let Some(delay) = self.retry {
            details.extend(any("RetryInfo", &bytes(1, &duration(delay))));
        }
        let details = self.details.clone().unwrap_or(details);
        let message: String = text(&self.message).bytes().map(|byte| format!("%{byte:02X}")).collect();
        vec![
            ("grpc-status", (self.code % 18).to_string().into_bytes()),
            ("grpc-message", message.into_bytes()),
            ("grpc-status-details-bin", base64(&details)),
        ]
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let joined = (0..3).fold(0_usize, |sum, at| sum << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        (0..=chunk.len()).map(move |at| DIGITS[joined >> (18 - 6 * at) & 63]).collect::<Vec<u8>>()
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// Writes what happens, as far as it belongs to this protocol, and lets the model follow.
fn script(input: &Input) -> (Vec<Step>, Model) {
    let (mut steps, mut model) = (Vec::new(), Model::default());
    for event in &input.events {
        if model.is_ended {
            break;
        }
        match (event, input.by_flight) {
            (Event::Submit(rows), _) => {
                let rows = u64::from(*rows) + 1;
                model.submit(rows);
                steps.push(Step::Submit(rows as usize));
            }
            (Event::Write, _) => {
                model.write();
                steps.push(Step::Write);
            }
            (Event::CloseOurs, _) => {
                model.is_closed = true;
                steps.push(Step::Close);
            }
            (Event::Created(name), false) => {
                model.is_ended = true;
                steps.push(Step::Receive(framed(&bytes(1, &bytes(1, name.as_bytes())))));
            }
            (Event::Acknowledge(offset), false) => {
                let offset = offset.from(model.sent.len() as i64 - 1);
                model.acknowledge_offset(offset);
                let ack = offset.map(|offset| number(1, offset)).unwrap_or_default();
                steps.push(Step::Receive(framed(&bytes(2, &ack))));
            }
            (Event::CloseSignal(given), false) => {
                model.close();
                let given = given.map(|given| bytes(1, &duration(given))).unwrap_or_default();
                steps.push(Step::Receive(framed(&bytes(3, &given))));
            }
            (Event::Nothing, false) => {
                model.is_ended = true;
                steps.push(Step::Receive(framed(&[])));
            }
            (Event::Put(put), true) => {
                let (offset, records) = put.said(model.sent.len() as i64 - 1, model.rows() as i64);
                if records.is_some() || put.close_ms.is_none() {
                    model.acknowledge_rows(offset, records);
                }
                if put.close_ms.is_some() && !model.is_ended {
                    model.close();
                }
                steps.push(Step::Receive(framed(&bytes(1, &metadata(offset, records, put.close_ms)))));
            }
            (Event::Message(message), _) => {
                model.is_lost = true;
                steps.push(Step::Receive(framed(message)));
            }
            (Event::Metadata(text), true) => {
                model.is_lost = true;
                steps.push(Step::Receive(framed(&bytes(1, text))));
            }
            (Event::Raw(raw), _) => {
                model.is_lost = true;
                steps.push(Step::Receive(raw.clone()));
            }
            (Event::End(status), _) => {
                model.is_ended = true;
                steps.push(Step::End(status.trailers()));
            }
            _ => {}
        }
    }
    model.end();
    (steps, model)
}

/// What holds whatever came.
fn check(outcome: &Outcome, rows_of: &[u64]) {
    assert!(outcome.is_over, "it goes on, or keeps room");
    assert!(!outcome.ending.contains(SECRET), "{}", outcome.ending);
    let mut acked = vec![0_u64; outcome.submitted];
    let mut returned = vec![0_u32; outcome.submitted];
    let mut last = 0;
    for told in &outcome.told {
        match *told {
            Told::Acked { request, rows } => {
                assert!(request >= last, "acknowledged out of order");
                last = request;
                assert_eq!(returned[request], 0, "acknowledged after it was given back");
                acked[request] += rows as u64;
            }
            Told::Returned { request, .. } => returned[request] += 1,
        }
    }
    for request in 0..outcome.submitted {
        let (acked, rows) = (acked[request], rows_of[request]);
        let ends = (u32::from(acked == rows), returned[request], u32::from(outcome.refused.contains(&request)));
        assert!(acked <= rows, "more rows acknowledged than sent");
        assert_eq!(ends.0 + ends.1 + ends.2, 1, "request {request} ends as {ends:?}");
        let is_unwritten =
            |told: &Told| matches!(told, Told::Returned { request: of, written: false, .. } if *of == request);
        assert!(acked == 0 || !outcome.told.iter().any(is_unwritten), "stored and never written");
    }
}

/// The first answer names the stream, or says that all is ready.
fn check_opening(opening: &Opening, mode: IngestMode, by_flight: bool) {
    let opens = |answer: &[u8]| fuzzing::opens(mode, answer.to_vec()).expect("an answer");
    drop((opens(&opening.any), opens(&framed(&opening.any))));
    if by_flight {
        let (offset, records) = opening.ready.said(-1, 0);
        let is_ready = (offset, records, opening.ready.close_ms) == (Some(-1), Some(0), None);
        let answer = opens(&framed(&bytes(1, &metadata(offset, records, opening.ready.close_ms))));
        assert_eq!(answer.is_ok(), is_ready, "{answer:?}");
    } else {
        let name = opening.name.as_ref().map(|name| bytes(1, name.as_bytes())).unwrap_or_default();
        let answer = opens(&framed(&bytes(1, &name)));
        assert_eq!(answer.ok(), opening.name.clone().filter(|name| !name.is_empty()));
    }
}

fuzz_target!(|input: Input| {
    let mode = if input.by_flight { IngestMode::Arrow } else { IngestMode::Proto };
    check_opening(&input.opening, mode, input.by_flight);
    let (steps, model) = script(&input);
    let rows_of: Vec<u64> =
        steps.iter().filter_map(|step| if let Step::Submit(rows) = step { Some(*rows as u64) } else { None }).collect();
    let outcome = fuzzing::play(mode, SECRET, steps).expect("a stream");
    check(&outcome, &rows_of);
    if !model.is_lost {
        assert_eq!((&outcome.told, &outcome.refused), (&model.told, &model.refused), "{}", outcome.ending);
    }
});
