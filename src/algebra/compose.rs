//! The composer: from a journey and its evidence to a [`Composition`].
//!
//! In this order: the estimate (independent, interpolated); the bracket of the buckets under independence; the
//! scenarios of shared fate, where anything shares fate; availability under each assumption, with the deadlines that
//! follow from those; then what readers see.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use super::allocation::Allocating;
use super::availability::{self, Bounds};
use super::availability_sampling::AvailabilitySampling;
use super::composition::{Bounded, ByDependence, Composition, Interval, LatencyQuantile, NodeResult, Side};
use super::curve::Reading;
use super::engine::{BRACKET, DEADLINE_MARGIN, ESTIMATE, Engine, deadline, horizon_bound};
use super::explanation;
use super::fold::{Grid, Readings};
use super::leaf::{Condition, Leaf, Outcome};
use super::readout::{Conditional, LatencySide, bounded_probability, bounded_seconds, curves, seconds};
use super::scenario::{self, Plan};
use super::tape::TapeTransform;
use super::tree::{Kind, Tree};
use super::uncertainty::{self, Moved, SampledLatency, Samples, Unknown, UnknownSides};
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::governance::{BucketError, Dependence};
use crate::unit::{Probability, Quantile, Seconds};

/// Cells of the grid of estimates, and of the bracket.
const CELLS: usize = 1024;
const BRACKET_CELLS: usize = 2048;
/// Cells of the scenarios' grid: enough for 1 %.
const SCENARIO_CELLS: usize = 256;
/// A scenario's grid ends this much after the time at which its slowest outcomes would add up.
const SCENARIO_MARGIN: f64 = 1.25;
/// How many cells rounding onto a grid may move a sum of n times, over √n: Hoeffding's bound at 1e-4 for independent
/// errors within a cell.
const ROUNDING: f64 = 2.15;
/// The level that grids must reach even where no quantile asks for it.
const LEAST_LEVEL: f64 = 0.999;

/// Composes journeys; it keeps what one composition can reuse of another, and no result.
#[derive(Default)]
pub struct Composer {
    transforms: Transforms,
    /// The transform of standard errors.
    errors: Option<TapeTransform>,
}

impl Composer {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The transforms planned so far.
    pub(crate) fn transforms(&mut self) -> &mut Transforms {
        &mut self.transforms
    }

    /// Composes. The latency quantiles are the journey's and `quantiles`, rising and unique.
    ///
    /// `journey` has passed [`Journey::check`] and `evidence` has one entry for each of its components; a parameter
    /// without a legal value is any probability.
    #[must_use]
    pub fn compose(&mut self, journey: &Journey, evidence: &Evidence, quantiles: &[Quantile]) -> Composition {
        let tree = Tree::new(journey, evidence);
        let buckets = journey.governance.bucket_error;
        let leaves: Vec<Leaf> =
            evidence.components.iter().map(|component| Leaf::new(component, buckets)).collect();
        let levels = levels(journey, quantiles);
        let estimate = self.estimate(&tree, &leaves, journey, &levels);
        let shared = self.shared(journey, evidence, &tree, &leaves, &estimate, highest(&levels));
        let bracket = self.bracket(&tree, &leaves, buckets, &estimate, highest(&levels), true);
        let samples = Samples::new(evidence, &journey.governance);
        let moved = self.moved(&tree, &samples, &levels, &bracket, &leaves);
        let sampled: Vec<SampledLatency> = moved
            .iter()
            .map(|moved| self.sampled(journey, evidence, &tree, &estimate, moved, highest(&levels)))
            .collect();
        let mut exact: Vec<Bounds> = leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let reported: Vec<(Dependence, Vec<Bounds>)> = Dependence::REPORTED
            .into_iter()
            .map(|dependence| {
                let case = Case { tree: &tree, leaves: &leaves, readings: ESTIMATE, dependence };
                (
                    dependence,
                    case.availability(&exact, &estimate.on_time, shared.as_ref().map(|s| &s.estimates)),
                )
            })
            .collect();
        for (bounds, leaf) in exact.iter_mut().zip(&leaves) {
            *bounds = leaf.bounds();
        }
        let dependence = journey.governance.dependence;
        let case = Case { tree: &tree, leaves: &leaves, readings: BRACKET, dependence };
        let root = tree.root();
        let scenarios = shared.as_ref().map(|s| &s.brackets);
        let policy = case.availability(&exact, &bracket.on_time, scenarios);
        let on_time = case.timeliness(&exact, &bracket.on_time, scenarios);
        let sampled_availability =
            |dependence: Dependence, on_time: &[Bounds], transform: &mut TapeTransform| {
                AvailabilitySampling {
                    tree: &tree,
                    samples: &samples.samples,
                    placement: samples.placement,
                    dependence,
                    leaves: &exact,
                    on_time,
                    confidence: journey.governance.confidence,
                }
                .bounds(transform)
            };
        let allocation = journey.objectives.availability.as_ref().and_then(|objective| {
            let availability: Vec<f64> = leaves.iter().map(|leaf| leaf.availability).collect();
            let unknown: Vec<bool> = leaves.iter().map(|leaf| leaf.vacuous).collect();
            let allocating = Allocating {
                tree: &tree,
                dependence,
                availability: &availability,
                unknown: &unknown,
                policy: &policy,
                on_time: &on_time,
            };
            allocating.meet(objective.target)
        });
        let mut policy = policy;
        let independent_on_time: Vec<Bounds> =
            bracket.on_time.iter().map(|bounds| bounds.unwrap_or(Bounds::VACUOUS)).collect();
        let transform = self.errors.get_or_insert_with(uncertainty::transform);
        policy[root] = sampled_availability(dependence, &on_time, transform);
        let independently_sampled =
            sampled_availability(Dependence::Independent, &independent_on_time, transform);
        let components = samples.components(&leaves);
        for (node, bounds) in tree.nodes.iter().zip(&mut policy) {
            if let Kind::Leaf(component) = node.kind {
                *bounds = components[component];
            }
        }
        let unknown =
            Unknown { tree: &tree, leaves: &leaves, moved: &moved, policy: dependence, levels: &levels };
        let unknown = if bracket.conditional.is_empty() {
            FxHashMap::default()
        } else {
            unknown.sides(&mut self.transforms)
        };
        let latency = Latency::new(&estimate, &bracket, shared.as_ref(), dependence, &sampled, unknown);
        let availability =
            bounded_probability(estimate.availability[root].lower, policy[root].lower, policy[root].upper);
        let latencies: Vec<LatencyQuantile> = levels.iter().map(|&level| latency.quantile(level)).collect();
        let shown = latencies
            .iter()
            .flat_map(|latency| Side::ALL.map(|side| latency.value.side(side).get()))
            .chain(journey.latency_buckets.iter().map(|edge| edge.get()))
            .chain(journey.objectives.latency.iter().map(|objective| objective.threshold.get()));
        let curves = curves(
            &latency.estimate,
            &latency.pessimistic,
            &latency.optimistic,
            &availability,
            &shown.collect::<Vec<_>>(),
        );
        let node = node_result(&tree, root, journey, &estimate, &policy, &reported);
        let explained = explanation::Explained {
            journey,
            evidence,
            tree: &tree,
            leaves: &leaves,
            policy: &policy,
            components: &components,
        };
        let mut warnings = explained.warnings();
        warnings.extend(
            shared.iter().filter(|shared| shared.shares_factor).map(|_| explanation::shared_factor()),
        );
        warnings.sort();
        warnings.dedup();
        let shown = explanation::shown_quantile(journey);
        let width = if latency.estimate.quantile(shown).is_finite() {
            let buckets = bracket.conditional.first().map_or(0.0, |late| late.quantile(shown));
            let buckets = buckets.max(latency.estimate.quantile(shown));
            let level = sampled.iter().rfind(|sampled| sampled.q <= shown);
            let samples = level
                .map_or(buckets, |sampled| sampled.late[0].quantile(shown).max(sampled.time).max(buckets));
            let all = latency.pessimistic.quantile(shown).max(samples);
            uncertainty::width(latency.estimate.quantile(shown), [buckets, samples, all])
        } else {
            let own = estimate.availability[root].lower;
            let buckets =
                availability::fold(&tree, &exact, |at, _| independent_on_time[at], Dependence::Independent);
            let buckets = buckets[root].lower.min(own);
            let samples = independently_sampled.lower.min(buckets);
            uncertainty::width(own, [buckets, samples, policy[root].lower.min(samples)])
        };
        Composition {
            availability,
            availability_by_dependence: node.by_dependence.clone(),
            latency: latencies,
            curves,
            root: node,
            components: explained.components(
                &estimate.availability,
                &estimate.on_time,
                self,
                &latency.estimate,
            ),
            domains: explained.domains(&estimate.availability, &estimate.on_time),
            width,
            allocation,
            warnings,
        }
    }

    /// The leaves at the design points of the samples, for each level.
    fn moved(
        &mut self,
        tree: &Tree,
        samples: &Samples<'_>,
        levels: &[Quantile],
        bracket: &Bracket,
        leaves: &[Leaf],
    ) -> Vec<Moved> {
        let Some(late) = bracket.conditional.first() else { return Vec::new() };
        let transform = self.errors.get_or_insert_with(uncertainty::transform);
        // Far enough for every finite bucket edge, also those in which nothing was seen.
        let limit = horizon_bound(tree, tree.root(), leaves, Reading::Late, 0.0);
        let limit = uncertainty::LONGER_THAN_SEEN * limit.max(late.end());
        samples.moved(tree, levels, late.end(), limit, transform)
    }

    /// The bracket at one design point, under independence and in each scenario.
    fn sampled(
        &mut self,
        journey: &Journey,
        evidence: &Evidence,
        tree: &Tree,
        estimate: &Estimate,
        moved: &Moved,
        level: f64,
    ) -> SampledLatency {
        let buckets = journey.governance.bucket_error;
        let mut fold = |leaves: &[Leaf], side: usize| -> Vec<Conditional> {
            let own = self.bracket(tree, leaves, buckets, estimate, level, false).conditional;
            let shared = self.shared(journey, evidence, tree, leaves, estimate, level);
            let scenarios = shared.into_iter().flat_map(|shared| shared.bracket);
            std::iter::once(own).chain(scenarios).map(|both| both[side].clone()).collect()
        };
        let (late, early) = (fold(&moved.worst, 0), fold(&moved.best, 1));
        SampledLatency { q: moved.q, time: moved.time, late, early }
    }

    /// The fold under independence, interpolated.
    fn estimate(&mut self, tree: &Tree, leaves: &[Leaf], journey: &Journey, levels: &[Quantile]) -> Estimate {
        let mut engine = Engine { tree, leaves, transforms: &mut self.transforms };
        let on_time = engine.deadlines(ESTIMATE, CELLS, |_| 0.0);
        let exact: Vec<Bounds> = leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let availability = availability::fold(
            tree,
            &exact,
            |at, _| on_time[at].unwrap_or(Bounds::VACUOUS),
            Dependence::Independent,
        );
        if timeless(tree, leaves) {
            let node_latency = vec![f64::INFINITY; tree.nodes.len()];
            return Estimate {
                on_time,
                availability,
                node_latency,
                conditional: vec![Conditional::never()],
                horizon: 1.0,
            };
        }
        let horizon = engine.horizon(tree.root(), ESTIMATE, &on_time, highest(levels));
        let grid = Grid::new(horizon, CELLS);
        let shown = explanation::shown_quantile(journey);
        let mut node_latency = vec![f64::INFINITY; tree.nodes.len()];
        let mut curves = engine.independent(tree.root(), grid, ESTIMATE, &on_time, |at, curves| {
            node_latency[at] = match tree.nodes[at].kind {
                Kind::Leaf(component) => {
                    leaves[component].law(Outcome::Success, Reading::Exact).quantile(shown)
                }
                _ => Conditional::new(&curves[0].success, grid, Reading::Exact, None).quantile(shown),
            };
        });
        let conditional = conditionals(&curves, grid, ESTIMATE, None);
        curves.clear();
        Estimate { on_time, availability, node_latency, conditional, horizon }
    }

    /// The bracket of the buckets under independence; where the bracket is the estimate, it is not folded again.
    fn bracket(
        &mut self,
        tree: &Tree,
        leaves: &[Leaf],
        buckets: BucketError,
        estimate: &Estimate,
        level: f64,
        as_estimated: bool,
    ) -> Bracket {
        if timeless(tree, leaves) {
            return Bracket { on_time: estimate.on_time.clone(), conditional: Vec::new() };
        }
        let smooth = buckets == BucketError::Interpolate;
        let certain = leaves.iter().all(|leaf| !leaf.vacuous && !leaf.timeless && !leaf.assumed_failure_time);
        if as_estimated && smooth && certain && tree.flaws.is_empty() && !tree.has_jitter() {
            let conditional = vec![estimate.conditional[0].clone(), estimate.conditional[0].clone()];
            return Bracket { on_time: estimate.on_time.clone(), conditional };
        }
        let margins = margins(tree);
        let margin = |at: usize| if smooth { 0.0 } else { margins[at] };
        let mut engine = Engine { tree, leaves, transforms: &mut self.transforms };
        let on_time = engine.deadlines(BRACKET, BRACKET_CELLS, margin);
        let root = tree.root();
        let horizon = engine.horizon(root, BRACKET, &on_time, level).max(estimate.horizon);
        let grid = Grid::new(horizon, BRACKET_CELLS);
        let curves = engine.independent(root, grid, BRACKET, &on_time, |_, _| {});
        let conditional = conditionals(&curves, grid, BRACKET, (!smooth).then(|| margin(root)));
        Bracket { on_time, conditional }
    }

    /// The scenario family; `None` where nothing slows together.
    fn shared(
        &mut self,
        journey: &Journey,
        evidence: &Evidence,
        tree: &Tree,
        leaves: &[Leaf],
        estimate: &Estimate,
        level: f64,
    ) -> Option<Shared> {
        let slows = |domain: usize| {
            journey.domains[domain].latency != crate::journey::domain::DomainLatency::Independent
        };
        let grouped = Tree::grouped(journey, evidence, slows);
        let family = scenario::family(journey, &grouped);
        if family.is_empty() || timeless(tree, leaves) {
            return None;
        }
        let smooth = journey.governance.bucket_error == BucketError::Interpolate;
        let bracketed =
            matches!(journey.governance.dependence, Dependence::SharedFate | Dependence::PaperEq1);
        let places: FxHashMap<usize, usize> =
            tree.nodes.iter().enumerate().map(|(at, node)| (node.origin, at)).collect();
        let mut engine = Engine { tree: &grouped, leaves, transforms: &mut self.transforms };
        let root = grouped.root();
        let plan = Plan::new(&grouped, root);
        let mut shared = Shared {
            estimates: Timeliness::default(),
            brackets: Timeliness::default(),
            conditional: Vec::new(),
            bracket: Vec::new(),
            shares_factor: plan.shares_factor,
        };
        for at in 0..grouped.nodes.len() {
            let node = &grouped.nodes[at];
            let (Some(after), Some(&place)) = (deadline(&node.kind), places.get(&node.origin)) else {
                continue;
            };
            let body = node.operands[0];
            let plan = Plan::new(&grouped, body);
            if !plan.acts() {
                continue;
            }
            let grid = Grid::new(DEADLINE_MARGIN * after, SCENARIO_CELLS);
            for scenario in &family {
                let mut by = |readings: &[Reading]| -> Vec<(f64, f64)> {
                    let curves = engine.scenario(&plan, scenario, body, grid, readings);
                    let read = |(curves, &reading): (&super::fold::NodeCurves, &Reading)| {
                        (grid.value(&curves.success, reading, after), curves.success.total)
                    };
                    curves.iter().zip(readings).map(read).collect()
                };
                shared.estimates.add(place, &by(ESTIMATE));
                if bracketed {
                    shared.brackets.add(place, &by(BRACKET));
                }
            }
        }
        let end = |reading| {
            let slowest = horizon_bound(&grouped, root, leaves, reading, 0.5 * (1.0 - level));
            (SCENARIO_MARGIN * slowest).max(estimate.horizon)
        };
        for scenario in &family {
            let mut run = |readings: &[Reading], margin: Option<f64>| {
                let grid = Grid::new(end(readings[0]), SCENARIO_CELLS);
                let curves = engine.scenario(&plan, scenario, root, grid, readings);
                conditionals(&curves, grid, readings, margin)
            };
            shared.conditional.extend(run(ESTIMATE, None));
            if bracketed {
                shared.bracket.push(run(BRACKET, (!smooth).then_some(1.0)));
            }
        }
        Some(shared)
    }
}

/// The fold of the estimate alone, from leaf laws that are tabulated already: what recomposition costs where nothing but
/// the numbers changed. For measurements; [`Composer::compose`] gives the numbers.
pub struct EstimateOnly {
    tree: Tree,
    leaves: Vec<Leaf>,
    horizon: f64,
    on_time: Vec<Option<Bounds>>,
}

impl EstimateOnly {
    /// Tabulates the leaves' laws and finds the grid.
    #[must_use]
    pub fn new(journey: &Journey, evidence: &Evidence) -> Self {
        let tree = Tree::new(journey, evidence);
        let leaves: Vec<Leaf> = evidence
            .components
            .iter()
            .map(|component| Leaf::new(component, journey.governance.bucket_error))
            .collect();
        let mut transforms = Transforms::new();
        let mut engine = Engine { tree: &tree, leaves: &leaves, transforms: &mut transforms };
        let on_time = engine.deadlines(ESTIMATE, CELLS, |_| 0.0);
        let horizon = engine.horizon(tree.root(), ESTIMATE, &on_time, LEAST_LEVEL);
        Self { tree, leaves, horizon, on_time }
    }

    /// Folds on a grid that ends at `scale` times the horizon, and reads the p99.
    #[must_use]
    pub fn fold(&self, composer: &mut Composer, scale: f64) -> Seconds {
        let mut engine =
            Engine { tree: &self.tree, leaves: &self.leaves, transforms: &mut composer.transforms };
        let grid = Grid::new(self.horizon * scale, CELLS);
        let curves = engine.independent(self.tree.root(), grid, ESTIMATE, &self.on_time, |_, _| {});
        seconds(Conditional::new(&curves[0].success, grid, Reading::Exact, None).quantile(0.99))
    }
}

/// The fold under independence.
struct Estimate {
    on_time: Vec<Option<Bounds>>,
    availability: Vec<Bounds>,
    /// Each node's quantile of the objective, in seconds.
    node_latency: Vec<f64>,
    /// One.
    conditional: Vec<Conditional>,
    horizon: f64,
}

/// The bracket of the buckets under independence: late, early.
struct Bracket {
    on_time: Vec<Option<Bounds>>,
    conditional: Vec<Conditional>,
}

/// The members of the scenario family.
struct Shared {
    estimates: Timeliness,
    brackets: Timeliness,
    /// One for each member.
    conditional: Vec<Conditional>,
    /// Late and early for each member, where the policy asks for them.
    bracket: Vec<Vec<Conditional>>,
    shares_factor: bool,
}

/// How the body of a node with a deadline fares in the worst and the best member of the family.
#[derive(Default)]
struct Timeliness {
    /// By node: the least and the greatest P(success by the deadline), and the least share of successes by it.
    by_node: FxHashMap<usize, (Bounds, f64)>,
}

impl Timeliness {
    /// `by` holds for each reading P(success by the deadline) and P(success).
    fn add(&mut self, node: usize, by: &[(f64, f64)]) {
        let (Some(&(late, total)), Some(&(early, _))) = (by.first(), by.last()) else { return };
        let share = if total > 0.0 { (late / total).min(1.0) } else { 0.0 };
        let known = self.by_node.entry(node).or_insert((Bounds { lower: late, upper: early }, share));
        known.0.lower = known.0.lower.min(late);
        known.0.upper = known.0.upper.max(early);
        known.1 = known.1.min(share);
    }
}

/// Bounds of availability under one assumption.
struct Case<'a> {
    tree: &'a Tree,
    leaves: &'a [Leaf],
    readings: &'a [Reading],
    dependence: Dependence,
}

impl Case<'_> {
    /// For each node with a deadline, the bounds that [`Self::availability`] takes of its body's P(success by it).
    fn timeliness(
        &self,
        leaves: &[Bounds],
        independent: &[Option<Bounds>],
        scenarios: Option<&Timeliness>,
    ) -> Vec<Bounds> {
        let met = RefCell::new(vec![Bounds::VACUOUS; self.tree.nodes.len()]);
        self.folded(leaves, independent, scenarios, &|at, bounds| met.borrow_mut()[at] = bounds);
        met.into_inner()
    }

    fn availability(
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
fn timeless(tree: &Tree, leaves: &[Leaf]) -> bool {
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

/// The latency of the journey, three ways and under each assumption.
struct Latency {
    estimate: Conditional,
    pessimistic: LatencySide,
    optimistic: LatencySide,
    by_dependence: Vec<(Dependence, LatencySide, LatencySide)>,
}

impl Latency {
    fn new(
        estimate: &Estimate,
        bracket: &Bracket,
        shared: Option<&Shared>,
        policy: Dependence,
        sampled: &[SampledLatency],
        mut unknown: FxHashMap<Dependence, UnknownSides>,
    ) -> Self {
        let own = &estimate.conditional[0];
        let scenarios = |side: usize| -> Vec<Conditional> {
            shared.iter().flat_map(|shared| &shared.bracket).map(|both| both[side].clone()).collect()
        };
        let mut late: Vec<Conditional> = bracket.conditional.first().cloned().into_iter().collect();
        let mut early: Vec<Conditional> = bracket.conditional.get(1).cloned().into_iter().collect();
        let shares_fate = matches!(policy, Dependence::SharedFate | Dependence::PaperEq1);
        if shares_fate {
            late.extend(scenarios(0));
            early.extend(scenarios(1));
        }
        for sampled in sampled {
            let members = if shares_fate { sampled.late.len() } else { 1 };
            late.extend(sampled.late.iter().take(members).cloned());
            early.extend(sampled.early.iter().take(members).cloned());
        }
        let floors = sampled.iter().map(|sampled| (sampled.q, sampled.time)).collect();
        let nothing_measured = late.is_empty();
        let (mut pessimistic, mut optimistic) = if nothing_measured {
            (LatencySide::Never, LatencySide::AtOnce)
        } else {
            (LatencySide::Worst(late, floors), LatencySide::Best(early))
        };
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
                let mut all = vec![own.clone()];
                if dependence == Dependence::SharedFate {
                    all.extend(shared.iter().flat_map(|shared| shared.conditional.iter().cloned()));
                }
                (dependence, LatencySide::Best(all.clone()), LatencySide::Worst(all, Vec::new()))
            })
            .collect();
        Self { estimate: own.clone(), pessimistic, optimistic, by_dependence }
    }

    fn quantile(&self, level: Quantile) -> LatencyQuantile {
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

fn conditionals(
    curves: &Readings,
    grid: Grid,
    readings: &[Reading],
    margin: Option<f64>,
) -> Vec<Conditional> {
    curves
        .iter()
        .zip(readings)
        .map(|(curves, &reading)| Conditional::new(&curves.success, grid, reading, margin))
        .collect()
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

fn highest(levels: &[Quantile]) -> f64 {
    levels.iter().map(|level| level.get()).fold(LEAST_LEVEL, f64::max)
}

/// The journey's quantiles and those asked for, rising and unique.
fn levels(journey: &Journey, quantiles: &[Quantile]) -> Vec<Quantile> {
    let mut levels: Vec<Quantile> = journey.quantiles.iter().chain(quantiles).copied().collect();
    levels.sort_by(|a, b| a.get().total_cmp(&b.get()));
    levels.dedup();
    levels
}

fn node_result(
    tree: &Tree,
    at: usize,
    journey: &Journey,
    estimate: &Estimate,
    policy: &[Bounds],
    reported: &[(Dependence, Vec<Bounds>)],
) -> NodeResult {
    let node = &tree.nodes[at];
    let own = estimate.availability[at].lower;
    let by_dependence: ByDependence<Probability> = reported
        .iter()
        .map(|(dependence, bounds)| {
            let interval = Interval {
                lower: Probability::saturating(bounds[at].lower.min(own)),
                upper: Probability::saturating(bounds[at].upper.max(own)),
            };
            (*dependence, interval)
        })
        .collect();
    let (label, keyword, formula) = explanation::named(&node.kind, node.operands.len(), journey);
    let availability: Bounded<Probability> = bounded_probability(own, policy[at].lower, policy[at].upper);
    NodeResult {
        label,
        keyword,
        formula,
        availability,
        by_dependence,
        latency_estimate: seconds(estimate.node_latency[at]),
        children: node
            .operands
            .iter()
            .map(|&operand| node_result(tree, operand, journey, estimate, policy, reported))
            .collect(),
    }
}
