//! What deadlines make of availability: P(success by the deadline) of each body, under each assumption.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use super::availability::{self, Bounds};
use super::curve::Reading;
use super::engine::{deadline, horizon_bound};
use super::leaf::{Condition, Leaf};
use super::scenario;
use super::tree::{Kind, Tree};
use crate::journey::governance::Dependence;

/// How the body of a node with a deadline fares in the worst and the best member of the family.
#[derive(Default)]
pub(crate) struct Timeliness {
    /// By node: the least and the greatest P(success by the deadline), and the least share of successes by it.
    by_node: FxHashMap<usize, (Bounds, f64)>,
}

impl Timeliness {
    /// `by` holds for each reading P(success by the deadline) and P(success).
    pub(crate) fn add(&mut self, node: usize, by: &[(f64, f64)]) {
        let (Some(&(late, total)), Some(&(early, _))) = (by.first(), by.last()) else { return };
        let share = if total > 0.0 { (late / total).min(1.0) } else { 0.0 };
        let known = self.by_node.entry(node).or_insert((Bounds { lower: late, upper: early }, share));
        known.0.lower = known.0.lower.min(late);
        known.0.upper = known.0.upper.max(early);
        known.1 = known.1.min(share);
    }
}

/// Bounds of availability under one assumption.
pub(crate) struct Case<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Leaf],
    pub(crate) readings: &'a [Reading],
    pub(crate) dependence: Dependence,
}

impl Case<'_> {
    /// For each node with a deadline, the bounds that [`Self::availability`] takes of its body's P(success by it).
    pub(crate) fn timeliness(
        &self,
        leaves: &[Bounds],
        independent: &[Option<Bounds>],
        scenarios: Option<&Timeliness>,
    ) -> Vec<Bounds> {
        let met = RefCell::new(vec![Bounds::VACUOUS; self.tree.nodes.len()]);
        self.folded(leaves, independent, scenarios, &|at, bounds| met.borrow_mut()[at] = bounds);
        met.into_inner()
    }

    pub(crate) fn availability(
        &self,
        leaves: &[Bounds],
        independent: &[Option<Bounds>],
        scenarios: Option<&Timeliness>,
    ) -> Vec<Bounds> {
        self.folded(leaves, independent, scenarios, &|_, _| {})
    }

    fn folded(
        &self,
        leaves: &[Bounds],
        independent: &[Option<Bounds>],
        scenarios: Option<&Timeliness>,
        met: &dyn Fn(usize, Bounds),
    ) -> Vec<Bounds> {
        let plain = |at: usize| independent[at].unwrap_or(Bounds::VACUOUS);
        let binds = binds(self.tree, self.dependence);
        // Only where deadlines meet an assumption that binds are times split.
        let share =
            if self.tree.has_deadline && binds { slowness(self.tree, self.leaves) } else { Vec::new() };
        let on_time = |at: usize, below: &[Bounds]| match self.dependence {
            Dependence::Independent => plain(at),
            Dependence::SharedFate | Dependence::PaperEq1 => {
                let Some((bounds, share)) = scenarios.and_then(|all| all.by_node.get(&at)) else {
                    return plain(at);
                };
                let body = below[self.tree.nodes[at].operands[0]].lower;
                let independent = plain(at);
                Bounds {
                    lower: independent.lower.min(bounds.lower).min(body * share),
                    upper: independent.upper.max(bounds.upper),
                }
            }
            Dependence::Unknown | Dependence::UnknownAll if !binds => plain(at),
            Dependence::Unknown | Dependence::UnknownAll => {
                let node = &self.tree.nodes[at];
                let after = deadline(&node.kind).unwrap_or(f64::INFINITY);
                let by = |component: usize, t: f64| {
                    let by =
                        |reading: &Reading| self.leaves[component].success_by(*reading, Condition::None, t);
                    let lower = self.readings.first().map_or(0.0, by);
                    Bounds { lower, upper: self.readings.last().map_or(1.0, by).max(lower) }
                };
                availability::by_time(self.tree, node.operands[0], after, &by, &share, self.dependence)
            }
        };
        let on_time = |at: usize, below: &[Bounds]| {
            let bounds = on_time(at, below);
            met(at, bounds);
            bounds
        };
        availability::fold(self.tree, leaves, on_time, self.dependence)
    }
}

/// Whether nothing in the tree has a time, so that there is no latency to compose.
pub(crate) fn timeless(tree: &Tree, leaves: &[Leaf]) -> bool {
    tree.nodes.iter().all(|node| match node.kind {
        Kind::Leaf(component) => leaves[component].timeless,
        Kind::Timeout(_) | Kind::Retry { per_try: Some(_), .. } | Kind::Optional(_) => false,
        Kind::Repeat(ref counts) => counts.iter().all(|&(count, p)| count > 0 || p <= 0.0),
        _ => true,
    })
}

/// Whether an assumption about dependence acts anywhere in the tree: otherwise it is independence.
pub(crate) fn binds(tree: &Tree, dependence: Dependence) -> bool {
    tree.nodes.iter().enumerate().any(|(at, node)| match dependence {
        Dependence::Independent => false,
        Dependence::UnknownAll => {
            !matches!(node.kind, Kind::Cond(_)) && node.operands.len() > 1
                || scenario::repeats(&node.kind, true)
        }
        Dependence::SharedFate | Dependence::Unknown | Dependence::PaperEq1 => {
            !scenario::joining_classes(tree, at).is_empty()
        }
    })
}

/// How slow each node is, for the split of a Series' time.
fn slowness(tree: &Tree, leaves: &[Leaf]) -> Vec<f64> {
    (0..tree.nodes.len()).map(|at| horizon_bound(tree, at, leaves, Reading::Exact, 1e-3)).collect()
}
