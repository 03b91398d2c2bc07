//! The local warehouse over real HTTP.

mod client;
mod delivery;
mod faults;
mod protocol;
mod rows;
mod store;
