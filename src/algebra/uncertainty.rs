//! The three sources of an interval's width, brought together: buckets, samples, dependence.
//!
//! The bracket of the buckets is folded once, its late side after one pseudo-observation a component. Under independence
//! the standard error of each quantile says how far its level is restated ([`super::restatement`]). Another assumption
//! of dependence gives the same samples another error: how much larger it is, is found by folding the nearest samples at
//! which the journey's quantile would be missed (the *design point*, [`super::sampling`]) under that assumption.

use super::availability::Bounds;
use super::category::Placement;
use super::composition::Width;
use super::curve::Reading;
use super::leaf::{Leaf, Outcome};
use super::readout::LatencySide;
use super::restatement::Restatement;
use super::sampling::{self, CarefulSamples, QuantileBound, Sample};
use super::timeliness::binds;
use super::tree::Tree;
use super::unknown_latency::{Bracket, UnknownLatency};
use crate::distribution::confidence::{normal_quantile, share_lower, share_upper};
use crate::distribution::transform::Transforms;
use crate::journey::evidence::{Evidence, Measurement};
use crate::journey::governance::{BucketError, Dependence, Governance};
use crate::unit::Quantile;
use rustc_hash::FxHashMap;

/// How much longer than everything seen a journey may be taken to last by the samples' error.
pub(crate) const LONGER_THAN_SEEN: f64 = 8.0;
/// An error this many times that of independence is as bad as none proven.
const MOST_SPREAD: f64 = 1e6;

/// Everything about the samples of a journey's components.
pub(crate) struct Samples<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) governance: &'a Governance,
    pub(crate) samples: Vec<Sample>,
    pub(crate) placement: Placement,
    /// One-sided, in standard errors.
    z: f64,
}

/// What the samples do to a journey's latency.
pub(crate) struct LatencySampling {
    careful: CarefulSamples,
    /// One for each level, rising.
    pub(crate) bounds: Vec<QuantileBound>,
    /// Of independence.
    pub(crate) restated: Restatement,
    /// The same for the optimistic side, which is finite also where nothing is proven.
    pub(crate) eased: Restatement,
}

impl<'a> Samples<'a> {
    pub(crate) fn new(evidence: &'a Evidence, governance: &'a Governance) -> Self {
        let placement = match governance.bucket_error {
            BucketError::Bound => Placement::UpperEdge,
            BucketError::Interpolate => Placement::Spread,
        };
        let samples = evidence.components.iter().map(|evidence| Sample::new(evidence, placement)).collect();
        let z = normal_quantile(governance.confidence);
        Self { evidence, governance, samples, placement, z }
    }

    /// Whether anything was sampled at all.
    pub(crate) fn any(&self) -> bool {
        self.samples.iter().any(Sample::is_sampled)
    }

    /// One-sided bounds of each component's own availability.
    pub(crate) fn components(&self, leaves: &[Leaf]) -> Vec<Bounds> {
        let level = self.governance.confidence;
        leaves
            .iter()
            .zip(&self.evidence.components)
            .map(|(leaf, evidence)| match &evidence.measurement {
                Measurement::Counts(counts) => {
                    let worth = counts.calls_for_failures();
                    let good = counts.availability().get() * worth;
                    Bounds {
                        lower: share_lower(good, worth, level).get(),
                        upper: share_upper(counts.good(), counts.total(), level).get(),
                    }
                }
                Measurement::Vacuous | Measurement::Figure(_) => leaf.bounds(),
            })
            .collect()
    }

    /// The leaves after one pseudo-observation each; `None` where nothing was sampled.
    pub(crate) fn careful_leaves(&self) -> Option<(CarefulSamples, Vec<Leaf>)> {
        self.any().then(|| {
            let careful = CarefulSamples::new(&self.samples);
            let leaves = self.leaves_with(&careful.shares());
            (careful, leaves)
        })
    }

    /// The leaves that have these shares of their categories.
    fn leaves_with(&self, shares: &[Vec<f64>]) -> Vec<Leaf> {
        self.evidence
            .components
            .iter()
            .zip(&self.samples)
            .zip(shares)
            .map(|((evidence, sample), shares)| {
                let moved = sampling::evidence_of(evidence, sample, shares);
                Leaf::new(&moved, self.governance.bucket_error)
            })
            .collect()
    }

    /// The sampling error of each level (rising) under independence. `horizon` is a first guess of how far the journey
    /// reaches, `limit` a time that no finite part of it exceeds.
    pub(crate) fn latency(
        &self,
        careful: CarefulSamples,
        tree: &Tree,
        levels: &[f64],
        (horizon, limit): (f64, f64),
        transforms: &mut Transforms,
    ) -> LatencySampling {
        let bounds =
            careful.upper_quantiles(tree, self.placement, levels, self.z, (horizon, limit), transforms);
        let restated = Restatement::new(bounds.iter().map(|bound| (bound.q, bound.spread)).collect());
        // Efron and Stein's inequality: no error is larger than that of so many calls of the journey as were seen of the
        // component with the fewest.
        let fewest = self.samples.iter().map(|sample| sample.calls).fold(f64::INFINITY, f64::min);
        let largest = self.z / fewest.max(1.0).sqrt();
        let eased =
            Restatement::new(bounds.iter().map(|bound| (bound.q, bound.least_spread.min(largest))).collect());
        LatencySampling { careful, bounds, restated, eased }
    }

    /// The leaves at the design point of level `q`, one of those asked for; `None` where nothing finite is proven there.
    pub(crate) fn design_leaves(&self, latency: &LatencySampling, q: f64) -> Option<Vec<Leaf>> {
        let bound = latency.bounds.iter().find(|bound| bound.q == q && bound.time.is_finite())?;
        Some(self.leaves_with(&latency.careful.design_point(bound, self.z)))
    }
}

impl LatencySampling {
    /// How much larger the error is where the design point of `q` has moved the level `q` to `seen` of a law that is not
    /// that of independence.
    pub(crate) fn growth(&self, q: f64, seen: f64) -> f64 {
        let own = self.restated.spread(q);
        let spread = (seen - q) / (q * (1.0 - q)).sqrt();
        let ratio = if own > 0.0 { spread / own } else { 1.0 };
        ratio.clamp(1.0, MOST_SPREAD)
    }
}

/// Which part of the way from the estimate to the pessimistic bound each source accounts for. `stages` are the bound
/// after buckets, samples and dependence, each at least as far as the one before; a stage that reaches infinity takes all.
pub(crate) fn width(estimate: f64, stages: [f64; 3]) -> Width {
    let mut shares = [0.0; 3];
    if let Some(first) = stages.iter().position(|stage| stage.is_infinite()) {
        if estimate.is_finite() {
            shares[first] = 1.0;
        }
    } else {
        let mut before = estimate;
        let whole = (stages[2] - estimate).abs();
        for (share, stage) in shares.iter_mut().zip(stages) {
            if whole > 0.0 && estimate.is_finite() {
                *share = ((stage - before).abs() / whole).min(1.0);
            }
            before = stage;
        }
    }
    let [buckets, samples, dependence] = shares;
    Width { samples, buckets, dependence }
}

/// Latency where nothing is known about the dependence, in each domain or everywhere.
pub(crate) struct Unknown<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Leaf],
    /// After the pseudo-observations, where there are samples.
    pub(crate) careful: &'a [Leaf],
    /// At the design point of the level that is explained, where something finite is proven.
    pub(crate) design: &'a dyn Fn() -> Option<&'a [Leaf]>,
    pub(crate) sampling: Option<&'a LatencySampling>,
    pub(crate) policy: Dependence,
    pub(crate) levels: &'a [Quantile],
    pub(crate) shown: f64,
}

/// Both sides on the interpolated estimate; and on the bracket with the samples' error, where the policy asks for it.
pub(crate) struct UnknownSides {
    pub(crate) earliest: LatencySide,
    pub(crate) latest: LatencySide,
    pub(crate) policy: Option<(LatencySide, LatencySide)>,
}

impl Unknown<'_> {
    /// For those of the two assumptions that act in this tree.
    pub(crate) fn sides(&self, transforms: &mut Transforms) -> FxHashMap<Dependence, UnknownSides> {
        let mut sides = FxHashMap::default();
        let failure_times_matter = self.tree.failure_times_matter();
        let brackets = |leaves: &[Leaf], late: Reading, early: Reading| -> Vec<Bracket> {
            let of = |(leaf, &matters): (&Leaf, &bool)| {
                let law = |outcome, reading| leaf.law(outcome, reading);
                let failure = matters.then(|| law(Outcome::Failure, late));
                Bracket::leaf(
                    leaf.bounds(),
                    law(Outcome::Success, late),
                    law(Outcome::Success, early),
                    failure,
                )
            };
            leaves.iter().zip(&failure_times_matter).map(of).collect()
        };
        let exact = brackets(self.leaves, Reading::Exact, Reading::Exact);
        for dependence in [Dependence::Unknown, Dependence::UnknownAll] {
            if !binds(self.tree, dependence) {
                continue;
            }
            let everywhere = dependence == Dependence::UnknownAll;
            let mut fold = |leaves: &[Bracket]| {
                UnknownLatency { tree: self.tree, leaves, everywhere, transforms }.fold()
            };
            let Some(estimate) = fold(&exact) else { continue };
            let quantiles = |bracket: &Bracket, restated: &Restatement| -> Vec<(f64, f64)> {
                let upper = |q: f64| match restated.harder(q) {
                    level if level < 1.0 => bracket.upper_quantile(level),
                    _ => f64::INFINITY,
                };
                self.levels.iter().map(|level| (level.get(), upper(level.get()))).collect()
            };
            let policy = (dependence == self.policy).then(|| {
                let mut bracket = |leaves| fold(&brackets(leaves, Reading::Late, Reading::Early));
                let (worst, best) = (bracket(self.careful)?, bracket(self.leaves)?);
                let growth = match (self.sampling, (self.design)()) {
                    (Some(sampling), Some(design)) => {
                        let moved = bracket(design)?;
                        let time = moved.upper_quantile(self.shown);
                        let seen =
                            if time.is_finite() { 1.0 - worst.slow_share(time) } else { f64::INFINITY };
                        sampling.growth(self.shown, seen)
                    }
                    _ => 1.0,
                };
                let scaled = |pick: fn(&LatencySampling) -> &Restatement| {
                    self.sampling.map(|sampling| pick(sampling).scaled(growth)).unwrap_or_default()
                };
                let restated = scaled(|sampling| &sampling.restated);
                let times = quantiles(&worst, &restated);
                Some((
                    LatencySide::Latest(Box::new(worst), times, restated),
                    LatencySide::Earliest(Box::new(best), scaled(|sampling| &sampling.eased)),
                ))
            });
            let none = Restatement::default;
            let latest = quantiles(&estimate, &none());
            let known = UnknownSides {
                earliest: LatencySide::Earliest(Box::new(estimate.clone()), none()),
                latest: LatencySide::Latest(Box::new(estimate), latest, none()),
                policy: policy.flatten(),
            };
            sides.insert(dependence, known);
        }
        sides
    }
}
