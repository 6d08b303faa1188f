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
use crate::unit::{Timestamp, Window};
use crate::wire::prometheus_json::encode::QueryStats;
use crate::wire::prometheus_json::{Annotations, ErrorType, QueryAnswer, QueryData};

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

/// What is asked.
struct Question {
    text: String,
    grid: StepGrid,
    /// As for [`evaluate::evaluate`].
    range_query: bool,
    /// Other than the usual.
    lookback: Option<Window>,
}

/// An answer and what it cost.
struct Evaluation {
    answer: QueryAnswer,
    stats: QueryStats,
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

    /// Evaluates a question, on whatever thread this is.
    fn evaluate(&self, question: &Question, options: &Options) -> Result<Evaluation, Fault> {
        let Question { text, grid, range_query, lookback } = question;
        let query = Query::parse(text, MAX_QUERY_BYTES)?;
        let options = Options {
            lookback: lookback.unwrap_or(options.lookback),
            max_samples: MAX_SAMPLES,
            max_values: MAX_VALUES,
            max_visits: MAX_VISITS,
            ..options.clone()
        };
        let begun = Instant::now();
        let evaluated = evaluate::evaluate(&query, grid, *range_query, &options, &*self.store)?;
        let evaluating = begun.elapsed();
        let scalars = |values: Vec<f64>| {
            let samples = grid.iter().zip(values).map(|(time, value)| Sample { time, value });
            samples.collect::<Vec<_>>()
        };
        let data = match evaluated.value {
            Value::Vector(vector) if *range_query => {
                QueryData::Matrix(sorted(evaluate::into_series(vector, grid)))
            }
            Value::Vector(vector) => QueryData::Vector(evaluate::into_series(vector, grid)),
            Value::Scalar(values) if *range_query => {
                QueryData::Matrix(vec![Series { samples: scalars(values), ..Series::default() }])
            }
            Value::Scalar(values) => {
                let first = scalars(values).first().copied();
                QueryData::Scalar(first.unwrap_or(Sample { time: grid.start(), value: f64::NAN }))
            }
            Value::Range(series) => QueryData::Matrix(series),
            Value::Text(value) => QueryData::String { time: grid.start(), value },
        };
        let annotations =
            Annotations { warnings: evaluated.annotations.warnings(), infos: evaluated.annotations.infos() };
        let stats = QueryStats {
            evaluating,
            total: evaluating,
            samples_read: evaluated.samples_read,
            peak_values: evaluated.peak_values,
            ..QueryStats::default()
        };
        Ok(Evaluation { answer: QueryAnswer { data, annotations }, stats })
    }

    /// Evaluates away from the runtime's own threads, until the deadline or as long as the future is there.
    async fn evaluated(&self, question: Question, deadline: Option<Instant>) -> Result<Evaluation, Fault> {
        let (options, awaited) = Options::default().while_awaited();
        let this = self.clone();
        let work = tokio::task::spawn_blocking(move || this.evaluate(&question, &options));
        let done = match deadline {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.map_err(|_| Fault {
                kind: ErrorType::Timeout,
                message: "query timed out in expression evaluation".to_owned(),
            })?,
        };
        drop(awaited);
        done.unwrap_or_else(|fault| Err(Fault { kind: ErrorType::Internal, message: fault.to_string() }))
    }

    async fn answer(&self, question: Question, deadline: Instant) -> Result<Answer, UpstreamError> {
        let upstream = || self.name.to_string();
        let QueryAnswer { data, annotations } = match self.evaluated(question, Some(deadline)).await {
            Ok(evaluation) => evaluation.answer,
            Err(Fault { kind: ErrorType::Timeout, .. }) => {
                return Err(UpstreamError::Timeout { upstream: upstream() });
            }
            Err(Fault { kind: ErrorType::Internal, message: fault }) => {
                return Err(UpstreamError::Unreachable { upstream: upstream(), fault });
            }
            Err(Fault { kind, message }) => {
                return Err(UpstreamError::Refused { upstream: upstream(), status: kind.status(), message });
            }
        };
        let series = match data {
            QueryData::Vector(series) | QueryData::Matrix(series) => series,
            QueryData::Scalar(sample) => vec![Series { samples: vec![sample], ..Series::default() }],
            QueryData::String { .. } => {
                let fault = "a string where a vector was due".to_owned();
                return Err(UpstreamError::Malformed { upstream: upstream(), fault });
            }
        };
        Ok(Answer { series, warnings: annotations.warnings })
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
        let (text, grid) = (query.to_owned(), parameters::instant(at));
        Box::pin(self.answer(Question { text, grid, range_query: false, lookback: None }, deadline))
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let text = query.to_owned();
        Box::pin(self.answer(Question { text, grid, range_query: true, lookback: None }, deadline))
    }

    fn forward(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        Box::pin(api::answer(self, request))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use serde_json::Value as Json;

    use super::*;
    use crate::series::{Labels, NAME};
    use crate::upstream::whole_body;

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
        let request = Request::builder().method(method).uri(uri).body(whole_body(body)).unwrap();
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
    async fn notes_on_a_query_come_with_its_answer() {
        let at = Timestamp::from_millis(600_000);
        let text = "quantile(2, rate(hits_total[5m]))";
        let warning = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)";
        assert_eq!(upstream().instant(text, at, soon()).await.unwrap().warnings, [warning]);
        let (_, body) = http("GET", "/api/v1/query?query=quantile(2,rate(hits_total%5B5m%5D))", "").await;
        assert_eq!(body["warnings"], serde_json::json!([warning]));
        assert_eq!(body.get("infos"), None);
        let (_, body) = http("GET", "/api/v1/query?query=rate(hits%5B5m%5D)", "").await;
        assert_eq!(body.get("warnings").or(body.get("infos")), None, "nothing is selected, nothing is said");
        let named = "label_replace(rate({__name__=~%22hits.*%22}%5B5m%5D)%20or%20vector(1),%22a%22,%22b%22,%22%22,%22%22)";
        let (_, body) = http("GET", &format!("/api/v1/query?query={named}"), "").await;
        assert_eq!(body["status"], "success", "{body}");
    }

    #[tokio::test]
    async fn lookback_limit_timeout_and_stats_do_what_they_say() {
        // The newest samples are 7 s old.
        let values = async |more: &str| {
            let (status, body) =
                http("GET", &format!("/api/v1/query?query=hits_total&time=607{more}"), "").await;
            assert_eq!(status, 200, "{body}");
            let series = body["data"]["result"].as_array().unwrap().len();
            (series, body)
        };
        assert_eq!(values("").await.0, 2);
        assert_eq!(values("&lookback_delta=7").await.0, 0, "lookback is open on the left");
        assert_eq!(values("&lookback_delta=8s").await.0, 2);
        let (series, body) = values("&limit=1").await;
        assert_eq!((series, &body["warnings"]), (1, &serde_json::json!(["results truncated due to limit"])));
        assert_eq!(values("&limit=2").await.1.get("warnings"), None);
        let (_, body) = values("&stats=all").await;
        assert_eq!(body["data"]["stats"]["samples"]["totalQueryableSamples"], 42 - 2, "{body}");
        for wrong in ["lookback_delta=x", "lookback_delta=-1", "timeout=x", "limit=x"] {
            let (status, body) = http("GET", &format!("/api/v1/query?query=1&{wrong}"), "").await;
            assert_eq!((status, &body["errorType"]), (400, &Json::from("bad_data")), "{wrong}");
        }
    }

    /// Some seconds of work.
    const LONG: &str = "sum_over_time(sum_over_time(vector(1)[1h:1s])[1d:1s])";

    #[tokio::test]
    async fn a_query_ends_with_its_time_and_with_its_client() {
        let uri = format!("/api/v1/query?query={LONG}&timeout=20ms").replace('[', "%5B").replace(']', "%5D");
        let begun = Instant::now();
        let (status, body) = http("GET", &uri, "").await;
        assert_eq!((status, &body["errorType"]), (503, &Json::from("timeout")), "{body}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

        // Dropping the future that waits for an answer tells the work; the only other holder of the store is the work.
        let upstream = upstream();
        let store = Arc::downgrade(upstream.store());
        let at = Timestamp::from_millis(0);
        let asked = async move { upstream.instant(LONG, at, soon()).await };
        assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err(), "it takes longer");
        let left = Instant::now();
        while store.strong_count() > 0 {
            assert!(left.elapsed() < Duration::from_secs(1), "the evaluation goes on");
            tokio::time::sleep(Duration::from_millis(1)).await;
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
