//! Reading numbers off curves: quantiles given success, and the curves that readers see.

use pulp::Arch;

use super::composition::{Bounded, Composition, LatencyQuantile, Side, SuccessCurve};
use super::curve::{Curve, Reading};
use super::fold::Grid;
use super::restatement::Restatement;
use super::unknown_latency::Bracket;
use crate::unit::{Probability, Quantile, Seconds};

/// How far rounding noise may hold a curve below the level it should reach.
const NOISE: f64 = 1e-9;

/// The distribution function of the time given success, of one reading, on a grid.
///
/// An exact reading is `S/A` and linear between the cells' middles. A late reading is `S̲/(S̲+D̄)`, so that its
/// q-quantile is the smallest t with `D̄(t) ≤ (1−q)(S̲(t)+D̄(t))`; it holds from the end of a cell on, and an early one
/// until its beginning. Both are moved outwards by a `margin` for what rounding onto the grid may have done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conditional {
    grid: Grid,
    values: Vec<f64>,
    reading: Reading,
    /// In cells; `None` where the curve is smooth, and read as an exact one.
    margin: Option<f64>,
}

impl Conditional {
    pub(crate) fn new(curve: &Curve, grid: Grid, reading: Reading, margin: Option<f64>) -> Self {
        // A share where there is one, without a branch: several at a time.
        let share = |s: f64, ever: f64| if (s > 0.0) & (ever > 0.0) { (s / ever).min(1.0) } else { 0.0 };
        let mut values = curve.within.clone();
        Arch::new().dispatch(|| match reading {
            Reading::Exact => values.iter_mut().for_each(|s| *s = share(*s, curve.total)),
            Reading::Late | Reading::Early => {
                let tail = |later: f64| (curve.total - later).max(0.0);
                values.iter_mut().zip(curve.later()).for_each(|(s, &later)| *s = share(*s, *s + tail(later)));
            }
        });
        // Rounding noise apart it does not fall.
        if !values.is_sorted() {
            let mut greatest = 0.0_f64;
            for value in &mut values {
                greatest = greatest.max(*value);
                *value = greatest;
            }
        }
        Self { grid, values, reading, margin }
    }

    /// No time is known: nothing ends within any finite time.
    pub(crate) fn never() -> Self {
        Self { grid: Grid::new(1.0, 2), values: vec![0.0; 2], reading: Reading::Exact, margin: None }
    }

    /// P(within `t` | success); beyond the grid the last value, or 1 in the early reading.
    pub(crate) fn at(&self, t: f64) -> f64 {
        let cells = t / self.grid.step;
        let value = |index: f64| -> f64 {
            if index < 0.0 {
                return 0.0;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            let index = index as usize;
            match self.values.get(index) {
                Some(&value) => value,
                None if self.reading == Reading::Early => 1.0,
                None => self.values.last().copied().unwrap_or(0.0),
            }
        };
        match (self.reading, self.margin) {
            (Reading::Late, Some(margin)) => value((cells - margin + 1e-6).floor() - 1.0),
            (Reading::Early, Some(margin)) => value((cells + margin - 1e-6).floor() + 1.0),
            _ => {
                let middle = cells - 0.5;
                let share = middle - middle.floor();
                value(middle.floor()) * (1.0 - share) + value(middle.floor() + 1.0) * share
            }
        }
    }

    /// The smallest time at which [`Self::at`] reaches `q`; infinite where the grid does not.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let at = self.values.partition_point(|&value| value < q - NOISE);
        let Some(&high) = self.values.get(at) else {
            return f64::INFINITY;
        };
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let index = at as f64;
        let cells = match (self.reading, self.margin) {
            (Reading::Late, Some(margin)) => index + 1.0 + margin,
            (Reading::Early, Some(margin)) => index - 1.0 - margin,
            _ => index + from_middle(if at == 0 { 0.0 } else { self.values[at - 1] }, high, q),
        };
        (cells * self.grid.step).max(0.0)
    }

    /// Where the grid ends, in seconds.
    pub(crate) fn end(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let cells = self.grid.cells as f64;
        cells * self.grid.step
    }
}

/// The smallest time at which a curve of an exact reading reaches the share `q` of `total`, linear between the cells' middles;
/// infinite where the grid does not. What [`Conditional`] gives, without its table.
pub(crate) fn exact_quantile(within: &[f64], total: f64, grid: Grid, q: f64) -> f64 {
    let share = |s: f64| if s > 0.0 && total > 0.0 { (s / total).min(1.0) } else { 0.0 };
    let at = within.partition_point(|&s| share(s) < q - NOISE);
    let Some(&high) = within.get(at) else {
        return f64::INFINITY;
    };
    let low = if at == 0 { 0.0 } else { share(within[at - 1]) };
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    let cells = at as f64 + from_middle(low, share(high), q);
    (cells * grid.step).max(0.0)
}

/// Where a value between those at the middles of the cell before and of this one lies, in cells from this one's beginning.
fn from_middle(low: f64, high: f64, q: f64) -> f64 {
    (if high > low { ((q - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 }) - 0.5
}

/// A law that was composed, and how its levels are restated for the samples' error.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) law: Conditional,
    pub(crate) restated: Restatement,
}

impl Member {
    /// A bound of P(within `t` | success) from below.
    fn proven(&self, t: f64) -> f64 {
        self.restated.proven(self.law.at(t))
    }

    /// A bound of P(within `t` | success) from above.
    pub(crate) fn possible(&self, t: f64) -> f64 {
        self.restated.possible(self.law.at(t))
    }
}

/// The latency of a journey in one of its three sides: the worst, or the best, of several readings.
#[derive(Debug, Clone)]
pub(crate) enum LatencySide {
    /// The greatest time of all.
    Worst(Vec<Member>),
    /// The least time of all.
    Best(Vec<Member>),
    /// Nothing finite can be said (from above).
    Never,
    /// Nothing can be said (from below).
    AtOnce,
    /// Any joint law: from above, with the quantiles that were bounded one by one.
    Latest(Box<Bracket>, Vec<(f64, f64)>, Restatement),
    /// Any joint law: from below.
    Earliest(Box<Bracket>, Restatement),
}

impl LatencySide {
    pub(crate) fn at(&self, t: f64) -> f64 {
        match self {
            Self::Worst(all) => all.iter().map(|one| one.proven(t)).fold(1.0, f64::min),
            Self::Best(all) => all.iter().map(|one| one.possible(t)).fold(0.0, f64::max),
            Self::Never => 0.0,
            Self::AtOnce => 1.0,
            Self::Latest(bracket, quantiles, restated) => {
                let reached = quantiles.iter().filter(|(_, time)| *time <= t).map(|(level, _)| *level);
                reached.fold(restated.proven(1.0 - bracket.slow_share(t)), f64::max)
            }
            Self::Earliest(bracket, restated) => restated.possible(bracket.early_share(t)),
        }
    }

    pub(crate) fn quantile(&self, q: f64) -> f64 {
        match self {
            Self::Worst(all) => {
                all.iter().map(|one| one.law.quantile(one.restated.harder(q))).fold(0.0, f64::max)
            }
            Self::Best(all) => {
                all.iter().map(|one| one.law.quantile(one.restated.easier(q))).fold(f64::INFINITY, f64::min)
            }
            Self::Never => f64::INFINITY,
            Self::AtOnce => 0.0,
            Self::Latest(bracket, quantiles, restated) => {
                match (quantiles.iter().find(|(level, _)| *level == q), restated.harder(q)) {
                    (Some((_, time)), _) => *time,
                    (None, level) if level < 1.0 => bracket.upper_quantile(level),
                    (None, _) => f64::INFINITY,
                }
            }
            Self::Earliest(bracket, restated) => bracket.lower_quantile(restated.easier(q).max(0.0)),
        }
    }

    pub(crate) fn end(&self) -> f64 {
        match self {
            Self::Worst(all) | Self::Best(all) => all.iter().map(|one| one.law.end()).fold(0.0, f64::max),
            Self::Never | Self::AtOnce => 0.0,
            Self::Latest(bracket, ..) | Self::Earliest(bracket, _) => bracket.end(),
        }
    }
}

/// Points of a reader's curve up to the end of the estimate's grid, and from there to the end of all grids.
const POINTS: usize = 160;
const POINTS_BEYOND: usize = 64;

/// The curves that readers see, on common times, so that they are in order at every time between: at the times in
/// `exactly` (finite, ≥ 0) they hold the exact values; elsewhere the pessimistic one holds the value of the time before
/// and the optimistic one that of the time after.
pub(crate) fn curves(
    estimate: &Conditional,
    pessimistic: &LatencySide,
    optimistic: &LatencySide,
    availability: &Bounded<Probability>,
    exactly: &[f64],
) -> Bounded<SuccessCurve> {
    let (near, far) = (estimate.end(), pessimistic.end().max(optimistic.end()));
    let mut times: Vec<(f64, bool)> = Vec::with_capacity(POINTS + POINTS_BEYOND + 3 * exactly.len() + 2);
    let mut spread = |from: f64, to: f64, points: usize| {
        for point in 0..=points {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            times.push((from + (to - from) * point as f64 / points as f64, false));
        }
    };
    spread(0.0, near, POINTS);
    if far > near {
        spread(near, far, POINTS_BEYOND);
    }
    for &t in exactly.iter().filter(|t| t.is_finite()) {
        times.extend([(t.next_down().max(0.0), false), (t, true), (t.next_up(), false)]);
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    times.dedup_by(|a, b| a.0 == b.0);
    let middle: Vec<f64> = times.iter().map(|&(t, _)| estimate.at(t)).collect();
    let worst: Vec<f64> = times.iter().zip(&middle).map(|(&(t, _), &m)| pessimistic.at(t).min(m)).collect();
    let best: Vec<f64> = times.iter().zip(&middle).map(|(&(t, _), &m)| optimistic.at(t).max(m)).collect();
    let curve = |ever: Probability, value: &dyn Fn(usize) -> f64| {
        let mut greatest = 0.0_f64;
        let within = (0..times.len())
            .map(|at| {
                greatest = greatest.max(value(at) * ever.get());
                greatest
            })
            .collect();
        SuccessCurve { times: times.iter().map(|&(t, _)| t).collect(), within, ever }
    };
    let last = times.len() - 1;
    Bounded {
        estimate: curve(availability.estimate, &|at| middle[at]),
        pessimistic: curve(availability.pessimistic, &|at| {
            if times[at].1 { worst[at] } else { at.checked_sub(1).map_or(0.0, |before| worst[before]) }
        }),
        optimistic: curve(availability.optimistic, &|at| {
            // Beyond the last time nothing is known from below but the limit.
            if at == last {
                1.0
            } else if times[at].1 {
                best[at]
            } else {
                best[at + 1]
            }
        }),
    }
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
