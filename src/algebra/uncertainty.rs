//! The three sources of an interval's width, brought together: buckets, samples, dependence.
//!
//! The bracket of the buckets is folded once from the evidence as it is. For each quantile the samples' error moves the
//! evidence to its design point ([`super::sampling`]), and the same bracket, under the same assumption of dependence, is
//! folded from there.

use super::availability::Bounds;
use super::compose::binds;
use super::composition::Width;
use super::curve::Reading;
use super::influence::Placement;
use super::leaf::Leaf;
use super::leaf::Outcome;
use super::readout::{Conditional, LatencySide};
use super::sampling::{self, CELLS, Sample};
use super::tape::TapeTransform;
use super::tree::Tree;
use super::unknown_latency::{Bracket, UnknownLatency};
use crate::distribution::confidence::{normal_quantile, share_lower, share_upper};
use crate::distribution::transform::Transforms;
use crate::journey::evidence::{Evidence, Measurement};
use crate::journey::governance::Dependence;
use crate::journey::governance::{BucketError, Governance};
use crate::unit::Quantile;
use rustc_hash::FxHashMap;

/// How much longer than everything seen a journey may be taken to last by the samples' error.
pub(crate) const LONGER_THAN_SEEN: f64 = 8.0;

/// The leaves where the samples put them at worst and at best for one quantile.
pub(crate) struct Moved {
    pub(crate) q: f64,
    /// The upper bound under independence, in seconds; infinite where the samples prove nothing.
    pub(crate) time: f64,
    pub(crate) worst: Vec<Leaf>,
    pub(crate) best: Vec<Leaf>,
}

/// What the samples leave of one quantile, in the readings of the bracket.
pub(crate) struct SampledLatency {
    pub(crate) q: f64,
    pub(crate) time: f64,
    /// The first is that of independence, the others those of the scenarios.
    pub(crate) late: Vec<Conditional>,
    pub(crate) early: Vec<Conditional>,
}

/// Everything about the samples of a journey's components.
pub(crate) struct Samples<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) governance: &'a Governance,
    pub(crate) samples: Vec<Sample>,
    pub(crate) placement: Placement,
}

impl<'a> Samples<'a> {
    pub(crate) fn new(evidence: &'a Evidence, governance: &'a Governance) -> Self {
        let placement = match governance.bucket_error {
            BucketError::Bound => Placement::UpperEdge,
            BucketError::Interpolate => Placement::Spread,
        };
        let samples = evidence.components.iter().map(|evidence| Sample::new(evidence, placement)).collect();
        Self { evidence, governance, samples, placement }
    }

    /// Whether anything was sampled at all.
    pub(crate) fn any(&self) -> bool {
        self.samples.iter().any(|sample| sample.size.is_finite())
    }

    /// One-sided bounds of each component's own availability.
    pub(crate) fn components(&self, leaves: &[Leaf]) -> Vec<Bounds> {
        let level = self.governance.confidence;
        leaves
            .iter()
            .zip(&self.evidence.components)
            .map(|(leaf, evidence)| match &evidence.measurement {
                Measurement::Counts(counts) => Bounds {
                    lower: share_lower(counts.good(), counts.total(), level).get(),
                    upper: share_upper(counts.good(), counts.total(), level).get(),
                },
                Measurement::Vacuous | Measurement::Figure(_) => leaf.bounds(),
            })
            .collect()
    }

    /// The leaves at the design point of each level. `horizon` is a first guess of how far the journey reaches, `limit` a
    /// time that no finite part of it exceeds.
    pub(crate) fn moved(
        &self,
        tree: &Tree,
        levels: &[Quantile],
        horizon: f64,
        limit: f64,
        transform: &mut TapeTransform,
    ) -> Vec<Moved> {
        if !self.any() {
            return Vec::new();
        }
        let z = normal_quantile(self.governance.confidence);
        let at = |shares: &[Vec<f64>]| -> Vec<Leaf> {
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
        };
        levels
            .iter()
            .map(|level| {
                let bound = sampling::upper_quantile(
                    tree,
                    &self.samples,
                    self.placement,
                    level.get(),
                    z,
                    horizon,
                    limit,
                    transform,
                );
                Moved { q: level.get(), time: bound.time, worst: at(&bound.worst), best: at(&bound.best) }
            })
            .collect()
    }
}

/// The transform of the grid on which standard errors are found.
pub(crate) fn transform() -> TapeTransform {
    TapeTransform::new(CELLS)
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
    pub(crate) moved: &'a [Moved],
    pub(crate) policy: Dependence,
    pub(crate) levels: &'a [Quantile],
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
        for dependence in [Dependence::Unknown, Dependence::UnknownAll] {
            if !binds(self.tree, dependence) {
                continue;
            }
            let everywhere = dependence == Dependence::UnknownAll;
            let mut fold = |leaves: &[Leaf], late: Reading, early: Reading| {
                let brackets: Vec<Bracket> = leaves
                    .iter()
                    .map(|leaf| {
                        let bounds = leaf.bounds();
                        let law = |outcome, reading| leaf.law(outcome, reading);
                        Bracket::leaf(
                            bounds,
                            law(Outcome::Success, late),
                            law(Outcome::Success, early),
                            law(Outcome::Failure, late),
                        )
                    })
                    .collect();
                let mut fold = UnknownLatency { tree: self.tree, leaves: &brackets, everywhere, transforms };
                fold.fold().pop()
            };
            let Some(estimate) = fold(self.leaves, Reading::Exact, Reading::Exact) else { continue };
            let quantiles = |bracket: &Bracket| -> Vec<(f64, f64)> {
                self.levels.iter().map(|level| (level.get(), bracket.upper_quantile(level.get()))).collect()
            };
            let policy = (dependence == self.policy).then(|| {
                let mut worst = fold(self.leaves, Reading::Late, Reading::Early)?;
                let mut best = worst.clone();
                let mut times = quantiles(&worst);
                for moved in self.moved {
                    let (Some(slow), Some(fast)) = (
                        fold(&moved.worst, Reading::Late, Reading::Early),
                        fold(&moved.best, Reading::Late, Reading::Early),
                    ) else {
                        continue;
                    };
                    for (level, time) in &mut times {
                        if *level >= moved.q {
                            *time = time.max(slow.upper_quantile(*level)).max(moved.time);
                        }
                    }
                    worst = worst.slower_of(&slow);
                    best = best.faster_of(&fast);
                }
                Some((LatencySide::Latest(Box::new(worst), times), LatencySide::Earliest(Box::new(best))))
            });
            let latest = quantiles(&estimate);
            let known = UnknownSides {
                earliest: LatencySide::Earliest(Box::new(estimate.clone())),
                latest: LatencySide::Latest(Box::new(estimate), latest),
                policy: policy.flatten(),
            };
            sides.insert(dependence, known);
        }
        sides
    }
}
