//! The journeys as JSON: list, model, derivation, evidence.
//!
//! | path | answer |
//! |---|---|
//! | `/api/v1/journeys` | every journey with its verdict and main numbers |
//! | `/api/v1/journeys/{name}` | its model as it is evaluated |
//! | `/api/v1/journeys/{name}/explain?window=5m` | its derivation: the JSON of `emac explain` |
//! | `/api/v1/journeys/{name}/evidence?window=5m` | its evidence: a document that `emac explain --evidence` reads |
//!
//! Errors have the shape of Prometheus' API. Without `window` the shortest answered one is taken.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::page::routes::{JourneyState, WindowQuery};
use super::reply;
use crate::algebra::verdict::judge;
use crate::derive::{evidence_file, explain, model};
use crate::execute::model::ModelledJourney;
use crate::synthetic::evaluation::{Evaluation, WindowEvaluation};
use crate::unit::Window;
use crate::wire::prometheus_json::ErrorType;

/// `/api/v1/journeys` and what is below it.
pub fn routes<S: Clone + Send + Sync + 'static>(state: JourneyState) -> Router<S> {
    Router::new()
        .route("/api/v1/journeys", get(list))
        .route("/api/v1/journeys/{name}", get(one))
        .route("/api/v1/journeys/{name}/explain", get(derivation))
        .route("/api/v1/journeys/{name}/evidence", get(evidence))
        .with_state(state)
}

/// Why a request about a journey was refused.
#[derive(Debug, thiserror::Error)]
enum JourneyRequestError {
    #[error("there is no journey `{name}`{}", known(.nearest))]
    UnknownJourney { name: String, nearest: Vec<String> },
    #[error("`{text}` is not a window such as 5m; journey `{journey}` declares {declared}")]
    Window { text: String, journey: String, declared: String },
    #[error("journey `{journey}` has no numbers for the window {window} now: {why}")]
    Unanswered { journey: String, window: String, why: String },
    #[error("the derivation could not be computed")]
    Internal,
}

fn known(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; known are: {}", nearest.join(", ")) }
}

impl IntoResponse for JourneyRequestError {
    fn into_response(self) -> Response {
        let kind = match self {
            Self::UnknownJourney { .. } => ErrorType::NotFound,
            Self::Window { .. } => ErrorType::BadData,
            Self::Unanswered { .. } => ErrorType::Execution,
            Self::Internal => ErrorType::Internal,
        };
        ApiError::new(kind, self.to_string()).into_response()
    }
}

fn answer(body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => reply::json(200, text),
        Err(_) => JourneyRequestError::Internal.into_response(),
    }
}

async fn list(State(state): State<JourneyState>) -> Response {
    let latest = state.engine.latest();
    let journeys: Vec<Value> = state
        .engine
        .model()
        .journeys
        .iter()
        .map(|known| summary(known, latest.iter().find(|found| found.journey.name == known.journey.name)))
        .collect();
    answer(&json!({"journeys": journeys}))
}

/// One journey's line. Where it was not evaluated yet, or could not be, there is nothing but the verdict review.
fn summary(known: &ModelledJourney, latest: Option<&Arc<Evaluation>>) -> Value {
    let windows: Vec<Value> = latest
        .into_iter()
        .flat_map(|evaluation| {
            evaluation.windows.iter().map(|found| window_summary(evaluation, found)).collect::<Vec<_>>()
        })
        .collect();
    json!({
        "name": known.journey.name,
        "digest": known.info.digest,
        "revision": known.info.revision,
        "accepted": known.info.accepted,
        "time": latest.map(|evaluation| evaluation.time.seconds()),
        "evidence_age": latest.and_then(|evaluation| evaluation.evidence_age).map(|age| age.get()),
        "verdict": windows.first().map_or_else(|| json!("review"), |window| window["verdict"].clone()),
        "evidence_missing": latest.map(|evaluation| flaws(evaluation)).unwrap_or_default(),
        "windows": windows,
    })
}

fn flaws(evaluation: &Evaluation) -> Vec<Value> {
    let name = |flaw: &crate::synthetic::evaluation::Flaw| {
        flaw.component
            .and_then(|id| evaluation.journey.components.get(id.0))
            .map(|component| component.name.clone())
    };
    let flaws = evaluation.flaws.iter();
    flaws.map(|flaw| json!({"reason": flaw.reason.as_str(), "component": name(flaw)})).collect()
}

fn window_summary(evaluation: &Evaluation, found: &WindowEvaluation) -> Value {
    let composition = &found.composition;
    let judgement = judge(&evaluation.journey, &found.evidence, composition);
    let sides = |pessimistic: Value, estimate: Value, optimistic: Value| json!({"estimate": estimate, "pessimistic": pessimistic, "optimistic": optimistic});
    let time = |time: crate::unit::Seconds| if time.is_finite() { json!(time.get()) } else { json!("+Inf") };
    let availability = &composition.availability;
    json!({
        "window": found.window.to_string(),
        "verdict": judgement.verdict.as_str(),
        "reason": judgement.reason,
        "availability": sides(
            json!(availability.pessimistic.get()),
            json!(availability.estimate.get()),
            json!(availability.optimistic.get()),
        ),
        "latency": composition.latency.iter().map(|latency| {
            let value = &latency.value;
            (latency.quantile.to_string(), sides(time(value.pessimistic), time(value.estimate), time(value.optimistic)))
        }).collect::<serde_json::Map<_, _>>(),
    })
}

async fn one(State(state): State<JourneyState>, Path(name): Path<String>) -> Response {
    match state.engine.model().journey(&name) {
        Some(known) => {
            let mut document = model::document(&known.journey);
            document["revision"] = json!(known.info.revision);
            document["accepted"] = json!(known.info.accepted);
            answer(&document)
        }
        None => unknown(&state, name).into_response(),
    }
}

async fn derivation(
    State(state): State<JourneyState>,
    Path(name): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Response {
    let found = match find(&state, name, query) {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    // One at a time: a burst of requests waits here rather than taking every core from the evaluation.
    let mut composer = Arc::clone(&state.composer).lock_owned().await;
    let derived = tokio::task::spawn_blocking(move || {
        let (evaluation, window) = &found;
        explain(&mut composer, &evaluation.journey, &window.evidence, evaluation.evidence_age)
    });
    match derived.await {
        Ok(derivation) => answer(&derivation),
        Err(_) => JourneyRequestError::Internal.into_response(),
    }
}

async fn evidence(
    State(state): State<JourneyState>,
    Path(name): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Response {
    match find(&state, name, query) {
        Ok((evaluation, found)) => answer(&evidence_file::document(&evaluation.journey, &found.evidence)),
        Err(error) => error.into_response(),
    }
}

/// The newest evaluation of a journey, and the window asked for.
fn find(
    state: &JourneyState,
    name: String,
    query: WindowQuery,
) -> Result<(Arc<Evaluation>, WindowEvaluation), JourneyRequestError> {
    let model = state.engine.model();
    let Some(known) = model.journey(&name) else { return Err(unknown(state, name)) };
    let windows = &known.journey.windows;
    let wanted = match query.window {
        None => None,
        Some(text) => match text.parse::<Window>() {
            Ok(window) if windows.contains(&window) => Some(window),
            _ => {
                let declared = windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(JourneyRequestError::Window { text, journey: name, declared });
            }
        },
    };
    let latest = state.engine.latest();
    let evaluation = latest.iter().find(|evaluation| evaluation.journey.name == name);
    let found = evaluation.and_then(|evaluation| {
        let mut windows = evaluation.windows.iter();
        windows.find(|found| wanted.is_none_or(|wanted| found.window == wanted)).cloned()
    });
    match (evaluation, found) {
        (Some(evaluation), Some(found)) => Ok((Arc::clone(evaluation), found)),
        (evaluation, _) => {
            let mut reasons: Vec<_> = evaluation
                .into_iter()
                .flat_map(|evaluation| evaluation.flaws.iter().map(|flaw| flaw.reason.as_str()))
                .collect();
            reasons.dedup();
            Err(JourneyRequestError::Unanswered {
                journey: name,
                window: wanted.map_or_else(|| "any".to_owned(), |window| window.to_string()),
                why: if reasons.is_empty() { "not evaluated yet".to_owned() } else { reasons.join(", ") },
            })
        }
    }
}

/// Names that are near, or a few that exist.
fn unknown(state: &JourneyState, name: String) -> JourneyRequestError {
    const SHOWN: usize = 5;
    let model = state.engine.model();
    let mut names: Vec<(usize, &str)> = model
        .journeys
        .iter()
        .map(|known| known.journey.name.as_str())
        .map(|known| (strsim::damerau_levenshtein(&name.chars().take(100).collect::<String>(), known), known))
        .collect();
    names.sort_unstable();
    let nearest = names.into_iter().take(SHOWN).map(|(_, name)| name.to_owned()).collect();
    JourneyRequestError::UnknownJourney { name: name.chars().take(100).collect(), nearest }
}
