//! The composer: from a journey and its evidence to a [`Composition`].

use std::collections::BTreeMap;

use super::availability::{self, Bounds};
use super::composition::{
    Bounded, ByDependence, ComponentShare, Composition, DomainShare, Interval, LatencyQuantile, NodeResult,
    SuccessCurve,
};
use super::curve::{Curve, Reading};
use super::fold::{Fold, Grid, Leaves, Readings};
use super::leaf::{Condition, Leaf, Outcome};
use super::readout::{bounded_probability, bounded_seconds, quantile, seconds};
use super::tree::{Kind, Tree};
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::governance::Dependence;
use crate::unit::{Probability, Quantile, Seconds};

/// Cells of the grid of estimates.
const CELLS: usize = 1024;
/// Cells of the first pass, which only finds the horizon.
const COARSE_CELLS: usize = 256;
/// A deadline's grid ends a tenth after it.
const DEADLINE_MARGIN: f64 = 1.1;

/// Composes journeys; it keeps what one composition can reuse of another, and no result.
#[derive(Default)]
pub struct Composer {
    transforms: Transforms,
}

/// Leaves as they are, without a common factor.
struct Plain<'a>(&'a [Leaf]);

impl Leaves for Plain<'_> {
    fn curve(&self, component: usize, outcome: Outcome, reading: Reading, grid: Grid) -> Curve {
        self.0[component].curve(outcome, reading, Condition::None, grid.step, grid.cells)
    }

    fn success_by(&self, component: usize, reading: Reading, t: f64) -> f64 {
        self.0[component].success_by(reading, Condition::None, t)
    }
}

impl Composer {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Composes. The latency quantiles are the journey's and `quantiles`, rising and unique.
    #[must_use]
    pub fn compose(&mut self, journey: &Journey, evidence: &Evidence, quantiles: &[Quantile]) -> Composition {
        let tree = Tree::new(journey, evidence);
        let leaves: Vec<Leaf> = (0..journey.components.len())
            .map(|component| Leaf::new(&evidence.components[component], journey.governance.bucket_error))
            .collect();
        let levels = levels(journey, quantiles);
        let exact: Vec<Bounds> = leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let bounds: Vec<Bounds> = leaves.iter().map(Leaf::bounds).collect();
        let on_time = self.deadlines(&tree, &leaves);
        let estimates = availability::fold(&tree, &exact, &on_time, Dependence::Independent);
        let grid = self.grid(&tree, &leaves, &on_time, &estimates, &levels);
        let root = tree.root();
        let results = self.fold(&tree, root, grid, &leaves, &on_time, |_, _| {});
        let estimate = estimates[root].lower;
        let by = |leaves: &[Bounds], dependence| availability::fold(&tree, leaves, &on_time, dependence);
        let reported: BTreeMap<Dependence, Vec<Bounds>> =
            Dependence::REPORTED.into_iter().map(|dependence| (dependence, by(&exact, dependence))).collect();
        let policy = by(&bounds, journey.governance.dependence);
        let latency = levels
            .iter()
            .map(|&level| {
                let value = quantile(&results.success, estimate, level.get(), grid);
                let by_dependence = Dependence::REPORTED
                    .into_iter()
                    .map(|dependence| {
                        let interval = if dependence == Dependence::Independent {
                            Interval { lower: seconds(value), upper: seconds(value) }
                        } else {
                            Interval { lower: Seconds::ZERO, upper: Seconds::INFINITY }
                        };
                        (dependence, interval)
                    })
                    .collect();
                LatencyQuantile {
                    quantile: level,
                    value: bounded_seconds(value, f64::INFINITY, 0.0),
                    by_dependence,
                }
            })
            .collect();
        let curve = SuccessCurve {
            times: (0..grid.cells).map(|k| (k as f64 + 0.5) * grid.step).collect(),
            within: results.success.within.clone(),
            ever: Probability::saturating(estimate),
        };
        let node = self.node_result(&tree, root, journey, &estimates, &policy, &reported);
        Composition {
            availability: bounded_probability(estimate, policy[root].lower, policy[root].upper),
            availability_by_dependence: node.by_dependence.clone(),
            latency,
            curves: Bounded {
                estimate: curve,
                pessimistic: SuccessCurve {
                    times: vec![0.0],
                    within: vec![0.0],
                    ever: Probability::saturating(policy[root].lower),
                },
                optimistic: SuccessCurve {
                    times: vec![0.0],
                    within: vec![policy[root].upper],
                    ever: Probability::saturating(policy[root].upper),
                },
            },
            root: node,
            components: journey
                .components
                .iter()
                .zip(&leaves)
                .map(|(component, leaf)| ComponentShare {
                    name: component.name.clone(),
                    availability: bounded_probability(
                        leaf.availability,
                        leaf.bounds().lower,
                        leaf.bounds().upper,
                    ),
                    sensitivity: 0.0,
                    budget_share: 0.0,
                    latency_share: 0.0,
                })
                .collect(),
            domains: journey
                .domains
                .iter()
                .map(|domain| DomainShare { name: domain.name.clone(), sensitivity: 0.0, budget_share: 0.0 })
                .collect(),
            warnings: Vec::new(),
        }
    }

    /// P(success of the body by the deadline) of every node with a deadline, estimated.
    fn deadlines(&mut self, tree: &Tree, leaves: &[Leaf]) -> Vec<Bounds> {
        let mut on_time = vec![Bounds::VACUOUS; tree.nodes.len()];
        for at in 0..tree.nodes.len() {
            let node = &tree.nodes[at];
            let (Kind::Timeout(after) | Kind::Retry { per_try: Some(after), .. }) = node.kind else {
                continue;
            };
            let body = node.operands[0];
            let q = if let Kind::Leaf(component) = tree.nodes[body].kind {
                leaves[component].success_by(Reading::Exact, Condition::None, after)
            } else {
                let grid = Grid::new(DEADLINE_MARGIN * after, CELLS);
                let curves = self.fold(tree, body, grid, leaves, &on_time, |_, _| {});
                grid.value(&curves.success, Reading::Exact, after)
            };
            on_time[at] = Bounds::exactly(q);
        }
        on_time
    }

    /// Folds the subtree of `top` and calls `visit` with every node's curves.
    fn fold(
        &mut self,
        tree: &Tree,
        top: usize,
        grid: Grid,
        leaves: &[Leaf],
        on_time: &[Bounds],
        mut visit: impl FnMut(usize, &super::fold::NodeCurves),
    ) -> super::fold::NodeCurves {
        let known: Vec<Option<Bounds>> = on_time.iter().map(|bounds| Some(*bounds)).collect();
        let mut fold = Fold {
            tree,
            grid,
            readings: &[Reading::Exact],
            leaves: &Plain(leaves),
            on_time: &known,
            transform: self.transforms.of(grid.cells),
        };
        let mut results: Vec<Option<Readings>> = vec![None; tree.nodes.len()];
        for at in tree.nodes[top].first..=top {
            let curves = fold.node(at, &results);
            visit(at, &curves[0]);
            for &operand in &tree.nodes[at].operands {
                results[operand] = None;
            }
            results[at] = Some(curves);
        }
        let empty = || super::fold::NodeCurves { success: Curve::beyond(0.0, grid.cells), failure: None };
        results[top].take().and_then(|mut readings| readings.pop()).unwrap_or_else(empty)
    }

    /// The grid of estimates: twice the highest quantile asked for (at least p99.9), found on a coarse grid first.
    fn grid(
        &mut self,
        tree: &Tree,
        leaves: &[Leaf],
        on_time: &[Bounds],
        _estimates: &[Bounds],
        levels: &[Quantile],
    ) -> Grid {
        let level = levels.iter().map(|level| level.get()).fold(0.999, f64::max);
        let mut horizon = horizon_bound(tree, leaves, level);
        for _ in 0..8 {
            let grid = Grid::new(horizon, COARSE_CELLS);
            let curves = self.fold(tree, tree.root(), grid, leaves, on_time, |_, _| {});
            let reached = curves.success.within.last().copied().unwrap_or(0.0);
            if reached <= 0.0 {
                break;
            }
            let next = 2.0 * quantile(&curves.success, reached, level, grid);
            let fine_enough = next > 0.05 * horizon;
            horizon = next.max(horizon * 1e-3);
            if fine_enough {
                break;
            }
        }
        Grid::new(horizon, CELLS)
    }

    fn node_result(
        &self,
        tree: &Tree,
        at: usize,
        journey: &Journey,
        estimates: &[Bounds],
        policy: &[Bounds],
        reported: &BTreeMap<Dependence, Vec<Bounds>>,
    ) -> NodeResult {
        let node = &tree.nodes[at];
        let estimate = estimates[at].lower;
        let by_dependence: ByDependence<Probability> = reported
            .iter()
            .map(|(&dependence, bounds)| {
                let interval = Interval {
                    lower: Probability::saturating(bounds[at].lower.min(estimate)),
                    upper: Probability::saturating(bounds[at].upper.max(estimate)),
                };
                (dependence, interval)
            })
            .collect();
        NodeResult {
            label: match node.kind {
                Kind::Leaf(component) => journey.components[component].name.clone(),
                _ => String::new(),
            },
            keyword: "",
            formula: "",
            availability: bounded_probability(estimate, policy[at].lower, policy[at].upper),
            by_dependence,
            latency_estimate: Seconds::INFINITY,
            children: node
                .operands
                .iter()
                .map(|&operand| self.node_result(tree, operand, journey, estimates, policy, reported))
                .collect(),
        }
    }
}

/// The journey's quantiles and those asked for, rising and unique.
fn levels(journey: &Journey, quantiles: &[Quantile]) -> Vec<Quantile> {
    let mut levels: Vec<Quantile> = journey.quantiles.iter().chain(quantiles).copied().collect();
    levels.sort_by(|a, b| a.get().total_cmp(&b.get()));
    levels.dedup();
    levels
}

/// A time that the finite part of the journey's law hardly ever exceeds: the quantiles of the leaves, added up along
/// the tree as the operators would at worst.
fn horizon_bound(tree: &Tree, leaves: &[Leaf], level: f64) -> f64 {
    let tail = (1.0 - level) / 4.0 / tree.nodes.len() as f64;
    let mut bound: Vec<f64> = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let below = || node.operands.iter().map(|&operand| bound[operand]);
        let next = match &node.kind {
            Kind::Leaf(component) => {
                let law = leaves[*component].law(Outcome::Success, Reading::Exact);
                let time = law.quantile((1.0 - tail) * law.finite_mass());
                let failure = leaves[*component].law(Outcome::Failure, Reading::Exact);
                let failed = if node.failure_time_matters { failure.last_time() } else { 0.0 };
                if time.is_finite() { time.max(failed) } else { failed }
            }
            Kind::Series | Kind::Fallback => below().sum(),
            Kind::Parallel | Kind::Race | Kind::KofN(_) | Kind::Cond(_) => below().fold(0.0, f64::max),
            Kind::Timeout(after) => match node.operands.get(1) {
                Some(&fallback) => after + bound[fallback],
                None => bound[node.operands[0]].min(*after),
            },
            Kind::Retry { attempts, per_try, backoff, .. } => {
                let n = f64::from(*attempts);
                let try_time = per_try.map_or(bound[node.operands[0]], |t| t.min(bound[node.operands[0]]));
                let waits: f64 = backoff
                    .map_or(0.0, |backoff| (1..*attempts).map(|k| backoff.after_attempt(k).get()).sum());
                n * try_time.max(per_try.unwrap_or(0.0)) + waits
            }
            Kind::Hedge(delay) => below().fold(0.0, f64::max) + delay,
            Kind::Optional(timeout) => *timeout,
            Kind::Repeat(counts) => {
                let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
                f64::from(most) * bound[node.operands[0]]
            }
        };
        bound.push(next.min(MAX_HORIZON));
    }
    bound.last().copied().filter(|&bound| bound > 0.0).unwrap_or(1.0)
}

/// Far beyond any latency, in seconds: keeps sums of legal deadlines finite.
const MAX_HORIZON: f64 = 1e12;
