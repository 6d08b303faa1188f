//! What composing a journey over one window's evidence yields.

use std::collections::BTreeMap;

use super::allocation::AvailabilityAllocation;
use crate::journey::governance::Dependence;
use crate::unit::{Probability, Quantile, Seconds};

/// One quantity three ways. `pessimistic` and `optimistic` name what is bad and good for users: the lower and the
/// upper bound of an availability, but the upper and the lower bound of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded<T> {
    /// Independent, interpolated, no sampling term.
    pub estimate: T,
    /// The bound that automation uses, under the policy's dependence.
    pub pessimistic: T,
    /// Its mirror image.
    pub optimistic: T,
}

/// Both sides of an interval, `lower ≤ upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval<T> {
    /// Not above the truth.
    pub lower: T,
    /// Not below the truth.
    pub upper: T,
}

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// See [`Bounded::pessimistic`].
    Pessimistic,
    /// See [`Bounded::estimate`].
    Estimate,
    /// See [`Bounded::optimistic`].
    Optimistic,
}

impl Side {
    /// In the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Pessimistic, Self::Estimate, Self::Optimistic];

    /// The part of a series' name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pessimistic => "pessimistic",
            Self::Estimate => "estimate",
            Self::Optimistic => "optimistic",
        }
    }
}

impl<T> Bounded<T> {
    /// The one that `side` names.
    pub const fn side(&self, side: Side) -> &T {
        match side {
            Side::Pessimistic => &self.pessimistic,
            Side::Estimate => &self.estimate,
            Side::Optimistic => &self.optimistic,
        }
    }
}

/// An interval under each of [`Dependence::REPORTED`]: dependence alone, on the interpolated estimate of each
/// leaf, without the bucket and sample terms.
pub type ByDependence<T> = BTreeMap<Dependence, Interval<T>>;

/// A latency quantile of the journey, given success.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyQuantile {
    /// Its level.
    pub quantile: Quantile,
    /// Its value; infinite where no finite bound exists.
    pub value: Bounded<Seconds>,
    /// Under each assumption.
    pub by_dependence: ByDependence<Seconds>,
}

/// A curve `t ↦ P(success within t)` on rising times, and its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct SuccessCurve {
    /// Rising times in seconds.
    pub times: Vec<f64>,
    /// P(success within that time), not falling.
    pub within: Vec<f64>,
    /// P(success late or early): the availability, the curve's value at infinity.
    pub ever: Probability,
}

/// What the samples prove to be lost: the policy's dependence at its pessimistic side, but the samples' error (one-sided)
/// and the width of the buckets at their optimistic one. An alert that also asks this is not raised by a few errors
/// among few calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proven {
    /// P(success) is not above this.
    pub availability: Probability,
    /// P(slower than the latency objective | success) is not below this; `None` without such an objective.
    pub slower_than_objective: Option<Probability>,
}

/// What a component contributes.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentShare {
    /// Its name.
    pub name: String,
    /// The leaf as used.
    pub availability: Bounded<Probability>,
    /// ∂A/∂A_i of the estimate (Birnbaum).
    pub sensitivity: f64,
    /// Its share of the journey's unavailability, 0…1.
    pub budget_share: f64,
    /// Its share of the quantile of the latency objective (p99 without one), 0…1.
    pub latency_share: f64,
}

/// Which part of the way from the estimate to the pessimistic bound each source accounts for: of the quantile of the
/// latency objective (p99 without one), or of availability where no latency was measured. Each 0…1; they sum to 1, or all
/// are 0 where the interval has no width.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Width {
    /// Finite samples.
    pub samples: f64,
    /// The width of buckets.
    pub buckets: f64,
    /// What is not known about how components fail and slow together.
    pub dependence: f64,
}

/// What a failure domain contributes.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainShare {
    /// Its name.
    pub name: String,
    /// A(all its leaves up) − A(all its leaves down).
    pub sensitivity: f64,
    /// Its share of the journey's unavailability under shared fate, 0…1.
    pub budget_share: f64,
    /// The part of that share that its members would not have if each failed on its own, 0…1.
    pub together_share: f64,
}

/// One node of the operator tree with its results, for the derivation.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeResult {
    /// The operator as the text form writes its head: `Timeout(200ms)`, `Race`, `KofN(2)`, or the component's name.
    pub label: String,
    /// The operator's keyword ([`crate::journey::operator::Operator::keyword`]).
    pub keyword: &'static str,
    /// The formula applied, in the notation of the paper; empty for a leaf.
    pub formula: &'static str,
    /// P(success) of the subtree.
    pub availability: Bounded<Probability>,
    /// The same under each assumption.
    pub by_dependence: ByDependence<Probability>,
    /// The latency estimate at the objective's quantile (p99 without one), given success, in isolation.
    pub latency_estimate: Seconds,
    /// The operands, in their order.
    pub children: Vec<NodeResult>,
}

/// Something a reader of the numbers must know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Stable, in kebab case.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// What composing a journey over one window's evidence yields. Nothing in it is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// P(success).
    pub availability: Bounded<Probability>,
    /// The same under each assumption.
    pub availability_by_dependence: ByDependence<Probability>,
    /// What the samples prove to be lost.
    pub proven: Proven,
    /// One for each quantile asked for, in their order.
    pub latency: Vec<LatencyQuantile>,
    /// The curves behind the quantiles. The pessimistic one is `A̲·S̲/(S̲+D̄)` (semantics §1), so that its quantiles
    /// are the pessimistic ones.
    pub curves: Bounded<SuccessCurve>,
    /// The operator tree with its results.
    pub root: NodeResult,
    /// One for each component of the journey, in their order.
    pub components: Vec<ComponentShare>,
    /// One for each domain of the journey, in their order.
    pub domains: Vec<DomainShare>,
    /// What makes the interval wide.
    pub width: Width,
    /// Which availability each component must keep; `None` without an availability objective, where a component has no
    /// evidence, and where deadlines alone miss the objective.
    pub allocation: Option<AvailabilityAllocation>,
    /// What a reader must know.
    pub warnings: Vec<Warning>,
}
