//! The local warehouse over real HTTP.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions, not the functions tests are made of"
)]

mod client;
mod delivery;
mod engines;
mod faults;
mod protocol;
mod rows;
mod store;
mod volumes;
