//! The derivation of a journey's numbers over one window, as data. Its JSON is a public contract: fields keep their
//! names, their order and their units; new ones may come beside them.

use indexmap::IndexMap;
use serde::Serialize;

use super::number::{probability, real, time, time_or_null};
use super::reason;
use super::step::Step;
use crate::algebra::compose::Composer;
use crate::algebra::composition::{
    Bounded, ByDependence, ComponentShare, Composition, LatencyQuantile, Side,
};
use crate::algebra::verdict::{self, Judgement, Verdict};
use crate::journey::Journey;
use crate::journey::component::{Component, Telemetry};
use crate::journey::evidence::{ComponentEvidence, Evidence, Measurement};
use crate::journey::governance::{BucketError, Dependence, EvaluationMode};
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
    pub by_dependence: IndexMap<&'static str, ProbabilityRange>,
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
    pub by_dependence: IndexMap<&'static str, TimeRange>,
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

impl Margins {
    fn of(f: impl Fn(Side) -> f64) -> Self {
        Self {
            estimate: f(Side::Estimate),
            pessimistic: f(Side::Pessimistic),
            optimistic: f(Side::Optimistic),
        }
    }
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

/// Composes the journey over this evidence and derives how; `age` is that of the oldest evidence used.
#[must_use]
pub fn explain(
    composer: &mut Composer,
    journey: &Journey,
    evidence: &Evidence,
    age: Option<Seconds>,
) -> Derivation {
    let composition = composer.compose(journey, evidence, &explained_quantiles());
    Derivation::new(journey, evidence, &composition, age)
}

impl Derivation {
    /// Derives from a composition of this journey over this evidence. `age` is that of the oldest evidence used.
    #[must_use]
    pub fn new(
        journey: &Journey,
        evidence: &Evidence,
        composition: &Composition,
        age: Option<Seconds>,
    ) -> Self {
        let Judgement { verdict, reason } = verdict::judge(journey, evidence, composition);
        let components: Vec<_> = journey
            .components
            .iter()
            .zip(&evidence.components)
            .zip(&composition.components)
            .map(|((component, measured), share)| {
                ComponentResult::new(journey, evidence, component, measured, share)
            })
            .collect();
        Self {
            journey: journey.name.clone(),
            window: evidence.window.to_string(),
            availability: AvailabilityResult::new(
                &composition.availability,
                &composition.availability_by_dependence,
            ),
            latency: composition
                .latency
                .iter()
                .map(|latency| (latency.quantile.to_string(), LatencyResult::new(latency)))
                .collect(),
            warnings: warnings(&components, composition),
            verdict: VerdictResult {
                verdict,
                reason,
                confidence: verdict::model_confidence(journey, evidence),
            },
            objectives: ObjectiveResults::new(journey, composition),
            domains: domains(journey, composition),
            evidence: EvidenceResult {
                time: evidence.time.map(|time| time.seconds()),
                age,
                parameters: journey
                    .parameters
                    .iter()
                    .zip(&evidence.parameters)
                    .map(|(parameter, value)| (parameter.name.clone(), *value))
                    .collect(),
            },
            model: ModelResult::new(journey),
            derivation: Step::new(journey, evidence, &journey.operator, &composition.root),
            components,
        }
    }

    /// The component with the greatest share of the unavailability, if any has one.
    #[must_use]
    pub fn dominant_component(&self) -> Option<&ComponentResult> {
        greatest(&self.components, |component| component.budget_share)
    }

    /// The domain with the greatest share of the unavailability, if any has one.
    #[must_use]
    pub fn dominant_domain(&self) -> Option<&DomainResult> {
        greatest(&self.domains, |domain| domain.budget_share)
    }
}

fn greatest<T>(items: &[T], share: impl Fn(&T) -> f64) -> Option<&T> {
    items.iter().filter(|item| share(item) > 0.0).max_by(|a, b| share(a).total_cmp(&share(b)))
}

impl AvailabilityResult {
    pub(super) fn new(value: &Bounded<Probability>, by_dependence: &ByDependence<Probability>) -> Self {
        Self {
            estimate: value.estimate,
            pessimistic: value.pessimistic,
            optimistic: value.optimistic,
            by_dependence: reported(by_dependence, |range| ProbabilityRange {
                lower: range.lower,
                upper: range.upper,
            }),
        }
    }
}

impl LatencyResult {
    fn new(latency: &LatencyQuantile) -> Self {
        Self {
            estimate: latency.value.estimate,
            pessimistic: latency.value.pessimistic,
            optimistic: latency.value.optimistic,
            by_dependence: reported(&latency.by_dependence, |range| TimeRange {
                lower: range.lower,
                upper: range.upper,
            }),
        }
    }
}

/// In the order of [`Dependence::REPORTED`].
fn reported<T, R>(
    by_dependence: &ByDependence<T>,
    range: impl Fn(&crate::algebra::composition::Interval<T>) -> R,
) -> IndexMap<&'static str, R> {
    let entry = |dependence: Dependence| {
        by_dependence.get(&dependence).map(|interval| (dependence.as_str(), range(interval)))
    };
    Dependence::REPORTED.into_iter().filter_map(entry).collect()
}

impl ComponentResult {
    fn new(
        journey: &Journey,
        evidence: &Evidence,
        component: &Component,
        measured: &ComponentEvidence,
        share: &ComponentShare,
    ) -> Self {
        let (kind, counts) = match &measured.measurement {
            Measurement::Counts(counts) => ("counts", Some(counts)),
            Measurement::Figure(_) => ("figure", None),
            Measurement::Vacuous => ("vacuous", None),
        };
        let histogram = counts.and_then(|counts| counts.latency());
        let mut reasons: Vec<_> = measured
            .reasons
            .iter()
            .map(|reason| ReasonResult {
                reason: reason.as_str(),
                message: reason::sentence(*reason).to_owned(),
            })
            .collect();
        if let Some(from) = measured.from_window {
            let message = reason::from_longer_window(evidence.window, from);
            match reasons.iter_mut().find(|reason| reason.reason == "no_traffic") {
                Some(reason) => reason.message = message,
                None => reasons.push(ReasonResult { reason: "no_traffic", message }),
            }
        }
        Self {
            name: share.name.clone(),
            availability: share.availability.estimate,
            sensitivity: share.sensitivity,
            budget_share: share.budget_share,
            latency_share: share.latency_share,
            availability_bounds: SidesResult {
                pessimistic: share.availability.pessimistic,
                optimistic: share.availability.optimistic,
            },
            domains: component
                .domains
                .iter()
                .filter_map(|id| journey.domains.get(id.0))
                .map(|domain| domain.name.clone())
                .collect(),
            evidence: ComponentEvidenceResult {
                kind,
                window: measured.from_window.unwrap_or(evidence.window).to_string(),
                total: counts.map(|counts| counts.total()),
                good: counts.map(|counts| counts.good()),
                latency: histogram.is_some(),
                latency_buckets: histogram.map_or(0, |histogram| histogram.edges().len()),
                latency_last_edge: histogram.and_then(|histogram| Seconds::new(histogram.last_edge()).ok()),
                source: component.telemetry.as_ref().and_then(source),
                reasons,
            },
        }
    }
}

/// The selector or query that measures a component.
fn source(telemetry: &Telemetry) -> Option<String> {
    match telemetry {
        Telemetry::Histogram { metric, matchers, .. } => {
            let matchers: Vec<_> = matchers.iter().map(ToString::to_string).collect();
            Some(if matchers.is_empty() {
                metric.clone()
            } else {
                format!("{metric}{{{}}}", matchers.join(", "))
            })
        }
        Telemetry::Queries { total, good, latency, .. } => {
            total.as_ref().or(good.as_ref()).or(latency.as_ref()).cloned()
        }
    }
}

/// The composition's own, and one for each flaw of the evidence.
fn warnings(components: &[ComponentResult], composition: &Composition) -> Vec<WarningResult> {
    let mut warnings: Vec<_> = composition
        .warnings
        .iter()
        .map(|warning| WarningResult { code: warning.code.to_owned(), message: warning.message.clone() })
        .collect();
    for component in components {
        for reason in &component.evidence.reasons {
            warnings.push(WarningResult {
                code: format!("evidence-{}", reason.reason.replace('_', "-")),
                message: format!("{}: {}", component.name, reason.message),
            });
        }
    }
    warnings
}

fn domains(journey: &Journey, composition: &Composition) -> Vec<DomainResult> {
    let members = |index: usize| {
        let within = |component: &&Component| component.domains.iter().any(|id| id.0 == index);
        journey.components.iter().filter(within).map(|component| component.name.clone()).collect()
    };
    composition
        .domains
        .iter()
        .enumerate()
        .map(|(index, domain)| DomainResult {
            name: domain.name.clone(),
            members: members(index),
            sensitivity: domain.sensitivity,
            budget_share: domain.budget_share,
        })
        .collect()
}

impl ObjectiveResults {
    fn new(journey: &Journey, composition: &Composition) -> Self {
        let availability = journey.objectives.availability.as_ref().map(|objective| {
            let value = |side| composition.availability.side(side).get();
            let target = objective.target.get();
            AvailabilityObjectiveResult {
                window: objective.window.to_string(),
                target: objective.target,
                margin: Margins::of(|side| value(side) - target),
                burn_rate: Margins::of(|side| burn(1.0 - value(side), 1.0 - target)),
            }
        });
        let latency = journey.objectives.latency.as_ref().map(|objective| {
            let found = composition.latency.iter().find(|latency| latency.quantile == objective.quantile);
            let slower = |side| composition.slower_than(side, objective.threshold).get();
            LatencyObjectiveResult {
                window: objective.window.to_string(),
                quantile: objective.quantile.to_string(),
                threshold: objective.threshold,
                margin: found.map(|latency| {
                    Margins::of(|side| objective.threshold.get() - latency.value.side(side).get())
                }),
                burn_rate: Margins::of(|side| burn(slower(side), 1.0 - objective.quantile.get())),
            }
        });
        Self { availability, latency }
    }
}

/// How many times faster than evenly a budget burns; a budget of nothing is burnt at once by anything.
fn burn(bad: f64, budget: f64) -> f64 {
    if budget > 0.0 {
        bad / budget
    } else if bad > 0.0 {
        f64::INFINITY
    } else {
        0.0
    }
}

impl ModelResult {
    fn new(journey: &Journey) -> Self {
        let governance = &journey.governance;
        Self {
            digest: journey.digest.clone(),
            dependence: governance.dependence.as_str(),
            bucket_error: match governance.bucket_error {
                BucketError::Bound => "bound",
                BucketError::Interpolate => "interpolate",
            },
            evaluation_mode: match governance.evaluation_mode {
                EvaluationMode::Conservative => "conservative",
                EvaluationMode::Permissive => "permissive",
            },
            confidence: governance.confidence,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}
