//! The kernel against the local warehouse, over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod attach;
mod failures;
mod hedging;
mod links;
mod memory;
mod ranges;
mod requests;
mod secrets;
mod simulation;
mod statements;
mod warehouse;
