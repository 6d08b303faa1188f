//! What the fold needs of a component: its availability, and the laws of its successes and failures in each reading.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::availability::Bounds;
use super::curve::{Curve, Reading};
use crate::distribution::histogram::ClassicHistogram;
use crate::distribution::interpolation::{
    at_lower_edges, at_upper_edges, between_edges, coarsely_between_edges,
};
use crate::distribution::law::{Law, cell_masses, cell_means};
use crate::distribution::normal;
use crate::distribution::stepped::SteppedLaws;
use crate::journey::evidence::{ComponentEvidence, Measurement};
use crate::journey::governance::BucketError;

/// One law for each [`Reading`], tabulated when it is first asked for: the estimate's costs most, and bounds do not need
/// it.
#[derive(Debug, Clone)]
struct Laws {
    /// Not empty.
    histogram: Option<ClassicHistogram>,
    buckets: BucketError,
    exact: OnceLock<Law>,
    late: OnceLock<Law>,
    early: OnceLock<Law>,
    /// The estimate on fewer knots.
    coarse: OnceLock<Law>,
}

impl Laws {
    fn known(exact: Law, late: Law, early: Law) -> Self {
        Self {
            histogram: None,
            buckets: BucketError::Bound,
            exact: exact.into(),
            late: late.into(),
            early: early.into(),
            coarse: OnceLock::new(),
        }
    }

    /// Nothing is known about the time: the estimate and the late reading never see it end.
    fn vacuous() -> Self {
        Self::known(Law::never(), Law::never(), Law::constant(0.0))
    }

    /// Nothing is known about the time; the estimate takes this one.
    fn assumed(time: f64) -> Self {
        Self::known(Law::constant(time), Law::never(), Law::constant(0.0))
    }

    fn measured(histogram: &ClassicHistogram, buckets: BucketError) -> Option<Self> {
        (histogram.total() > 0.0).then(|| Self {
            histogram: Some(histogram.clone()),
            buckets,
            exact: OnceLock::new(),
            late: OnceLock::new(),
            early: OnceLock::new(),
            coarse: OnceLock::new(),
        })
    }

    /// The same, with all times so many times as long; what is tabulated stays so.
    fn slowed(&self, slowdown: f64) -> Self {
        let slowed =
            |law: &OnceLock<Law>| law.get().map_or_else(OnceLock::new, |law| law.slowed(slowdown).into());
        Self {
            histogram: self.histogram.as_ref().map(|histogram| histogram.slowed(slowdown)),
            buckets: self.buckets,
            exact: slowed(&self.exact),
            late: slowed(&self.late),
            early: slowed(&self.early),
            coarse: slowed(&self.coarse),
        }
    }

    /// For grids that are within 1 %.
    fn coarsely(&self, reading: Reading) -> &Law {
        match &self.histogram {
            Some(histogram) if reading == Reading::Exact || self.buckets == BucketError::Interpolate => {
                self.coarse.get_or_init(|| coarsely_between_edges(histogram).unwrap_or_else(Law::never))
            }
            _ => self.reading(reading),
        }
    }

    /// Whether a reading's law is made of jumps, each of two knots.
    fn is_stepped(&self, reading: Reading) -> bool {
        self.histogram.is_some() && self.buckets == BucketError::Bound && reading != Reading::Exact
    }

    fn reading(&self, reading: Reading) -> &Law {
        let tabulated = |law: fn(&ClassicHistogram) -> Option<Law>, otherwise: fn() -> Law| {
            self.histogram.as_ref().and_then(law).unwrap_or_else(otherwise)
        };
        let reading = match self.buckets {
            BucketError::Interpolate if self.histogram.is_some() => Reading::Exact,
            BucketError::Interpolate | BucketError::Bound => reading,
        };
        match reading {
            Reading::Exact => self.exact.get_or_init(|| tabulated(between_edges, Law::never)),
            Reading::Late => self.late.get_or_init(|| tabulated(at_upper_edges, Law::never)),
            Reading::Early => self.early.get_or_init(|| tabulated(at_lower_edges, || Law::constant(0.0))),
        }
    }
}

/// Which of the two sub-distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
}

/// What is known about the ranks of a leaf's outcomes; a rank orders fast success < slow success < failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Condition {
    /// Nothing: the leaf's own law.
    None,
    /// The common factor of a one-factor Gaussian copula is `z`; `0 < rho < 1`.
    Factor { rho: f64, z: f64 },
    /// The rank lies in this part of `[0, 1]`, and is uniform there.
    Ranks { from: f64, to: f64 },
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// P(success); a vacuous leaf's estimate is 0, the pessimistic end of what is possible.
    pub(crate) availability: f64,
    /// Nothing is known about its availability.
    pub(crate) vacuous: bool,
    /// There is no latency evidence although it is not vacuous.
    pub(crate) timeless: bool,
    /// Failures have no times of their own.
    pub(crate) assumed_failure_time: bool,
    success: Laws,
    failure: Laws,
    /// `Φ⁻¹` of the ranks at the knots of each law, by outcome and reading: every node of a common factor's law needs
    /// them again.
    scores: [[OnceLock<Vec<f64>>; 3]; 2],
}

impl Leaf {
    pub(crate) fn new(evidence: &ComponentEvidence, buckets: BucketError) -> Self {
        let (availability, vacuous) = match &evidence.measurement {
            Measurement::Vacuous => (0.0, true),
            Measurement::Figure(p) => (p.get(), false),
            Measurement::Counts(counts) => (counts.availability().get(), false),
        };
        let (latency, failure_latency) = match &evidence.measurement {
            Measurement::Counts(counts) => (counts.latency(), counts.failure_latency()),
            Measurement::Vacuous | Measurement::Figure(_) => (None, None),
        };
        let success = latency.and_then(|histogram| Laws::measured(histogram, buckets));
        let measured = failure_latency.and_then(|histogram| Laws::measured(histogram, buckets));
        let assumed_failure_time = measured.is_none() && availability < 1.0;
        let failure = measured.unwrap_or_else(|| match latency {
            Some(histogram) => Laws::assumed(histogram.last_edge()),
            None => Laws::vacuous(),
        });
        Self {
            availability,
            vacuous,
            timeless: success.is_none(),
            assumed_failure_time,
            success: success.unwrap_or_else(Laws::vacuous),
            failure,
            scores: Default::default(),
        }
    }

    /// One with another availability, whose outcomes take so many times as long; of a vacuous one nothing is known all
    /// the same.
    pub(crate) fn alternative(&self, availability: f64, slowdown: f64) -> Self {
        Self {
            availability: if self.vacuous { self.availability } else { availability },
            vacuous: self.vacuous,
            timeless: self.timeless,
            assumed_failure_time: self.assumed_failure_time,
            success: self.success.slowed(slowdown),
            failure: self.failure.slowed(slowdown),
            scores: Default::default(),
        }
    }

    /// The bounds of its availability (without a sampling term).
    pub(crate) fn bounds(&self) -> Bounds {
        if self.vacuous { Bounds::VACUOUS } else { Bounds::exactly(self.availability) }
    }

    /// The law of the time of an outcome, given the outcome.
    pub(crate) fn law(&self, outcome: Outcome, reading: Reading) -> &Law {
        self.laws(outcome).reading(reading)
    }

    /// The same for what is within 1 %.
    fn coarse_law(&self, outcome: Outcome, reading: Reading) -> &Law {
        self.laws(outcome).coarsely(reading)
    }

    fn laws(&self, outcome: Outcome) -> &Laws {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::Failure => &self.failure,
        }
    }

    /// P(success by `t`), or strictly before it in the late reading of a deadline that is missed at `t` itself.
    pub(crate) fn success_by(&self, reading: Reading, condition: Condition, t: f64) -> f64 {
        if self.vacuous {
            return if reading == Reading::Early { 1.0 } else { 0.0 };
        }
        conditioned(self.availability * self.law(Outcome::Success, reading).at(t), condition)
    }

    /// The curve of an outcome on a grid.
    pub(crate) fn curve(
        &self,
        outcome: Outcome,
        reading: Reading,
        condition: Condition,
        step: f64,
        cells: usize,
    ) -> Curve {
        if self.vacuous {
            return match reading {
                Reading::Exact if outcome == Outcome::Success => Curve::beyond(0.0, cells),
                Reading::Exact | Reading::Late => Curve::beyond(1.0, cells),
                Reading::Early => {
                    Curve { within: vec![1.0; cells], later: Some(vec![0.0; cells]), total: 0.0 }
                }
            };
        }
        let mut within = vec![0.0; cells];
        let knots = self.knots(outcome, reading, condition);
        cell_means(&knots.times, &knots.values, step, knots.scale, &mut within);
        Curve { within, later: None, total: knots.total }
    }

    /// The masses of its successes, split onto the points of a grid: their total; `None` for a vacuous leaf, whose tail is
    /// not that of what it has on the grid.
    pub(crate) fn success_masses(
        &self,
        reading: Reading,
        condition: Condition,
        step: f64,
        masses: &mut [f64],
    ) -> Option<f64> {
        if self.vacuous {
            return None;
        }
        let knots = self.knots(Outcome::Success, reading, condition);
        cell_masses(&knots.times, &knots.values, step, knots.scale, masses);
        Some(knots.total)
    }

    /// Adds the law of its successes where it jumps at the edges of buckets only: its total. `None` for all others.
    pub(crate) fn success_jumps(
        &self,
        reading: Reading,
        condition: Condition,
        laws: &mut SteppedLaws,
    ) -> Option<f64> {
        if self.vacuous || matches!(condition, Condition::Ranks { .. }) || !self.success.is_stepped(reading) {
            return None;
        }
        let knots = self.knots(Outcome::Success, reading, condition);
        // Each jump has two knots, one below and one above.
        let jumps = knots.times.chunks_exact(2).zip(knots.values.chunks_exact(2));
        laws.push(jumps.map(|(times, values)| (times[1], knots.scale * (values[1] - values[0]))));
        Some(knots.total)
    }

    /// P(outcome by t) of a leaf that is not vacuous.
    fn knots(&self, outcome: Outcome, reading: Reading, condition: Condition) -> Knots<'_> {
        // The outcome's ranks are `start + width · F`.
        let (start, width) = match outcome {
            Outcome::Success => (0.0, self.availability),
            Outcome::Failure => (self.availability, 1.0 - self.availability),
        };
        match condition {
            Condition::None => {
                let law = self.law(outcome, reading);
                let (times, values) = (law.times().into(), law.values().into());
                Knots { times, values, scale: width, total: width }
            }
            Condition::Factor { rho, z } => {
                let law = self.coarse_law(outcome, reading);
                // Of the knots, then of the outcome's first and last rank.
                let scores = self.scores[outcome as usize][reading as usize].get_or_init(|| {
                    let ranks = law.values().iter().map(|f| start + width * f);
                    ranks.chain([start, start + width]).map(normal::quantile).collect()
                });
                let scale = 1.0 / (1.0 - rho).sqrt();
                let shift = rho.sqrt() * z * scale;
                let cdf = normal::tabulated_cdf();
                let given = |score: &f64| cdf(score * scale - shift);
                let (knots, ends) = scores.split_at(law.values().len());
                let base = given(&ends[0]);
                // A jump's upper end is the next one's lower end.
                let mut last = (f64::NAN, 0.0);
                let value = |score: &f64| {
                    if *score != last.0 {
                        last = (*score, given(score) - base);
                    }
                    last.1
                };
                let values: Vec<f64> = knots.iter().map(value).collect();
                let total = given(&ends[1]) - base;
                Knots { times: law.times().into(), values: values.into(), scale: 1.0, total }
            }
            Condition::Ranks { from, to } => {
                let (times, values) = knots_between_ranks(self.law(outcome, reading), start, width, from, to);
                let total = conditioned(start + width, condition) - conditioned(start, condition);
                Knots { times: times.into(), values: values.into(), scale: 1.0, total }
            }
        }
    }
}

/// `scale` times a piecewise linear function that is 0 before its first time, and what it reaches at infinity.
struct Knots<'a> {
    times: Cow<'a, [f64]>,
    values: Cow<'a, [f64]>,
    scale: f64,
    total: f64,
}

/// P(rank ≤ `rank`) under the condition.
fn conditioned(rank: f64, condition: Condition) -> f64 {
    match condition {
        Condition::None => rank,
        Condition::Factor { rho, z } => {
            normal::cdf((normal::quantile(rank) - rho.sqrt() * z) / (1.0 - rho).sqrt())
        }
        Condition::Ranks { from, to } => ((rank - from) / (to - from)).clamp(0.0, 1.0),
    }
}

/// The part of a law whose ranks lie between two; without any knot where there is none.
fn knots_between_ranks(law: &Law, start: f64, width: f64, from: f64, to: f64) -> (Vec<f64>, Vec<f64>) {
    if width <= 0.0 {
        return Default::default();
    }
    let level = |rank: f64| ((rank - start) / width).clamp(0.0, 1.0);
    let (low, high) = (level(from).min(law.finite_mass()), level(to).min(law.finite_mass()));
    if high <= low {
        return Default::default();
    }
    let share = |f: f64| (f - low) * width / (to - from);
    let mut times = vec![law.quantile(low).max(law.times()[0])];
    let mut values = vec![0.0];
    // A jump that the lower end falls into, or inner knots.
    for (&time, &f) in law.times().iter().zip(law.values()) {
        if f > low && f < high {
            times.push(time.max(times[0]));
            values.push(share(f));
        }
    }
    times.push(law.quantile(high).max(times[times.len() - 1]));
    values.push(share(high));
    (times, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::evidence::Counts;

    fn leaf(good: f64) -> Leaf {
        let histogram = ClassicHistogram::new(vec![1.0, 2.0, 4.0], vec![10.0, 60.0, 90.0, 100.0]).unwrap();
        let counts = Counts::new(1000.0, good, Some(histogram), None).unwrap();
        Leaf::new(&ComponentEvidence::measured(Measurement::Counts(counts)), BucketError::Bound)
    }

    #[test]
    fn conditions_average_back_to_the_law() {
        let leaf = leaf(900.0);
        for reading in [Reading::Exact, Reading::Late, Reading::Early] {
            for outcome in [Outcome::Success, Outcome::Failure] {
                let plain = leaf.curve(outcome, reading, Condition::None, 0.1, 64);
                let mut ranks = Curve::beyond(0.0, 64);
                for part in 0..20 {
                    let (from, to) = (f64::from(part) / 20.0, f64::from(part + 1) / 20.0);
                    ranks.add(0.05, &leaf.curve(outcome, reading, Condition::Ranks { from, to }, 0.1, 64));
                }
                assert!((plain.total - ranks.total).abs() < 1e-12);
                for (a, b) in plain.within.iter().zip(&ranks.within) {
                    assert!((a - b).abs() < 1e-9, "{reading:?} {outcome:?}: {a} {b}");
                }
            }
        }
    }
}
