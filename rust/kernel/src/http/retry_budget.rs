//! How many requests may be repeated while a host fails: shared by all requests to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Retries that a host may cost before anything has succeeded there: every download of one result (16) may be repeated
/// twice, or a few requests as often as they may at all, and a storm costs 1.2 times the requests from the 200th on.
const ALLOWANCE: u32 = 40 * COST;
/// What one retry takes, in units of which a first success brings one.
///
/// Source: the AWS SDKs ("standard" retry mode) take 5 for a retry, give it back when that retry succeeds, and add 1 for
/// a request that succeeds at once; Finagle's budget allows the same 20 % of retries. Their allowance is 100 retries per
/// client, ours is per host. Nothing is added for the mere passing of time: a failing host shall not earn requests.
const COST: u32 = 5;
/// Hosts that are remembered; a session talks to the API and to one or a few stores.
const MAX_HOSTS: usize = 64;

/// One budget per host.
#[derive(Debug, Default)]
pub(crate) struct RetryBudgets(Mutex<HashMap<String, Arc<RetryBudget>>>);

/// What is left for retries of requests to one host.
#[derive(Debug)]
pub(crate) struct RetryBudget(Mutex<u32>);

impl RetryBudgets {
    /// Returns the budget of `host`.
    pub(crate) fn of(&self, host: &str) -> Arc<RetryBudget> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
            hosts.clear();
        }
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Mutex::new(ALLOWANCE))
    }
}

impl RetryBudget {
    /// Takes the price of one retry, if that much is left.
    pub(crate) fn take(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.checked_sub(COST) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }

    /// Gives back the price of a retry that was of use.
    pub(crate) fn give_back(&self) {
        self.add(COST);
    }

    /// Adds what a request brings that succeeded at once.
    pub(crate) fn reward(&self) {
        self.add(1);
    }

    fn add(&self, units: u32) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + units).min(ALLOWANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained() -> RetryBudget {
        let budget = RetryBudget::default();
        let mut taken = 0;
        while budget.take() {
            taken += 1;
        }
        assert_eq!(taken, 40);
        budget
    }

    #[test]
    fn five_successes_or_one_useful_retry_pay_for_a_retry() {
        let budget = drained();
        for _ in 0..4 {
            budget.reward();
        }
        assert!(!budget.take());
        budget.reward();
        assert!(budget.take() && !budget.take());
        budget.give_back();
        assert!(budget.take() && !budget.take());
    }

    #[test]
    fn nothing_is_saved_up_beyond_the_allowance() {
        let budget = RetryBudget::default();
        (0..1000).for_each(|_| budget.give_back());
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 40);
    }

    #[test]
    fn hosts_do_not_share_and_are_bounded() {
        let budgets = RetryBudgets::default();
        while budgets.of("a:443").take() {}
        assert!(budgets.of("b:443").take());
        assert!(!budgets.of("a:443").take());
        for number in 0..1000 {
            budgets.of(&format!("host{number}:443"));
        }
        assert!(budgets.0.lock().unwrap().len() <= MAX_HOSTS);
    }
}
