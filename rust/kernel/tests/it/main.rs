//! The kernel against the local warehouse, over real HTTP.

mod failures;
mod links;
mod memory;
mod secrets;
mod statements;
mod warehouse;
