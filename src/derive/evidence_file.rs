//! Evidence as the document that `emac explain --evidence` reads, so that what a server saw can be explained offline.

use serde_json::{Map, Value, json};

use crate::distribution::histogram::ClassicHistogram;
use crate::journey::Journey;
use crate::journey::evidence::{Evidence, Measurement};

/// The document. A component without evidence is left out: that is how the file says so. Why it is missing stands in
/// the derivation.
#[must_use]
pub fn document(journey: &Journey, evidence: &Evidence) -> Value {
    let mut components = Map::new();
    for (component, measured) in journey.components.iter().zip(&evidence.components) {
        let entry = match &measured.measurement {
            Measurement::Vacuous => continue,
            Measurement::Figure(availability) => json!({"availability": availability.get()}),
            Measurement::Counts(counts) => {
                let mut entry = json!({"total": counts.total(), "good": counts.good()});
                for (key, histogram) in
                    [("latency", counts.latency()), ("failureLatency", counts.failure_latency())]
                {
                    if let Some(histogram) = histogram {
                        entry[key] = json!({"unit": "seconds", "buckets": buckets(histogram)});
                    }
                }
                let effects = counts.design_effects();
                for (key, effect) in [("failures", effects.failures), ("latency", effects.latency)] {
                    if let Some(effect) = effect {
                        entry["designEffect"][key] = json!(effect.get());
                    }
                }
                entry
            }
        };
        components.insert(component.name.clone(), entry);
    }
    let mut spec = json!({"window": evidence.window.to_string()});
    let parameters: Map<String, Value> = journey
        .parameters
        .iter()
        .zip(&evidence.parameters)
        .filter_map(|(parameter, value)| value.map(|value| (parameter.name.clone(), json!(value))))
        .collect();
    if !parameters.is_empty() {
        spec["parameters"] = Value::Object(parameters);
    }
    spec["components"] = Value::Object(components);
    json!({
        "apiVersion": "emac.dev/v1alpha1",
        "kind": "Evidence",
        "metadata": {"journey": journey.name},
        "spec": spec,
    })
}

/// Cumulative counts by the text of their upper edge in seconds.
fn buckets(histogram: &ClassicHistogram) -> Map<String, Value> {
    let edges = histogram.edges().iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    edges.zip(histogram.counts()).map(|(edge, count)| (edge, json!(count))).collect()
}
