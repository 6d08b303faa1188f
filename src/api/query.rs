//! `query` and `query_range`.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::Method;
use serde_json::Value as Json;

use super::classify::{Concern, classify};
use super::error::ApiError;
use super::forward::{self, Theirs};
use super::parameters::{Call, Parameters};
use super::reply;
use super::state::ApiState;
use crate::execute::Selected;
use crate::promql::evaluate;
use crate::promql::limits::Options;
use crate::promql::query::Query;
use crate::promql::source::Fetched;
use crate::promql::value::Value;
use crate::series::{Labels, Sample, Series, StepGrid};
use crate::unit::{Timestamp, Window};
use crate::wire::prometheus_json::{Annotations, QueryAnswer, QueryData, encode};

/// How far an instant selector looks back: Prometheus' default.
const LOOKBACK_MILLIS: u64 = 300_000;

/// What Prometheus says when `limit` cuts an answer.
const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/query`
pub(crate) async fn instant(State(state): State<ApiState>, request: Request) -> Response {
    answer(state, request, Kind::Instant).await
}

/// `/api/v1/query_range`
pub(crate) async fn range(State(state): State<ApiState>, request: Request) -> Response {
    answer(state, request, Kind::Range).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Instant,
    Range,
}

async fn answer(state: ApiState, request: Request, kind: Kind) -> Response {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return forward::untouched(&state, request).await;
    }
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(error) => return error.into_response(),
    };
    let Some(parameters) = call.parameters().cloned() else {
        return forward::unchanged(&state, call).await;
    };
    let concern = classify(parameters.get("query"), state.settings().limits.query_bytes, &state);
    let (query, union) = match concern {
        Ok(Concern::Upstream) => return forward::unchanged(&state, call).await,
        Ok(Concern::Ours(query)) => (query, false),
        Ok(Concern::Both(query)) => (query, true),
        Err(error) => return error.into_response(),
    };
    let asked = Asked::read(&state, &parameters, kind).and_then(|asked| {
        evaluate::check_supported(&query, kind == Kind::Range).map(|()| asked).map_err(ApiError::from)
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    match asked.evaluate(&state, &query).await {
        ours if union => merged(&state, call, ours, asked.limit).await,
        Ok(ours) => reply::json(200, encode::query(&limited(ours, asked.limit))),
        Err(error) => error.into_response(),
    }
}

/// When, how often and within which bounds.
struct Asked {
    kind: Kind,
    grid: StepGrid,
    lookback: Window,
    deadline: Instant,
    limit: Option<usize>,
}

impl Asked {
    fn read(state: &ApiState, parameters: &Parameters, kind: Kind) -> Result<Self, ApiError> {
        let default_lookback =
            Window::from_millis(LOOKBACK_MILLIS).map_err(|error| ApiError::bad_data(error.to_string()))?;
        let grid = match kind {
            Kind::Instant => {
                let at = parameters.time("time")?.unwrap_or_else(|| state.now());
                StepGrid::instant(at, default_lookback)
            }
            Kind::Range => parameters.grid(state.settings().limits.points)?,
        };
        let lookback = parameters
            .duration_millis("lookback_delta")?
            .and_then(|ms| u64::try_from(ms).ok())
            .and_then(|ms| Window::from_millis(ms).ok())
            .unwrap_or(default_lookback);
        let timeout = parameters.duration_millis("timeout")?.map_or(state.settings().timeout, |ms| {
            Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(state.settings().timeout)
        });
        let limit = parameters.limit()?;
        Ok(Self { kind, grid, lookback, deadline: Instant::now() + timeout, limit })
    }

    /// The answer over synthetic series alone.
    async fn evaluate(&self, state: &ApiState, query: &Query) -> Result<QueryAnswer, ApiError> {
        let limits = state.settings().limits;
        let mut fetched = Fetched::default();
        let mut answers = Vec::new();
        let mut annotations = Annotations::default();
        let options = Options { lookback: self.lookback, max_samples: limits.samples, ..Options::default() };
        for selection in query.selections(&self.grid, &options)? {
            let matchers = selection.matchers.matchers();
            let selected = state.engine().select(matchers, selection.from, selection.to, self.deadline).await;
            let mut selected = selected.map_err(|error| ApiError::from(&error))?;
            annotations.warnings.append(&mut selected.warnings);
            let series = std::mem::take(&mut selected.series);
            answers.push((selection.matchers.clone(), selected));
            fetched.0.push((selection, series));
        }
        self.check_answered(query, &options, |at| {
            let selected = answers.iter().filter(|(matchers, _)| matchers == &query.selectors()[at]);
            selected.map(|(_, selected)| selected).collect()
        })?;
        let evaluated = evaluate::evaluate(query, &self.grid, self.kind == Kind::Range, &options, &fetched)?;
        annotations.warnings.extend(evaluated.annotations.warnings());
        annotations.infos.extend(evaluated.annotations.infos());
        annotations.warnings.sort();
        annotations.warnings.dedup();
        let data = data(evaluated.value, &self.grid, self.kind);
        let count = match &data {
            QueryData::Vector(series) | QueryData::Matrix(series) => series.len(),
            QueryData::Scalar(_) | QueryData::String { .. } => 1,
        };
        if count > limits.series {
            let message = format!("the answer has {count} series, allowed are {}", limits.series);
            return Err(ApiError::execution(message));
        }
        Ok(QueryAnswer { data, annotations })
    }

    /// An instant that cannot be answered, or a range without any step that can, is an error and not an empty answer:
    /// a rule keeps firing on an error, and resolves on emptiness.
    fn check_answered<'a>(
        &self,
        query: &Query,
        options: &Options,
        selected: impl Fn(usize) -> Vec<&'a Selected>,
    ) -> Result<(), ApiError> {
        for (at, times) in query.looked_at(&self.grid, options)?.into_iter().enumerate() {
            let answers = selected(at);
            let fault = |time: Timestamp| answers.iter().find_map(|answer| answer.unanswered_at(time));
            let mut last = None;
            let none_answered = times.iter().all(|&time| {
                last = fault(time);
                last.is_some()
            });
            if let (true, Some(fault)) = (none_answered, last) {
                return Err(fault.into());
            }
        }
        Ok(())
    }
}

fn data(value: Value, grid: &StepGrid, kind: Kind) -> QueryData {
    let at = grid.start();
    match (value, kind) {
        (Value::Vector(vector), Kind::Instant) => QueryData::Vector(evaluate::into_series(vector, grid)),
        (Value::Vector(vector), Kind::Range) => {
            let mut series = evaluate::into_series(vector, grid);
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            QueryData::Matrix(series)
        }
        (Value::Scalar(numbers), Kind::Instant) => {
            let value = numbers.first().copied().unwrap_or(f64::NAN);
            QueryData::Scalar(Sample { time: at, value })
        }
        (Value::Scalar(numbers), Kind::Range) => {
            let samples = grid.iter().zip(numbers).map(|(time, value)| Sample { time, value }).collect();
            QueryData::Matrix(vec![Series { labels: Labels::new(), samples }])
        }
        (Value::Range(series), _) => QueryData::Matrix(series),
        (Value::Text(value), _) => QueryData::String { time: at, value },
    }
}

fn limited(mut answer: QueryAnswer, limit: Option<usize>) -> QueryAnswer {
    if let (Some(limit), QueryData::Vector(series) | QueryData::Matrix(series)) = (limit, &mut answer.data)
        && series.len() > limit
    {
        series.truncate(limit);
        answer.annotations.warnings.push(TRUNCATED.to_owned());
    }
    answer
}

/// The union of the upstream's answer and ours. Where one of the two is missing, a warning says so; where both are,
/// it is the upstream's error.
async fn merged(
    state: &ApiState,
    call: Call,
    ours: Result<QueryAnswer, ApiError>,
    limit: Option<usize>,
) -> Response {
    let theirs = forward::readable(state, call).await;
    match (theirs, ours) {
        (Theirs::Refused(status, body), _) => reply::own(status.as_u16(), "application/json", body),
        (Theirs::Failed(fault), _) => {
            // Half of what was asked for would read like the whole.
            ApiError::execution(fault).into_response()
        }
        (Theirs::Answered(mut theirs), Err(error)) => {
            push_warnings(&mut theirs, [format!("synthetic series are left out: {}", error.message)]);
            reply::json(200, theirs.to_string())
        }
        (Theirs::Answered(mut theirs), Ok(ours)) => match union(&mut theirs, &ours, limit) {
            Ok(()) => reply::json(200, theirs.to_string()),
            Err(fault) => {
                ApiError::execution(format!("upstream {}: {fault}", state.upstream().name())).into_response()
            }
        },
    }
}

/// Adds our series to the upstream's answer, as JSON, so that what we do not know (native histograms, statistics)
/// stays as it is. A series of theirs with the labels of one of ours is a recorded copy, and gives way.
fn union(theirs: &mut Json, ours: &QueryAnswer, limit: Option<usize>) -> Result<(), String> {
    let ours_json: Json = serde_json::from_str(&encode::query(ours)).map_err(|error| error.to_string())?;
    let kind = ours.data.result_type();
    let found = theirs.pointer("/data/resultType").and_then(Json::as_str).unwrap_or_default();
    if found != kind {
        return Err(format!("the answer is a {found:?} where a {kind:?} was due"));
    }
    let added = ours_json.pointer("/data/result").and_then(Json::as_array).cloned().unwrap_or_default();
    let result = theirs.pointer_mut("/data/result").and_then(Json::as_array_mut);
    let result = result.ok_or("the answer has no result")?;
    let identity = |series: &Json| -> Labels {
        let metric = series.get("metric").and_then(Json::as_object);
        metric
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?)))
            .collect()
    };
    let of_ours: std::collections::BTreeSet<Labels> = added.iter().map(identity).collect();
    result.retain(|series| !of_ours.contains(&identity(series)));
    result.extend(added);
    if kind == "matrix" {
        result.sort_by_cached_key(identity);
    }
    let cut = limit.is_some_and(|limit| result.len() > limit);
    if let Some(limit) = limit {
        result.truncate(limit);
    }
    let mut warnings = ours.annotations.warnings.clone();
    if cut {
        warnings.push(TRUNCATED.to_owned());
    }
    push_warnings(theirs, warnings);
    Ok(())
}

/// Adds warnings that are not there yet.
pub(super) fn push_warnings(answer: &mut Json, warnings: impl IntoIterator<Item = String>) {
    let Some(answer) = answer.as_object_mut() else { return };
    for warning in warnings {
        let list = answer.entry("warnings").or_insert_with(|| Json::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            let warning = Json::String(warning);
            if !list.contains(&warning) {
                list.push(warning);
            }
        }
    }
}
