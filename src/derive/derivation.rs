//! The derivation of a journey's numbers over one window, as data. Its JSON is a public contract: fields keep their
//! names, their order and their units; new ones may come beside them.

use indexmap::IndexMap;
use serde::Serialize;

use super::allocation::AllocationResult;
use super::by_assumption::ByAssumption;
use super::distribution::DistributionPoint;
use super::number::{probability, real, time, time_or_null};
use super::step::Step;
use super::width::WidthResult;
use crate::algebra::verdict::Verdict;
use crate::unit::{Probability, Quantile, Seconds};

/// How a journey's numbers over one window follow from its model and its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Derivation {
    /// The journey's name.
    pub journey: String,
    /// What the evidence was summed over, as Prometheus prints durations.
    pub window: String,
    /// P(success).
    pub availability: AvailabilityResult,
    /// Latency quantiles given success, in seconds, by the text of their `quantile` label, rising.
    pub latency: IndexMap<String, LatencyResult>,
    /// Every component of the journey, in the order of the spec.
    pub components: Vec<ComponentResult>,
    /// What a reader of the numbers must know.
    pub warnings: Vec<WarningResult>,
    /// May automation go on?
    pub verdict: VerdictResult,
    /// The objectives and how far the bounds lie from them.
    pub objectives: ObjectiveResults,
    /// Every failure domain of the journey, in the order of the spec.
    pub domains: Vec<DomainResult>,
    /// What each component may lose and take; `None` where no allocation exists.
    pub allocation: Option<AllocationResult>,
    /// What makes the interval wide.
    pub width: WidthResult,
    /// The latency distribution at some rising times; empty where no latency was measured.
    pub distribution: Vec<DistributionPoint>,
    /// Where the numbers come from, as a whole.
    pub evidence: EvidenceResult,
    /// Under which model and policy.
    pub model: ModelResult,
    /// The operator tree.
    pub derivation: Step,
}

/// P(success), three ways and under each dependence assumption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AvailabilityResult {
    /// Independent, interpolated, no sampling term.
    #[serde(serialize_with = "probability")]
    pub estimate: Probability,
    /// The lower bound that automation uses.
    #[serde(serialize_with = "probability")]
    pub pessimistic: Probability,
    /// The upper bound.
    #[serde(serialize_with = "probability")]
    pub optimistic: Probability,
    /// Dependence alone, by the text of the `dependence` label.
    pub by_dependence: ByAssumption<ProbabilityRange>,
}

/// Both sides of an availability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProbabilityRange {
    /// Not above the truth.
    #[serde(serialize_with = "probability")]
    pub lower: Probability,
    /// Not below the truth.
    #[serde(serialize_with = "probability")]
    pub upper: Probability,
}

/// A latency quantile, three ways and under each dependence assumption; seconds, or `"+Inf"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyResult {
    /// Independent, interpolated, no sampling term.
    #[serde(serialize_with = "time")]
    pub estimate: Seconds,
    /// The upper bound that automation uses.
    #[serde(serialize_with = "time")]
    pub pessimistic: Seconds,
    /// The lower bound.
    #[serde(serialize_with = "time")]
    pub optimistic: Seconds,
    /// Dependence alone, by the text of the `dependence` label.
    pub by_dependence: ByAssumption<TimeRange>,
}

/// Both sides of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimeRange {
    /// Not above the truth.
    #[serde(serialize_with = "time")]
    pub lower: Seconds,
    /// Not below the truth.
    #[serde(serialize_with = "time")]
    pub upper: Seconds,
}

/// A component, what it contributes, and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentResult {
    /// Its name.
    pub name: String,
    /// The estimate of its availability, as used.
    #[serde(serialize_with = "probability")]
    pub availability: Probability,
    /// ∂A/∂A_i.
    #[serde(serialize_with = "real")]
    pub sensitivity: f64,
    /// Its share of the journey's unavailability, 0…1.
    #[serde(serialize_with = "real")]
    pub budget_share: f64,
    /// Its share of the journey's main latency quantile, 0…1.
    #[serde(serialize_with = "real")]
    pub latency_share: f64,
    /// The bounds of its availability, as used.
    pub availability_bounds: SidesResult,
    /// The failure domains that it is in.
    pub domains: Vec<String>,
    /// What was measured.
    pub evidence: ComponentEvidenceResult,
}

/// The two bounds beside an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SidesResult {
    /// The bound that hurts.
    #[serde(serialize_with = "probability")]
    pub pessimistic: Probability,
    /// Its mirror image.
    #[serde(serialize_with = "probability")]
    pub optimistic: Probability,
}

/// What was measured of a component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentEvidenceResult {
    /// `counts`, `figure` (an availability without counts) or `vacuous` (nothing).
    pub kind: &'static str,
    /// The window that it comes from: a longer one where the asked one held no calls.
    pub window: String,
    /// All calls, where they were counted.
    pub total: Option<f64>,
    /// Successful calls, where they were counted.
    pub good: Option<f64>,
    /// How many independent calls these are worth as a sample of failures, and of latencies; less than `total` where
    /// they come in bursts.
    pub independent_calls: Option<IndependentCalls>,
    /// Whether a latency histogram of the successes was measured.
    pub latency: bool,
    /// Finite bucket edges of that histogram.
    pub latency_buckets: usize,
    /// The last finite edge in seconds.
    #[serde(serialize_with = "time_or_null")]
    pub latency_last_edge: Option<Seconds>,
    /// The selector or query behind it, where the spec declares one.
    pub source: Option<String>,
    /// What is wrong with it; empty where nothing is.
    pub reasons: Vec<ReasonResult>,
}

/// What counted calls are worth as a sample. `null`: not known, taken as independent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IndependentCalls {
    /// As a sample of failures.
    pub failures: Option<f64>,
    /// As a sample of latencies.
    pub latency: Option<f64>,
}

/// Something wrong with evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonResult {
    /// The value of the `reason` label.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Something a reader of the numbers must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarningResult {
    /// Stable, in kebab case.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl WarningResult {
    /// What the codes of flaws of a component's evidence begin with.
    const OF_EVIDENCE: &str = "evidence-";

    /// The code of a flaw of a component's evidence.
    #[must_use]
    pub fn code_of(flaw: &ReasonResult) -> String {
        [Self::OF_EVIDENCE, &flaw.reason.replace('_', "-")].concat()
    }

    /// Whether a component's [`ComponentEvidenceResult::reasons`] say the same.
    #[must_use]
    pub fn is_of_evidence(&self) -> bool {
        self.code.starts_with(Self::OF_EVIDENCE)
    }
}

/// The verdict and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictResult {
    /// `pass`, `block` or `review`.
    #[serde(serialize_with = "verdict_label")]
    pub verdict: Verdict,
    /// Which bound meets or misses which objective, or what is missing.
    pub reason: String,
    /// How far the evidence carries the model, 0…1.
    #[serde(serialize_with = "probability")]
    pub confidence: Probability,
}

fn verdict_label<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

/// The objectives; `None` where the journey declares none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectiveResults {
    /// About success.
    pub availability: Option<AvailabilityObjectiveResult>,
    /// About the latency of successes.
    pub latency: Option<LatencyObjectiveResult>,
}

/// The availability objective and how far the numbers lie from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AvailabilityObjectiveResult {
    /// The budget's period.
    pub window: String,
    /// The promised share of successes.
    #[serde(serialize_with = "probability")]
    pub target: Probability,
    /// Availability minus target: negative where it is missed.
    pub margin: Margins,
    /// (1 − A)/(1 − target): above 1 the budget will not last its period.
    pub burn_rate: Margins,
}

/// The latency objective and how far the numbers lie from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyObjectiveResult {
    /// The budget's period.
    pub window: String,
    /// The text of the `quantile` label.
    pub quantile: String,
    /// What the quantile may not exceed, in seconds.
    #[serde(serialize_with = "time")]
    pub threshold: Seconds,
    /// Threshold minus latency in seconds: negative where it is missed; `None` where the quantile was not computed.
    pub margin: Option<Margins>,
    /// P(slower than the threshold given success)/(1 − quantile).
    pub burn_rate: Margins,
}

/// A derived number three ways.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Margins {
    /// Of the estimate.
    #[serde(serialize_with = "real")]
    pub estimate: f64,
    /// Of the pessimistic bound.
    #[serde(serialize_with = "real")]
    pub pessimistic: f64,
    /// Of the optimistic bound.
    #[serde(serialize_with = "real")]
    pub optimistic: f64,
}

/// A failure domain and what it contributes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainResult {
    /// Its name.
    pub name: String,
    /// The components in it.
    pub members: Vec<String>,
    /// A(all its leaves up) − A(all its leaves down).
    #[serde(serialize_with = "real")]
    pub sensitivity: f64,
    /// Its share of the journey's unavailability under shared fate, 0…1.
    #[serde(serialize_with = "real")]
    pub budget_share: f64,
}

/// Where the numbers come from, as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvidenceResult {
    /// The end of the window in seconds since the epoch, where it is known.
    pub time: Option<f64>,
    /// The age of the oldest evidence in seconds, where it is known.
    #[serde(serialize_with = "time_or_null")]
    pub age: Option<Seconds>,
    /// Measured or declared probabilities by name; `None`: nothing is known.
    pub parameters: IndexMap<String, Option<f64>>,
}

/// Under which model and policy the numbers hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelResult {
    /// The digest of the canonical model.
    pub digest: String,
    /// The dependence assumption of the bounds.
    pub dependence: &'static str,
    /// How bucket widths enter the bounds: `bound` or `interpolate`.
    pub bucket_error: &'static str,
    /// Which bound blocks: the pessimistic one (`conservative`) or the optimistic one (`permissive`).
    pub evaluation_mode: &'static str,
    /// The one-sided level of the bounds.
    #[serde(serialize_with = "probability")]
    pub confidence: Probability,
    /// The version of emac that computed them.
    pub version: &'static str,
}

/// The quantiles that every derivation holds beside the journey's own.
///
/// They are exact decimals, so that their labels read `0.5`, `0.9`, `0.99`, `0.999`.
#[must_use]
pub fn explained_quantiles() -> Vec<Quantile> {
    [0.5, 0.9, 0.99, 0.999].into_iter().filter_map(|level| Quantile::new(level).ok()).collect()
}
