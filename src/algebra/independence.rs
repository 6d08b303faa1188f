//! The folds under independence: the estimate, and the bracket of the buckets.

use super::availability::{self, Bounds};
use super::curve::Reading;
use super::engine::{BRACKET, ESTIMATE, Engine, horizon_bound};
use super::fold::Grid;
use super::leaf::{Leaf, Outcome};
use super::readout::{Conditional, exact_quantile};
use super::timeliness::timeless;
use super::tree::{Kind, Tree};
use super::uncertainty::{self, LatencySampling};
use crate::distribution::transform::Transforms;
use crate::journey::governance::{BucketError, Dependence};

/// Cells of the grid of estimates.
pub(crate) const CELLS: usize = 1024;
/// Cells of the bracket's deadlines and of its late side, which is what is acted on; its early side needs less.
const BRACKET_CELLS: usize = 2048;
const EARLY_CELLS: usize = 1024;
/// Cells of the grid that tells how much of the width is the buckets'.
const WIDTH_CELLS: usize = 512;
/// How many cells rounding onto a grid may move a sum of n times, over √n: Hoeffding's bound at 1e-4 for independent
/// errors within a cell.
const ROUNDING: f64 = 2.15;
/// The highest level that a grid is made to reach for the samples' sake.
const HIGHEST_LEVEL: f64 = 1.0 - 1e-6;

/// The fold under independence, interpolated.
pub(crate) struct Estimate {
    pub(crate) on_time: Vec<Option<Bounds>>,
    pub(crate) availability: Vec<Bounds>,
    /// Each node's quantile of the objective, in seconds.
    pub(crate) node_latency: Vec<f64>,
    pub(crate) law: Conditional,
    pub(crate) horizon: f64,
}

/// The bracket of the buckets under independence.
pub(crate) struct Bracket {
    pub(crate) on_time: Vec<Option<Bounds>>,
    /// `None` where no time was measured.
    pub(crate) latency: Option<LatencyBracket>,
}

/// The two sides of the bracket.
pub(crate) struct LatencyBracket {
    /// After the pseudo-observations.
    pub(crate) late: Conditional,
    pub(crate) early: Conditional,
    /// The explained quantile for the buckets alone, without the pseudo-observations, in seconds.
    pub(crate) buckets: f64,
}

/// What the folds of one journey share.
pub(crate) struct Independence<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Leaf],
    /// The highest level that grids must reach.
    pub(crate) level: f64,
    /// The level that is explained.
    pub(crate) shown: f64,
    pub(crate) transforms: &'a mut Transforms,
}

impl Independence<'_> {
    fn engine(&mut self) -> Engine<'_> {
        Engine { tree: self.tree, leaves: self.leaves, transforms: self.transforms }
    }

    /// The estimate.
    pub(crate) fn estimate(&mut self) -> Estimate {
        let (tree, leaves, level, shown) = (self.tree, self.leaves, self.level, self.shown);
        let mut engine = self.engine();
        let on_time = engine.deadlines(ESTIMATE, CELLS, |_| 0.0);
        let exact: Vec<Bounds> = leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let availability = availability::fold(
            tree,
            &exact,
            |at, _| on_time[at].unwrap_or(Bounds::VACUOUS),
            Dependence::Independent,
        );
        let mut node_latency = vec![f64::INFINITY; tree.nodes.len()];
        if timeless(tree, leaves) {
            return Estimate { on_time, availability, node_latency, law: Conditional::never(), horizon: 1.0 };
        }
        let horizon = engine.horizon(tree.root(), ESTIMATE, &on_time, level);
        let grid = Grid::new(horizon, CELLS);
        let curves = engine.independent(tree.root(), grid, ESTIMATE, &on_time, |at, curves| {
            let success = &curves[0].success;
            node_latency[at] = exact_quantile(&success.within, success.total, grid, shown);
        });
        for (latency, node) in node_latency.iter_mut().zip(&tree.nodes) {
            if let Kind::Leaf(component) = node.kind {
                *latency = leaves[component].law(Outcome::Success, Reading::Exact).quantile(shown);
            }
        }
        let law = Conditional::new(&curves[0].success, grid, Reading::Exact, None);
        Estimate { on_time, availability, node_latency, law, horizon }
    }

    /// The bracket, and the samples' error of the levels. `careful` are the leaves after the pseudo-observations.
    pub(crate) fn bracket(
        &mut self,
        estimate: &Estimate,
        careful: &[Leaf],
        buckets: BucketError,
        sampling: impl FnOnce((f64, f64), &mut Transforms) -> Option<LatencySampling>,
    ) -> (Bracket, Option<LatencySampling>) {
        let (tree, leaves, shown) = (self.tree, self.leaves, self.shown);
        if timeless(tree, leaves) {
            return (Bracket { on_time: estimate.on_time.clone(), latency: None }, None);
        }
        let root = tree.root();
        let smooth = buckets == BucketError::Interpolate;
        let margins = margins(tree);
        let margin = |at: usize| if smooth { 0.0 } else { margins[at] };
        let shown_margin = (!smooth).then(|| margin(root));
        let (on_time, as_estimated) = if smooth && is_certain(tree, leaves) {
            (estimate.on_time.clone(), true)
        } else {
            (self.engine().deadlines(BRACKET, BRACKET_CELLS, margin), false)
        };
        let mut worst = Engine { tree, leaves: careful, transforms: self.transforms };
        let careful_on_time = if std::ptr::eq(careful, leaves) || !tree.has_deadline {
            on_time.clone()
        } else {
            worst.deadlines(BRACKET, BRACKET_CELLS, margin)
        };
        let reach = |engine: &mut Engine<'_>, level| {
            engine.horizon(root, &[Reading::Late], &careful_on_time, level).max(estimate.horizon)
        };
        let mut horizon = reach(&mut worst, self.level);
        // Far enough for every finite bucket edge, also those in which nothing was seen.
        let limit = horizon_bound(tree, root, leaves, Reading::Late, 0.0).max(horizon);
        let sampling = sampling((horizon, uncertainty::LONGER_THAN_SEEN * limit), worst.transforms);
        let harder = sampling
            .iter()
            .flat_map(|sampling| sampling.bounds.iter().map(|bound| sampling.restated.harder(bound.q)));
        let level = harder.filter(|&level| level < 1.0).fold(self.level, f64::max).min(HIGHEST_LEVEL);
        if level > self.level {
            horizon = horizon.max(reach(&mut worst, level));
        }
        let mut one_side = |leaves: &[Leaf], reading, on_time: &[Option<Bounds>], grid, margin| {
            let mut engine = Engine { tree, leaves, transforms: self.transforms };
            let curves = engine.independent(root, grid, &[reading], on_time, |_, _| {});
            Conditional::new(&curves[0].success, grid, reading, margin)
        };
        let grid = Grid::new(horizon, BRACKET_CELLS);
        let late = one_side(careful, Reading::Late, &careful_on_time, grid, shown_margin);
        let early = if as_estimated {
            estimate.law.clone()
        } else {
            one_side(leaves, Reading::Early, &on_time, Grid::new(estimate.horizon, EARLY_CELLS), shown_margin)
        };
        let buckets = if as_estimated {
            estimate.law.quantile(shown)
        } else if sampling.is_none() {
            late.quantile(shown)
        } else {
            let coarse = Grid::new(horizon, WIDTH_CELLS);
            let law = one_side(leaves, Reading::Late, &on_time, coarse, None);
            law.quantile(shown) + margin(root) * grid.step
        };
        (Bracket { on_time, latency: Some(LatencyBracket { late, early, buckets }) }, sampling)
    }
}

/// Whether the bracket of interpolated laws is the estimate.
fn is_certain(tree: &Tree, leaves: &[Leaf]) -> bool {
    leaves.iter().all(|leaf| !leaf.vacuous && !leaf.timeless && !leaf.assumed_failure_time)
        && tree.flaws.is_empty()
        && !tree.has_jitter()
}

/// For each node, how many cells rounding onto the grid may have moved its time.
fn margins(tree: &Tree) -> Vec<f64> {
    let mut terms: Vec<f64> = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let below = || node.operands.iter().map(|&operand| terms[operand]);
        terms.push(match &node.kind {
            Kind::Leaf(_) => 1.0,
            Kind::Series | Kind::Fallback | Kind::Timeout(_) => below().sum(),
            Kind::Parallel | Kind::Race | Kind::KofN(_) | Kind::Cond(_) | Kind::Optional(_) => {
                below().fold(0.0, f64::max)
            }
            Kind::Hedge(_) => below().fold(0.0, f64::max) + 1.0,
            Kind::Retry { attempts, .. } => f64::from(*attempts) * (below().sum::<f64>() + 1.0),
            Kind::Repeat(counts) => {
                let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
                f64::from(most) * below().sum::<f64>()
            }
        });
    }
    terms.iter().map(|&n| 1.0 + if n > 1.0 { ROUNDING * n.sqrt() } else { 0.0 }).collect()
}
