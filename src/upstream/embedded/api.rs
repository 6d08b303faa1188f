//! The HTTP API of Prometheus over the store, as far as its clients need it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode, header};
use serde_json::json;

use super::parameters::{Parameters, bad_data, instant};
use super::{Body, EmbeddedUpstream, Evaluation, Fault, Question, UpstreamError};
use crate::series::{Labels, StepGrid};
use crate::unit::Timestamp;
use crate::upstream::whole_body;
use crate::wire::prometheus_json::{Annotations, ErrorType, QueryData, encode};

/// The version whose semantics the evaluator follows; clients choose their dialect by it.
const VERSION: &str = "3.0.0";

/// What Prometheus says when `limit` cuts an answer.
const TRUNCATED: &str = "results truncated due to limit";

/// Answers one request; a fault is an answer, too.
pub(super) async fn answer(
    upstream: &EmbeddedUpstream,
    request: Request<Body>,
) -> Result<Response<Body>, UpstreamError> {
    let path = request.uri().path().to_owned();
    let (status, body) = match respond(upstream, &path, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Fault { kind, message }) => {
            let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, encode::error(kind, &message))
        }
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(whole_body(body))
        .map_err(|fault| UpstreamError::Malformed {
            upstream: upstream.name.to_string(),
            fault: fault.to_string(),
        })
}

async fn respond(upstream: &EmbeddedUpstream, path: &str, request: Request<Body>) -> Result<String, Fault> {
    if !matches!(*request.method(), http::Method::GET | http::Method::POST) {
        return Err(bad_data(format!("{} is no method of this API", request.method())));
    }
    let parameters = Parameters::of(request).await?;
    let label = path.strip_prefix("/api/v1/label/").and_then(|rest| rest.strip_suffix("/values"));
    match (path, label) {
        ("/api/v1/query", _) => {
            let at = parameters.time("time")?.unwrap_or_else(|| (upstream.clock)());
            query(upstream, &parameters, instant(at), false).await
        }
        ("/api/v1/query_range", _) => query(upstream, &parameters, parameters.grid()?, true).await,
        ("/api/v1/series", _) => {
            let matchers = parameters.matchers()?;
            if matchers.is_empty() {
                return Err(bad_data("no match[] parameter provided"));
            }
            let found = selected(upstream, &parameters)?;
            let found: Vec<BTreeMap<&str, &str>> =
                found.iter().map(|labels| labels.iter().collect()).collect();
            limited(found, &parameters)
        }
        ("/api/v1/labels", _) => {
            let found = selected(upstream, &parameters)?;
            let names: BTreeSet<&str> = found.iter().flat_map(Labels::iter).map(|(name, _)| name).collect();
            limited(names.into_iter().collect(), &parameters)
        }
        (_, Some(name)) => {
            let found = selected(upstream, &parameters)?;
            let values: BTreeSet<&str> =
                found.iter().map(|labels| labels.get(name)).filter(|value| !value.is_empty()).collect();
            limited(values.into_iter().collect(), &parameters)
        }
        ("/api/v1/metadata", _) => {
            let wanted = parameters.get("metric");
            let known = upstream.store.metadata();
            let known: BTreeMap<&String, _> = known
                .iter()
                .filter(|(family, _)| wanted.is_none_or(|wanted| wanted == family.as_str()))
                .take(parameters.limit()?)
                .map(|(family, about)| {
                    (family, json!([{"type": about.kind, "help": about.help, "unit": ""}]))
                })
                .collect();
            success(&known)
        }
        // It holds no exemplars and evaluates no rules: nothing is found, which is no error.
        ("/api/v1/query_exemplars", _) => {
            parameters.required("query")?;
            parameters.time("start")?;
            parameters.time("end")?;
            success(&json!([]))
        }
        ("/api/v1/rules", _) => success(&json!({"groups": []})),
        ("/api/v1/alerts", _) => success(&json!({"alerts": []})),
        ("/api/v1/status/buildinfo", _) => success(&json!({
            "version": VERSION,
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
            "application": "emac embedded store",
        })),
        ("/-/healthy" | "/-/ready", _) => Ok("The embedded store is ready.\n".to_owned()),
        _ => Err(Fault {
            kind: ErrorType::NotFound,
            message: format!("the embedded store has no endpoint {path}"),
        }),
    }
}

async fn query(
    upstream: &EmbeddedUpstream,
    parameters: &Parameters,
    grid: StepGrid,
    range_query: bool,
) -> Result<String, Fault> {
    let text = parameters.required("query")?.to_owned();
    let lookback = parameters.duration("lookback_delta")?;
    let timeout = parameters.duration("timeout")?.map(|timeout| Duration::from_millis(timeout.millis()));
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let limit = parameters.limit()?;
    let question = Question { text, grid, range_query, lookback };
    let Evaluation { mut answer, stats } = upstream.evaluated(question, deadline).await?;
    if let QueryData::Vector(series) | QueryData::Matrix(series) = &mut answer.data
        && series.len() > limit
    {
        series.truncate(limit);
        answer.annotations.warnings.push(TRUNCATED.to_owned());
    }
    Ok(encode::query_with_stats(&answer, parameters.get("stats").map(|_| &stats)))
}

/// The series that `match[]`, `start` and `end` select.
fn selected(upstream: &EmbeddedUpstream, parameters: &Parameters) -> Result<Vec<Labels>, Fault> {
    let from = parameters.time("start")?.unwrap_or(Timestamp::from_millis(i64::MIN));
    let to = parameters.time("end")?.unwrap_or(Timestamp::from_millis(i64::MAX));
    Ok(upstream.store.series(&parameters.matchers()?, from, to))
}

fn limited<T: serde::Serialize>(mut list: Vec<T>, parameters: &Parameters) -> Result<String, Fault> {
    let limit = parameters.limit()?;
    let mut annotations = Annotations::default();
    if list.len() > limit {
        list.truncate(limit);
        annotations.warnings.push(TRUNCATED.to_owned());
    }
    encode::success(&list, &annotations).map_err(internal)
}

fn success<T: serde::Serialize>(data: &T) -> Result<String, Fault> {
    encode::success(data, &Annotations::default()).map_err(internal)
}

fn internal(fault: serde_json::Error) -> Fault {
    Fault { kind: ErrorType::Internal, message: fault.to_string() }
}
