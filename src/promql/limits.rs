//! How a query is evaluated, and what it may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::unit::Window;

/// Whether ranges and lookback hold the sample exactly at their left edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundaries {
    /// They do not: Prometheus 3.x.
    #[default]
    LeftOpen,
    /// They do: Prometheus 2.x.
    Closed,
}

/// How a query is evaluated.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far an instant selector looks back.
    pub lookback: Window,
    /// The step of a subquery that names none: the global evaluation interval of a Prometheus.
    pub subquery_step: Window,
    /// The left edges of ranges.
    pub boundaries: Boundaries,
    /// Names are dropped at the end of the evaluation rather than by each function (Prometheus' feature
    /// `promql-delayed-name-removal`).
    pub names_dropped_late: bool,
    /// The most samples that all selectors may read together.
    pub max_samples: usize,
    /// The most values (series × steps) that are held at a time.
    pub max_values: usize,
    /// The most steps of a subquery.
    pub max_subquery_steps: usize,
    /// The most samples that range functions may look at, each as often as it lies in a range.
    pub max_visits: u64,
    /// Set from elsewhere when nobody waits for the answer any more.
    pub cancelled: Option<Arc<AtomicBool>>,
}

/// That somebody waits for the answer: an evaluation is told when it is dropped.
#[derive(Debug)]
pub struct Awaited(Arc<AtomicBool>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: Window::FIVE_MINUTES,
            subquery_step: Window::MINUTE,
            boundaries: Boundaries::LeftOpen,
            names_dropped_late: false,
            max_samples: 2_000_000,
            max_values: 5_000_000,
            max_subquery_steps: 100_000,
            max_visits: 500_000_000,
            cancelled: None,
        }
    }
}

impl Options {
    pub(crate) fn lookback_millis(&self) -> i64 {
        millis(self.lookback)
    }

    pub(crate) fn subquery_step_millis(&self) -> i64 {
        millis(self.subquery_step)
    }

    /// The first time that lies inside a range of `length` up to `end`.
    pub(crate) const fn first_inside(&self, end: i64, length: i64) -> i64 {
        let edge = end.saturating_sub(length);
        match self.boundaries {
            Boundaries::LeftOpen => edge.saturating_add(1),
            Boundaries::Closed => edge,
        }
    }

    /// The same for an evaluation that ends soon after what is returned beside them is dropped.
    #[must_use]
    pub fn while_awaited(self) -> (Self, Awaited) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let awaited = Awaited(Arc::clone(&cancelled));
        (Self { cancelled: Some(cancelled), ..self }, awaited)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }
}

fn millis(window: Window) -> i64 {
    i64::try_from(window.millis()).unwrap_or(i64::MAX)
}
