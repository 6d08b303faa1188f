//! From a composition to its derivation.

use super::allocation::AllocationResult;
use super::by_assumption::ByAssumption;
use super::derivation::{
    AvailabilityObjectiveResult, AvailabilityResult, ComponentEvidenceResult, ComponentResult, Derivation,
    DomainResult, EvidenceResult, IndependentCalls, LatencyObjectiveResult, LatencyResult, Margins,
    ModelResult, ObjectiveResults, ProbabilityRange, ReasonResult, SidesResult, TimeRange, VerdictResult,
    WarningResult, explained_quantiles,
};
use super::distribution;
use super::reason;
use super::step::Step;
use super::width::WidthResult;
use crate::algebra::compose::Composer;
use crate::algebra::composition::{
    Bounded, ByDependence, ComponentShare, Composition, Interval, LatencyQuantile, Side,
};
use crate::algebra::verdict::{self, Judgement};
use crate::journey::Journey;
use crate::journey::component::{Component, Telemetry};
use crate::journey::domain::DomainId;
use crate::journey::evidence::{ComponentEvidence, Evidence, Measurement};
use crate::journey::governance::{BucketError, Dependence, EvaluationMode};
use crate::journey::operator::Operator;
use crate::unit::{Probability, Quantile, Seconds};

/// Composes the journey over this evidence and derives how; `age` is that of the oldest evidence used.
#[must_use]
pub fn explain(
    composer: &mut Composer,
    journey: &Journey,
    evidence: &Evidence,
    age: Option<Seconds>,
) -> Derivation {
    let mut composition = composer.compose(journey, evidence, &[]);
    let more: Vec<Quantile> = explained_quantiles()
        .into_iter()
        .filter(|level| composition.latency.iter().all(|known| known.quantile != *level))
        .collect();
    if !more.is_empty() && is_timeless(journey, evidence) {
        composition.latency = with_more(&composition.latency, same_at(&composition.latency, &more));
    } else if !more.is_empty() {
        // Grids reach for the highest level. Those that the journey publishes are explained as they are published.
        let wider = composer.compose(journey, evidence, &more);
        composition.latency = with_more(&composition.latency, wider.latency);
    }
    Derivation::new(journey, evidence, &composition, age)
}

/// Whether no time enters the composition, neither measured nor of a timer: then no level differs from another.
fn is_timeless(journey: &Journey, evidence: &Evidence) -> bool {
    let measured = evidence.components.iter().any(|component| match &component.measurement {
        Measurement::Counts(counts) => counts.latency().is_some() || counts.failure_latency().is_some(),
        Measurement::Figure(_) | Measurement::Vacuous => false,
    });
    let timed = journey.operator.visit(&mut |operator| match operator {
        Operator::Timeout { .. }
        | Operator::Optional { .. }
        | Operator::Hedge { .. }
        | Operator::Retry { per_try_timeout: Some(_), .. }
        | Operator::Retry { backoff: Some(_), .. } => Err(()),
        _ => Ok(()),
    });
    !measured && timed.is_ok()
}

/// What is known of any published level, at these and those levels, rising.
fn same_at(published: &[LatencyQuantile], more: &[Quantile]) -> Vec<LatencyQuantile> {
    let Some(known) = published.last() else { return Vec::new() };
    let at = |quantile: &Quantile| LatencyQuantile { quantile: *quantile, ..known.clone() };
    let mut all: Vec<_> = published.iter().cloned().chain(more.iter().map(at)).collect();
    all.sort_by(|a, b| a.quantile.get().total_cmp(&b.quantile.get()));
    all
}

/// The published levels, and between them those of `all` that are not: within what is known of the levels around them.
fn with_more(published: &[LatencyQuantile], all: Vec<LatencyQuantile>) -> Vec<LatencyQuantile> {
    let mut merged: Vec<LatencyQuantile> = Vec::with_capacity(all.len());
    for mut next in all {
        if let Some(known) = published.iter().find(|known| known.quantile == next.quantile) {
            merged.push(known.clone());
            continue;
        }
        // A bound of a higher level bounds a lower one from above, and a lower one's a higher one from below.
        let above = published.iter().find(|known| known.quantile.get() > next.quantile.get());
        if let Some(above) = above {
            limit(&mut next, above, |own, above| if above < own { above } else { own });
        }
        if let Some(below) = merged.last() {
            limit(&mut next, below, |own, below| if below > own { below } else { own });
        }
        merged.push(next);
    }
    merged
}

fn limit(next: &mut LatencyQuantile, other: &LatencyQuantile, pick: fn(Seconds, Seconds) -> Seconds) {
    for (value, other) in [
        (&mut next.value.estimate, other.value.estimate),
        (&mut next.value.pessimistic, other.value.pessimistic),
        (&mut next.value.optimistic, other.value.optimistic),
    ] {
        *value = pick(*value, other);
    }
    for (dependence, interval) in &mut next.by_dependence {
        if let Some(other) = other.by_dependence.get(dependence) {
            interval.lower = pick(interval.lower, other.lower);
            interval.upper = pick(interval.upper, other.upper);
        }
    }
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
            allocation: AllocationResult::new(journey, composition),
            width: WidthResult::new(journey, evidence, composition),
            distribution: distribution::points(journey, composition),
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
    items.iter().rev().filter(|item| share(item) > 0.0).max_by(|a, b| share(a).total_cmp(&share(b)))
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
fn reported<T, R>(by_dependence: &ByDependence<T>, range: impl Fn(&Interval<T>) -> R) -> ByAssumption<R> {
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
                independent_calls: counts.map(|counts| {
                    let effects = counts.design_effects();
                    IndependentCalls {
                        failures: effects.failures.map(|_| counts.calls_for_failures()),
                        latency: effects.latency.map(|_| counts.calls_for_latency()),
                    }
                }),
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
            let mut text = metric.clone();
            for (index, matcher) in matchers.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "{" });
                matcher.push_to(&mut text);
            }
            text.push_str(if matchers.is_empty() { "" } else { "}" });
            Some(text)
        }
        Telemetry::Queries { total, good, latency, .. } => {
            total.as_ref().or(good.as_ref()).or(latency.as_ref()).cloned()
        }
        Telemetry::Ratio { query } => Some(query.clone()),
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
                code: WarningResult::code_of(reason),
                message: [&component.name, ": ", &reason.message].concat(),
            });
        }
    }
    warnings
}

fn domains(journey: &Journey, composition: &Composition) -> Vec<DomainResult> {
    let members = |index: usize| {
        let within = |component: &&Component| component.domains.contains(&DomainId(index));
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

impl Margins {
    fn of(f: impl Fn(Side) -> f64) -> Self {
        Self {
            estimate: f(Side::Estimate),
            pessimistic: f(Side::Pessimistic),
            optimistic: f(Side::Optimistic),
        }
    }
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
