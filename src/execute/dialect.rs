//! How the upstream evaluates: learnt from what it does, since version numbers of compatible servers mean little.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use super::query_request;
use crate::promql::limits::{Boundaries, Options};
use crate::series::Series;
use crate::unit::{Timestamp, Window};
use crate::upstream::{MemoryBudget, Upstream, UpstreamError, whole_body};

/// How long the upstream may take to tell.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most of an answer about flags that is read, in bytes.
const MAX_FLAGS: usize = 1 << 20;

/// Needs no data: each series tells one thing by its value. The ranges of 3.x hold one of two steps a range apart, those
/// of 2.x both; the newest step before the epoch is the negative default step of subqueries; where names are dropped
/// late, an aggregation still tells two of them apart after a function.
const PROBE: &str = r#"label_replace(count_over_time(vector(1)[1m:1m] @ 60), "tells", "boundaries", "", "")
 or label_replace(max_over_time((vector(time()) < 0)[1d:] @ 0), "tells", "step", "", "")
 or label_replace(count(count by (__name__) (abs(
   label_replace(vector(1), "__name__", "a", "", "")
   or label_replace(label_replace(vector(1), "__name__", "b", "", ""), "x", "1", "", "")
 ))), "tells", "names", "", "")"#;

/// How an upstream evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The left edges of ranges and of lookback.
    pub boundaries: Boundaries,
    /// The step of a subquery that names none.
    pub subquery_step: Window,
    /// How far an instant selector looks back.
    pub lookback: Window,
    /// Names are dropped at the end of the evaluation.
    pub names_dropped_late: bool,
}

/// That of a Prometheus 3.x with its default settings.
impl Default for Dialect {
    fn default() -> Self {
        let Options { boundaries, subquery_step, lookback, names_dropped_late, .. } = Options::default();
        Self { boundaries, subquery_step, lookback, names_dropped_late }
    }
}

impl Dialect {
    /// Asks the upstream. What it does not tell is as in a Prometheus 3.x.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn learn(upstream: &dyn Upstream) -> Result<Self, UpstreamError> {
        let deadline = Instant::now() + TIMEOUT;
        let at = Timestamp::from_millis(0);
        let answer = upstream.instant(PROBE, at, deadline).await?;
        let mut dialect = Self::told_by(&answer.series);
        if let Some(lookback) = lookback_flag(upstream, deadline).await {
            dialect.lookback = lookback;
        }
        Ok(dialect)
    }

    fn told_by(series: &[Series]) -> Self {
        let mut dialect = Self::default();
        let told = |what: &str| series.iter().find(|series| series.labels.get("tells") == what);
        let value =
            |what: &str| told(what).and_then(|series| series.samples.first()).map(|sample| sample.value);
        if value("boundaries").is_some_and(|steps| steps > 1.5) {
            dialect.boundaries = Boundaries::Closed;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from f64 saturates"
        )]
        let step = value("step").map(|seconds| (-seconds * 1_000.0).round() as u64);
        if let Some(step) = step.and_then(|millis| Window::from_millis(millis).ok()) {
            dialect.subquery_step = step;
        }
        dialect.names_dropped_late = value("names").is_some_and(|names| names > 1.5);
        dialect
    }
}

/// `query.lookback-delta`, where the upstream tells its flags.
async fn lookback_flag(upstream: &dyn Upstream, deadline: Instant) -> Option<Window> {
    let request = Request::builder().uri("/api/v1/status/flags").body(whole_body(Bytes::new())).ok()?;
    let asked = async {
        let answer = upstream.forward(request).await.ok()?;
        if answer.status() != http::StatusCode::OK {
            return None;
        }
        query_request::read(answer.into_body(), MAX_FLAGS, &mut MemoryBudget::new(MAX_FLAGS).open())
            .await
            .ok()
    };
    let body = tokio::time::timeout_at(deadline.into(), asked).await.ok()??;
    let flags: serde_json::Value = serde_json::from_slice(&body).ok()?;
    flags.pointer("/data/query.lookback-delta")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::evaluate::{evaluate, into_series};
    use crate::promql::guard::MAX_QUERY_BYTES;
    use crate::promql::query::Query;
    use crate::promql::source::Fetched;
    use crate::promql::value::Value;
    use crate::series::StepGrid;

    #[test]
    fn an_upstream_tells_how_it_evaluates_without_any_data() {
        for boundaries in [Boundaries::LeftOpen, Boundaries::Closed] {
            for subquery_step in [Window::MINUTE, Window::from_millis(15_000).unwrap()] {
                for names_dropped_late in [false, true] {
                    let options =
                        Options { boundaries, subquery_step, names_dropped_late, ..Options::default() };
                    let query = Query::parse(PROBE, MAX_QUERY_BYTES).unwrap();
                    let grid = StepGrid::instant(Timestamp::from_millis(0), Window::MINUTE);
                    let value = evaluate(&query, &grid, false, &options, &Fetched::default()).unwrap().value;
                    let Value::Vector(vector) = value else { panic!() };
                    let expected =
                        Dialect { boundaries, subquery_step, names_dropped_late, ..Dialect::default() };
                    assert_eq!(Dialect::told_by(&into_series(vector, &grid)), expected);
                }
            }
        }
    }

    #[test]
    fn what_is_not_told_is_as_in_prometheus_3() {
        assert_eq!(Dialect::told_by(&[]), Dialect::default());
        assert_eq!(Dialect::default().boundaries, Boundaries::LeftOpen);
    }
}
