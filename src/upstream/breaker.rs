//! Whether an upstream is asked at all: after a row of failures clients are told at once, and a probe finds out when it
//! is back. No request of a client is spent on finding out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many failures in a row, without any answer between them, open the circuit.
const FAILURES: u32 = 5;

/// The distance of probes, before jitter.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(1_000);

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    /// The fault with which it opened.
    open: Option<String>,
    opened: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

impl Breaker {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that is known, while the circuit is open.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().open.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.lock().opened
    }

    /// It answered, if only with an error. Whether that closed the circuit.
    pub(super) fn answered(&self) -> bool {
        let mut state = self.lock();
        state.in_a_row = 0;
        state.open.take().is_some()
    }

    /// It did not answer. Whether that opened the circuit: then somebody must probe.
    pub(super) fn failed(&self, fault: &str) -> bool {
        let mut state = self.lock();
        state.in_a_row = state.in_a_row.saturating_add(1);
        if state.open.is_some() {
            state.open = Some(fault.to_owned());
            return false;
        }
        if state.in_a_row < FAILURES {
            return false;
        }
        state.open = Some(fault.to_owned());
        state.opened += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_failures_opens_the_circuit_once_and_one_answer_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed("gone"));
        }
        assert!(!breaker.answered());
        for _ in 0..4 {
            assert!(!breaker.failed("gone"));
        }
        assert!(breaker.failed("gone"));
        assert!(!breaker.failed("still gone"));
        assert_eq!((breaker.fault().as_deref(), breaker.opened()), (Some("still gone"), 1));
        assert!(breaker.answered() && !breaker.is_open());
    }
}
