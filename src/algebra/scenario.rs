//! The scenario family of shared fate for latency (semantics §2): the members of a domain follow one common factor.
//!
//! Given the factor all leaves are independent, so that the fold runs once for each of its nodes and the results are
//! averaged. A factor is conditioned on where the leaves that share it meet (its *anchor*): a subtree without such a
//! leaf is computed once. Two factors that meet below one anchor are taken to be the same one.

use super::availability::Bounds;
use super::common_rank;
use super::curve::{Curve, Reading, Spectra};
use super::engine::{Engine, Plain, nothing};
use super::fold::{Fold, Grid, Leaves, NodeCurves, Readings};
use super::leaf::{Condition, Leaf, Outcome};
use super::tree::{Kind, Tree};
use crate::distribution::normal;
use crate::distribution::stepped::SteppedLaws;
use crate::journey::Journey;
use crate::journey::domain::DomainLatency;
use crate::journey::operator::AttemptsFate;

/// The correlations of the family beside 0.
const FAMILY: [f64; 3] = [0.5, 0.8, 1.0];
/// Nodes of the common factor's quadrature below and above its median. The masses above fall geometrically, so that
/// the slow and failing tail is resolved down to the last mass.
const NODES_BELOW: usize = 5;
const NODES_ABOVE: usize = 18;
/// The mass of the last part, of a factor and of common ranks.
pub(crate) const LAST_MASS: f64 = 3e-5;
/// Finer parts for common ranks, where a leaf's law within one part is all that smooths the result.
const RANKS_BELOW: usize = 16;
const RANKS_ABOVE: usize = 80;

/// One member of the family: the correlation of each component with its factor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scenario {
    pub(crate) correlation: Vec<f64>,
}

/// What the family does with one tree.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// For each node whose result depends on a common factor, its anchor.
    anchor: Vec<Option<usize>>,
    /// The anchors at which several factors are taken to be one.
    pub(crate) shares_factor: bool,
}

/// The members of the family, apart from independence; empty where nothing slows together.
pub(crate) fn family(journey: &Journey, tree: &Tree) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for rho in FAMILY {
        let correlation = journey
            .components
            .iter()
            .map(|component| {
                let mut own: Option<f64> = None;
                for domain in &component.domains {
                    let said = match journey.domains[domain.0].latency {
                        DomainLatency::Shared => rho,
                        DomainLatency::Correlation(correlation) => correlation,
                        DomainLatency::Independent => continue,
                    };
                    own = Some(own.map_or(said, |own| own.max(said)));
                }
                // Without a domain only its own other calls share its factor.
                own.unwrap_or(rho)
            })
            .collect();
        let scenario = Scenario { correlation };
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
    }
    let plan = Plan::new(tree, tree.root());
    if !plan.acts() {
        return Vec::new();
    }
    // Members that differ only where no factor acts are one member.
    let acts: Vec<usize> = (0..tree.nodes.len())
        .filter(|&at| plan.anchor[at].is_some())
        .filter_map(|at| match tree.nodes[at].kind {
            Kind::Leaf(component) => Some(component),
            _ => None,
        })
        .collect();
    scenarios.dedup_by(|a, b| acts.iter().all(|&c| a.correlation[c] == b.correlation[c]));
    scenarios
}

impl Plan {
    /// Whether a common factor acts anywhere.
    pub(crate) fn acts(&self) -> bool {
        self.anchor.iter().any(Option::is_some)
    }

    /// Finds the anchors of the subtree of `top`.
    pub(crate) fn new(tree: &Tree, top: usize) -> Self {
        let mut plan = Self { anchor: vec![None; tree.nodes.len()], shares_factor: false };
        let mut active: Vec<usize> = Vec::new();
        plan.descend(tree, top, None, &mut active);
        plan
    }

    /// `active` are the classes whose factor is conditioned on at `anchor`, above this node.
    fn descend(&mut self, tree: &Tree, at: usize, anchor: Option<usize>, active: &mut Vec<usize>) {
        let node = &tree.nodes[at];
        let joining = joining_classes(tree, at);
        let depends = node.classes.iter().any(|class| active.contains(class));
        if depends {
            self.anchor[at] = anchor;
            let before = active.len();
            active.extend(
                joining.into_iter().filter(|class| !active[..before].contains(class)).collect::<Vec<_>>(),
            );
            // Below a factor of its own, another one is taken to be the same.
            self.shares_factor |= active.len() > before;
            for &operand in &node.operands {
                self.descend(tree, operand, anchor, active);
            }
            active.truncate(before);
        } else {
            let own = !joining.is_empty();
            self.shares_factor |= joining.len() > 1;
            let mut active = joining;
            if own {
                self.anchor[at] = Some(at);
            }
            for &operand in &node.operands {
                self.descend(tree, operand, own.then_some(at), &mut active);
            }
        }
    }
}

/// Whether an operator calls its body more than once, with calls that may share their fate (all of them, where nothing
/// is assumed anywhere).
pub(crate) fn repeats(kind: &Kind, nothing_assumed: bool) -> bool {
    match kind {
        Kind::Retry { attempts, fate, .. } => {
            *attempts > 1 && (nothing_assumed || *fate == AttemptsFate::Shared)
        }
        Kind::Repeat(counts) => counts.iter().any(|&(count, p)| count > 1 && p > 0.0),
        _ => false,
    }
}

/// The classes that two or more of a node's parts hold that run in one attempt.
pub(crate) fn joining_classes(tree: &Tree, at: usize) -> Vec<usize> {
    let node = &tree.nodes[at];
    if repeats(&node.kind, false) {
        return node.classes.clone();
    }
    // The branches of a condition exclude each other: what they share does not act together.
    if matches!(node.kind, Kind::Cond(_)) {
        return Vec::new();
    }
    let mut all: Vec<usize> =
        node.operands.iter().flat_map(|&operand| tree.nodes[operand].classes.iter().copied()).collect();
    all.sort_unstable();
    let mut joining: Vec<usize> =
        all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    joining.dedup();
    joining
}

/// One part of the common factor's law.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from: f64,
    to: f64,
    /// The factor's mean in this part.
    z: f64,
}

/// Parts with equal masses below the median, and masses falling geometrically to `LAST_MASS` above.
fn parts(below: usize, above: usize) -> Vec<Part> {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let ratio = (LAST_MASS / 0.5).powf(1.0 / (above - 1) as f64);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let mut edges: Vec<f64> = (0..below).map(|k| 0.5 * k as f64 / below as f64).collect();
    let mut tail = 0.5;
    for _ in 0..above {
        edges.push(1.0 - tail);
        tail *= ratio;
    }
    edges.push(1.0);
    let density =
        |rank: f64| if rank <= 0.0 || rank >= 1.0 { 0.0 } else { normal::density(normal::quantile(rank)) };
    edges
        .windows(2)
        .map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            Part { from, to, z: (density(from) - density(to)) / (to - from) }
        })
        .collect()
}

/// Leaves given a part of the common factor.
struct Conditioned<'a> {
    leaves: &'a [Leaf],
    scenario: &'a Scenario,
    part: Part,
    /// Which components follow the factor: a deadline may also ask for others.
    follow: &'a [bool],
}

impl Conditioned<'_> {
    fn condition(&self, component: usize) -> Condition {
        let rho = self.scenario.correlation[component];
        if rho <= 0.0 || !self.follow[component] {
            Condition::None
        } else if rho >= 1.0 {
            Condition::Ranks { from: self.part.from, to: self.part.to }
        } else {
            Condition::Factor { rho, z: self.part.z }
        }
    }
}

impl Leaves for Conditioned<'_> {
    fn curve(&self, component: usize, outcome: Outcome, reading: Reading, grid: Grid) -> Curve {
        self.leaves[component].curve(outcome, reading, self.condition(component), grid.step, grid.cells)
    }

    fn masses(&self, component: usize, reading: Reading, grid: Grid, masses: &mut [f64]) -> Option<f64> {
        self.leaves[component].success_masses(reading, self.condition(component), grid.step, masses)
    }

    fn jumps(&self, component: usize, reading: Reading, laws: &mut SteppedLaws) -> Option<f64> {
        self.leaves[component].success_jumps(reading, self.condition(component), laws)
    }

    fn success_by(&self, component: usize, reading: Reading, t: f64) -> f64 {
        self.leaves[component].success_by(reading, self.condition(component), t)
    }
}

impl Engine<'_> {
    /// Folds the subtree of `top` in one scenario. `on_time` gives deadlines of nodes that depend on no factor; the
    /// others are read off the grid, given the factor.
    pub(crate) fn scenario(
        &mut self,
        plan: &Plan,
        scenario: &Scenario,
        top: usize,
        grid: Grid,
        readings: &[Reading],
    ) -> Readings {
        let unknown = vec![None::<Bounds>; self.tree.nodes.len()];
        let common_ranks = scenario.correlation.iter().any(|&rho| rho >= 1.0);
        let parts =
            if common_ranks { parts(RANKS_BELOW, RANKS_ABOVE) } else { parts(NODES_BELOW, NODES_ABOVE) };
        let tree = self.tree;
        let mut results: Vec<Option<Readings>> = vec![None; tree.nodes.len()];
        for at in tree.nodes[top].first..=top {
            match plan.anchor[at] {
                Some(anchor) if anchor != at => {}
                // The Series above transforms it; that of a factor would take it as dependent.
                None if at != top
                    && tree.is_plain_term(at)
                    && tree.nodes[at].parent.is_none_or(|parent| plan.anchor[parent].is_none()) => {}
                Some(_) => {
                    let average =
                        self.average(plan, scenario, &parts, at, grid, readings, &unknown, &mut results);
                    results[at] = Some(average);
                }
                None => {
                    let mut fold = Fold {
                        tree,
                        grid,
                        readings,
                        leaves: &Plain(self.leaves),
                        on_time: &unknown,
                        transform: self.transforms.of(grid.cells),
                    };
                    results[at] = Some(fold.node(at, &results));
                }
            }
        }
        results[top].take().unwrap_or_else(|| nothing(readings, grid))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `scenario`, split off for its length")]
    fn average(
        &mut self,
        plan: &Plan,
        scenario: &Scenario,
        parts: &[Part],
        anchor: usize,
        grid: Grid,
        readings: &[Reading],
        unknown: &[Option<Bounds>],
        results: &mut [Option<Readings>],
    ) -> Readings {
        let tree = self.tree;
        let mut dependent: Vec<usize> =
            (tree.nodes[anchor].first..=anchor).filter(|&at| plan.anchor[at] == Some(anchor)).collect();
        let common = dependent.len() == anchor + 1 - tree.nodes[anchor].first
            && dependent.iter().all(|&at| match tree.nodes[at].kind {
                Kind::Leaf(component) => scenario.correlation[component] >= 1.0,
                _ => true,
            });
        if common && common_rank::applies(tree, anchor, self.leaves, readings) {
            return common_rank::fold(tree, anchor, self.leaves, grid, readings);
        }
        let mut follow = vec![false; self.leaves.len()];
        for &at in &dependent {
            if let Kind::Leaf(component) = tree.nodes[at].kind {
                follow[component] = true;
            }
        }
        // The leaves of a plain Series are transformed there.
        dependent.retain(|&at| at == anchor || !tree.is_plain_term(at));
        let sums = tree.is_plain_series(anchor);
        let mut average: Option<Readings> = None;
        let mut spectra: Vec<Option<Spectra>> = readings.iter().map(|_| None).collect();
        for &part in parts {
            let leaves = Conditioned { leaves: self.leaves, scenario, part, follow: &follow };
            let weight = part.to - part.from;
            let mut fold = Fold {
                tree,
                grid,
                readings,
                leaves: &leaves,
                on_time: unknown,
                transform: self.transforms.of(grid.cells),
            };
            for &at in dependent.iter().filter(|&&at| at != anchor) {
                results[at] = Some(fold.node(at, results));
            }
            if sums {
                // An average of sums is transformed back once.
                for (place, average) in spectra.iter_mut().enumerate() {
                    let next = fold.plain_series(anchor, place, results);
                    let terms = average.get_or_insert_with(|| Spectra::zero(fold.transform));
                    terms.add(weight, &next);
                }
            } else {
                add(&mut average, weight, fold.node(anchor, results));
            }
        }
        for &at in &dependent {
            results[at] = None;
        }
        if sums {
            let transform = self.transforms.of(grid.cells);
            let curve =
                |spectra: Spectra| NodeCurves { success: spectra.into_curve(transform), failure: None };
            return spectra.into_iter().flatten().map(curve).collect();
        }
        average.unwrap_or_else(|| nothing(readings, grid))
    }
}

fn add(average: &mut Option<Readings>, weight: f64, curves: Readings) {
    match average {
        None => {
            let mut first = curves;
            for node in &mut first {
                node.success.scale(weight);
                if let Some(failure) = &mut node.failure {
                    failure.scale(weight);
                }
            }
            *average = Some(first);
        }
        Some(sum) => {
            for (sum, curves) in sum.iter_mut().zip(&curves) {
                sum.success.add(weight, &curves.success);
                if let (Some(sum), Some(failure)) = (&mut sum.failure, &curves.failure) {
                    sum.add(weight, failure);
                }
            }
        }
    }
}
