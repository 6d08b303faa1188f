//! Discovery: `series`, `labels`, `label/…/values` and `metadata`, merged with the upstream's answer.

use std::collections::BTreeSet;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::Method;
use serde_json::{Map, Value as Json, json};

use super::classify::{Side, side};
use super::error::ApiError;
use super::forward::{self, Theirs};
use super::parameters::{Call, Parameters};
use super::query::push_warnings;
use super::reply;
use super::state::ApiState;
use super::tenant;
use crate::promql::guard;
use crate::promql::matcher::MatcherSet;
use crate::promql::query::Query;
use crate::series::{Labels, NAME};
use crate::synthetic::catalog;

/// `/api/v1/series`
pub(crate) async fn series(State(state): State<ApiState>, request: Request) -> Response {
    merged(&state, request, Listing::Series).await
}

/// `/api/v1/labels`
pub(crate) async fn labels(State(state): State<ApiState>, request: Request) -> Response {
    merged(&state, request, Listing::LabelNames).await
}

/// `/api/v1/label/{name}/values`
pub(crate) async fn label_values(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    merged(&state, request, Listing::LabelValues(name)).await
}

/// `/api/v1/metadata`
pub(crate) async fn metadata(State(state): State<ApiState>, request: Request) -> Response {
    merged(&state, request, Listing::Metadata).await
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Listing {
    Series,
    LabelNames,
    LabelValues(String),
    Metadata,
}

async fn merged(state: &ApiState, request: Request, listing: Listing) -> Response {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return forward::untouched(state, request).await;
    }
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(error) => return error.into_response(),
    };
    // Nothing is listed that the request may not read.
    if tenant::is_foreign(state, call.headers()) {
        return forward::unchanged(state, call).await;
    }
    let Some(parameters) = call.parameters().cloned() else {
        return forward::unchanged(state, call).await;
    };
    let ours = match listing.ours(state, &parameters) {
        Ok(ours) if ours.is_empty() => return forward::unchanged(state, call).await,
        Ok(ours) => ours,
        Err(error) => return error.into_response(),
    };
    let limit = match parameters.limit() {
        Ok(limit) => limit,
        Err(error) => return error.into_response(),
    };
    let (mut answer, held) = match forward::readable(state, call).await {
        Theirs::Answered(answer, held) => (answer, held),
        Theirs::Refused(status, body) => {
            return reply::own(status.as_u16(), "application/json", body);
        }
        Theirs::NoRoom(error) => return error.into_response(),
        Theirs::Failed(fault) => {
            let mut answer = json!({"status": "success", "data": listing.nothing()});
            push_warnings(&mut answer, [format!("only synthetic series are listed: {fault}")]);
            (answer, state.memory().open())
        }
    };
    let merge = move || {
        if listing.merge(answer.get_mut("data")?, ours, limit) {
            push_warnings(&mut answer, ["results truncated due to limit".to_owned()]);
        }
        Some(answer.to_string())
    };
    match forward::off_the_runtime(held, merge).await {
        Some(text) => reply::json(200, text),
        None => {
            let fault = format!("upstream {} gave an answer without data", state.upstream().name());
            ApiError::execution(fault).into_response()
        }
    }
}

/// What of ours belongs into a listing.
enum Ours {
    Items(Vec<Json>),
    Entries(Map<String, Json>),
}

impl Ours {
    fn is_empty(&self) -> bool {
        match self {
            Self::Items(items) => items.is_empty(),
            Self::Entries(entries) => entries.is_empty(),
        }
    }
}

impl Listing {
    fn nothing(&self) -> Json {
        match self {
            Self::Metadata => Json::Object(Map::new()),
            Self::Series | Self::LabelNames | Self::LabelValues(_) => Json::Array(Vec::new()),
        }
    }

    fn ours(&self, state: &ApiState, parameters: &Parameters) -> Result<Ours, ApiError> {
        if *self == Self::Metadata {
            return Ok(Ours::Entries(metadata_entries(state, parameters.get("metric"))));
        }
        let matching = matching_series(state, parameters, *self == Self::Series)?;
        let texts = |texts: BTreeSet<&str>| texts.into_iter().map(Json::from).collect();
        Ok(Ours::Items(match self {
            Self::Series => matching.iter().map(labels_json).collect(),
            Self::LabelNames => texts(matching.iter().flat_map(Labels::iter).map(|(name, _)| name).collect()),
            Self::LabelValues(name) => {
                texts(matching.iter().map(|labels| labels.get(name)).filter(|v| !v.is_empty()).collect())
            }
            Self::Metadata => Vec::new(),
        }))
    }

    /// Merges ours into the upstream's `data`; whether the limit cut something off.
    fn merge(&self, data: &mut Json, ours: Ours, limit: Option<usize>) -> bool {
        let limit = limit.unwrap_or(usize::MAX);
        match (data, ours) {
            (Json::Array(theirs), Ours::Items(ours)) => {
                if *self == Self::Series {
                    theirs.extend(ours);
                    theirs.sort_by_cached_key(labels_of);
                    theirs.dedup_by_key(|series| labels_of(series));
                } else {
                    theirs.extend(ours);
                    theirs.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                    theirs.dedup();
                }
                let cut = theirs.len() > limit;
                theirs.truncate(limit);
                cut
            }
            (Json::Object(theirs), Ours::Entries(ours)) => {
                for (name, entry) in ours {
                    // An empty list makes Grafana drop all metadata.
                    let list = theirs.entry(name).or_insert_with(|| Json::Array(Vec::new()));
                    if let Some(list) = list.as_array_mut()
                        && !list.contains(&entry)
                    {
                        list.push(entry);
                    }
                }
                let cut = theirs.len() > limit;
                let names: Vec<String> = theirs.keys().skip(limit).cloned().collect();
                for name in names {
                    theirs.remove(&name);
                }
                cut
            }
            // `data` is null where an older upstream knows nothing: then ours is all.
            (data, Ours::Items(ours)) => {
                *data = Json::Array(ours);
                false
            }
            (data, Ours::Entries(ours)) => {
                *data = ours.into_iter().map(|(name, entry)| (name, json!([entry]))).collect();
                false
            }
        }
    }
}

/// The series of the model that at least one `match[]` selects; all of them where none is given and none is needed.
fn matching_series(
    state: &ApiState,
    parameters: &Parameters,
    selector_needed: bool,
) -> Result<Vec<Labels>, ApiError> {
    let mut selectors = Vec::new();
    let mut given = false;
    for text in parameters.all("match[]") {
        given = true;
        if let Some(matchers) = selector(state, text)? {
            selectors.push(matchers);
        }
    }
    if given && selectors.is_empty() || !given && selector_needed {
        return Ok(Vec::new());
    }
    let in_future = parameters.time("start").ok().flatten().is_some_and(|start| start > state.now());
    if in_future {
        return Ok(Vec::new());
    }
    let known = state.known_series();
    let selected = |labels: &&Labels| !given || selectors.iter().any(|matchers| matchers.matches(labels));
    Ok(known.iter().filter(selected).cloned().collect())
}

/// The matchers of a `match[]`, if they could select a series of ours. A text that we cannot parse is the upstream's,
/// unless it names one of ours.
pub(super) fn selector(state: &ApiState, text: &str) -> Result<Option<MatcherSet>, ApiError> {
    let concerns = guard::concerns(text, catalog::is_synthetic);
    if !concerns.any() {
        return Ok(None);
    }
    let invalid = |fault: String| ApiError::bad_data(format!("invalid parameter \"match[]\": {fault}"));
    match Query::parse(text, state.settings().limits.query_bytes) {
        Ok(query) if query.is_selector() => {
            let matchers = query.selectors().first().cloned();
            Ok(matchers.filter(|matchers| side(matchers, state) != Side::Theirs))
        }
        Ok(_) | Err(_) if !concerns.named => Ok(None),
        Ok(_) => Err(invalid("not a selector of series".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// The labels of a series in a listing, whatever their order there.
fn labels_of(series: &Json) -> Labels {
    let labels = series.as_object().into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?))).collect()
}

fn labels_json(labels: &Labels) -> Json {
    Json::Object(labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect())
}

/// The metadata of the families that have series; of one of them where `metric` is given.
fn metadata_entries(state: &ApiState, metric: &str) -> Map<String, Json> {
    if !metric.is_empty() && !catalog::is_synthetic(metric) {
        return Map::new();
    }
    let series = state.known_series();
    let names: BTreeSet<&str> = series.iter().map(|labels| labels.get(NAME)).collect();
    names
        .into_iter()
        .filter(|name| metric.is_empty() || *name == metric)
        .filter_map(catalog::family)
        .map(|family| {
            let entry = json!({"type": family.kind.as_str(), "help": family.help, "unit": family.unit});
            (family.name.to_owned(), entry)
        })
        .collect()
}
