//! The shipped dashboard of a journey, with the journey fixed.
//!
//! There is one dashboard, `grafana/dashboards/journey.json`: a person can provision it as it is and choose the journey; the
//! compiled one differs in name, identity and that choice alone, so that both look the same.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::provenance;
use crate::journey::Journey;

const SHIPPED: &str = include_str!("../../grafana/dashboards/journey.json");

/// What takes the journey's own words in the template.
const PLACES: [&str; 5] = ["@uid@", "@title@", "@provenance@", "@window@", "@quantile@"];
const JOURNEY: &str = "@journey@";

/// The shipped dashboard with places for a journey's own words; made once, since it is the same for all.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let mut dashboard: Value = serde_json::from_str(SHIPPED).unwrap_or_default();
        let [uid, title, provenance, window, quantile] = PLACES;
        dashboard["uid"] = json!(uid);
        dashboard["title"] = json!(title);
        dashboard["description"] = json!(provenance);
        let variables = dashboard["templating"]["list"].as_array_mut();
        for variable in variables.into_iter().flatten() {
            match variable["name"].as_str() {
                Some("journey") => {
                    *variable = json!({
                        "name": "journey",
                        "label": "Journey",
                        "type": "constant",
                        "hide": 2,
                        "query": JOURNEY,
                        "current": {"text": JOURNEY, "value": JOURNEY},
                    });
                }
                Some("window") => variable["current"] = json!({"text": window, "value": window}),
                Some("quantile") => variable["current"] = json!({"text": quantile, "value": quantile}),
                _ => {}
            }
        }
        let mut text = serde_json::to_string_pretty(&dashboard).unwrap_or_default();
        text.push('\n');
        text
    })
}

/// The dashboard's file.
pub(crate) fn document(journey: &Journey) -> String {
    let objective = journey.objectives.latency.as_ref().map(|latency| latency.quantile);
    let quantile = objective.or(journey.quantiles.last().copied());
    let words = [
        uid(journey),
        format!("Journey {}", journey.name),
        provenance::line(journey),
        journey.windows.first().map(ToString::to_string).unwrap_or_default(),
        quantile.map(|quantile| quantile.to_string()).unwrap_or_default(),
    ];
    // None of these words needs an escape: names hold letters, digits and `_ . -`.
    let mut text = template().replace(JOURNEY, &journey.name);
    for (place, word) in PLACES.iter().zip(&words) {
        text = text.replace(place, word);
    }
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
