//! Well-known instrumentations: metric, unit, and what counts as success.
//!
//! Sources: the OpenTelemetry semantic conventions for HTTP metrics (stable since 1.23) with Prometheus' names for
//! them; the README of the collector's span metrics connector; Istio's "Standard Metrics"; Linkerd's "Proxy Metrics";
//! Envoy's cluster statistics. Where a condition could be read two ways, fewer requests count as success.

use crate::journey::component::{HistogramType, LatencyUnit, Telemetry};
use crate::series::{MatchOp, Matcher};

/// A well-known instrumentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    /// `http.server.request.duration`
    OtelHttpServer,
    /// `http.client.request.duration`
    OtelHttpClient,
    /// The collector's span metrics connector with its default namespace and unit.
    SpanMetrics,
    /// Istio's sidecars.
    Istio,
    /// Linkerd's proxies.
    Linkerd,
    /// Envoy's clusters.
    Envoy,
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher { name: name.to_owned(), op, value: value.to_owned() }
}

impl Preset {
    /// The telemetry of a component: `matchers` choose its series; a default matcher of the preset steps back where
    /// they name the same label.
    pub(crate) fn telemetry(self, mut matchers: Vec<Matcher>) -> Telemetry {
        use MatchOp::{Equal, NotRegex, Regex};
        // A request that ended with an error carries error.type, also where no response came; instrumentations that
        // do not set it are held to the status code.
        let otel_http =
            || vec![matcher("error_type", Equal, ""), matcher("http_response_status_code", Regex, "[1-4]..")];
        let (metric, success, unit) = match self {
            Self::OtelHttpServer => {
                ("http_server_request_duration_seconds", otel_http(), LatencyUnit::Seconds)
            }
            Self::OtelHttpClient => {
                ("http_client_request_duration_seconds", otel_http(), LatencyUnit::Seconds)
            }
            Self::SpanMetrics => {
                // Client, producer and internal spans of the same service would be counted beside its requests.
                default(&mut matchers, matcher("span_kind", Equal, "SPAN_KIND_SERVER"));
                let success = vec![matcher("status_code", Regex, "STATUS_CODE_(OK|UNSET)")];
                ("traces_span_metrics_duration_milliseconds", success, LatencyUnit::Milliseconds)
            }
            Self::Istio => {
                // Both ends of a call report it.
                default(&mut matchers, matcher("reporter", Equal, "destination"));
                let success = vec![
                    // 0: the connection ended without a response.
                    matcher("response_code", Regex, "[1-4].."),
                    // The codes that the conventions for gRPC servers call errors.
                    matcher("grpc_response_status", NotRegex, "2|4|12|13|14|15"),
                ];
                ("istio_request_duration_milliseconds", success, LatencyUnit::Milliseconds)
            }
            Self::Linkerd => {
                default(&mut matchers, matcher("direction", Equal, "inbound"));
                let success = vec![
                    matcher("status_code", Regex, "[1-4].."),
                    matcher("grpc_status", NotRegex, "2|4|12|13|14|15"),
                    matcher("grpc_status_code", NotRegex, "2|4|12|13|14|15"),
                ];
                ("response_latency_ms", success, LatencyUnit::Milliseconds)
            }
            Self::Envoy => return envoy(&matchers),
        };
        Telemetry::Histogram {
            metric: metric.to_owned(),
            matchers,
            success,
            unit,
            histogram_type: HistogramType::Classic,
        }
    }
}

fn default(matchers: &mut Vec<Matcher>, wanted: Matcher) {
    if matchers.iter().all(|given| given.name != wanted.name) {
        matchers.push(wanted);
    }
}

/// Envoy's histogram has no status: counters by the class of the status say what succeeded, and the latency is that of
/// all responses.
fn envoy(matchers: &[Matcher]) -> Telemetry {
    let selector = |metric: &str, class: Option<&Matcher>| {
        let shown: Vec<_> = matchers.iter().chain(class).map(ToString::to_string).collect();
        format!("{metric}{{{}}}[{{{{window}}}}]", shown.join(","))
    };
    let good = matcher("envoy_response_code_class", MatchOp::Regex, "[1-4]");
    Telemetry::Queries {
        good: Some(format!("sum(increase({}))", selector("envoy_cluster_upstream_rq_xx", Some(&good)))),
        // Counted when sent: a request without a response is a failure.
        total: Some(format!("sum(increase({}))", selector("envoy_cluster_upstream_rq_total", None))),
        latency: Some(format!(
            "sum by (le) (increase({}))",
            selector("envoy_cluster_upstream_rq_time_bucket", None)
        )),
        failure_latency: None,
        unit: LatencyUnit::Milliseconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_matcher_steps_back_for_a_given_one() {
        let given = matcher("reporter", MatchOp::Equal, "source");
        let Telemetry::Histogram { matchers, unit, .. } = Preset::Istio.telemetry(vec![given.clone()]) else {
            panic!()
        };
        assert_eq!((matchers, unit), (vec![given], LatencyUnit::Milliseconds));
    }

    #[test]
    fn envoy_needs_queries_since_its_histogram_has_no_status() {
        let cluster = matcher("envoy_cluster_name", MatchOp::Equal, "paya");
        let Telemetry::Queries { good, latency, .. } = Preset::Envoy.telemetry(vec![cluster]) else {
            panic!()
        };
        assert_eq!(
            good.unwrap(),
            r#"sum(increase(envoy_cluster_upstream_rq_xx{envoy_cluster_name="paya",envoy_response_code_class=~"[1-4]"}[{{window}}]))"#
        );
        assert_eq!(
            latency.unwrap(),
            r#"sum by (le) (increase(envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="paya"}[{{window}}]))"#
        );
    }
}
