//! Governance: which numbers automation uses, and what it may do with them.

use crate::unit::{Probability, Window};

/// What may be assumed about components that share a failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dependence {
    /// All leaves are independent: the paper's optimistic figure.
    Independent,
    /// Inside a domain success and latency may go together; across domains they are independent.
    #[default]
    SharedFate,
    /// Nothing is assumed inside a domain.
    Unknown,
    /// Nothing is assumed anywhere.
    UnknownAll,
    /// The paper's eq. (1): a Series collapses to the minimum of a domain. Optimistic; for comparison alone.
    PaperEq1,
}

impl Dependence {
    /// The four assumptions under which every number is reported.
    pub const REPORTED: [Self; 4] = [Self::Independent, Self::SharedFate, Self::Unknown, Self::UnknownAll];

    /// The value of the `dependence` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::SharedFate => "shared_fate",
            Self::Unknown => "unknown",
            Self::UnknownAll => "unknown_all",
            Self::PaperEq1 => "paper_eq1",
        }
    }
}

/// Which bound an objective is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvaluationMode {
    /// The pessimistic one.
    #[default]
    Conservative,
    /// Only the optimistic one blocks.
    Permissive,
}

/// How the width of buckets enters the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BucketError {
    /// All mass at the edge that hurts.
    #[default]
    Bound,
    /// Interpolated; the bracket is reported beside it.
    Interpolate,
}

/// One tier of the burn-rate policy.
#[derive(Debug, Clone, PartialEq)]
pub struct BurnRateTier {
    /// Fires above this multiple of the budget's even burn.
    pub burn_rate: f64,
    /// The window that proves it.
    pub long_window: Window,
    /// The window that ends it quickly.
    pub short_window: Window,
    /// The `severity` label of its alert; `None`: `page` or `ticket`, as the list that it stands in.
    pub severity: Option<String>,
    /// It stays in the spec, but no alert comes from it.
    pub disabled: bool,
}

/// Where an alert leads its reader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertLinks {
    /// What to do.
    pub runbook_url: Option<String>,
    /// What to look at.
    pub dashboard_url: Option<String>,
}

/// The one-sided 95 % lower bound of a count of which one event was seen, `−ln 0.95`: an alert needs the samples to prove
/// that budget burns at all, and a single error among n calls proves a loss of this much over n.
pub const PROVEN_BY_ONE_ERROR: f64 = 0.051_293_294_387_550_58;

/// When to page and when to open a ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct BurnRatePolicy {
    /// The period of the budget.
    pub budget_window: Window,
    /// Tiers that page.
    pub page: Vec<BurnRateTier>,
    /// Tiers that open a ticket.
    pub ticket: Vec<BurnRateTier>,
    /// Where the alerts lead.
    pub links: AlertLinks,
}

/// What a rollout must hold to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RolloutGate {
    /// The greatest burn rate of the canary.
    pub max_canary_burn_rate: Option<f64>,
    /// The greatest p99, in seconds.
    pub max_p99_latency_seconds: Option<f64>,
}

/// What automation may do with the numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Governance {
    /// Which bound an objective is held against.
    pub evaluation_mode: EvaluationMode,
    /// The assumption of the pessimistic bounds.
    pub dependence: Dependence,
    /// How the width of buckets enters the bounds.
    pub bucket_error: BucketError,
    /// The one-sided level of the intervals.
    pub confidence: Probability,
    /// Below this model confidence the verdict is review.
    pub min_model_confidence: Probability,
    /// When to page.
    pub burn_rate_policy: BurnRatePolicy,
    /// What a rollout must hold.
    pub rollout_gate: Option<RolloutGate>,
}
