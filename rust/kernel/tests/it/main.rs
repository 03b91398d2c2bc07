//! The kernel against the local warehouse, over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod bodies;
mod failures;
mod hedging;
mod links;
mod memory;
mod ranges;
mod retries;
mod secrets;
mod statements;
mod statistics;
mod tokens;
mod warehouse;
