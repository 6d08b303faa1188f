//! The routes of the pages and what they are made of.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::journey::Detail;
use super::observed::Observer;
use super::view::JourneyView;
use super::{journey, layout, overview, utc};
use crate::algebra::compose::Composer;
use crate::algebra::verdict::Verdict;
use crate::api::reply;
use crate::execute::{Engine, Model};
use crate::synthetic::evaluation::Evaluation;
use crate::unit::Window;

/// At most this many journeys are shown in full on the first page; the rest have a line and a page of their own.
const MOST_IN_FULL: usize = 6;

/// Everything comes from this origin, and nothing is framed or submitted.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

const STYLE: &str = include_str!("page.css");
const ICON: &str = include_str!("icon.svg");

/// What pages and the journeys API are answered from.
#[derive(Clone)]
pub struct JourneyState {
    /// The running model.
    pub engine: Arc<Engine>,
    /// Whatever measures journeys end to end, if anything does.
    pub observer: Option<Arc<dyn Observer>>,
    /// Composes for the derivations asked for, one at a time.
    pub(crate) composer: Arc<Mutex<Composer>>,
}

impl JourneyState {
    /// Answers from this engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { engine, observer, composer: Arc::new(Mutex::new(Composer::new())) }
    }
}

/// `/`, `/journeys/{name}` and what they load.
pub fn routes<S: Clone + Send + Sync + 'static>(state: JourneyState) -> Router<S> {
    Router::new()
        .route("/", get(index))
        .route("/journeys/{name}", get(one))
        .route(layout::STYLE_PATH, get(style))
        .route(layout::ICON_PATH, get(icon))
        .with_state(state)
}

/// `?window=5m`.
#[derive(Debug, Deserialize)]
pub(crate) struct WindowQuery {
    pub(crate) window: Option<String>,
}

async fn index(State(state): State<JourneyState>) -> Response {
    let (model, latest) = (state.engine.model(), state.engine.latest());
    let views = views(&latest, None, state.observer.as_deref());
    let mut sorted: Vec<_> = views.iter().collect();
    // Who needs attention comes first; equals keep the order of the model.
    sorted.sort_by_key(|view| match view.judgement().verdict {
        _ if view.shown.is_none() => 0,
        Verdict::Block => 1,
        Verdict::Review => 2,
        Verdict::Pass => 3,
    });
    let content = html! {
        h1 { "Journeys" }
        (model_banner(&model, &latest))
        @if sorted.is_empty() {
            p.empty { "No journey has been evaluated yet. The first evaluation follows within one interval." }
        } @else {
            (overview::table(&sorted))
            @for (id, view) in sorted.iter().take(MOST_IN_FULL).enumerate() { (journey::section(id, view, Detail::Overview)) }
        }
    };
    page(StatusCode::OK, "Journeys", &evaluated(&latest), &content)
}

async fn one(
    State(state): State<JourneyState>,
    Path(name): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Response {
    let latest = state.engine.latest();
    let Some(evaluation) = latest.iter().find(|evaluation| evaluation.journey.name == name) else {
        return unknown(&name, &latest);
    };
    let wanted = query.window.as_deref().and_then(|text| text.parse::<Window>().ok());
    let view = JourneyView::new(evaluation, wanted, state.observer.as_deref());
    let content = html! {
        p.crumb { a href="/" { "← all journeys" } }
        (model_banner(&state.engine.model(), &latest))
        (journey::section(0, &view, Detail::Full))
    };
    page(StatusCode::OK, &name, &evaluated(&latest), &content)
}

fn unknown(name: &str, latest: &[Arc<Evaluation>]) -> Response {
    let content = html! {
        h1 { "No such journey" }
        p { "There is no journey called " strong { (name) } "." }
        @if !latest.is_empty() {
            p { "Known are:" }
            ul { @for evaluation in latest {
                li { a href=(journey::path(&evaluation.journey.name)) { (evaluation.journey.name) } }
            } }
        }
    };
    page(StatusCode::NOT_FOUND, "No such journey", &evaluated(latest), &content)
}

/// What is wrong with the model as a whole: an invalid spec, or journeys that were not evaluated yet.
fn model_banner(model: &Model, latest: &[Arc<Evaluation>]) -> Markup {
    let evaluated = |name: &str| latest.iter().any(|evaluation| evaluation.journey.name == name);
    let names = model.journeys.iter().map(|known| known.journey.name.as_str());
    let waiting: Vec<&str> = names.filter(|name| !evaluated(name)).collect();
    html! {
        @if let Some(since) = model.invalid_since {
            div.banner role="alert" {
                h3 { span aria-hidden="true" { "⚠ " } "The spec on disk is invalid" }
                p { "Since " (utc::date_and_time(since)) " the last good model answers; changes made since are not in these numbers." }
            }
        }
        @if !waiting.is_empty() && !latest.is_empty() {
            div.banner role="alert" {
                h3 { span aria-hidden="true" { "⚠ " } "Not evaluated yet" }
                p { (waiting.join(", ")) }
            }
        }
    }
}

fn views(
    latest: &[Arc<Evaluation>],
    wanted: Option<Window>,
    observer: Option<&dyn Observer>,
) -> Vec<JourneyView> {
    latest.iter().map(|evaluation| JourneyView::new(evaluation, wanted, observer)).collect()
}

fn evaluated(latest: &[Arc<Evaluation>]) -> String {
    latest.iter().map(|evaluation| evaluation.time).max().map_or_else(
        || "not evaluated yet".to_owned(),
        |time| format!("evaluated {}", utc::date_and_time(time)),
    )
}

fn page(status: StatusCode, title: &str, note: &str, content: &Markup) -> Response {
    let body = layout::document(title, note, content).into_string();
    secured(reply::own(status.as_u16(), "text/html; charset=utf-8", body), "no-store")
}

async fn style() -> Response {
    secured(reply::own(200, "text/css; charset=utf-8", STYLE), "max-age=300")
}

async fn icon() -> Response {
    secured(reply::own(200, "image/svg+xml", ICON), "max-age=300")
}

fn secured(mut response: Response, cache: &'static str) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
