//! What the evaluation loop is told from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::series::Labels;
use crate::unit::{Timestamp, Window};

/// Where the time comes from: the system's clock in production, a simulated one in the demo and in tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How journeys are evaluated.
#[derive(Clone)]
pub struct EvaluationSettings {
    /// The distance of two samples; grid points are its multiples since the epoch.
    pub interval: Window,
    /// The newest sample offered is the last grid point that is at least this old, so that late scrapes do not
    /// rewrite history. At most one interval.
    pub delay: Duration,
    /// How long computed samples are kept, and how far they are back-filled after a start.
    pub retention: Window,
    /// Attached to every synthetic series, and honoured in matchers.
    pub external_labels: Labels,
    /// The longest window that may stand in for one without traffic.
    pub max_lookback: Window,
    /// How long one round of evidence queries may take.
    pub timeout: Duration,
    /// The time.
    pub clock: Clock,
}

impl EvaluationSettings {
    /// The defaults of the documentation with the given clock: every 15 s, 5 s late, 1 h kept, 1 h of lookback, 10 s
    /// for the upstream.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let hour = Window::from_millis(3_600_000);
        let interval = Window::from_millis(15_000);
        let (Ok(hour), Ok(interval)) = (hour, interval) else { unreachable!("both are legal windows") };
        Self {
            interval,
            delay: Duration::from_secs(5),
            retention: hour,
            external_labels: Labels::new(),
            max_lookback: hour,
            timeout: Duration::from_secs(10),
            clock,
        }
    }
}

impl fmt::Debug for EvaluationSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvaluationSettings")
            .field("interval", &self.interval)
            .field("delay", &self.delay)
            .field("retention", &self.retention)
            .field("external_labels", &self.external_labels)
            .field("max_lookback", &self.max_lookback)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
