//! Folds of a whole (sub)tree: which grid, which deadlines are known, who is independent.

use super::availability::Bounds;
use super::curve::{Curve, Reading};
use super::fold::{Fold, Grid, Leaves, NodeCurves, Readings};
use super::leaf::{Condition, Leaf, Outcome};
use super::readout;
use super::tree::{Kind, Tree};
use crate::distribution::stepped::SteppedLaws;
use crate::distribution::transform::Transforms;

/// Cells of the first pass, which only finds the horizon.
const COARSE_CELLS: usize = 256;
/// A deadline's own grid ends a tenth after it.
pub(crate) const DEADLINE_MARGIN: f64 = 1.1;
/// Far beyond any latency, in seconds: keeps sums of legal deadlines finite.
const MAX_HORIZON: f64 = 1e12;

/// The readings of an estimate.
pub(crate) const ESTIMATE: &[Reading] = &[Reading::Exact];
/// The readings of a bracket.
pub(crate) const BRACKET: &[Reading] = &[Reading::Late, Reading::Early];

/// Leaves as they are, without a common factor.
pub(crate) struct Plain<'a>(pub(crate) &'a [Leaf]);

impl Leaves for Plain<'_> {
    fn curve(&self, component: usize, outcome: Outcome, reading: Reading, grid: Grid) -> Curve {
        self.0[component].curve(outcome, reading, Condition::None, grid.step, grid.cells)
    }

    fn masses(&self, component: usize, reading: Reading, grid: Grid, masses: &mut [f64]) -> Option<f64> {
        self.0[component].success_masses(reading, Condition::None, grid.step, masses)
    }

    fn jumps(&self, component: usize, reading: Reading, laws: &mut SteppedLaws) -> Option<f64> {
        self.0[component].success_jumps(reading, Condition::None, laws)
    }

    fn success_by(&self, component: usize, reading: Reading, t: f64) -> f64 {
        self.0[component].success_by(reading, Condition::None, t)
    }
}

/// The deadline of a node's body, if it has one that decides about success.
pub(crate) fn deadline(kind: &Kind) -> Option<f64> {
    match kind {
        Kind::Timeout(after) | Kind::Retry { per_try: Some(after), .. } => Some(*after),
        _ => None,
    }
}

/// What every fold needs.
pub(crate) struct Engine<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Leaf],
    pub(crate) transforms: &'a mut Transforms,
}

impl Engine<'_> {
    /// Folds the subtree of `top` under independence and calls `visit` with the curves of every node but the leaves of
    /// plain Series.
    pub(crate) fn independent(
        &mut self,
        top: usize,
        grid: Grid,
        readings: &[Reading],
        on_time: &[Option<Bounds>],
        mut visit: impl FnMut(usize, &Readings),
    ) -> Readings {
        let mut fold = Fold {
            tree: self.tree,
            grid,
            readings,
            leaves: &Plain(self.leaves),
            on_time,
            transform: self.transforms.of(grid.cells),
        };
        let mut results: Vec<Option<Readings>> = vec![None; top + 1];
        for at in self.tree.nodes[top].first..=top {
            if at != top && self.tree.is_plain_term(at) {
                continue;
            }
            let curves = fold.node(at, &results);
            visit(at, &curves);
            for &operand in &self.tree.nodes[at].operands {
                results[operand] = None;
            }
            results[at] = Some(curves);
        }
        results[top].take().unwrap_or_else(|| nothing(readings, grid))
    }

    /// For each node with a deadline, the bounds of its body's P(success by the deadline) under independence: from a
    /// leaf's law itself, else from a grid that ends just after the deadline.
    pub(crate) fn deadlines(
        &mut self,
        readings: &[Reading],
        cells: usize,
        margin: impl Fn(usize) -> f64,
    ) -> Vec<Option<Bounds>> {
        let mut on_time = vec![None; self.tree.nodes.len()];
        for at in 0..self.tree.nodes.len() {
            let node = &self.tree.nodes[at];
            let Some(after) = deadline(&node.kind) else { continue };
            let body = node.operands[0];
            let by: Vec<f64> = if let Kind::Leaf(component) = self.tree.nodes[body].kind {
                let leaf = &self.leaves[component];
                readings.iter().map(|&reading| leaf.success_by(reading, Condition::None, after)).collect()
            } else {
                let grid = Grid::new(DEADLINE_MARGIN * after, cells);
                let shift = margin(body) * grid.step;
                self.independent(body, grid, readings, &on_time, |_, _| {})
                    .iter()
                    .zip(readings)
                    .map(|(curves, &reading)| {
                        let at = match reading {
                            Reading::Exact => after,
                            Reading::Late => after - shift,
                            Reading::Early => after + shift,
                        };
                        grid.value(&curves.success, reading, at)
                    })
                    .collect()
            };
            let lower = by.first().copied().unwrap_or(0.0);
            let upper = by.last().copied().unwrap_or(1.0).max(lower);
            on_time[at] = Some(Bounds { lower, upper });
        }
        on_time
    }

    /// The horizon of a grid: twice the time that all but `1 − level` of the finite part of the first reading reaches,
    /// found on coarse grids.
    pub(crate) fn horizon(
        &mut self,
        top: usize,
        readings: &[Reading],
        on_time: &[Option<Bounds>],
        level: f64,
    ) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 nodes")]
        let tail = (1.0 - level) / 4.0 / (top + 1) as f64;
        // Mass exactly at the end of a grid is not on it.
        #[expect(clippy::cast_precision_loss, reason = "a constant")]
        let past = 1.0 + 2.0 / COARSE_CELLS as f64;
        let mut horizon = past * horizon_bound(self.tree, top, self.leaves, readings[0], tail);
        for _ in 0..8 {
            let grid = Grid::new(horizon, COARSE_CELLS);
            let curves = self.independent(top, grid, readings, on_time, |_, _| {});
            let success = &curves[0].success;
            let reached = success.within.last().copied().unwrap_or(0.0);
            if reached <= 0.0 {
                break;
            }
            let next = 2.0 * readout::exact_quantile(&success.within, reached, grid, level);
            let fine_enough = next > 0.05 * horizon;
            horizon = next.max(1e-3 * horizon);
            if fine_enough {
                break;
            }
        }
        horizon
    }
}

/// No success and no failure on the grid.
pub(crate) fn nothing(readings: &[Reading], grid: Grid) -> Readings {
    let none = NodeCurves { success: Curve::beyond(0.0, grid.cells), failure: None };
    readings.iter().map(|_| none.clone()).collect()
}

/// A time that the finite part of the journey's law hardly ever exceeds: the quantiles of the leaves, added up along
/// the tree as the operators would at worst.
pub(crate) fn horizon_bound(tree: &Tree, top: usize, leaves: &[Leaf], reading: Reading, tail: f64) -> f64 {
    let first = tree.nodes[top].first;
    let mut bound: Vec<f64> = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes[first..=top] {
        let below = || node.operands.iter().map(|&operand| bound[operand - first]);
        let next = match &node.kind {
            Kind::Leaf(component) => {
                let law = leaves[*component].law(Outcome::Success, reading);
                let time = law.quantile((1.0 - tail) * law.finite_mass());
                let failure = leaves[*component].law(Outcome::Failure, reading);
                let failed = if node.failure_time_matters { failure.last_time() } else { 0.0 };
                if time.is_finite() { time.max(failed) } else { failed }
            }
            Kind::Series | Kind::Fallback => below().sum(),
            Kind::Parallel | Kind::Race | Kind::KofN(_) | Kind::Cond(_) => below().fold(0.0, f64::max),
            Kind::Timeout(after) => match node.operands.get(1) {
                Some(&fallback) => after + bound[fallback - first],
                // What fails may be known at the deadline only.
                None if node.failure_time_matters => *after,
                None => bound[node.operands[0] - first].min(*after),
            },
            Kind::Retry { attempts, per_try, backoff, .. } => {
                let n = f64::from(*attempts);
                let try_time = per_try
                    .map_or(bound[node.operands[0] - first], |t| t.min(bound[node.operands[0] - first]));
                let waits: f64 = backoff
                    .map_or(0.0, |backoff| (1..*attempts).map(|k| backoff.after_attempt(k).get()).sum());
                n * try_time.max(per_try.unwrap_or(0.0)) + waits
            }
            Kind::Hedge(delay) => below().fold(0.0, f64::max) + delay,
            Kind::Optional(timeout) => *timeout,
            Kind::Repeat(counts) => {
                let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
                f64::from(most) * bound[node.operands[0] - first]
            }
        };
        bound.push(next.min(MAX_HORIZON));
    }
    bound.last().copied().filter(|&bound| bound > 0.0).unwrap_or(1.0)
}
