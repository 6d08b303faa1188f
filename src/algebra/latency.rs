//! The latency of a journey, three ways and under each assumption of dependence.

use rustc_hash::FxHashMap;

use super::composition::{ByDependence, Interval, LatencyQuantile};
use super::independence::{Estimate, LatencyBracket};
use super::readout::{Conditional, LatencySide, Member, bounded_seconds, seconds};
use super::restatement::Restatement;
use super::shared_fate::Shared;
use super::uncertainty::{LatencySampling, UnknownSides};
use crate::journey::governance::Dependence;
use crate::unit::{Quantile, Seconds};

/// See the module.
pub(crate) struct Latency {
    pub(crate) estimate: Conditional,
    pub(crate) pessimistic: LatencySide,
    pub(crate) optimistic: LatencySide,
    /// What the samples prove of P(slower than the objective | success), dependence at its worst, buckets and samples at
    /// their best: 0 where nothing was measured, `None` without an objective.
    pub(crate) proven_slow: Option<f64>,
    by_dependence: Vec<(Dependence, LatencySide, LatencySide)>,
}

impl Latency {
    /// `objective` is the threshold of the latency objective, in seconds.
    pub(crate) fn new(
        estimate: &Estimate,
        bracket: Option<LatencyBracket>,
        sampling: Option<&LatencySampling>,
        shared: Option<Shared>,
        policy: Dependence,
        mut unknown: FxHashMap<Dependence, UnknownSides>,
        objective: Option<f64>,
    ) -> Self {
        let own = &estimate.law;
        let nothing_measured = bracket.is_none();
        let (shared_laws, shared_bracket) =
            shared.map_or_else(Default::default, |shared| (shared.laws, shared.bracket));
        let (mut late, mut early) = (Vec::new(), Vec::new());
        if let Some(bracket) = bracket {
            let restated = |pick: fn(&LatencySampling) -> &Restatement| {
                sampling.map(|sampling| pick(sampling).clone()).unwrap_or_default()
            };
            late.push(Member { law: bracket.late, restated: restated(|sampling| &sampling.restated) });
            early.push(Member { law: bracket.early, restated: restated(|sampling| &sampling.eased) });
            if matches!(policy, Dependence::SharedFate | Dependence::PaperEq1) {
                for [slow, fast] in shared_bracket {
                    late.push(slow);
                    early.push(fast);
                }
            }
        }
        let proven_slow =
            objective.map(|t| early.iter().map(|member| 1.0 - member.possible(t)).fold(0.0, f64::max));
        let (pessimistic, optimistic) =
            if let Some(sides) = unknown.get_mut(&policy).and_then(|sides| sides.policy.take()) {
                sides
            } else if nothing_measured {
                (LatencySide::Never, LatencySide::AtOnce)
            } else {
                (LatencySide::Worst(late), LatencySide::Best(early))
            };
        let plain = |law: &Conditional| Member { law: law.clone(), restated: Restatement::default() };
        let by_dependence = Dependence::REPORTED
            .into_iter()
            .map(|dependence| {
                if let Some(sides) = unknown.remove(&dependence) {
                    return (dependence, sides.earliest, sides.latest);
                }
                if nothing_measured && dependence != Dependence::Independent {
                    return (dependence, LatencySide::AtOnce, LatencySide::Never);
                }
                let mut all = vec![plain(own)];
                if dependence == Dependence::SharedFate {
                    all.extend(shared_laws.iter().map(plain));
                }
                (dependence, LatencySide::Best(all.clone()), LatencySide::Worst(all))
            })
            .collect();
        Self { estimate: own.clone(), pessimistic, optimistic, proven_slow, by_dependence }
    }

    /// The bounds of one quantile.
    pub(crate) fn quantile(&self, level: Quantile) -> LatencyQuantile {
        let q = level.get();
        let estimate = self.estimate.quantile(q);
        let by_dependence: ByDependence<Seconds> = self
            .by_dependence
            .iter()
            .map(|(dependence, lower, upper)| {
                let lower = seconds(lower.quantile(q).min(estimate));
                (*dependence, Interval { lower, upper: seconds(upper.quantile(q).max(estimate)) })
            })
            .collect();
        let value = bounded_seconds(estimate, self.pessimistic.quantile(q), self.optimistic.quantile(q));
        LatencyQuantile { quantile: level, value, by_dependence }
    }
}
