//! What each component may lose and take so that the journey keeps its objectives.

use serde::Serialize;

use super::number::{probability, probability_or_null, real, real_or_null, time_or_null};
use crate::algebra::composition::Composition;
use crate::journey::Journey;
use crate::journey::operator::Operator;
use crate::unit::{Probability, Seconds};

/// Budgets of the components: availability by equal burn, latency in the proportions of the main quantile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AllocationResult {
    /// How much more than now every component may lose; below 1 they must lose less.
    #[serde(serialize_with = "real")]
    pub availability_scale: f64,
    /// What the allocated availabilities compose to under the policy's dependence: the objective.
    #[serde(serialize_with = "probability")]
    pub recomposed: Probability,
    /// How much slower than now every component may be; `None` without a latency objective or a finite bound, and where
    /// timers stand in between, since times then do not scale together.
    #[serde(serialize_with = "real_or_null")]
    pub latency_scale: Option<f64>,
    /// One for each component, in the order of the spec.
    pub components: Vec<ComponentAllocation>,
}

/// What one component is granted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentAllocation {
    /// Its name.
    pub name: String,
    /// The availability that it must keep; `None` where the operator does not call it.
    #[serde(serialize_with = "probability_or_null")]
    pub availability: Option<Probability>,
    /// Its part of the latency objective, in seconds; the parts sum to it.
    #[serde(serialize_with = "time_or_null")]
    pub latency: Option<Seconds>,
}

impl AllocationResult {
    /// `None` where the composition has none.
    pub(super) fn new(journey: &Journey, composition: &Composition) -> Option<Self> {
        let allocation = composition.allocation.as_ref()?;
        let latency_scale = latency_scale(journey, composition);
        let threshold = journey.objectives.latency.as_ref().map_or(0.0, |latency| latency.threshold.get());
        let sum: f64 = composition.components.iter().map(|component| component.latency_share).sum();
        let components = composition
            .components
            .iter()
            .zip(&allocation.components)
            .map(|(share, availability)| ComponentAllocation {
                name: share.name.clone(),
                availability: *availability,
                latency: latency_scale
                    .filter(|_| sum > 0.0)
                    .and_then(|_| Seconds::new(threshold * share.latency_share / sum).ok()),
            })
            .collect();
        Some(Self {
            availability_scale: allocation.scale,
            recomposed: allocation.recomposed,
            latency_scale,
            components,
        })
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let of = |scale: f64, more: &str, less: &str| {
            let shown = super::number::significant(scale, 3);
            if scale >= 1.0 {
                format!("may {more} {shown} times what it does now")
            } else {
                format!("must {less} {shown} times what it does now")
            }
        };
        let availability = of(self.availability_scale, "lose up to", "lose at most");
        let latency = self
            .latency_scale
            .map_or_else(String::new, |scale| format!(", and {}", of(scale, "take up to", "take at most")));
        format!(
            "Every component {availability}{latency}; then the pessimistic bound just meets the objective."
        )
    }
}

/// Latencies scale together: where every component is θ times slower, so is the journey, and so is its bound.
fn latency_scale(journey: &Journey, composition: &Composition) -> Option<f64> {
    let objective = journey.objectives.latency.as_ref()?;
    let timed = journey.operator.visit(&mut |operator| match operator {
        Operator::Timeout { .. } | Operator::Optional { .. } | Operator::Hedge { .. } => Err(()),
        Operator::Retry { per_try_timeout: Some(_), .. } | Operator::Retry { backoff: Some(_), .. } => {
            Err(())
        }
        _ => Ok(()),
    });
    timed.ok()?;
    let bound = composition.latency.iter().find(|latency| latency.quantile == objective.quantile)?;
    let bound = bound.value.pessimistic.get();
    (bound.is_finite() && bound > 0.0).then(|| objective.threshold.get() / bound)
}
