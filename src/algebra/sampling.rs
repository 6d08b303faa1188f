//! The sampling error of latencies: how far the leaves' samples may mislead about a quantile of the journey.
//!
//! Everything is a function of the leaves' multinomials. With the margin `θ(t) = (1−q)·S̲(t) − q·D̄(t)` and its
//! derivatives `g` by the probability of each category ([`super::influence`]),
//! `Var θ = Σ_i [Σ_b p g² − (Σ_b p g)²] / n_i`; the bound is the smallest t with `θ(t) ≥ z·se(t)`. A sample says nothing about
//! what it has not seen: before, each leaf gets one pseudo-observation, one bucket above its highest non-empty one.
//!
//! The margin at that time vanishes at one nearest set of samples, the *design point* `p_b·(1 − z·(g_b − ḡ)/(n·se))`.
//! Composing the design point under another assumption of dependence carries the sampling error over to it.

use super::category::{Category, Placement};
use super::fold::Grid;
use super::influence::Influence;
use super::leaf::Outcome;
use super::tree::Tree;
use crate::distribution::histogram::ClassicHistogram;
use crate::distribution::interpolation::between_edges;
use crate::distribution::law::Law;
use crate::distribution::transform::Transforms;
use crate::journey::evidence::{ComponentEvidence, Counts, Measurement};

/// Cells of the grid on which standard errors are found.
pub(crate) const CELLS: usize = 256;
/// How often the grid may be made longer until the bound lies on it.
const MAX_EXTENSIONS: usize = 6;
/// How often the standard error is taken at another time.
const MAX_SWEEPS: usize = 12;
/// A bound this many cells above the first time that may do is taken.
const NEAR_CELLS: usize = 2;

/// What was sampled of one component.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) categories: Vec<Category>,
    /// How many calls it holds; infinite where there is no sampling error. What bursts hold is no less true for it: the
    /// optimistic side, and what is proven, takes them all as independent, so that no outage is discounted.
    pub(crate) calls: f64,
    /// How many independent ones they are worth to the pessimistic side, as a sample of failures.
    pub(crate) failure_size: f64,
    /// The same as a sample of times.
    pub(crate) latency_size: f64,
}

impl Sample {
    pub(crate) fn new(evidence: &ComponentEvidence, placement: Placement) -> Self {
        let never = f64::INFINITY;
        let unsampled =
            |categories| Self { categories, calls: never, failure_size: never, latency_size: never };
        let whole =
            |outcome, share| Category { outcome, lower: 0.0, upper: f64::INFINITY, share, inner: Vec::new() };
        let counts = match &evidence.measurement {
            // As the late reading of the fold: never on time, but perhaps ever.
            Measurement::Vacuous => {
                return unsampled(vec![whole(Outcome::Success, 1.0)]);
            }
            Measurement::Figure(p) => {
                return unsampled(vec![
                    whole(Outcome::Success, p.get()),
                    whole(Outcome::Failure, 1.0 - p.get()),
                ]);
            }
            Measurement::Counts(counts) => counts,
        };
        let good = counts.availability().get();
        let mut categories = buckets(counts.latency(), Outcome::Success, good, placement);
        categories.extend(buckets(counts.failure_latency(), Outcome::Failure, 1.0 - good, placement));
        let (failure_size, latency_size) = (counts.calls_for_failures(), counts.calls_for_latency());
        Self { categories, calls: counts.total(), failure_size, latency_size }
    }

    /// Whether there is a sampling error.
    pub(crate) const fn is_sampled(&self) -> bool {
        self.calls.is_finite()
    }

    /// The shares after one more observation, one bucket above the highest non-empty one of the successes.
    pub(crate) fn with_pseudo_observation(&self) -> Vec<Category> {
        let mut categories = self.categories.clone();
        if !self.is_sampled() {
            return categories;
        }
        let is_success = |category: &Category| category.outcome == Outcome::Success;
        let highest = categories.iter().rposition(|category| is_success(category) && category.share > 0.0);
        let last = categories.iter().rposition(is_success).unwrap_or(0);
        let extra = highest.map_or(last, |highest| (highest + 1).min(last));
        for (place, category) in categories.iter_mut().enumerate() {
            let more = if place == extra { 1.0 } else { 0.0 };
            category.share = (category.share * self.latency_size + more) / (self.latency_size + 1.0);
        }
        categories
    }
}

/// The buckets of a histogram, whose shares sum to `weight`; one bucket to infinity without one.
fn buckets(
    histogram: Option<&ClassicHistogram>,
    outcome: Outcome,
    weight: f64,
    placement: Placement,
) -> Vec<Category> {
    let Some(histogram) = histogram.filter(|histogram| histogram.total() > 0.0) else {
        let inner = Vec::new();
        return vec![Category { outcome, lower: 0.0, upper: f64::INFINITY, share: weight, inner }];
    };
    let law = match placement {
        Placement::UpperEdge => None,
        Placement::Spread => between_edges(histogram),
    };
    let (mut lower, mut below) = (0.0, 0.0);
    histogram
        .edges()
        .iter()
        .copied()
        .chain([f64::INFINITY])
        .zip(histogram.counts())
        .map(|(upper, &count)| {
            let share = weight * (count - below) / histogram.total();
            let inner = law.as_ref().filter(|_| upper.is_finite() && count > below);
            let inner = inner.map_or_else(Vec::new, |law| spread(law, lower, upper));
            let category = Category { outcome, lower, upper, share, inner };
            (lower, below) = (upper, count);
            category
        })
        .collect()
}

/// The law within a bucket, given that it falls there.
fn spread(law: &Law, lower: f64, upper: f64) -> Vec<(f64, f64)> {
    let (low, high) = (law.at(lower), law.at(upper));
    let inner = law.times().iter().zip(law.values()).filter(|&(&t, _)| t > lower && t < upper);
    let share = |f: f64| ((f - low) / (high - low)).clamp(0.0, 1.0);
    let mut knots = vec![(lower, 0.0)];
    knots.extend(inner.map(|(&t, &f)| (t, share(f))));
    knots.push((upper, 1.0));
    knots
}

/// The evidence that has these shares, with the reasons and the size of the original.
pub(crate) fn evidence_of(
    original: &ComponentEvidence,
    sample: &Sample,
    shares: &[f64],
) -> ComponentEvidence {
    let Measurement::Counts(counts) = &original.measurement else { return original.clone() };
    let total = counts.total();
    let of = |outcome: Outcome| {
        sample.categories.iter().zip(shares).filter(move |(category, _)| category.outcome == outcome)
    };
    let histogram = |like: Option<&ClassicHistogram>, outcome| {
        let like = like?;
        let mut sum = 0.0;
        let cumulative: Vec<f64> = of(outcome)
            .map(|(_, share)| {
                sum += share * total;
                sum
            })
            .collect();
        // A histogram that was empty has no buckets to fill.
        ClassicHistogram::new(like.edges().to_vec(), cumulative).ok().or_else(|| Some(like.clone()))
    };
    let good: f64 = of(Outcome::Success).map(|(_, share)| share).sum::<f64>() * total;
    let changed = Counts::new(
        total,
        good.clamp(0.0, total),
        histogram(counts.latency(), Outcome::Success),
        histogram(counts.failure_latency(), Outcome::Failure),
    );
    changed.map_or_else(
        |_| original.clone(),
        |mut moved| {
            moved.set_design_effects(counts.design_effects());
            ComponentEvidence { measurement: Measurement::Counts(moved), ..original.clone() }
        },
    )
}

/// What the samples allow a quantile to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuantileBound {
    pub(crate) q: f64,
    /// In seconds, under independence; infinite where the samples prove nothing.
    pub(crate) time: f64,
    /// By how much the level `q` must be raised for the samples' error, in units of `√(q(1−q))`; infinite with the time.
    pub(crate) spread: f64,
    /// The same where all calls are independent.
    pub(crate) least_spread: f64,
    /// The derivatives of the margin there by every component's categories, and its standard error.
    derivatives: Vec<Vec<f64>>,
    error: f64,
}

/// The samples of a journey's components, after one pseudo-observation each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CarefulSamples {
    categories: Vec<Vec<Category>>,
    sizes: Vec<f64>,
    calls: Vec<f64>,
}

impl CarefulSamples {
    pub(crate) fn new(samples: &[Sample]) -> Self {
        Self {
            categories: samples.iter().map(Sample::with_pseudo_observation).collect(),
            sizes: samples.iter().map(|sample| sample.latency_size + 1.0).collect(),
            calls: samples.iter().map(|sample| sample.calls + 1.0).collect(),
        }
    }

    /// The shares of every component's categories.
    pub(crate) fn shares(&self) -> Vec<Vec<f64>> {
        self.categories.iter().map(|sample| sample.iter().map(|category| category.share).collect()).collect()
    }

    /// The upper bounds of quantiles at `z` standard errors, for rising levels `0 < q < 1`. `horizon` is a first guess of how far
    /// the grid must reach, `limit` a time that no finite part of the journey exceeds.
    pub(crate) fn upper_quantiles(
        &self,
        tree: &Tree,
        placement: Placement,
        levels: &[f64],
        z: f64,
        (horizon, limit): (f64, f64),
        transforms: &mut Transforms,
    ) -> Vec<QuantileBound> {
        let nothing = |&q: &f64| QuantileBound {
            q,
            time: f64::INFINITY,
            spread: f64::INFINITY,
            least_spread: f64::INFINITY,
            derivatives: Vec::new(),
            error: 0.0,
        };
        let mut bounds: Vec<QuantileBound> = levels.iter().map(nothing).collect();
        let mut reach = horizon.min(limit);
        // A guess: the error of so many calls of the journey as were seen of the component with the fewest.
        let mut spread = z / self.sizes.iter().copied().fold(f64::INFINITY, f64::min).sqrt();
        let mut open = 0;
        for _ in 0..MAX_EXTENSIONS {
            let grid = Grid::new(reach, CELLS);
            let mut fold =
                Influence::new(tree, tree.root(), &self.categories, placement, grid, transforms.of(CELLS));
            while let Some(bound) = bounds.get_mut(open) {
                let Some(found) = self.crossing(&mut fold, grid, bound.q, z, spread) else { break };
                spread = found.spread;
                *bound = found;
                open += 1;
            }
            if open == bounds.len() || reach >= limit {
                break;
            }
            reach = (2.0 * reach).min(limit);
        }
        bounds
    }

    /// The first time at which the margin of `q` reaches `z` standard errors on this grid. `spread` is a guess.
    fn crossing(
        &self,
        fold: &mut Influence<'_>,
        grid: Grid,
        q: f64,
        z: f64,
        spread: f64,
    ) -> Option<QuantileBound> {
        let (margins, ever) = fold.margins(q);
        // Rounding noise apart, margins rise: what is found from the left is the first.
        let first = |least: f64, from: usize| {
            let at = from + margins[from..].partition_point(|&margin| margin < least);
            (at < margins.len()).then_some(at)
        };
        let scale = (q * (1.0 - q)).sqrt();
        let start = first(0.0, 0)?;
        let last = margins.len() - 1;
        // The whole grid may be too short at the error of the guess; where it ends the error may be smaller.
        let mut at = first(spread * scale * ever[start], start).unwrap_or(last);
        let mut low = start;
        let mut best: Option<(usize, Vec<Vec<f64>>, f64)> = None;
        for _ in 0..MAX_SWEEPS {
            let derivatives = fold.of_margin(q, at);
            let error = self.standard_error(&derivatives, &self.sizes);
            let next = first(z * error, start);
            if margins[at] >= z * error {
                best = Some((at, derivatives, error));
                match next {
                    // The error hardly changes over a few cells, and falls towards the tail.
                    Some(next) if next + NEAR_CELLS < at && next >= low => at = next,
                    _ => break,
                }
            } else {
                low = at + 1;
                at = match (next, &best) {
                    (Some(next), None) => next.max(low),
                    (Some(next), Some((high, ..))) if next >= low && next < *high => next,
                    (_, Some((high, ..))) => low.midpoint(*high),
                    (None, None) if low <= last => last,
                    (None, None) => return None,
                };
            }
            if low > last || best.as_ref().is_some_and(|(high, ..)| at >= *high) {
                break;
            }
        }
        let (cell, derivatives, error) = best?;
        #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
        let time = (cell as f64 + 0.5) * grid.step;
        // Where the law jumps, the cell before may have a margin that is enough for the error here, but not for its own: the
        // level that is asked for must lie beyond it. Half a cell further covers the grid.
        let before = if cell > start { margins[cell - 1].midpoint(margins[cell]) } else { 0.0 };
        let spread = (z * error).max(before) / (ever[cell] * scale);
        let independent = self.standard_error(&derivatives, &self.calls);
        let least_spread = if error > 0.0 { spread * independent / error } else { spread };
        Some(QuantileBound { q, time, spread, least_spread, derivatives, error })
    }

    fn standard_error(&self, derivatives: &[Vec<f64>], sizes: &[f64]) -> f64 {
        let mut variance = 0.0;
        for ((sample, &size), derivatives) in self.categories.iter().zip(sizes).zip(derivatives) {
            if size.is_finite() {
                let mean = mean(sample, derivatives);
                let spread: f64 = sample
                    .iter()
                    .zip(derivatives)
                    .map(|(category, g)| category.share * (g - mean).powi(2))
                    .sum();
                variance += spread / size;
            }
        }
        variance.sqrt()
    }

    /// The shares at the nearest samples at which the margin of the bound is used up: `p_b·(1 − z·(g_b − ḡ)/(n·se))`,
    /// without negative shares. Those that were seen where the bound is infinite.
    pub(crate) fn design_point(&self, bound: &QuantileBound, z: f64) -> Vec<Vec<f64>> {
        let scale = if bound.error > 0.0 { z / bound.error } else { 0.0 };
        if bound.derivatives.is_empty() || !scale.is_finite() {
            return self.shares();
        }
        self.categories
            .iter()
            .zip(&self.sizes)
            .zip(&bound.derivatives)
            .map(|((sample, &size), derivatives)| {
                let mean = mean(sample, derivatives);
                let move_by = if size.is_finite() { scale / size } else { 0.0 };
                let mut shares: Vec<f64> = sample
                    .iter()
                    .zip(derivatives)
                    .map(|(category, g)| category.share * (1.0 - move_by * (g - mean)).max(0.0))
                    .collect();
                let sum: f64 = shares.iter().sum();
                if sum > 0.0 {
                    shares.iter_mut().for_each(|share| *share /= sum);
                }
                shares
            })
            .collect()
    }
}

fn mean(sample: &[Category], derivatives: &[f64]) -> f64 {
    let total: f64 = sample.iter().map(|category| category.share).sum();
    let sum: f64 = sample.iter().zip(derivatives).map(|(category, g)| category.share * g).sum();
    if total > 0.0 { sum / total } else { 0.0 }
}
