//! What makes a journey's interval wide, and what would narrow it.

use serde::Serialize;

use super::number::{count, real, seconds, share};
use crate::algebra::composition::{ComponentShare, Composition};
use crate::distribution::histogram::ClassicHistogram;
use crate::journey::Journey;
use crate::journey::domain::{DomainId, DomainLatency};
use crate::journey::evidence::{Evidence, Measurement};
use crate::unit::Seconds;

/// Which part of the way from the estimate to the pessimistic bound of the main latency quantile (of availability where
/// no latency was measured) each source accounts for. The three sum to 1, or all are 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WidthResult {
    /// Finite samples, 0…1.
    #[serde(serialize_with = "real")]
    pub samples: f64,
    /// The width of buckets, 0…1.
    #[serde(serialize_with = "real")]
    pub buckets: f64,
    /// What is not known about how components fail and slow together, 0…1.
    #[serde(serialize_with = "real")]
    pub dependence: f64,
    /// What would narrow the interval most; `None` where it has no width.
    pub advice: Option<String>,
}

impl WidthResult {
    pub(super) fn new(journey: &Journey, evidence: &Evidence, composition: &Composition) -> Self {
        let width = composition.width;
        let advice = if width.buckets.max(width.samples).max(width.dependence) <= 0.0 {
            None
        } else if width.buckets >= width.samples.max(width.dependence) {
            Some(finer_buckets(journey, evidence, composition))
        } else if width.samples >= width.dependence {
            Some(more_samples(evidence, composition))
        } else {
            Some(narrower_domains(journey, composition))
        };
        Self { samples: width.samples, buckets: width.buckets, dependence: width.dependence, advice }
    }

    /// The sources by their names, the label `source` of `emac_journey_width_share`.
    #[must_use]
    pub fn sources(&self) -> [(&'static str, f64); 3] {
        [("buckets", self.buckets), ("samples", self.samples), ("dependence", self.dependence)]
    }
}

fn finer_buckets(journey: &Journey, evidence: &Evidence, composition: &Composition) -> String {
    let q = journey.objectives.latency.as_ref().map_or(0.99, |objective| objective.quantile.get());
    let widest = composition
        .components
        .iter()
        .zip(&evidence.components)
        .filter_map(|(component, measured)| {
            let Measurement::Counts(counts) = &measured.measurement else { return None };
            let (lower, upper) = bucket_of(counts.latency()?, q)?;
            Some((component, lower, upper))
        })
        .max_by(|a, b| a.0.latency_share.total_cmp(&b.0.latency_share));
    let dominates = format!("Bucket width dominates ({})", share(composition.width.buckets));
    match widest {
        Some((component, lower, Some(upper))) => format!(
            "{dominates}: give {} bucket edges between {} and {}.",
            component.name,
            seconds(lower),
            seconds(upper)
        ),
        Some((component, lower, None)) => {
            format!(
                "{dominates}: give {} bucket edges beyond {}, its last one.",
                component.name,
                seconds(lower)
            )
        }
        None => format!("{dominates}: add bucket edges around the objective."),
    }
}

/// The bucket that holds the q-quantile; without an upper edge where it is the last.
fn bucket_of(histogram: &ClassicHistogram, q: f64) -> Option<(Seconds, Option<Seconds>)> {
    let total = histogram.total();
    if total <= 0.0 {
        return None;
    }
    let at = histogram.counts().iter().position(|&through| through >= q * total)?;
    let edge = |at: usize| histogram.edges().get(at).and_then(|&edge| Seconds::new(edge).ok());
    let lower = at.checked_sub(1).map_or(Some(Seconds::ZERO), edge)?;
    Some((lower, edge(at)))
}

fn more_samples(evidence: &Evidence, composition: &Composition) -> String {
    let fewest = composition
        .components
        .iter()
        .zip(&evidence.components)
        .filter_map(|(component, measured): (&ComponentShare, _)| match &measured.measurement {
            Measurement::Counts(counts) => Some((component, counts)),
            Measurement::Vacuous | Measurement::Figure(_) => None,
        })
        .min_by(|a, b| a.1.calls_for_latency().total_cmp(&b.1.calls_for_latency()));
    let dominates = format!("Few samples dominate ({})", share(composition.width.samples));
    match fewest {
        Some((component, counts)) => format!(
            "{dominates}: {} calls of {} in {}; judge by a longer window.",
            count(counts.total()),
            component.name,
            evidence.window
        ),
        None => format!("{dominates}: judge by a longer window."),
    }
}

fn narrower_domains(journey: &Journey, composition: &Composition) -> String {
    let dominates =
        format!("What is not known about shared fate dominates ({})", share(composition.width.dependence));
    // Of the latency, where that is what is wide: what its members make of it, if they may slow together.
    let latency_share = |domain: usize| -> f64 {
        let both = journey.components.iter().zip(&composition.components);
        let members = both.filter(|(component, _)| component.domains.contains(&DomainId(domain)));
        match journey.domains[domain].latency {
            DomainLatency::Independent => 0.0,
            DomainLatency::Shared | DomainLatency::Correlation(_) => {
                members.map(|(_, component)| component.latency_share).sum()
            }
        }
    };
    let slows = composition.components.iter().any(|component| component.latency_share > 0.0);
    let weight = |domain: usize| {
        if slows { latency_share(domain) } else { composition.domains[domain].together_share }
    };
    let heaviest = (0..composition.domains.len())
        .filter(|&domain| weight(domain) > 0.0)
        .max_by(|&a, &b| weight(a).total_cmp(&weight(b)).then(b.cmp(&a)));
    match heaviest {
        Some(domain) => format!(
            "{dominates}: split the failure domain {}, or declare how its members slow together (correlation, or \
             latency: independent).",
            composition.domains[domain].name
        ),
        None => format!("{dominates}: declare failure domains, and how their members slow together."),
    }
}
