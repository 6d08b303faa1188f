//! `query` and `query_range`, and what their plan is.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method};
use serde_json::Value as Json;

use super::classify::{ByModel, Concern, Side, classify};
use super::error::ApiError;
use super::forward::{self, Theirs};
use super::parameters::{Call, Parameters};
use super::reply;
use super::state::ApiState;
use super::tenant;
use crate::execute::query::{Running, run};
use crate::promql::evaluate;
use crate::promql::guard;
use crate::promql::limits::Options;
use crate::promql::matcher::MatcherSet;
use crate::promql::pushdown::{Origin, QueryPlan};
use crate::promql::query::Query;
use crate::promql::value::Value;
use crate::series::{Labels, Sample, Series, StepGrid};
use crate::synthetic::catalog;
use crate::unit::Window;
use crate::wire::prometheus_json::encode::QueryStats;
use crate::wire::prometheus_json::{QueryAnswer, QueryData, encode};

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

/// Whether a query goes to the upstream as it came, which a linear scan of its text tells.
pub(crate) fn is_passed_on(state: &ApiState, query: &str) -> bool {
    state.settings().pushdown && !guard::concerns(query, catalog::is_synthetic).any()
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
    let foreign = tenant::is_foreign(&state, call.headers());
    let (query, union) = match concern(&state, &parameters) {
        Ok(Concern::Upstream) => return forward::unchanged(&state, call).await,
        Ok(Concern::Planned(query) | Concern::Union(query)) if foreign => {
            if tenant::names_ours(&query) {
                return tenant::refusal(&state).into_response();
            }
            return forward::unchanged(&state, call).await;
        }
        Ok(Concern::Planned(query)) => (query, false),
        Ok(Concern::Union(query)) => (query, state.settings().pushdown),
        Err(error) => return error.into_response(),
    };
    let asked = match Asked::read(&state, &parameters, kind) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    if union {
        let ours = match asked.plan(&query, &Synthetic) {
            Ok(plan) => asked.evaluate(&state, plan, call.headers().clone()).await,
            Err(error) => Err(error),
        };
        return merged(&state, call, ours.map(|(answer, _)| answer), asked.limit).await;
    }
    let headers = call.headers().clone();
    let plan = asked.plan(&query, &ByModel { ours: &state, pushdown: state.settings().pushdown });
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return error.into_response(),
    };
    match asked.evaluate(&state, plan, headers).await {
        Ok((answer, stats)) => {
            let stats = asked.wants_stats.then_some(&stats);
            reply::json(200, encode::query_with_stats(&limited(answer, asked.limit), stats))
        }
        Err(error) => error.into_response(),
    }
}

/// Whose series the query is about. Without push-down everything that we understand is evaluated here.
fn concern(state: &ApiState, parameters: &Parameters) -> Result<Concern, ApiError> {
    let (text, max_bytes) = (parameters.get("query"), state.settings().limits.query_bytes);
    match classify(text, max_bytes, state)? {
        Concern::Upstream if !state.settings().pushdown => {
            let query = Query::parse(text, max_bytes).ok().filter(|query| !query.selectors().is_empty());
            Ok(query.map_or(Concern::Upstream, Concern::Planned))
        }
        concern => Ok(concern),
    }
}

/// `/api/v1/explain_query`: the plan of a query as text, for one time or, where `start` is given, for a range.
pub(crate) async fn explain(State(state): State<ApiState>, request: Request) -> Response {
    match explained(&state, request).await {
        Ok(plan) => reply::text(200, plan),
        Err(error) => error.into_response(),
    }
}

async fn explained(state: &ApiState, request: Request) -> Result<String, ApiError> {
    let call = Call::read(request).await?;
    if tenant::is_foreign(state, call.headers()) {
        return Err(tenant::refusal(state));
    }
    let parameters = call.parameters().ok_or_else(|| ApiError::bad_data("the body is too large"))?;
    let kind = if parameters.get("start").is_empty() { Kind::Instant } else { Kind::Range };
    let query = match concern(state, parameters)? {
        Concern::Planned(query) | Concern::Union(query) => query,
        Concern::Upstream => {
            let text = parameters.get("query");
            return Ok(format!(
                "query     {text}\nupstream  the request as it is: no synthetic series is concerned\n"
            ));
        }
    };
    let asked = Asked::read(state, parameters, kind)?;
    let origin = ByModel { ours: state, pushdown: state.settings().pushdown };
    Ok(asked.plan(&query, &origin)?.to_string())
}

/// Every selector is ours: half of a union.
struct Synthetic;

impl Origin for Synthetic {
    fn side(&self, _: &MatcherSet) -> Side {
        Side::Ours
    }
}

/// When, how often and within which bounds.
struct Asked {
    begun: Instant,
    kind: Kind,
    grid: StepGrid,
    options: Options,
    lookback: Option<Window>,
    deadline: Instant,
    limit: Option<usize>,
    wants_stats: bool,
}

impl Asked {
    fn read(state: &ApiState, parameters: &Parameters, kind: Kind) -> Result<Self, ApiError> {
        let begun = Instant::now();
        let limits = state.settings().limits;
        let grid = match kind {
            Kind::Instant => {
                let at = parameters.time("time")?.unwrap_or_else(|| state.now());
                StepGrid::instant(at, Window::MINUTE)
            }
            Kind::Range => parameters.grid(limits.points)?,
        };
        let lookback = parameters.window("lookback_delta")?;
        let dialect = state.dialect();
        let options = Options {
            lookback: lookback.unwrap_or(dialect.lookback),
            subquery_step: dialect.subquery_step,
            boundaries: dialect.boundaries,
            names_dropped_late: dialect.names_dropped_late,
            max_samples: limits.samples,
            ..Options::default()
        };
        let timeout = parameters.duration_millis("timeout")?.map_or(state.settings().timeout, |ms| {
            Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(state.settings().timeout)
        });
        let (limit, wants_stats) = (parameters.limit()?, !parameters.get("stats").is_empty());
        Ok(Self { begun, kind, grid, options, lookback, deadline: begun + timeout, limit, wants_stats })
    }

    fn plan(&self, query: &Query, origin: &dyn Origin) -> Result<QueryPlan, ApiError> {
        let range_query = self.kind == Kind::Range;
        let plan = QueryPlan::new(query, &self.grid, range_query, &self.options, origin)?;
        // Nothing is fetched in vain. What the upstream evaluates as a whole is for it to know.
        evaluate::check_supported(plan.query(), range_query)?;
        Ok(plan)
    }

    async fn evaluate(
        &self,
        state: &ApiState,
        plan: QueryPlan,
        headers: HeaderMap,
    ) -> Result<(QueryAnswer, QueryStats), ApiError> {
        let limits = state.settings().limits;
        let begun = Instant::now();
        let running = Running {
            options: self.options.clone(),
            deadline: self.deadline,
            headers,
            lookback_millis: self.lookback.map(Window::millis),
            body_limit: limits.body_bytes,
            memory: state.memory().clone(),
        };
        let done = run(state.engine(), plan, running).await?;
        let stats = QueryStats {
            preparing: begun.duration_since(self.begun),
            fetching: done.fetching,
            evaluating: done.evaluating,
            total: self.begun.elapsed(),
            samples_read: done.samples_read,
            peak_values: done.peak_values,
        };
        let data = data(done.value, &self.grid, self.kind);
        let count = match &data {
            QueryData::Vector(series) | QueryData::Matrix(series) => series.len(),
            QueryData::Scalar(_) | QueryData::String { .. } => 1,
        };
        if count > limits.series {
            let message = format!("the answer has {count} series, allowed are {}", limits.series);
            return Err(ApiError::execution(message));
        }
        Ok((QueryAnswer { data, annotations: done.annotations }, stats))
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
        (Theirs::NoRoom(error), _) => error.into_response(),
        (Theirs::Failed(fault), _) => {
            // Half of what was asked for would read like the whole.
            ApiError::execution(fault).into_response()
        }
        (Theirs::Answered(mut theirs, held), Err(error)) => {
            push_warnings(&mut theirs, [format!("synthetic series are left out: {}", error.message)]);
            reply::json(200, forward::off_the_runtime(held, move || theirs.to_string()).await)
        }
        (Theirs::Answered(mut theirs, held), Ok(ours)) => {
            let merge = move || union(&mut theirs, &ours, limit).map(|()| theirs.to_string());
            match forward::off_the_runtime(held, merge).await {
                Ok(text) => reply::json(200, text),
                Err(fault) => {
                    let fault = format!("upstream {}: {fault}", state.upstream().name());
                    ApiError::execution(fault).into_response()
                }
            }
        }
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
