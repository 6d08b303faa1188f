//! Objectives: what users of the journey are promised.

use crate::unit::{Probability, Quantile, Seconds, Window};

/// A promise about success.
#[derive(Debug, Clone, PartialEq)]
pub struct AvailabilityObjective {
    /// The budget's period, such as 30d.
    pub window: Window,
    /// The promised share of successes, below 1.
    pub target: Probability,
    /// Queries of good and total events, where the journey is observed end to end.
    pub observed: Option<(String, String)>,
}

/// A promise about the latency of successes.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyObjective {
    /// The budget's period, such as 30d.
    pub window: Window,
    /// Which quantile is promised.
    pub quantile: Quantile,
    /// What it may not exceed; finite.
    pub threshold: Seconds,
    /// A query of the observed quantile, where the journey is observed end to end.
    pub observed: Option<String>,
}

/// What users are promised.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objectives {
    /// About success.
    pub availability: Option<AvailabilityObjective>,
    /// About the latency of successes.
    pub latency: Option<LatencyObjective>,
}
