//! The operator tree: a closed set of ways in which calls compose (semantics: the paper §3.3, and its extensions).

use super::JourneyError;
use super::component::ComponentId;
use crate::unit::{Probability, Seconds};

/// Index into [`super::Journey::parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId(pub usize);

/// How often a branch is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BranchProbability {
    /// Written in the spec.
    Fixed(Probability),
    /// Supplied by a parameter.
    Parameter(ParameterId),
    /// What the others leave; at most one branch of a Cond.
    Remainder,
}

/// One exclusive branch of a [`Operator::Cond`].
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// How often it is taken.
    pub probability: BranchProbability,
    /// What runs then.
    pub body: Operator,
}

/// Random spread of a backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Exactly `b_k`.
    None,
    /// Uniform on `[0, b_k]`; bounds take `b_k`.
    Full,
}

/// The wait before attempt k + 1: `b_k = min(max, base · factor^(k−1))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait after the first attempt.
    pub base: Seconds,
    /// Growth per attempt, ≥ 1.
    pub factor: f64,
    /// The longest wait.
    pub max: Seconds,
    /// Random spread.
    pub jitter: Jitter,
}

impl Backoff {
    /// The same wait each time.
    #[must_use]
    pub const fn constant(base: Seconds) -> Self {
        Self { base, factor: 1.0, max: Seconds::INFINITY, jitter: Jitter::None }
    }

    /// `b_k` after attempt `k` (from 1).
    #[must_use]
    pub fn after_attempt(&self, k: u32) -> Seconds {
        let exponent = i32::try_from(k.saturating_sub(1)).unwrap_or(i32::MAX);
        let wait = self.base.get() * self.factor.powi(exponent);
        if wait < self.max.get() { Seconds::new(wait).unwrap_or(self.max) } else { self.max }
    }
}

/// Whether the attempts of a Retry may be taken to fail independently in the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptsFate {
    /// One fate: a retry adds no availability to the bounds (the default).
    Shared,
    /// Failures are transient.
    Independent,
}

/// How calls compose. The semantics is a fold over this tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// A call of one component.
    Component(ComponentId),
    /// One after the other, all needed.
    Series(Vec<Operator>),
    /// All at once, all needed, the first failure ends it.
    Parallel(Vec<Operator>),
    /// Exactly one branch is taken.
    Cond(Vec<Branch>),
    /// All at once, the first success wins.
    Race(Vec<Operator>),
    /// All at once, `k` successes are needed.
    KofN {
        /// How many must succeed, 1 ≤ k ≤ n.
        k: usize,
        /// The n calls.
        branches: Vec<Operator>,
    },
    /// `body` within `after`, else `fallback` (which starts at `after`, also after an early failure).
    Timeout {
        /// The deadline, finite and above 0.
        after: Seconds,
        /// What runs under it.
        body: Box<Operator>,
        /// What runs after it; without one the journey fails.
        fallback: Option<Box<Operator>>,
    },
    /// `fallback` as soon as `body` is known to have failed.
    Fallback {
        /// First.
        body: Box<Operator>,
        /// Then.
        fallback: Box<Operator>,
    },
    /// Up to `attempts` tries, one after the other.
    Retry {
        /// At most this many, ≥ 1.
        attempts: u32,
        /// The deadline of each try, if any.
        per_try_timeout: Option<Seconds>,
        /// The wait between tries, if any.
        backoff: Option<Backoff>,
        /// Whether the bounds may count on independent tries.
        fate: AttemptsFate,
        /// What is tried.
        body: Box<Operator>,
    },
    /// `body`, and after `delay` also `alternate`; the first success wins.
    Hedge {
        /// The head start, also after an early failure.
        delay: Seconds,
        /// First.
        body: Box<Operator>,
        /// Second.
        alternate: Box<Operator>,
    },
    /// `body` within `timeout`, but its failure does no harm.
    Optional {
        /// The deadline, finite and above 0.
        timeout: Seconds,
        /// Best effort.
        body: Box<Operator>,
    },
    /// `body` repeated one after the other, as often as `counts` says.
    Repeat {
        /// How often (≥ 0) with which probability; they sum to 1.
        counts: Vec<(u32, Probability)>,
        /// What is repeated.
        body: Box<Operator>,
    },
}

/// The greatest number of attempts, repetitions or branches of one operator.
pub const MAX_FANOUT: usize = 10_000;

impl Operator {
    /// The operator's keyword in the tree form.
    #[must_use]
    pub const fn keyword(&self) -> &'static str {
        match self {
            Self::Component(_) => "ref",
            Self::Series(_) => "series",
            Self::Parallel(_) => "parallel",
            Self::Cond(_) => "cond",
            Self::Race(_) => "race",
            Self::KofN { .. } => "kofn",
            Self::Timeout { .. } => "timeout",
            Self::Fallback { .. } => "fallback",
            Self::Retry { .. } => "retry",
            Self::Hedge { .. } => "hedge",
            Self::Optional { .. } => "optional",
            Self::Repeat { .. } => "repeat",
        }
    }

    /// The direct operands in their order (a Timeout's body before its fallback).
    #[must_use]
    pub fn children(&self) -> Vec<&Operator> {
        match self {
            Self::Component(_) => Vec::new(),
            Self::Series(all) | Self::Parallel(all) | Self::Race(all) | Self::KofN { branches: all, .. } => {
                all.iter().collect()
            }
            Self::Cond(branches) => branches.iter().map(|branch| &branch.body).collect(),
            Self::Timeout { body, fallback, .. } => {
                [Some(body), fallback.as_ref()].into_iter().flatten().map(|operator| &**operator).collect()
            }
            Self::Fallback { body, fallback: second } | Self::Hedge { body, alternate: second, .. } => {
                vec![body, second]
            }
            Self::Retry { body, .. } | Self::Optional { body, .. } | Self::Repeat { body, .. } => vec![body],
        }
    }

    /// Calls `visit` for this operator and everything below it, parents first, and stops at the first error.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn visit<E>(&self, visit: &mut impl FnMut(&Operator) -> Result<(), E>) -> Result<(), E> {
        visit(self)?;
        self.children().into_iter().try_for_each(|child| child.visit(visit))
    }

    /// Checks this node's own rules (not its operands').
    ///
    /// # Errors
    /// [`JourneyError::Operator`] with the first broken rule.
    pub fn check(&self) -> Result<(), JourneyError> {
        let deadline = |after: &Seconds| after.is_finite() && after.get() > 0.0;
        let fanout = |n: usize| (1..=MAX_FANOUT).contains(&n);
        let fault = match self {
            Self::Component(_) | Self::Fallback { .. } => None,
            Self::Series(all) | Self::Parallel(all) | Self::Race(all) => {
                (!fanout(all.len())).then(|| format!("needs 1 to {MAX_FANOUT} operands, has {}", all.len()))
            }
            Self::KofN { k, branches } => (!fanout(branches.len()) || !(1..=branches.len()).contains(k))
                .then(|| format!("k = {k} must lie between 1 and the {} branches", branches.len())),
            Self::Cond(branches) => cond_fault(branches),
            Self::Timeout { after, .. } => {
                (!deadline(after)).then(|| format!("the deadline {after} must be finite and above 0"))
            }
            Self::Optional { timeout, .. } => {
                (!deadline(timeout)).then(|| format!("the timeout {timeout} must be finite and above 0"))
            }
            Self::Hedge { delay, .. } => (!delay.is_finite()).then(|| "the delay must be finite".to_owned()),
            Self::Retry { attempts, per_try_timeout, backoff, .. } => {
                if !fanout(*attempts as usize) {
                    Some(format!("attempts = {attempts} must lie between 1 and {MAX_FANOUT}"))
                } else if per_try_timeout.is_some_and(|after| !deadline(&after)) {
                    Some("perTryTimeout must be finite and above 0".to_owned())
                } else if backoff
                    .is_some_and(|b| !(b.base.is_finite() && b.factor.is_finite() && b.factor >= 1.0))
                {
                    Some("the backoff needs a finite base and a factor of at least 1".to_owned())
                } else {
                    None
                }
            }
            Self::Repeat { counts, .. } => {
                let sum: f64 = counts.iter().map(|(_, p)| p.get()).sum();
                let most = counts.iter().map(|(count, _)| *count as usize).max();
                if most.is_none_or(|most| most > MAX_FANOUT) {
                    Some(format!("needs a count of at most {MAX_FANOUT}"))
                } else {
                    ((sum - 1.0).abs() > 1e-9)
                        .then(|| format!("the probabilities of the counts sum to {sum}, not 1"))
                }
            }
        };
        fault.map_or(Ok(()), |fault| Err(JourneyError::Operator { operator: self.keyword(), fault }))
    }
}

fn cond_fault(branches: &[Branch]) -> Option<String> {
    let count =
        |wanted: fn(&BranchProbability) -> bool| branches.iter().filter(|b| wanted(&b.probability)).count();
    let remainders = count(|p| matches!(p, BranchProbability::Remainder));
    let parameters = count(|p| matches!(p, BranchProbability::Parameter(_)));
    let fixed: f64 = branches
        .iter()
        .map(|branch| match branch.probability {
            BranchProbability::Fixed(p) => p.get(),
            BranchProbability::Parameter(_) | BranchProbability::Remainder => 0.0,
        })
        .sum();
    if branches.is_empty() || branches.len() > MAX_FANOUT {
        Some(format!("needs 1 to {MAX_FANOUT} branches, has {}", branches.len()))
    } else if remainders > 1 {
        Some("at most one branch may leave its probability out".to_owned())
    } else if fixed > 1.0 + 1e-9 || (remainders + parameters == 0 && fixed < 1.0 - 1e-9) {
        Some(format!("the probabilities of the branches sum to {fixed}, not 1"))
    } else {
        None
    }
}
