//! A batch becomes requests, one after another, while those before are sent.
//!
//! Each takes a thread that may block for as long as it is made, and only once there is room for it: whatever is waited for
//! is waited for without one.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use futures_util::stream::{BoxStream, StreamExt, unfold};

use crate::call::Request;
use crate::config::IngestMode;
use crate::convert::Next;
use crate::debug::DebugFiles;
use crate::encoder::{Encoder, Encoding, Rows};
use crate::error::ZerobusError;
use crate::in_flight::Active;
use crate::telemetry::Span;

/// About the bytes of a request: conversion and sending overlap by requests, and each costs little. Of Arrow it is what the
/// service advises.
const REQUEST_BYTES: usize = 1 << 20;
const ARROW_REQUEST_BYTES: usize = 2 << 20;
/// What a request may have beside what is likely.
const MORE_BYTES: usize = 4 << 10;

/// Requests as they are made.
pub(crate) type Source = BoxStream<'static, Request>;

/// What the conversion of a batch has come to, besides its requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The rows that cannot be converted.
    pub(crate) failed: Vec<(usize, ZerobusError)>,
    /// Whether it panicked.
    pub(crate) broke_off: bool,
}

/// A batch of which some rows are converted.
pub(crate) struct Conversion {
    work: Work,
    active: Arc<Active>,
    outcome: Arc<Mutex<Outcome>>,
    /// Bytes of a request.
    request_bytes: usize,
    /// Bytes of a row in Arrow, about.
    row_bytes: usize,
    /// Rows and bytes of the requests so far.
    rows: usize,
    bytes: usize,
}

/// What goes to the thread that may block, and comes back.
struct Work {
    encoder: Arc<Encoder>,
    encoding: Encoding,
    debug: Arc<DebugFiles>,
    /// To be kept before anything of it is converted.
    batch: Option<RecordBatch>,
    _span: Span,
}

impl Work {
    fn next(&mut self, bytes: usize, outcome: &Mutex<Outcome>) -> Next<Rows> {
        if let Some(batch) = self.batch.take()
            && self.debug.are_on()
        {
            self.debug.batch(&batch);
        }
        let next = self.encoding.within(bytes);
        if let Next::Rows(rows) = &next
            && self.debug.are_on()
        {
            self.encoder.keep(rows, &self.debug);
        }
        let failed = self.encoding.take_failed();
        if !failed.is_empty() {
            outcome.lock().unwrap_or_else(PoisonError::into_inner).failed.extend(failed);
        }
        next
    }
}

impl Conversion {
    /// Of `batch`, whose rows are so many bytes, by its `encoding`; `span` lasts as long.
    pub(crate) fn new(
        (batch, batch_bytes): (RecordBatch, usize),
        (encoder, encoding): (Arc<Encoder>, Encoding),
        debug: Arc<DebugFiles>,
        active: Arc<Active>,
        span: Span,
    ) -> Self {
        let request_bytes = match encoder.mode() {
            IngestMode::Proto => REQUEST_BYTES,
            IngestMode::Arrow => ARROW_REQUEST_BYTES,
        };
        let row_bytes = batch_bytes.div_ceil(batch.num_rows().max(1));
        let work = Work { encoder, encoding, debug, batch: Some(batch), _span: span };
        Self { work, active, outcome: Arc::default(), request_bytes, row_bytes, rows: 0, bytes: 0 }
    }

    /// What it will have come to when the requests of [`source`](Self::source) have ended, or so far.
    pub(crate) fn outcome(&self) -> Arc<Mutex<Outcome>> {
        Arc::clone(&self.outcome)
    }

    /// Makes requests as they are asked for.
    pub(crate) fn source(self) -> Source {
        unfold(self, Self::next).fuse().boxed()
    }

    async fn next(mut self) -> Option<(Request, Self)> {
        let mut bytes = self.likely().min(self.request_bytes);
        while self.work.encoding.left() > 0 {
            let room = self.active.room(bytes).await?;
            let turn = self.active.turn().await?;
            let (mut work, outcome) = (self.work, Arc::clone(&self.outcome));
            // What it holds it keeps to its end, even where nobody waits for that.
            let made = tokio::task::spawn_blocking(move || {
                let next = work.next(bytes, &outcome);
                drop(turn);
                (work, next, room)
            });
            let Ok((work, next, room)) = made.await else {
                self.outcome.lock().unwrap_or_else(PoisonError::into_inner).broke_off = true;
                return None;
            };
            self.work = work;
            match next {
                Next::Rows(rows) => {
                    self.rows += rows.len();
                    self.bytes += rows.byte_count();
                    let hold = room.hold(rows.byte_count());
                    return Some((Request { rows, hold, alone: false }, self));
                }
                Next::Needs(more) => bytes = more,
                Next::End => return None,
            }
        }
        None
    }

    /// Bytes that all rows which are left are likely to have, rather too many than too few.
    fn likely(&self) -> usize {
        let so_far = self.bytes.saturating_mul(5) / (4 * self.rows.max(1));
        let row_bytes = so_far.max(self.row_bytes.saturating_mul(2));
        row_bytes.saturating_mul(self.work.encoding.left()).saturating_add(MORE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray};
    use futures_util::FutureExt as _;

    use super::*;
    use crate::config::WrapperConfiguration;
    use crate::convert::RequestLimits;
    use crate::in_flight::InFlight;
    use crate::telemetry::Telemetry;

    const ROWS: usize = 5000;

    /// The conversion of rows of about 1 KB, the last of which is too long.
    fn conversion(config: &WrapperConfiguration) -> Conversion {
        let telemetry = Arc::new(Telemetry::new(config).unwrap());
        let texts = (0..ROWS).map(|row| "x".repeat(if row + 1 < ROWS { 1020 } else { 5000 }));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let encoder = Arc::new(Encoder::new(config, &batch.schema(), None).unwrap());
        let limits = RequestLimits { record_bytes: 4096, request_bytes: 10 << 20, request_rows: 10_000 };
        let encoding = encoder.requests(batch.clone(), limits).unwrap();
        let span = telemetry.send_batch(ROWS, 0);
        let active = InFlight::new(config, &telemetry).begin();
        let debug = Arc::new(DebugFiles::new(config).unwrap());
        Conversion::new((batch, ROWS * 1024), (encoder, encoding), debug, active, span)
    }

    fn failed(outcome: &Mutex<Outcome>) -> Vec<usize> {
        outcome.lock().unwrap().failed.iter().map(|(row, _)| *row).collect()
    }

    #[tokio::test]
    async fn f28_nothing_is_converted_without_room() {
        let config = WrapperConfiguration {
            max_inflight_bytes: 2 << 20,
            ..WrapperConfiguration::new("https://nowhere.invalid", "main.default.events")
        };
        let conversion = conversion(&config);
        let (outcome, in_flight) = (conversion.outcome(), Arc::clone(conversion.active.in_flight()));
        let free = in_flight.free();
        let mut source = conversion.source();
        let mut held = vec![source.next().await.unwrap(), source.next().await.unwrap()];
        let bytes: usize = held.iter().map(|request| request.rows.byte_count()).sum();
        assert!(bytes > free.0 - 4096 && bytes <= free.0, "{bytes} bytes");
        // The third waits, and no thread works on it.
        assert!(source.next().now_or_never().is_none());
        assert_eq!(in_flight.free().1, free.1);
        while let Some(request) = {
            held.pop();
            source.next().await
        } {
            held.push(request);
            let bytes: usize = held.iter().map(|request| request.rows.byte_count()).sum();
            assert!(bytes <= free.0 - in_flight.free().0);
        }
        assert_eq!(failed(&outcome), [ROWS - 1]);
        drop((held, source));
        assert_eq!(in_flight.free(), free);
    }

    #[tokio::test]
    async fn f28_a_row_beyond_the_usual_size_of_a_request_has_one() {
        let config = WrapperConfiguration::new("https://nowhere.invalid", "main.default.events");
        let mut conversion = conversion(&config);
        conversion.request_bytes = 1000;
        let requests: Vec<Request> = conversion.source().take(3).collect().await;
        assert!(requests.iter().all(|request| request.rows.len() == 1));
        assert_eq!(requests.iter().flat_map(|request| request.rows.indices().to_vec()).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
