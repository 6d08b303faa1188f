//! The sampling error of availability: Fay and Feuer's bound on the weighted count of everything that costs it.
//!
//! To first order the journey's unavailability is `Σ_i Σ_b l_ib x_ib / n_i` over all categories of all leaves (failures,
//! and under a deadline late successes), with the weights `l_ib = max_b' ∂A/∂p_ib' − ∂A/∂p_ib`. They are taken with one more
//! observation of the worst kind in every leaf: under redundancy they vanish at the estimate (three replicas without an
//! error prove nothing about a fourth call), and a bound from them covers the truth less than half of the time.
//!
//! Redundancy also bends: of three attempts that each fail one time more often, all fail more than three times more often.
//! What the samples may hide is spread over the leaves as is likeliest (the design point), and where the journey is worse there
//! than the weighted count says, that is the bound. (Without it the bounds of Retry and Race covered 92–94 %.)
//!
//! Where the policy's bound takes the best of m members, the member is chosen by the same data: it is held to the level
//! `1 − α/m`, so that the bound holds for whichever was chosen.

use super::availability::{Bounds, Refold};
use super::category::{Category, Placement};
use super::engine::DEADLINE_MARGIN;
use super::fold::Grid;
use super::influence::Influence;
use super::leaf::Outcome;
use super::sampling::{CELLS, Sample};
use super::tree::{Kind, Tree};
use crate::distribution::confidence::WeightedCount;
use crate::distribution::transform::Transforms;
use crate::journey::governance::Dependence;
use crate::journey::operator::AttemptsFate;
use crate::unit::Probability;

/// The least step of a difference quotient of availabilities.
const STEP: f64 = 1e-6;
/// More choices than this cost no more confidence: 1e-6 of α is beyond what counts can prove.
const MAX_CHOICES: f64 = 1e6;

/// What the bounds are computed from.
pub(crate) struct AvailabilitySampling<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) samples: &'a [Sample],
    pub(crate) placement: Placement,
    pub(crate) dependence: Dependence,
    /// The bounds of each component without a sampling term.
    pub(crate) leaves: &'a [Bounds],
    /// For each node with a deadline the bounds of the body's P(success by it) under the policy, without a sampling term.
    pub(crate) on_time: &'a [Bounds],
    pub(crate) confidence: Probability,
}

/// What the samples say about the journey's availability.
pub(crate) struct SampledAvailability {
    /// Under the policy, with the sampling error.
    pub(crate) bounds: Bounds,
    /// The policy's lower side is not above this: the dependence at its worst, the samples at their best.
    pub(crate) proven: f64,
}

impl AvailabilitySampling<'_> {
    /// Bounds of the journey's availability under the policy, with the sampling error.
    pub(crate) fn bounds(&self, transforms: &mut Transforms) -> SampledAvailability {
        let sampled = self.measured(transforms);
        match self.without_the_unknown() {
            None => sampled,
            Some((leaves, on_time)) => {
                let known = AvailabilitySampling { leaves: &leaves, on_time: &on_time, ..*self };
                SampledAvailability { proven: known.measured(transforms).proven, ..sampled }
            }
        }
    }

    /// Where nothing is known about some components: the bounds as if these never failed, and of what they are below the
    /// best. A gap proves no failure; that it is one is for the pessimistic side to say.
    fn without_the_unknown(&self) -> Option<(Vec<Bounds>, Vec<Bounds>)> {
        let unknown = |bounds: &Bounds| *bounds == Bounds::VACUOUS;
        if !self.leaves.iter().any(unknown) {
            return None;
        }
        let best = |bounds: &Bounds| Bounds::exactly(bounds.upper);
        let of = |bounds: &Bounds| if unknown(bounds) { best(bounds) } else { *bounds };
        let leaves = self.leaves.iter().map(of).collect();
        let mut on_time = self.on_time.to_vec();
        for (at, component) in self.under_deadlines() {
            if unknown(&self.leaves[component]) {
                on_time[at] = best(&self.on_time[at]);
            }
        }
        Some((leaves, on_time))
    }

    fn measured(&self, transforms: &mut Transforms) -> SampledAvailability {
        let estimate = Refold::new(self.tree, self.leaves, self.on_time, self.dependence).root();
        if !self.samples.iter().any(Sample::is_sampled) {
            return SampledAvailability { bounds: estimate, proven: estimate.lower };
        }
        let sizes = self.sizes();
        let deadlines = self.deadlines(&sizes, transforms);
        let mut leaves = self.leaves.to_vec();
        for (leaf, size) in leaves.iter_mut().zip(&sizes) {
            if size.is_finite() {
                *leaf = shifted(*leaf, -1.0 / size);
            }
        }
        let mut on_time = self.on_time.to_vec();
        for deadline in &deadlines {
            on_time[deadline.node] = shifted(on_time[deadline.node], -deadline.one_observation);
        }
        let mut refold = Refold::new(self.tree, &leaves, &on_time, self.dependence);
        let offset = refold.root();
        let mut occurrences: Vec<Vec<usize>> = vec![Vec::new(); leaves.len()];
        for (at, node) in self.tree.nodes.iter().enumerate() {
            if let Kind::Leaf(component) = node.kind {
                occurrences[component].push(at);
            }
        }
        // Derivatives of the lower and of the upper bound by every category.
        let mut derivatives: Vec<Vec<[f64; 2]>> =
            self.samples.iter().map(|sample| vec![[0.0; 2]; sample.categories.len()]).collect();
        for (component, sample) in self.samples.iter().enumerate() {
            if !sample.is_sampled() {
                continue;
            }
            let nodes = &occurrences[component];
            let above = refold.above(nodes.iter().copied());
            let slope =
                slope(leaves[component], sizes[component], |moved| refold.with_leaves(nodes, moved, &above));
            for (category, sum) in sample.categories.iter().zip(&mut derivatives[component]) {
                if category.outcome == Outcome::Success {
                    sum.iter_mut().zip(slope).for_each(|(a, b)| *a += b);
                }
            }
        }
        for deadline in &deadlines {
            let above = refold.above(std::iter::once(deadline.node));
            let size = 1.0 / deadline.one_observation.max(f64::MIN_POSITIVE);
            let slope = slope(on_time[deadline.node], size, |moved| {
                refold.with_deadline(deadline.node, moved, &above)
            });
            for (sums, by) in derivatives.iter_mut().zip(&deadline.derivatives) {
                for (sum, by) in sums.iter_mut().zip(by) {
                    sum.iter_mut().zip(slope).for_each(|(a, b)| *a += b * by);
                }
            }
        }
        let level = 1.0 - (1.0 - self.confidence.get()) / self.choices();
        let level = Probability::saturating(level);
        let (lower_count, lower_drift) = self.weigh(&sizes, &derivatives, 0);
        // What was seen is proven, however it came.
        let calls: Vec<f64> = self.samples.iter().map(|sample| sample.calls).collect();
        let (proven_count, _) = self.weigh(&calls, &derivatives, 0);
        let (upper_count, upper_drift) = self.weigh(&calls, &derivatives, 1);
        // The member that is best at the offset point is the one that was linearised: its value at the estimate is not
        // that of the member that is best there, so the less favourable of the two is taken.
        let start = estimate.lower.min(offset.lower + lower_drift);
        let excess = lower_count.upper(level) - lower_count.sum();
        let lower = (start - excess).min(self.at_design_point(&sizes, &derivatives, &deadlines, excess));
        let start = estimate.upper.max(offset.upper + upper_drift);
        let upper = start + (upper_count.sum() - upper_count.lower(level));
        let lower = lower.clamp(0.0, estimate.lower);
        let proven =
            estimate.lower.max(offset.lower + lower_drift) + (proven_count.sum() - proven_count.lower(level));
        SampledAvailability {
            bounds: Bounds { lower, upper: upper.clamp(estimate.upper, 1.0) },
            proven: proven.clamp(estimate.lower, 1.0),
        }
    }

    /// The lower bound where the categories have so much more weight than was seen, each in proportion to its share of the
    /// weighted count's variance.
    fn at_design_point(
        &self,
        sizes: &[f64],
        derivatives: &[Vec<[f64; 2]>],
        deadlines: &[Deadline],
        excess: f64,
    ) -> f64 {
        // By component and category: the weight of one count, and the counts.
        let mut counts: Vec<Vec<(f64, f64)>> = Vec::with_capacity(self.samples.len());
        for ((sample, &size), derivatives) in self.samples.iter().zip(sizes).zip(derivatives) {
            let most = derivatives.iter().map(|d| d[0]).fold(f64::NEG_INFINITY, f64::max);
            let of = |(category, d): (&Category, &[f64; 2])| {
                ((most - d[0]).max(0.0) / size, category.share * size)
            };
            counts.push(if sample.is_sampled() {
                sample.categories.iter().zip(derivatives).map(of).collect()
            } else {
                Vec::new()
            });
        }
        // The observation that has not been made yet.
        if let Some(heaviest) = counts.iter_mut().flatten().max_by(|a, b| a.0.total_cmp(&b.0)) {
            heaviest.1 += 1.0;
        }
        let variance: f64 = counts.iter().flatten().map(|(weight, count)| weight * weight * count).sum();
        if variance <= 0.0 {
            return f64::INFINITY;
        }
        let (mut leaves, mut on_time) = (self.leaves.to_vec(), self.on_time.to_vec());
        for (component, counts) in counts.iter().enumerate() {
            let (sample, size) = (&self.samples[component], sizes[component]);
            let moved = |(weight, count): &(f64, f64)| excess * weight * count / variance / size;
            let failing: f64 = counts
                .iter()
                .zip(&sample.categories)
                .filter(|(_, category)| category.outcome == Outcome::Failure)
                .map(|(count, _)| moved(count))
                .sum();
            leaves[component] = shifted(leaves[component], -failing);
            for deadline in deadlines {
                let by = &deadline.derivatives[component];
                let most = by.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let late: f64 = counts.iter().zip(by).map(|(count, by)| moved(count) * (most - by)).sum();
                on_time[deadline.node] = shifted(on_time[deadline.node], -late);
            }
        }
        Refold::new(self.tree, &leaves, &on_time, self.dependence).root().lower
    }

    /// The weighted count, and how much the linearisation gains on the way from the offset point to the estimate.
    fn weigh(&self, sizes: &[f64], derivatives: &[Vec<[f64; 2]>], side: usize) -> (WeightedCount, f64) {
        let mut count = WeightedCount::default();
        let mut drift = 0.0;
        for ((sample, &size), derivatives) in self.samples.iter().zip(sizes).zip(derivatives) {
            if !sample.is_sampled() {
                continue;
            }
            let all = || derivatives.iter().map(|d| d[side]);
            let most = all().fold(f64::NEG_INFINITY, f64::max);
            let mut worst: f64 = 0.0;
            for (category, derivative) in sample.categories.iter().zip(all()) {
                let loss = (most - derivative).max(0.0);
                worst = worst.max(loss);
                count.add(loss / size, category.share * size);
            }
            drift += worst / size;
        }
        (count, drift)
    }

    /// How many independent calls each component's sample is worth: below a deadline slow calls cost availability too.
    fn sizes(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.samples.iter().map(|sample| sample.failure_size).collect();
        for (_, component) in self.under_deadlines() {
            sizes[component] = self.samples[component].latency_size;
        }
        sizes
    }

    /// Each node with a deadline, with each component below it.
    fn under_deadlines(&self) -> impl Iterator<Item = (usize, usize)> {
        let nodes = &self.tree.nodes;
        let timed = nodes.iter().enumerate().filter(|(_, node)| deadline(&node.kind).is_some());
        timed.flat_map(|(at, node)| {
            nodes[node.first..at].iter().filter_map(move |below| match below.kind {
                Kind::Leaf(component) => Some((at, component)),
                _ => None,
            })
        })
    }

    fn deadlines(&self, sizes: &[f64], transforms: &mut Transforms) -> Vec<Deadline> {
        let mut careful: Option<Vec<Vec<Category>>> = None;
        let mut deadlines = Vec::new();
        for (at, node) in self.tree.nodes.iter().enumerate() {
            let Some(after) = deadline(&node.kind) else { continue };
            let body = node.operands[0];
            let careful = careful
                .get_or_insert_with(|| self.samples.iter().map(Sample::with_pseudo_observation).collect());
            let derivatives = match self.tree.nodes[body].kind {
                Kind::Leaf(component) => {
                    let mut derivatives: Vec<Vec<f64>> =
                        careful.iter().map(|sample| vec![0.0; sample.len()]).collect();
                    for (category, derivative) in careful[component].iter().zip(&mut derivatives[component]) {
                        if category.outcome == Outcome::Success {
                            *derivative = category.by(self.placement, after).0;
                        }
                    }
                    derivatives
                }
                _ => {
                    let grid = Grid::new(DEADLINE_MARGIN * after, CELLS);
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a cell of the grid"
                    )]
                    let cell = ((after / grid.step) as usize).saturating_sub(1).min(CELLS - 1);
                    Influence::new(self.tree, body, careful, self.placement, grid, transforms.of(CELLS))
                        .of_success(cell)
                }
            };
            let one_observation = derivatives
                .iter()
                .zip(sizes)
                .filter(|(_, size)| size.is_finite())
                .map(|(derivatives, size)| {
                    let most = derivatives.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let least = derivatives.iter().copied().fold(f64::INFINITY, f64::min);
                    (most - least).max(0.0) / size
                })
                .sum();
            deadlines.push(Deadline { node: at, derivatives, one_observation });
        }
        deadlines
    }

    /// Among how many members the policy's bound chooses.
    fn choices(&self) -> f64 {
        let one_group = self.dependence == Dependence::UnknownAll;
        if self.dependence == Dependence::Independent {
            return 1.0;
        }
        let mut choices = 1.0;
        for node in &self.tree.nodes {
            let takes_the_best = match &node.kind {
                Kind::Race | Kind::Fallback | Kind::Hedge(_) | Kind::KofN(_) => true,
                Kind::Timeout(_) => node.operands.len() > 1,
                Kind::Retry { fate, .. } => *fate == AttemptsFate::Independent && one_group,
                Kind::Series | Kind::Parallel => self.dependence == Dependence::PaperEq1,
                _ => false,
            };
            if !takes_the_best {
                continue;
            }
            let mut sizes = vec![0_usize; if one_group { 1 } else { node.groups }];
            node.group.iter().for_each(|&group| sizes[if one_group { 0 } else { group }] += 1);
            for size in sizes.into_iter().filter(|&size| size > 1) {
                choices *= match node.kind {
                    Kind::KofN(k) => 1.0 + subsets(size, k),
                    #[expect(clippy::cast_precision_loss, reason = "bounded by the fan-out")]
                    _ => size as f64,
                };
            }
        }
        f64::min(choices, MAX_CHOICES)
    }
}

/// When an operator gives up what it waits for.
const fn deadline(kind: &Kind) -> Option<f64> {
    match kind {
        Kind::Timeout(after) | Kind::Retry { per_try: Some(after), .. } => Some(*after),
        _ => None,
    }
}

/// A deadline's P(on time), linearised.
struct Deadline {
    node: usize,
    /// By every category of every component.
    derivatives: Vec<Vec<f64>>,
    /// How much one observation of the worst kind in every leaf costs.
    one_observation: f64,
}

/// `n` choose `k`.
fn subsets(n: usize, k: usize) -> f64 {
    let k = k.min(n.saturating_sub(k));
    #[expect(clippy::cast_precision_loss, reason = "bounded by the fan-out")]
    (0..k).map(|j| (n - j) as f64 / (j + 1) as f64).product()
}

fn shifted(bounds: Bounds, by: f64) -> Bounds {
    Bounds { lower: (bounds.lower + by).clamp(0.0, 1.0), upper: (bounds.upper + by).clamp(0.0, 1.0) }
}

/// The slopes of the lower and the upper bound by an availability, around it and within [0, 1].
fn slope(around: Bounds, size: f64, mut value: impl FnMut(Bounds) -> Bounds) -> [f64; 2] {
    let step = (0.5 / size).clamp(STEP, 0.5);
    let (below, above) = (shifted(around, -step), shifted(around, step));
    let (low, high) = (value(below), value(above));
    let ratio = |rise: f64, run: f64| if run > 0.0 { (rise / run).max(0.0) } else { 0.0 };
    [
        ratio(high.lower - low.lower, above.lower - below.lower),
        ratio(high.upper - low.upper, above.upper - below.upper),
    ]
}
