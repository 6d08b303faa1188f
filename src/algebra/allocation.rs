//! Budget allocation: which availability each component must keep so that the journey meets its objective (semantics §5).
//!
//! By equal burn: every component may lose the same multiple θ of what it loses now, so that nobody is asked for a heroic
//! improvement to make room for another. θ is found by bisection: recomposed under the policy's dependence, the allocated
//! availabilities meet the objective exactly. A component that loses next to nothing gets a floor, since no service can
//! promise to lose nothing.

use super::availability::{self, Bounds};
use super::tree::{Kind, Tree};
use crate::journey::governance::Dependence;
use crate::unit::Probability;

/// Of an even split of the budget, what a component that loses nothing is granted at least, before scaling.
const FLOOR: f64 = 0.1;
/// How closely the recomposed allocation meets the objective, from above.
const TOLERANCE: f64 = 1e-13;
/// Halvings of a bracket: beyond these doubles cannot tell its ends apart.
const MOST_STEPS: usize = 200;

/// An availability for each component with which the journey just meets its objective.
#[derive(Debug, Clone, PartialEq)]
pub struct AvailabilityAllocation {
    /// How much more than now every component may lose; below 1 they must lose less.
    pub scale: f64,
    /// One for each component of the journey, in their order; `None` where the operator does not call it.
    pub components: Vec<Option<Probability>>,
    /// What these availabilities compose to, under the policy's dependence: the objective, to 1e-9.
    pub recomposed: Probability,
}

/// What is allocated over.
pub(crate) struct Allocating<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) dependence: Dependence,
    /// The availability of each component as estimated; those without evidence in `unknown`.
    pub(crate) availability: &'a [f64],
    pub(crate) unknown: &'a [bool],
    /// The policy's bounds of each node, and for nodes with a deadline those of its body's P(success by it).
    pub(crate) policy: &'a [Bounds],
    pub(crate) on_time: &'a [Bounds],
}

impl Allocating<'_> {
    /// `None` where a component in use has no evidence, or where the objective is out of reach even if nothing failed
    /// (deadlines alone lose more).
    pub(crate) fn meet(&self, objective: Probability) -> Option<AvailabilityAllocation> {
        let used: Vec<bool> = self.tree.occurrences.iter().map(|&count| count > 0).collect();
        if used.iter().zip(self.unknown).any(|(used, unknown)| *used && *unknown) {
            return None;
        }
        let target = objective.get();
        let calls = used.iter().filter(|used| **used).count().max(1);
        #[expect(clippy::cast_precision_loss, reason = "components are far fewer than 2^53")]
        let floor = FLOOR * (1.0 - target) / calls as f64;
        let lost: Vec<f64> = self.availability.iter().map(|a| (1.0 - a).max(floor)).collect();
        let timely = self.timely();
        let composed = |scale: f64| {
            let leaves: Vec<Bounds> =
                lost.iter().map(|lost| Bounds::exactly((1.0 - scale * lost).max(0.0))).collect();
            let on_time = |at: usize, below: &[Bounds]| {
                let body = below[self.tree.nodes[at].operands[0]];
                Bounds::exactly(body.lower * timely[at])
            };
            availability::fold(self.tree, &leaves, on_time, self.dependence)[self.tree.root()].lower
        };
        let scale = greatest(&composed, target)?;
        let components = lost
            .iter()
            .zip(&used)
            .map(|(lost, used)| used.then(|| Probability::saturating(1.0 - scale * lost)))
            .collect();
        Some(AvailabilityAllocation {
            scale,
            components,
            recomposed: Probability::saturating(composed(scale)),
        })
    }

    /// Which share of a body's successes comes before its node's deadline; 1 where there is none. The allocation
    /// changes how often calls fail, not how long they take.
    fn timely(&self) -> Vec<f64> {
        let share = |at: usize| {
            let node = &self.tree.nodes[at];
            let timed = matches!(node.kind, Kind::Timeout(_) | Kind::Retry { per_try: Some(_), .. });
            if !timed {
                return 1.0;
            }
            let body = self.policy[node.operands[0]].lower;
            if body > 0.0 { (self.on_time[at].lower / body).clamp(0.0, 1.0) } else { 0.0 }
        };
        (0..self.tree.nodes.len()).map(share).collect()
    }
}

/// The greatest scale at which a falling function is still at least `target`: false position with the Illinois rule,
/// halving where that stalls. `None` where it is below even at 0.
fn greatest(composed: &impl Fn(f64) -> f64, target: f64) -> Option<f64> {
    let miss = |scale: f64| composed(scale) - target;
    let mut low = (0.0, miss(0.0));
    if low.1 < 0.0 {
        return None;
    }
    let mut high = (1.0, miss(1.0));
    while high.1 >= 0.0 {
        low = high;
        // Nothing that can fail matters: no loss is too great.
        if high.0 > 1e15 {
            return Some(high.0);
        }
        high = (2.0 * high.0, miss(2.0 * high.0));
    }
    // How far the low end really is; false position halves its weight where it stays.
    let mut gap = low.1;
    let mut kept = 0;
    for step in 0..MOST_STEPS {
        if gap <= TOLERANCE || high.0 - low.0 <= f64::EPSILON * high.0 {
            break;
        }
        let secant = low.0 + (high.0 - low.0) * low.1 / (low.1 - high.1);
        let halved = 0.5 * (low.0 + high.0);
        let next = if step % 8 == 7 || !(low.0..=high.0).contains(&secant) { halved } else { secant };
        let at = (next, miss(next));
        if at.1 >= 0.0 {
            if kept == 1 {
                high.1 *= 0.5;
            }
            gap = at.1;
            (low, kept) = (at, 1);
        } else {
            if kept == -1 {
                low.1 *= 0.5;
            }
            (high, kept) = (at, -1);
        }
    }
    Some(low.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_scale_is_found_also_where_the_function_is_curved_or_flat() {
        // (1 − 0.001 θ)^10 = 0.999.
        let found = greatest(&|scale: f64| (1.0 - 0.001 * scale).max(0.0).powi(10), 0.999).unwrap();
        assert!((found - (1.0 - 0.999_f64.powf(0.1)) * 1e3).abs() < 1e-9, "{found}");
        // A race: 1 − (0.01 θ)² = 0.999.
        let found = greatest(&|scale: f64| 1.0 - (0.01 * scale).min(1.0).powi(2), 0.999).unwrap();
        assert!((found - 0.001_f64.sqrt() * 100.0).abs() < 1e-6, "{found}");
        assert_eq!(greatest(&|_| 0.9, 0.999), None);
        assert!(greatest(&|_| 1.0, 0.999).unwrap() > 1e15);
    }
}
