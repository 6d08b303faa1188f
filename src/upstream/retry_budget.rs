//! Retries as a share of requests, so that they never become the load that they are an answer to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;

/// What each request adds: one retry for ten requests.
const SHARE: f64 = 0.1;

/// The most retries that are saved up.
const MOST: f64 = 10.0;

/// The longest pause before a retry; the pause is uniform below it, so that retries do not come together.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<(f64, u64)>);

impl Default for RetryBudget {
    /// One retry is there from the start.
    fn default() -> Self {
        Self(Mutex::new((1.0, 0)))
    }
}

impl RetryBudget {
    /// A request was sent for the first time.
    pub(super) fn earn(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 = (held.0 + SHARE).min(MOST);
    }

    /// The pause before a retry, if there may be one.
    pub(super) fn spend(&self) -> Option<Duration> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 < 1.0 {
            return None;
        }
        held.0 -= 1.0;
        held.1 += 1;
        drop(held);
        Some(LONGEST_PAUSE.mul_f64(rand::rng().random::<f64>()))
    }

    /// How many retries there were.
    pub(super) fn spent(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_at_most_a_tenth_of_requests_and_are_not_saved_up_for_ever() {
        let budget = RetryBudget::default();
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.earn();
            retries += usize::from(budget.spend().is_some_and(|pause| pause <= LONGEST_PAUSE));
        }
        assert!((95..=101).contains(&retries), "{retries}");
        for _ in 0..10_000 {
            budget.earn();
        }
        let saved = std::iter::from_fn(|| budget.spend()).count();
        assert_eq!((saved, budget.spent()), (10, retries as u64 + 10));
    }
}
