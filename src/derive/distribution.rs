//! The latency distribution as a few points, for readers without a plot.

use serde::Serialize;

use super::number::{real, time};
use crate::algebra::composition::{Composition, Side, SuccessCurve};
use crate::journey::Journey;
use crate::unit::Seconds;

/// How many points there are.
const POINTS: u32 = 16;

/// P(within `seconds` | success), three ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistributionPoint {
    /// The time.
    #[serde(serialize_with = "time")]
    pub seconds: Seconds,
    /// Independent, interpolated, no sampling term.
    #[serde(serialize_with = "real")]
    pub estimate: f64,
    /// Not above the truth.
    #[serde(serialize_with = "real")]
    pub pessimistic: f64,
    /// Not below the truth.
    #[serde(serialize_with = "real")]
    pub optimistic: f64,
}

/// Evenly spaced up to somewhat beyond the objective and the highest finite quantile that is shown; empty without any
/// finite time.
pub(super) fn points(journey: &Journey, composition: &Composition) -> Vec<DistributionPoint> {
    let objective =
        journey.objectives.latency.as_ref().map(|objective| (objective.quantile, objective.threshold));
    let level = objective.map_or(0.99, |(quantile, _)| quantile.get());
    let at_level = composition.latency.iter().filter(|latency| latency.quantile.get() <= level);
    let times = at_level
        .flat_map(|latency| [latency.value.estimate, latency.value.pessimistic])
        .chain(objective.map(|(_, threshold)| threshold))
        .filter(|time| time.is_finite());
    let end = 1.1 * times.map(Seconds::get).fold(0.0, f64::max);
    if composition.latency.iter().all(|latency| !latency.value.estimate.is_finite()) || end <= 0.0 {
        return Vec::new();
    }
    let given = |side: Side, t: Seconds| {
        let curve: &SuccessCurve = composition.curves.side(side);
        if curve.ever.get() > 0.0 { (curve.at(t).get() / curve.ever.get()).min(1.0) } else { 0.0 }
    };
    (1..=POINTS)
        .filter_map(|k| Seconds::new(end * f64::from(k) / f64::from(POINTS)).ok())
        .map(|t| DistributionPoint {
            seconds: t,
            estimate: given(Side::Estimate, t),
            pessimistic: given(Side::Pessimistic, t),
            optimistic: given(Side::Optimistic, t),
        })
        .collect()
}
