//! What differs from run to run, time of day and chance, each read in one place. Simulations set both.
//!
//! Spans of time are taken from [`tokio::time::Instant`], whose clock a simulation can drive too.

use std::time::SystemTime;

#[cfg(test)]
use crate::simulation::network;

/// Returns the time of day. Clocks differ: hold it against other machines' times with care.
pub(crate) fn time_of_day() -> SystemTime {
    #[cfg(test)]
    if let Some(network) = network::current() {
        return network.client_time();
    }
    SystemTime::now()
}

/// Returns a random number in 0..1 that spreads what many clients would do at once.
pub(crate) fn jitter() -> f64 {
    #[cfg(test)]
    if let Some(network) = network::current() {
        return network.jitter();
    }
    rand::random()
}
