//! What the server saw: for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::grpc::Code;

/// Streams and violations kept; totals count on.
const KEPT: usize = 100_000;

/// What the server has seen since its start, or since it was reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Log {
    /// Connections to the gRPC port.
    pub connections: u64,
    /// Those of them that are open.
    pub open_connections: u64,
    /// Calls.
    pub opens: u64,
    /// Messages with records, taken or not.
    pub messages: u64,
    /// Records stored.
    pub records: u64,
    /// Bytes of the records stored.
    pub bytes: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Streams that the client ended by a half-close.
    pub half_closes: u64,
    /// Calls that the client reset, or whose connection it closed.
    pub resets: u64,
    /// Requests for tokens, granted or not, by client and table.
    pub token_fetches: BTreeMap<String, u64>,
    /// What a client did that the protocol does not allow.
    pub violations: Vec<String>,
    /// The calls, in order.
    pub streams: Vec<StreamLog>,
}

/// One call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamLog {
    /// Its id; empty if it was not created.
    pub stream_id: String,
    /// The table that the headers name.
    pub table: String,
    /// The `user-agent` header.
    pub user_agent: String,
    /// When the headers came, in seconds since 1970.
    pub time: f64,
    /// A number for each token, from 0; none for one that the server did not issue.
    pub token: Option<u64>,
    /// Messages with records, taken or not.
    pub messages: u64,
    /// Records stored.
    pub records: u64,
    /// Bytes of the records stored.
    pub bytes: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// The last offset acknowledged.
    pub acked: Option<i64>,
    /// Whether the stream announced its end.
    pub close_signal: bool,
    /// Whether the client ended it by a half-close.
    pub half_closed: bool,
    /// The status it ended with; none while it runs, and when it ended without one.
    pub status: Option<Code>,
    /// The text of that status, or why there is none.
    pub ended: Option<String>,
}

/// The log while it is written.
#[derive(Debug, Default)]
pub(crate) struct LogBook {
    totals: Mutex<Log>,
    streams: Mutex<VecDeque<Arc<Mutex<StreamLog>>>>,
}

impl LogBook {
    pub(crate) fn write(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn violation(&self, text: String) {
        self.write(|log| {
            if log.violations.len() < KEPT {
                log.violations.push(text);
            }
        });
    }

    /// Enters a call.
    pub(crate) fn open(&self, stream: StreamLog) -> Arc<Mutex<StreamLog>> {
        self.write(|log| log.opens += 1);
        let stream = Arc::new(Mutex::new(stream));
        let mut streams = self.streams();
        if streams.len() == KEPT {
            streams.pop_front();
        }
        streams.push_back(Arc::clone(&stream));
        stream
    }

    pub(crate) fn read(&self) -> Log {
        let mut log = self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let copy = |stream: &Arc<Mutex<StreamLog>>| stream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        log.streams = self.streams().iter().map(copy).collect();
        log
    }

    pub(crate) fn clear(&self) {
        self.write(|log| *log = Log { open_connections: log.open_connections, ..Log::default() });
        self.streams().clear();
    }

    fn streams(&self) -> MutexGuard<'_, VecDeque<Arc<Mutex<StreamLog>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
