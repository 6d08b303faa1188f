//! The shipped dashboard of a journey, with the journey fixed.
//!
//! There is one dashboard, `grafana/dashboards/journey.json`: a person can provision it as it is and choose the journey; the
//! compiled one differs in name, identity and that choice alone, so that both look the same.

use serde_json::{Value, json};

use super::provenance;
use crate::journey::Journey;

const SHIPPED: &str = include_str!("../../grafana/dashboards/journey.json");

/// The dashboard's file.
pub(crate) fn document(journey: &Journey) -> String {
    let mut dashboard: Value = serde_json::from_str(SHIPPED).unwrap_or_default();
    dashboard["uid"] = json!(uid(journey));
    dashboard["title"] = json!(format!("Journey {}", journey.name));
    dashboard["description"] = json!(provenance::line(journey));
    if let Some(variables) = dashboard["templating"]["list"].as_array_mut() {
        for variable in variables.iter_mut().filter(|variable| variable["name"] == "journey") {
            *variable = json!({
                "name": "journey",
                "label": "Journey",
                "type": "constant",
                "hide": 2,
                "query": journey.name,
                "current": {"text": journey.name, "value": journey.name},
            });
        }
        for variable in variables.iter_mut() {
            let shown = match variable["name"].as_str() {
                Some("window") => journey.windows.first().map(ToString::to_string),
                Some("quantile") => journey
                    .objectives
                    .latency
                    .as_ref()
                    .map(|latency| latency.quantile)
                    .or(journey.quantiles.last().copied())
                    .map(|quantile| quantile.to_string()),
                _ => None,
            };
            if let Some(shown) = shown {
                variable["current"] = json!({"text": shown, "value": shown});
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&dashboard).unwrap_or_default();
    text.push('\n');
    text
}

/// Grafana allows 40 characters.
fn uid(journey: &Journey) -> String {
    use sha2::{Digest as _, Sha256};
    let plain = format!("emac-{}", journey.name);
    if plain.len() <= 40 && !plain.contains('.') {
        return plain;
    }
    let digest = Sha256::digest(journey.name.as_bytes());
    format!("emac-{}", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}
