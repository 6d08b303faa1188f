//! The shipped dashboard of a journey, with the journey fixed.
//!
//! There is one dashboard, `grafana/dashboards/journey.json`: a person can provision it as it is and choose the journey; the
//! compiled one differs in name, identity and that choice alone, so that both look the same.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::provenance;
use crate::journey::Journey;

const SHIPPED: &str = include_str!("../../grafana/dashboards/journey.json");

/// Stands before and after the name of a place in the template; no dashboard holds it otherwise.
const MARK: char = '\u{1}';

/// What takes the journey's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Uid,
    Title,
    Provenance,
    Window,
    Quantile,
    Journey,
}

const PLACES: [Place; 6] =
    [Place::Uid, Place::Title, Place::Provenance, Place::Window, Place::Quantile, Place::Journey];

impl Place {
    /// As it stands in a value of the template.
    fn marked(self) -> String {
        format!("{MARK}{self:?}{MARK}")
    }
}

/// The shipped dashboard as texts, each with the place behind it; made once, since it is the same for all.
fn template() -> &'static [(String, Option<Place>)] {
    static TEMPLATE: OnceLock<Vec<(String, Option<Place>)>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let mut dashboard: Value = serde_json::from_str(SHIPPED).unwrap_or_default();
        let [uid, title, provenance, window, quantile, journey] = PLACES.map(Place::marked);
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
                        "query": journey,
                        "current": {"text": journey, "value": journey},
                    });
                }
                Some("window") => variable["current"] = json!({"text": window, "value": window}),
                Some("quantile") => variable["current"] = json!({"text": quantile, "value": quantile}),
                _ => {}
            }
        }
        let mut text = serde_json::to_string_pretty(&dashboard).unwrap_or_default();
        text.push('\n');
        // JSON writes the mark as an escape.
        let mark = format!("\\u{:04x}", u32::from(MARK));
        let parts: Vec<&str> = text.split(&mark).collect();
        let place = |name: &&str| PLACES.into_iter().find(|place| format!("{place:?}") == **name);
        // Text and place in turn.
        parts.chunks(2).map(|pair| (pair[0].to_owned(), pair.get(1).and_then(place))).collect()
    })
}

/// The dashboard's file.
pub(crate) fn document(journey: &Journey) -> String {
    let objective = journey.objectives.latency.as_ref().map(|latency| latency.quantile);
    let quantile = objective.or(journey.quantiles.last().copied());
    // None of these words needs an escape: names hold letters, digits and `_ . -`.
    let word = |place: Place| match place {
        Place::Uid => uid(journey),
        Place::Title => format!("Journey {}", journey.name),
        Place::Provenance => provenance::line(journey),
        Place::Window => journey.windows.first().map(ToString::to_string).unwrap_or_default(),
        Place::Quantile => quantile.map(|quantile| quantile.to_string()).unwrap_or_default(),
        Place::Journey => journey.name.clone(),
    };
    let mut text = String::with_capacity(SHIPPED.len() + SHIPPED.len() / 4);
    for (part, place) in template() {
        text.push_str(part);
        if let Some(place) = place {
            text.push_str(&word(*place));
        }
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
