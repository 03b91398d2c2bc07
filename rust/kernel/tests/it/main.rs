//! The kernel against the local warehouse, over real HTTP.
//!
//! The comments of tests name what they hold. Behaviours of a result: 1 the chain of links, discovered ahead, hints
//! included; 2 renewal; 3 integrity; 4 ranges; 5 stragglers; 6 memory; 7 cancellation; 8 retries; 9 the end does not wait
//! for the close; 10 safe links and bodies; 11 connecting early; 12 statistics. Some are unit tests, beside the code.
//!
//! B1 to B15 are the rules of the "bounded" mode of the platform's JDBC driver (pull request 1468): every chunk call has a
//! `row_offset` (B1), which is that of the next row (B2) or of the renewed chunk (B3); the last link names the next chunk
//! (B4), and that none is named is the end (B5), whatever counts say (B6); one prefetcher (B7); bounded downloads,
//! delivered in order (B8); coalesced renewals (B9) that are reconciled per chunk (B10), move the chain on (B11) and start
//! what is new (B12); transient failures are repeated and others are not (B13); a failure is told once and wakes the
//! reader (B14); logs name statement and chunk (B15).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod attach;
mod bodies;
mod canary;
mod cancellation;
mod failures;
mod hedging;
mod links;
mod memory;
mod partitions;
mod ranges;
mod regressions;
mod requests;
mod retries;
mod secrets;
mod sessions;
mod sign_in;
mod sign_in_browser;
mod sign_in_machine;
mod statements;
mod statistics;
mod tokens;
mod volumes;
mod warehouse;
