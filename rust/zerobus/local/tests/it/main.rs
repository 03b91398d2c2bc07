//! The server as a client sees it: one written by hand, which can do wrong what no library would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod faults;
mod hostile;
mod http_port;
mod lifecycle;
mod records;
