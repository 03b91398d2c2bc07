//! Everything of a query in one thread, with simulated time and a simulated network.

pub(crate) mod network;
