//! A Prometheus in memory: the store, the evaluator of [`crate::promql`] over it, and the HTTP API in front.
//!
//! It lets the whole proxy run without any other server, for the demo and for tests. It knows as much PromQL as the
//! evaluator does; anything else is an honest error (422, `execution`), as a query is that reads too much.

mod api;
mod parameters;
mod store;

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use http::{Request, Response};

use super::{Answer, Body, Upstream, UpstreamError};
use crate::promql::evaluate::{self, EvaluationError};
use crate::promql::guard::MAX_QUERY_BYTES;
use crate::promql::limits::Options;
use crate::promql::query::{ParseError, Query};
use crate::promql::value::Value;
use crate::series::{Sample, Series, StepGrid};
use crate::unit::Timestamp;
use crate::wire::prometheus_json::{ErrorType, QueryData};

pub use store::{EmbeddedStore, Metadata, StoreError, StoreLimits, TargetId};

/// The most samples that the ranges of one query may look at, each as often as it lies in one: a back-fill of an hour
/// over an hour's window looks at about 300 million of the demo's.
const MAX_VISITS: u64 = 2_000_000_000;

/// The most samples that one query may read: all of a large store.
const MAX_SAMPLES: usize = 50_000_000;

/// The most values that one query may hold at a time.
const MAX_VALUES: usize = 20_000_000;

/// The time where a request gives none.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A store that answers as an upstream.
#[derive(Clone)]
pub struct EmbeddedUpstream {
    name: Arc<str>,
    store: Arc<EmbeddedStore>,
    clock: Clock,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    kind: ErrorType,
    message: String,
}

impl From<ParseError> for Fault {
    fn from(error: ParseError) -> Self {
        Self { kind: ErrorType::BadData, message: error.to_string() }
    }
}

impl From<EvaluationError> for Fault {
    fn from(error: EvaluationError) -> Self {
        let kind = match error {
            EvaluationError::RangeType { .. } => ErrorType::BadData,
            _ => ErrorType::Execution,
        };
        let message = match error {
            EvaluationError::Unsupported { construct } => {
                format!("the embedded store does not evaluate {construct}")
            }
            other => other.to_string(),
        };
        Self { kind, message }
    }
}

impl EmbeddedUpstream {
    /// `clock` says what time it is for requests that do not.
    #[must_use]
    pub fn new(name: &str, store: Arc<EmbeddedStore>, clock: Clock) -> Self {
        Self { name: name.into(), store, clock }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<EmbeddedStore> {
        &self.store
    }

    /// Evaluates a text on a grid; `range_query` as for [`evaluate::evaluate`].
    fn evaluate(&self, text: &str, grid: &StepGrid, range_query: bool) -> Result<QueryData, Fault> {
        let query = Query::parse(text, MAX_QUERY_BYTES)?;
        let options = Options {
            max_samples: MAX_SAMPLES,
            max_values: MAX_VALUES,
            max_visits: MAX_VISITS,
            ..Options::default()
        };
        let value = evaluate::evaluate(&query, grid, range_query, &options, &*self.store)?.value;
        let scalars = |values: Vec<f64>| {
            let samples = grid.iter().zip(values).map(|(time, value)| Sample { time, value });
            samples.collect::<Vec<_>>()
        };
        Ok(match value {
            Value::Vector(vector) if range_query => {
                QueryData::Matrix(sorted(evaluate::into_series(vector, grid)))
            }
            Value::Vector(vector) => QueryData::Vector(evaluate::into_series(vector, grid)),
            Value::Scalar(values) if range_query => {
                QueryData::Matrix(vec![Series { samples: scalars(values), ..Series::default() }])
            }
            Value::Scalar(values) => {
                let first = scalars(values).first().copied();
                QueryData::Scalar(first.unwrap_or(Sample { time: grid.start(), value: f64::NAN }))
            }
            Value::Range(series) => QueryData::Matrix(series),
            Value::Text(value) => QueryData::String { time: grid.start(), value },
        })
    }

    /// Evaluates away from the runtime's own threads, within the deadline.
    async fn answer(
        &self,
        query: &str,
        grid: StepGrid,
        range_query: bool,
        deadline: Instant,
    ) -> Result<Answer, UpstreamError> {
        let (this, query) = (self.clone(), query.to_owned());
        let work = tokio::task::spawn_blocking(move || this.evaluate(&query, &grid, range_query));
        let name = || self.name.to_string();
        let data = match tokio::time::timeout_at(deadline.into(), work).await {
            Err(_) => return Err(UpstreamError::Timeout { upstream: name() }),
            Ok(Err(fault)) => {
                return Err(UpstreamError::Unreachable { upstream: name(), fault: fault.to_string() });
            }
            Ok(Ok(Err(Fault { kind, message }))) => {
                return Err(UpstreamError::Refused { upstream: name(), status: kind.status(), message });
            }
            Ok(Ok(Ok(data))) => data,
        };
        let series = match data {
            QueryData::Vector(series) | QueryData::Matrix(series) => series,
            QueryData::Scalar(sample) => vec![Series { samples: vec![sample], ..Series::default() }],
            QueryData::String { .. } => {
                let fault = "a string where a vector was due".to_owned();
                return Err(UpstreamError::Malformed { upstream: name(), fault });
            }
        };
        Ok(Answer { series, warnings: Vec::new() })
    }
}

fn sorted(mut series: Vec<Series>) -> Vec<Series> {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

impl Upstream for EmbeddedUpstream {
    fn name(&self) -> &str {
        &self.name
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let query = query.to_owned();
        Box::pin(async move { self.answer(&query, parameters::instant(at), false, deadline).await })
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let query = query.to_owned();
        Box::pin(async move { self.answer(&query, grid, true, deadline).await })
    }

    fn forward(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        Box::pin(api::answer(self, request))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use serde_json::Value as Json;

    use super::*;
    use crate::series::{Labels, NAME};
    use crate::unit::Window;

    /// Two pods that answer one and two requests a second, scraped every 15 s from 0 to 600 s.
    fn upstream() -> EmbeddedUpstream {
        let limits = StoreLimits { retention: "1h".parse().unwrap(), samples_per_series: 1000, series: 10 };
        let store = Arc::new(EmbeddedStore::new(limits));
        store.describe("hits_total", Metadata { kind: "counter".into(), help: "Hits.".into() });
        let pod = |pod| Labels::from_iter([(NAME, "hits_total"), ("pod", pod)]);
        let target = store.add_target(vec![pod("a"), pod("b")]).unwrap();
        for i in 0..=40_i32 {
            let (at, count) = (Timestamp::from_millis(i64::from(i) * 15_000), f64::from(i) * 15.0);
            store.append(target, at, &[count, 2.0 * count]).unwrap();
        }
        EmbeddedUpstream::new("embedded", store, Arc::new(|| Timestamp::from_millis(600_000)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    async fn http(method: &str, uri: &str, body: &'static str) -> (u16, Json) {
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
        let request = Request::builder().method(method).uri(uri).body(body).unwrap();
        let response = upstream().forward(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn queries_are_evaluated_over_the_store() {
        let upstream = upstream();
        let at = Timestamp::from_millis(600_000);
        let query = "sum(increase(hits_total[5m])) / sum(increase(hits_total{pod=\"a\"}[5m]))";
        let answer = upstream.instant(query, at, soon()).await.unwrap();
        assert_eq!(answer.series[0].samples, [Sample { time: at, value: 3.0 }]);

        let step = Window::from_millis(60_000).unwrap();
        let grid = StepGrid::new(Timestamp::from_millis(480_000), at, step).unwrap();
        let answer = upstream.range("sum by (pod) (rate(hits_total[1m]))", grid, soon()).await.unwrap();
        let rates: Vec<Vec<f64>> = answer
            .series
            .iter()
            .map(|one| one.samples.iter().map(|s| (s.value * 1e9).round() / 1e9).collect())
            .collect();
        assert_eq!(rates, [[1.0; 3], [2.0; 3]]);
    }

    #[tokio::test]
    async fn what_the_evaluator_does_not_know_is_an_error_that_says_so() {
        let at = Timestamp::from_millis(600_000);
        let refused = upstream().instant("start_timestamp(hits_total)", at, soon()).await.unwrap_err();
        let UpstreamError::Refused { upstream, status, message } = refused else { panic!("{refused:?}") };
        assert_eq!((upstream.as_str(), status), ("embedded", 422));
        assert!(message.contains("does not evaluate start_timestamp()"), "{message}");
        let (status, body) = http("GET", "/api/v1/query?query=hits_total%7B", "").await;
        assert_eq!((status, &body["errorType"]), (400, &Json::from("bad_data")));
    }

    #[tokio::test]
    async fn a_query_without_a_time_is_asked_now() {
        let (status, body) = http("GET", "/api/v1/query?query=hits_total%7Bpod%3D%22b%22%7D", "").await;
        assert_eq!(status, 200);
        let expected = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "hits_total", "pod": "b"}, "value": [600, "1200"]}]}});
        assert_eq!(body, expected);
        // Grafana's probe of a datasource.
        let (_, body) = http("GET", "/api/v1/query?query=1%2B1&time=4", "").await;
        assert_eq!(body["data"], serde_json::json!({"resultType": "scalar", "result": [4, "2"]}));
    }

    #[tokio::test]
    async fn a_range_query_may_come_as_a_form() {
        let form = "query=sum(hits_total)&start=570&end=600&step=15s";
        let (status, body) = http("POST", "/api/v1/query_range", form).await;
        assert_eq!(status, 200);
        let values = &body["data"]["result"][0]["values"];
        assert_eq!(*values, serde_json::json!([[570, "1710"], [585, "1755"], [600, "1800"]]));
        for (form, parameter) in [
            ("query=x&start=2&end=1&step=1", "end"),
            ("query=x&start=1&end=2&step=0", "step"),
            ("query=x&start=abc&end=2&step=1", "start"),
            ("start=1&end=2&step=1", "query"),
            ("query=x&start=0&end=11001&step=1", "resolution"),
        ] {
            let (status, body) = http("POST", "/api/v1/query_range", form).await;
            assert_eq!(status, 400, "{form}");
            assert!(body["error"].as_str().unwrap().contains(parameter), "{form}: {body}");
        }
    }

    #[tokio::test]
    async fn names_values_and_metadata_can_be_discovered() {
        let data = async |uri| http("GET", uri, "").await.1["data"].clone();
        assert_eq!(data("/api/v1/labels").await, serde_json::json!(["__name__", "pod"]));
        assert_eq!(data("/api/v1/label/pod/values").await, serde_json::json!(["a", "b"]));
        let series = data("/api/v1/series?match[]=hits_total%7Bpod%3D%22a%22%7D").await;
        assert_eq!(series, serde_json::json!([{"__name__": "hits_total", "pod": "a"}]));
        let metadata = data("/api/v1/metadata").await;
        let expected = serde_json::json!({"hits_total": [{"type": "counter", "help": "Hits.", "unit": ""}]});
        assert_eq!(metadata, expected);
        assert_eq!(data("/api/v1/status/buildinfo").await["version"], "3.0.0");
        let (status, body) = http("GET", "/api/v1/label/pod/values?limit=1", "").await;
        assert_eq!(
            (status, &body["warnings"]),
            (200, &serde_json::json!(["results truncated due to limit"]))
        );
        assert_eq!(http("GET", "/api/v1/series", "").await.0, 400);
        assert_eq!(http("GET", "/api/v1/targets", "").await.0, 404);
    }
}
