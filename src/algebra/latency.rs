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
    /// What the samples prove to be slow: dependence at its worst, buckets and samples at their best.
    proven_slow: Vec<Member>,
    by_dependence: Vec<(Dependence, LatencySide, LatencySide)>,
}

impl Latency {
    pub(crate) fn new(
        estimate: &Estimate,
        bracket: Option<LatencyBracket>,
        sampling: Option<&LatencySampling>,
        shared: Option<&Shared>,
        policy: Dependence,
        mut unknown: FxHashMap<Dependence, UnknownSides>,
    ) -> Self {
        let own = &estimate.law;
        let nothing_measured = bracket.is_none();
        let mut proven_slow = Vec::new();
        let (mut pessimistic, mut optimistic) = match bracket {
            None => (LatencySide::Never, LatencySide::AtOnce),
            Some(bracket) => {
                let restated = sampling.map(|sampling| sampling.restated.clone()).unwrap_or_default();
                let eased = sampling.map(|sampling| sampling.eased.clone()).unwrap_or_default();
                let mut late = vec![Member { law: bracket.late, restated }];
                let mut early = vec![Member { law: bracket.early, restated: eased }];
                if matches!(policy, Dependence::SharedFate | Dependence::PaperEq1) {
                    for [slow, fast] in shared.iter().flat_map(|shared| &shared.bracket) {
                        late.push(slow.clone());
                        early.push(fast.clone());
                    }
                }
                proven_slow.clone_from(&early);
                (LatencySide::Worst(late), LatencySide::Best(early))
            }
        };
        let plain = |law: &Conditional| Member { law: law.clone(), restated: Restatement::default() };
        let by_dependence = Dependence::REPORTED
            .into_iter()
            .map(|dependence| {
                if let Some(sides) = unknown.remove(&dependence) {
                    if let Some((latest, earliest)) = sides.policy {
                        (pessimistic, optimistic) = (latest, earliest);
                    }
                    return (dependence, sides.earliest, sides.latest);
                }
                if nothing_measured && dependence != Dependence::Independent {
                    return (dependence, LatencySide::AtOnce, LatencySide::Never);
                }
                let mut all = vec![plain(own)];
                if dependence == Dependence::SharedFate {
                    all.extend(shared.iter().flat_map(|shared| &shared.laws).map(plain));
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

    /// What the samples prove of P(slower than `t` | success): 0 where nothing was measured.
    pub(crate) fn proven_slower_than(&self, t: f64) -> f64 {
        self.proven_slow.iter().map(|member| 1.0 - member.possible(t)).fold(0.0, f64::max)
    }
}
