//! What users really saw of a journey, where something measures it end to end.

use crate::unit::{Probability, Quantile, Seconds, Window};

/// The truth that the numbers of a journey are shown beside.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The share of attempts that succeeded.
    pub availability: Probability,
    /// Quantiles of the latency of successes, in any order.
    pub latency: Vec<(Quantile, Seconds)>,
    /// How many attempts were seen.
    pub attempts: f64,
}

impl Observed {
    /// The latency at exactly this quantile, where it was measured.
    #[must_use]
    pub fn latency_at(&self, quantile: Quantile) -> Option<Seconds> {
        self.latency.iter().find(|(level, _)| *level == quantile).map(|(_, time)| *time)
    }
}

/// Something that measures journeys end to end, such as the shop of the demo.
pub trait Observer: Send + Sync {
    /// What was seen of `journey` over the latest `window`; `None` where it is not measured or nothing was seen.
    fn observed(&self, journey: &str, window: Window) -> Option<Observed>;
}
