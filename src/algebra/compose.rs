//! The composer: from a journey and its evidence to a [`Composition`].
//!
//! In this order: the estimate (independent, interpolated); the bracket of the buckets under independence; the
//! scenarios of shared fate, where anything shares fate; availability under each assumption, with the deadlines that
//! follow from those; then what readers see.

use std::cell::OnceCell;

use rustc_hash::FxHashMap;

use super::allocation::Allocating;
use super::alternative::Alternatives;
use super::availability::{self, Bounds};
use super::availability_sampling::AvailabilitySampling;
use super::composition::{
    Bounded, ByDependence, Composition, Interval, LatencyQuantile, NodeResult, Proven, Side,
};
use super::engine::{BRACKET, ESTIMATE, Engine};
use super::explanation;
use super::fold::Grid;
use super::independence::{CELLS, Estimate, Independence};
use super::latency::Latency;
use super::leaf::Leaf;
use super::readout::{bounded_probability, curves, exact_quantile, seconds};
use super::sampling::CarefulSamples;
use super::sensitivity;
use super::shared_fate::{Evidenced, SharedFate};
use super::timeliness::Case;
use super::tree::{Kind, Tree};
use super::uncertainty::{self, Samples, Unknown};
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::governance::{BucketError, Dependence};
use crate::unit::{Probability, Quantile, Seconds};

/// The level that grids must reach even where no quantile asks for it.
const LEAST_LEVEL: f64 = 0.999;

/// Composes journeys; it keeps what one composition can reuse of another, and no result.
#[derive(Default)]
pub struct Composer {
    transforms: Transforms,
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

    /// What the estimate would be, were one component different.
    ///
    /// `journey` and `evidence` are as [`Self::compose`] takes them.
    pub fn alternatives(&mut self, journey: &Journey, evidence: &Evidence) -> Alternatives<'_> {
        let leaves = leaves(evidence, journey.governance.bucket_error);
        let levels = (highest(&levels(journey, &[])), explanation::shown_quantile(journey));
        Alternatives::new(journey, evidence, leaves, levels, &mut self.transforms)
    }

    /// Composes. The latency quantiles are the journey's and `quantiles`, rising and unique.
    ///
    /// `journey` has passed [`Journey::check`] and `evidence` has one entry for each of its components; a parameter
    /// without a legal value is any probability.
    #[must_use]
    pub fn compose(&mut self, journey: &Journey, evidence: &Evidence, quantiles: &[Quantile]) -> Composition {
        let tree = Tree::new(journey, evidence);
        let root = tree.root();
        let governance = &journey.governance;
        let (dependence, buckets) = (governance.dependence, governance.bucket_error);
        let leaves = leaves(evidence, buckets);
        let levels = levels(journey, quantiles);
        let level = highest(&levels);
        let shown = explanation::shown_quantile(journey);
        let samples = Samples::new(evidence, governance);
        let (careful_samples, careful_leaves) = samples.careful_leaves().unzip();
        let careful = careful_leaves.as_deref().unwrap_or(&leaves);
        let mut independence =
            Independence { tree: &tree, leaves: &leaves, level, shown, transforms: &mut self.transforms };
        let estimate = independence.estimate();
        let (bracket, sampling) = independence.bracket(&estimate, careful, buckets, |reach, transforms| {
            let levels = sampled_levels(&levels, shown);
            careful_samples.map(|careful| samples.latency(careful, &tree, &levels, reach, transforms))
        });
        let design_leaves = OnceCell::new();
        let design = || -> Option<&[Leaf]> {
            let leaves = || sampling.as_ref().and_then(|sampling| samples.design_leaves(sampling, shown));
            design_leaves.get_or_init(leaves).as_deref()
        };
        let shared = SharedFate {
            journey,
            evidence,
            tree: &tree,
            evidenced: Evidenced { leaves: &leaves, careful, design: &design, sampling: sampling.as_ref() },
            level,
            shown,
            horizon: estimate.horizon,
            late: bracket.latency.as_ref().map_or(1.0, |latency| latency.late.end() / estimate.horizon),
        }
        .fold(&mut self.transforms);

        let exact: Vec<Bounds> = leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
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
        let bounds: Vec<Bounds> = leaves.iter().map(Leaf::bounds).collect();
        let case = Case { tree: &tree, leaves: &leaves, readings: BRACKET, dependence };
        let scenarios = shared.as_ref().map(|s| &s.brackets);
        let mut policy = case.availability(&bounds, &bracket.on_time, scenarios);
        let on_time = case.timeliness(&bounds, &bracket.on_time, scenarios);
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
        let sampled_availability =
            |dependence: Dependence, on_time: &[Bounds], transforms: &mut Transforms| {
                AvailabilitySampling {
                    tree: &tree,
                    samples: &samples.samples,
                    placement: samples.placement,
                    dependence,
                    leaves: &bounds,
                    on_time,
                    confidence: governance.confidence,
                }
                .bounds(transforms)
            };
        let sampled = sampled_availability(dependence, &on_time, &mut self.transforms);
        policy[root] = sampled.bounds;
        let components = samples.components(&leaves);
        for (node, bounds) in tree.nodes.iter().zip(&mut policy) {
            if let Kind::Leaf(component) = node.kind {
                *bounds = components[component];
            }
        }
        let by_buckets = bracket.latency.as_ref().map(|latency| latency.buckets);
        let unknown = if bracket.latency.is_none() {
            FxHashMap::default()
        } else {
            Unknown {
                tree: &tree,
                leaves: &leaves,
                careful,
                design: &design,
                sampling: sampling.as_ref(),
                policy: dependence,
                levels: &levels,
                shown,
            }
            .sides(&mut self.transforms)
        };
        let shares_factor = shared.as_ref().is_some_and(|shared| shared.shares_factor);
        let objective = journey.objectives.latency.as_ref().map(|objective| objective.threshold.get());
        let latency = Latency::new(
            &estimate,
            bracket.latency,
            sampling.as_ref(),
            shared,
            dependence,
            unknown,
            objective,
        );
        let own = estimate.law.quantile(shown);
        let width = match by_buckets {
            Some(by_buckets) if own.is_finite() => {
                let bounds = sampling.iter().flat_map(|sampling| &sampling.bounds);
                let sampled = bounds.filter(|bound| bound.q == shown).map(|bound| bound.time);
                let buckets = by_buckets.max(own);
                let samples = sampled.fold(buckets, f64::max);
                uncertainty::width(own, [buckets, samples, latency.pessimistic.quantile(shown).max(samples)])
            }
            _ => {
                let own = estimate.availability[root].lower;
                let independent: Vec<Bounds> =
                    bracket.on_time.iter().map(|bounds| bounds.unwrap_or(Bounds::VACUOUS)).collect();
                let buckets =
                    availability::fold(&tree, &bounds, |at, _| independent[at], Dependence::Independent);
                let buckets = buckets[root].lower.min(own);
                let sampled =
                    sampled_availability(Dependence::Independent, &independent, &mut self.transforms);
                let samples = sampled.bounds.lower.min(buckets);
                uncertainty::width(own, [buckets, samples, policy[root].lower.min(samples)])
            }
        };
        let availability =
            bounded_probability(estimate.availability[root].lower, policy[root].lower, policy[root].upper);
        let latencies: Vec<LatencyQuantile> = levels.iter().map(|&level| latency.quantile(level)).collect();
        let shown_times = latencies
            .iter()
            .flat_map(|latency| Side::ALL.map(|side| latency.value.side(side).get()))
            .chain(journey.latency_buckets.iter().map(|edge| edge.get()))
            .chain(journey.objectives.latency.iter().map(|objective| objective.threshold.get()));
        let curves = curves(
            &latency.estimate,
            &latency.pessimistic,
            &latency.optimistic,
            &availability,
            &shown_times.collect::<Vec<_>>(),
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
        warnings.extend(shares_factor.then(explanation::shared_factor));
        warnings.sort();
        warnings.dedup();
        Composition {
            availability,
            availability_by_dependence: node.by_dependence.clone(),
            proven: Proven {
                availability: Probability::saturating(sampled.proven),
                slower_than_objective: latency.proven_slow.map(Probability::saturating),
            },
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
}

/// A journey whose leaves' laws are tabulated already: what recomposition costs where nothing but the numbers changed. For
/// measurements; [`Composer::compose`] gives the numbers.
pub struct Tabulated<'a> {
    buckets: BucketError,
    tree: Tree,
    leaves: Vec<Leaf>,
    samples: Samples<'a>,
    careful: Option<(CarefulSamples, Vec<Leaf>)>,
    horizon: f64,
    on_time: Vec<Option<Bounds>>,
}

impl<'a> Tabulated<'a> {
    /// Tabulates the leaves' laws and finds the grid.
    #[must_use]
    pub fn new(journey: &'a Journey, evidence: &'a Evidence) -> Self {
        let tree = Tree::new(journey, evidence);
        let buckets = journey.governance.bucket_error;
        let leaves = leaves(evidence, buckets);
        let samples = Samples::new(evidence, &journey.governance);
        let careful = samples.careful_leaves();
        let mut transforms = Transforms::new();
        let mut engine = Engine { tree: &tree, leaves: &leaves, transforms: &mut transforms };
        let on_time = engine.deadlines(ESTIMATE, CELLS, |_| 0.0);
        let horizon = engine.horizon(tree.root(), ESTIMATE, &on_time, LEAST_LEVEL);
        Self { buckets, tree, leaves, samples, careful, horizon, on_time }
    }

    /// Where the grid of the estimate ends.
    #[must_use]
    pub fn horizon(&self) -> Seconds {
        seconds(self.horizon)
    }

    /// Folds on a grid that ends at `scale` times the horizon, and reads the p99.
    #[must_use]
    pub fn estimate(&self, composer: &mut Composer, scale: f64) -> Seconds {
        let mut engine =
            Engine { tree: &self.tree, leaves: &self.leaves, transforms: &mut composer.transforms };
        let grid = Grid::new(self.horizon * scale, CELLS);
        let curves = engine.independent(self.tree.root(), grid, ESTIMATE, &self.on_time, |_, _| {});
        let success = &curves[0].success;
        seconds(exact_quantile(&success.within, success.total, grid, 0.99))
    }

    /// The estimate, the derivatives of its p99 and its availability by every component, and the bound of its p99 by
    /// buckets and samples, which is returned with the derivatives.
    #[must_use]
    pub fn bounds(&self, composer: &mut Composer) -> (Seconds, Vec<f64>) {
        let (tree, leaves) = (&self.tree, &self.leaves);
        let careful = self.careful.as_ref().map_or(&leaves[..], |(_, leaves)| leaves);
        let q = 0.99;
        let mut independence =
            Independence { tree, leaves, level: LEAST_LEVEL, shown: q, transforms: &mut composer.transforms };
        let estimate = independence.estimate();
        let (bracket, sampling) =
            independence.bracket(&estimate, careful, self.buckets, |reach, transforms| {
                let samples = self.careful.as_ref().map(|(samples, _)| samples.clone());
                samples.map(|samples| self.samples.latency(samples, tree, &[q], reach, transforms))
            });
        let mut engine = Engine { tree, leaves, transforms: &mut composer.transforms };
        let mut derivatives = sensitivity::of_latency(&mut engine, estimate.law.end(), &estimate.on_time, q);
        derivatives.extend(sensitivity::of_availability(
            tree,
            leaves.len(),
            &estimate.availability,
            &estimate.on_time,
        ));
        let level = sampling.map_or(q, |sampling| sampling.restated.harder(q));
        let latest = bracket.latency.map_or(f64::INFINITY, |latency| latency.late.quantile(level));
        (seconds(latest), derivatives)
    }
}

fn leaves(evidence: &Evidence, buckets: BucketError) -> Vec<Leaf> {
    evidence.components.iter().map(|component| Leaf::new(component, buckets)).collect()
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

/// The levels whose sampling error is found: those shown, and the one that is explained.
fn sampled_levels(levels: &[Quantile], shown: f64) -> Vec<f64> {
    let mut all: Vec<f64> = levels.iter().map(|level| level.get()).chain([shown]).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
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
