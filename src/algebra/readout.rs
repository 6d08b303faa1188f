//! Reading numbers off curves: quantiles given success, and the curves that readers see.

use super::composition::{Bounded, Composition, LatencyQuantile, Side, SuccessCurve};
use super::curve::Curve;
use super::fold::Grid;
use crate::unit::{Probability, Quantile, Seconds};

/// How far rounding noise may hold a curve below the level it should reach.
const NOISE: f64 = 1e-9;

/// The smallest t with `S(t) ≥ q·A` of an estimate; infinite where the grid does not reach it. The cell means stand at
/// the cells' middles and are linear between them.
pub(crate) fn quantile(curve: &Curve, availability: f64, q: f64, grid: Grid) -> f64 {
    let level = q * availability;
    if availability <= 0.0 {
        return f64::INFINITY;
    }
    let at = curve.within.partition_point(|&s| s < level - NOISE * availability);
    let Some(&high) = curve.within.get(at) else { return f64::INFINITY };
    let low = if at == 0 { 0.0 } else { curve.within[at - 1] };
    let share = if high > low { ((level - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    let cells = at as f64 - 0.5 + share;
    (cells * grid.step).max(0.0)
}

impl SuccessCurve {
    /// P(success within `t`): linear between the times, 0 before the first, the last value after the last, and
    /// [`Self::ever`] at infinity.
    #[must_use]
    pub fn at(&self, t: Seconds) -> Probability {
        if !t.is_finite() {
            return self.ever;
        }
        let t = t.get();
        let next = self.times.partition_point(|&time| time <= t);
        let Some(before) = next.checked_sub(1) else { return Probability::ZERO };
        let low = self.within[before];
        let Some(&right) = self.times.get(next) else { return Probability::saturating(low) };
        let share = (t - self.times[before]) / (right - self.times[before]);
        Probability::saturating(low + (self.within[next] - low) * share)
    }
}

impl Composition {
    /// P(slower than `t` | success), per side (the pessimistic one is the highest); 1 where success is impossible.
    #[must_use]
    pub fn slower_than(&self, side: Side, t: Seconds) -> Probability {
        let curve = self.curves.side(side);
        let ever = curve.ever.get();
        if ever <= 0.0 {
            return Probability::ONE;
        }
        Probability::saturating(1.0 - curve.at(t).get() / ever)
    }

    /// The latency at this quantile, where it was composed.
    #[must_use]
    pub fn latency_at(&self, q: Quantile) -> Option<&LatencyQuantile> {
        self.latency.iter().find(|latency| latency.quantile == q)
    }
}

/// Widens the bounds so that the estimate lies between them: discretisation must never invert an interval, and the
/// estimate is never moved.
pub(crate) fn bounded_probability(estimate: f64, lower: f64, upper: f64) -> Bounded<Probability> {
    Bounded {
        estimate: Probability::saturating(estimate),
        pessimistic: Probability::saturating(lower.min(estimate)),
        optimistic: Probability::saturating(upper.max(estimate)),
    }
}

/// As [`bounded_probability`], of a time in seconds; the pessimistic one is the longest.
pub(crate) fn bounded_seconds(estimate: f64, upper: f64, lower: f64) -> Bounded<Seconds> {
    Bounded {
        estimate: seconds(estimate),
        pessimistic: seconds(upper.max(estimate)),
        optimistic: seconds(lower.min(estimate)),
    }
}

/// A computed time; NaN, always a bug, is infinite and never a good number.
pub(crate) fn seconds(value: f64) -> Seconds {
    debug_assert!(!value.is_nan(), "a computed time is NaN");
    Seconds::new(value).unwrap_or(Seconds::INFINITY)
}
