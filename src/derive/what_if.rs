//! What a journey would be, were components different: composed as it is and as it is supposed, with every bound; and what
//! each component alone could do, in the estimate.

use serde::Serialize;

use super::derivation::{AvailabilityResult, LatencyResult, VerdictResult};
use super::number::{probability, probability_or_null, real, real_or_null, time_or_null};
use super::{Derivation, explain};
use crate::algebra::alternative::{Alternative, SLOWDOWNS};
use crate::algebra::compose::Composer;
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::{Evidence, SuppositionError};
use crate::unit::{Probability, Seconds};

/// The most components that are looked at alone.
pub const MOST_ALONE: usize = 30;

/// Something supposed of one component.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supposition {
    /// Of which.
    pub component: ComponentId,
    /// P(success); as measured without it.
    pub availability: Option<Probability>,
    /// How many times as long it takes, within [`SLOWDOWNS`]; 1: as measured.
    pub slowdown: f64,
}

/// What a journey is, and what it would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIf {
    /// The journey's name.
    pub journey: String,
    /// What the evidence was summed over, as Prometheus prints durations.
    pub window: String,
    /// The objective of availability.
    #[serde(serialize_with = "probability_or_null")]
    pub target: Option<Probability>,
    /// The quantile whose latency is shown: the objective's, or 0.99; as the text of its label.
    pub quantile: String,
    /// The objective of that quantile, in seconds.
    #[serde(serialize_with = "time_or_null")]
    pub threshold: Option<Seconds>,
    /// As measured.
    pub now: OutcomeResult,
    /// What is supposed; empty where nothing is.
    pub suppositions: Vec<SuppositionResult>,
    /// As supposed; `None` where nothing is.
    pub supposed: Option<OutcomeResult>,
    /// What each component alone could do, starting from what is supposed: those that matter most and of which something
    /// is known, in the order of the spec.
    pub alone: Vec<AloneResult>,
    /// How many components matter less than those that were looked at ([`MOST_ALONE`]).
    pub left_out: usize,
}

/// A supposition as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuppositionResult {
    /// The component's name.
    pub component: String,
    /// P(success) where it is supposed.
    #[serde(serialize_with = "probability_or_null")]
    pub availability: Option<Probability>,
    /// How many times as long it takes.
    #[serde(serialize_with = "real")]
    pub slowdown: f64,
}

/// The journey's numbers under one evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutcomeResult {
    /// P(success).
    pub availability: AvailabilityResult,
    /// The quantile of the objective, or p99, in seconds.
    pub latency: Option<LatencyResult>,
    /// May automation go on?
    pub verdict: VerdictResult,
}

/// What one component alone could do, all others as they are. Estimates: independent, interpolated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AloneResult {
    /// Its name.
    pub name: String,
    /// The journey's availability if it never failed.
    #[serde(serialize_with = "probability")]
    pub never_failing: Probability,
    /// The journey's latency quantile if it answered at once; `None` where no latency was measured.
    #[serde(serialize_with = "time_or_null")]
    pub at_once: Option<Seconds>,
    /// The availability that it needs for the journey's objective, 0 where that does not matter; `None` without an
    /// objective, and where never failing is not enough.
    #[serde(serialize_with = "probability_or_null")]
    pub needed: Option<Probability>,
    /// How many times as long as now it may take for the latency objective; infinite where that does not matter; `None`
    /// without an objective or a finite bound, and where answering at once is not enough.
    #[serde(serialize_with = "real_or_null")]
    pub slowdown: Option<f64>,
}

/// Composes the journey as it is and as it is supposed.
///
/// What [`AloneResult`] says of objectives is where the pessimistic bound would meet them if it stayed as far from the estimate
/// as it is: that tells what to suppose, and supposing it composes the bound.
///
/// # Errors
/// The supposition of which there is no evidence that could be different.
pub fn what_if(
    composer: &mut Composer,
    journey: &Journey,
    evidence: &Evidence,
    suppositions: &[Supposition],
) -> Result<WhatIf, (Supposition, SuppositionError)> {
    let mut supposed = evidence.clone();
    for supposition in suppositions {
        let own = &mut supposed.components[supposition.component.0];
        let slowdown = supposition.slowdown.clamp(*SLOWDOWNS.start(), *SLOWDOWNS.end());
        *own = own.supposing(supposition.availability, slowdown).map_err(|error| (*supposition, error))?;
    }
    let now = explain(composer, journey, evidence, None);
    let then = (!suppositions.is_empty()).then(|| explain(composer, journey, &supposed, None));
    let from = then.as_ref().unwrap_or(&now);
    let listed = most_important(from);
    let alone = alone(composer, journey, &supposed, from, &listed);
    let objectives = &journey.objectives;
    let latency = objectives.latency.as_ref();
    let quantile = latency.map_or_else(|| "0.99".to_owned(), |latency| latency.quantile.to_string());
    let name = |id: ComponentId| journey.components[id.0].name.clone();
    Ok(WhatIf {
        journey: journey.name.clone(),
        window: evidence.window.to_string(),
        target: objectives.availability.as_ref().map(|availability| availability.target),
        threshold: latency.map(|latency| latency.threshold),
        suppositions: suppositions
            .iter()
            .map(|supposition| SuppositionResult {
                component: name(supposition.component),
                availability: supposition.availability,
                slowdown: supposition.slowdown,
            })
            .collect(),
        now: OutcomeResult::new(&now, &quantile),
        supposed: then.as_ref().map(|then| OutcomeResult::new(then, &quantile)),
        quantile,
        alone,
        left_out: from.components.len() - listed.len(),
    })
}

impl OutcomeResult {
    fn new(derivation: &Derivation, quantile: &str) -> Self {
        Self {
            availability: derivation.availability.clone(),
            latency: derivation.latency.get(quantile).cloned(),
            verdict: derivation.verdict.clone(),
        }
    }
}

/// The components with the greatest shares of unavailability or latency, rising.
fn most_important(derivation: &Derivation) -> Vec<usize> {
    let share = |at: &usize| {
        let component = &derivation.components[*at];
        component.budget_share.max(component.latency_share)
    };
    let mut all: Vec<usize> = (0..derivation.components.len()).collect();
    all.sort_by(|a, b| share(b).total_cmp(&share(a)));
    all.truncate(MOST_ALONE);
    all.sort_unstable();
    all
}

fn alone(
    composer: &mut Composer,
    journey: &Journey,
    evidence: &Evidence,
    from: &Derivation,
    listed: &[usize],
) -> Vec<AloneResult> {
    let availability = &from.availability;
    let target = journey.objectives.availability.as_ref().and_then(|objective| {
        let apart = availability.estimate.get() - availability.pessimistic.get();
        Probability::new(objective.target.get() + apart).ok()
    });
    let threshold = journey.objectives.latency.as_ref().and_then(|objective| {
        let latency = from.latency.get(&objective.quantile.to_string())?;
        let (estimate, bound) = (latency.estimate.get(), latency.pessimistic.get());
        let finite = bound.is_finite() && bound > 0.0;
        finite.then(|| Seconds::new(objective.threshold.get() * estimate / bound).ok()).flatten()
    });
    let mut alternatives = composer.alternatives(journey, evidence);
    let mut all = Vec::with_capacity(listed.len());
    for &component in listed {
        let mut one = alternatives.of(ComponentId(component));
        if !one.is_known() {
            continue;
        }
        let now = one.now();
        let never_failing = one.estimate(&Alternative { availability: Probability::ONE, ..now }).availability;
        let at_once = one.estimate(&Alternative { slowdown: *SLOWDOWNS.start(), ..now }).latency;
        all.push(AloneResult {
            name: journey.components[component].name.clone(),
            never_failing,
            at_once,
            needed: target.and_then(|target| one.least_availability(target)),
            slowdown: threshold.and_then(|threshold| one.greatest_slowdown(threshold)),
        });
    }
    all
}
