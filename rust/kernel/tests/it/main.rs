//! The kernel against the local warehouse, over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod failures;
mod links;
mod memory;
mod ranges;
mod secrets;
mod statements;
mod warehouse;
