//! Own metrics: what the server says about itself at `/metrics`.
//!
//! A recorder of its own rather than the process-wide one, so that two servers in one process (tests, the demo) do not
//! mix. Labels are bounded: routes by the router, codes and results by closed sets.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::unit::Timestamp;

/// Upper edges of every latency histogram, in seconds: half a millisecond is a warm answer, 30 s a patient client.
const LATENCY_EDGES: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The purpose of requests that pass through.
pub const FORWARD: &str = "forward";

/// A counter and the durations of what it counts: found once, since looking them up costs more than counting, and told
/// several at a time, since telling costs more than a request that passes through should.
#[derive(Default)]
struct Usual {
    found: OnceLock<(Counter, Histogram)>,
    untold: Mutex<Vec<Duration>>,
}

/// How many durations are kept at most before they are told.
const UNTOLD: usize = 128;

impl Usual {
    fn note(&self, duration: Duration, find: impl FnOnce() -> (Counter, Histogram)) {
        self.found.get_or_init(find);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.push(duration);
        if untold.len() >= UNTOLD {
            self.tell(&mut untold);
        }
    }

    fn tell_all(&self) {
        self.tell(&mut self.untold.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self, untold: &mut Vec<Duration>) {
        let Some((count, took)) = self.found.get() else { return };
        count.increment(untold.len() as u64);
        untold.drain(..).for_each(|duration| took.record(duration.as_secs_f64()));
    }
}

/// Own metrics.
#[derive(Clone)]
pub struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Of what passes through with success.
    forwarded: Arc<Usual>,
    /// Of all routes that are counted so.
    routes: Arc<Mutex<Vec<Arc<Usual>>>>,
}

impl Telemetry {
    /// A registry with the help texts of all metrics, and `emac_build_info`.
    ///
    /// # Errors
    /// Never; the edges are legal.
    pub fn new() -> Result<Self, BuildError> {
        let suffix = Matcher::Suffix("_duration_seconds".to_owned());
        let recorder =
            PrometheusBuilder::new().set_buckets_for_metric(suffix, &LATENCY_EDGES)?.build_recorder();
        let handle = recorder.handle();
        let (forwarded, routes) = (Arc::default(), Arc::default());
        let telemetry = Self { recorder: Arc::new(recorder), handle, forwarded, routes };
        telemetry.describe();
        telemetry.gauge("emac_build_info", vec![Label::new("version", env!("CARGO_PKG_VERSION"))], 1.0);
        Ok(telemetry)
    }

    fn describe(&self) {
        let name = |name: &'static str| KeyName::from_const_str(name);
        for (metric, help) in [
            ("emac_http_requests_total", "HTTP requests answered, by route and status code."),
            (
                "emac_upstream_requests_total",
                "Requests of clients sent to the upstream, by purpose and result.",
            ),
            ("emac_evaluations_total", "Passes of the evaluation loop that ended."),
            ("emac_evaluation_failures_total", "Passes in which the upstream could not be asked at all."),
            ("emac_evaluation_points_skipped_total", "Grid points skipped because the pass before overran."),
            ("emac_evidence_queries_total", "Evidence queries sent to the upstream."),
            ("emac_evidence_query_failures_total", "Evidence queries that failed or came with warnings."),
            ("emac_compositions_total", "Windows composed."),
            ("emac_compositions_reused_total", "Windows whose evidence had not changed."),
            ("emac_backfilled_points_total", "Grid points of journeys that were back-filled."),
            ("emac_unfilled_points_total", "Grid points of journeys that could not be back-filled."),
            ("emac_remote_read_requests_total", "Remote reads, by result."),
            (
                "emac_remote_read_unsatisfiable_matchers_total",
                "Matchers of remote reads on a label or value that no synthetic series has: the answer is empty.",
            ),
            (
                "emac_remote_read_unfilled_points_total",
                "Grid points that remote reads asked for before they were back-filled.",
            ),
            (
                "emac_connections_closed_total",
                "Connections of clients that were closed or refused here, by reason.",
            ),
            (
                "emac_upstream_refused_total",
                "Requests not sent since the upstream was busy, by upstream and lane.",
            ),
            ("emac_upstream_retries_total", "Requests sent a second time, by upstream."),
            ("emac_upstream_circuit_openings_total", "Times that an upstream was given up for a while."),
            ("emac_self_check_failures_total", "Self-checks that did not give the known answer."),
            ("emac_authentication_failures_total", "Requests without good credentials."),
            ("emac_model_reloads_total", "Reloads of the model, by result."),
            (
                "emac_foreign_tenant_refusals_total",
                "Requests for synthetic series that named another tenant than the configured one.",
            ),
        ] {
            self.recorder.describe_counter(name(metric), Some(Unit::Count), SharedString::const_str(help));
        }
        for (metric, help) in [
            ("emac_build_info", "1; the version that runs."),
            ("emac_journeys", "Journeys that are evaluated."),
            ("emac_model_revision", "How often the model was replaced since the start, from 1."),
            ("emac_model_last_reload_successful", "Whether the last reload of the model succeeded."),
            ("emac_model_last_reload_timestamp_seconds", "When the model was last reloaded with success."),
            ("emac_connections", "Open connections of clients."),
            ("emac_upstream_limit", "Requests that an upstream is sent at a time."),
            ("emac_upstream_in_flight", "Requests that an upstream works on."),
            ("emac_upstream_queued", "Requests that wait for an upstream."),
            ("emac_upstream_circuit_open", "Whether an upstream is given up until a probe reaches it."),
            (
                "emac_self_check_successful",
                "Whether the last self-check gave the known answer: page where not.",
            ),
            ("emac_in_flight_bytes", "Bytes of bodies that are read whole, and of answers on their way."),
            ("emac_retained_series", "Synthetic series held."),
            ("emac_retained_sample_bytes", "Bytes of the samples held."),
        ] {
            self.recorder.describe_gauge(name(metric), None, SharedString::const_str(help));
        }
        for (metric, help) in [
            ("emac_http_request_duration_seconds", "Until the head of the answer, by route."),
            ("emac_remote_read_duration_seconds", "Until the answer to a remote read is ready."),
            (
                "emac_upstream_request_duration_seconds",
                "Until the head of the upstream's answer, by purpose.",
            ),
        ] {
            self.recorder.describe_histogram(
                name(metric),
                Some(Unit::Seconds),
                SharedString::const_str(help),
            );
        }
    }

    /// One answer to a client. `route` is of a bounded set: the router's patterns.
    pub fn http_request(&self, route: &str, code: u16, duration: Duration) {
        let route = Label::new("route", route.to_owned());
        let labels = vec![route.clone(), Label::new("code", code.to_string())];
        self.increment("emac_http_requests_total", labels);
        self.observe("emac_http_request_duration_seconds", vec![route], duration);
    }

    /// What counts the answers of one route, as [`Telemetry::http_request`] does.
    #[must_use]
    pub fn route(&self, route: &'static str) -> RouteMeter {
        let usual = Arc::<Usual>::default();
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&usual));
        RouteMeter { telemetry: self.clone(), route, usual }
    }

    /// One request sent to the upstream on behalf of a client.
    pub fn upstream_request(&self, purpose: &'static str, ok: bool, duration: Duration) {
        if ok && purpose == FORWARD {
            return self.forwarded.note(duration, || {
                let by = Label::new("purpose", FORWARD);
                let of = [by.clone(), Label::new("result", "ok")];
                self.pair("emac_upstream_requests_total", of, "emac_upstream_request_duration_seconds", by)
            });
        }
        let purpose = Label::new("purpose", purpose);
        let result = Label::new("result", if ok { "ok" } else { "error" });
        self.increment("emac_upstream_requests_total", vec![purpose.clone(), result]);
        self.observe("emac_upstream_request_duration_seconds", vec![purpose], duration);
    }

    /// One remote read; `result` is `ok`, `refused` or `failed`.
    pub fn remote_read(&self, result: &'static str, duration: Duration) {
        self.increment("emac_remote_read_requests_total", vec![Label::new("result", result)]);
        self.observe("emac_remote_read_duration_seconds", Vec::new(), duration);
    }

    /// A matcher of a remote read that no synthetic series can satisfy.
    pub fn remote_read_unsatisfiable(&self) {
        self.increment("emac_remote_read_unsatisfiable_matchers_total", Vec::new());
    }

    /// A connection of a client that was closed or refused here. `reason` is of a closed set.
    pub fn connection_closed(&self, reason: &'static str) {
        self.increment("emac_connections_closed_total", vec![Label::new("reason", reason)]);
    }

    /// How many connections of clients are open.
    pub fn connections(&self, open: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a count of things in memory")]
        self.gauge("emac_connections", Vec::new(), open as f64);
    }

    /// A gauge of one upstream; those are of the configuration.
    pub fn upstream_gauge(&self, name: &'static str, upstream: &str, value: f64) {
        self.gauge(name, vec![Label::new("upstream", upstream.to_owned())], value);
    }

    /// A counter of one upstream that is kept elsewhere, of one lane where it has lanes.
    pub fn upstream_counter(
        &self,
        name: &'static str,
        upstream: &str,
        lane: Option<&'static str>,
        total: u64,
    ) {
        let mut labels = vec![Label::new("upstream", upstream.to_owned())];
        labels.extend(lane.map(|lane| Label::new("lane", lane)));
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA).absolute(total);
    }

    /// A composition of the journey whose answer is known.
    pub fn self_checked(&self, ok: bool) {
        self.gauge("emac_self_check_successful", Vec::new(), if ok { 1.0 } else { 0.0 });
        // There from the first check on: what begins at 1 has no increase.
        let failures = Key::from_static_name("emac_self_check_failures_total");
        self.recorder.register_counter(&failures, &METADATA).increment(u64::from(!ok));
    }

    /// A request without good credentials.
    pub fn authentication_failed(&self) {
        self.increment("emac_authentication_failures_total", Vec::new());
    }

    /// A request for synthetic series that named another tenant.
    pub fn foreign_tenant_refused(&self) {
        self.increment("emac_foreign_tenant_refusals_total", Vec::new());
    }

    /// A load or reload of the model.
    pub fn reloaded(&self, ok: bool, at: Timestamp) {
        let result = Label::new("result", if ok { "ok" } else { "error" });
        self.increment("emac_model_reloads_total", vec![result]);
        self.gauge("emac_model_last_reload_successful", Vec::new(), if ok { 1.0 } else { 0.0 });
        if ok {
            self.gauge("emac_model_last_reload_timestamp_seconds", Vec::new(), at.seconds());
        }
    }

    /// Sets a counter that is kept elsewhere.
    pub fn counter(&self, name: &'static str, total: u64) {
        self.recorder.register_counter(&Key::from_static_name(name), &METADATA).absolute(total);
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
    }

    fn pair(
        &self,
        total: &'static str,
        of: [Label; 2],
        took: &'static str,
        by: Label,
    ) -> (Counter, Histogram) {
        let total = Key::from_parts(total, of.to_vec());
        let took = Key::from_parts(took, vec![by]);
        (
            self.recorder.register_counter(&total, &METADATA),
            self.recorder.register_histogram(&took, &METADATA),
        )
    }

    fn increment(&self, name: &'static str, labels: Vec<Label>) {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA).increment(1);
    }

    fn observe(&self, name: &'static str, labels: Vec<Label>, duration: Duration) {
        self.recorder
            .register_histogram(&Key::from_parts(name, labels), &METADATA)
            .record(duration.as_secs_f64());
    }

    /// All metrics in exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        self.tell_all();
        self.handle.render()
    }

    /// Moves recorded durations into their buckets. Without it they pile up between two scrapes.
    pub fn run_upkeep(&self) {
        self.tell_all();
        self.handle.run_upkeep();
    }

    fn tell_all(&self) {
        self.forwarded.tell_all();
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.iter().for_each(|usual| usual.tell_all());
    }
}

/// See [`Telemetry::route`]. Good answers are counted without looking their counters up.
pub struct RouteMeter {
    telemetry: Telemetry,
    route: &'static str,
    usual: Arc<Usual>,
}

impl RouteMeter {
    /// The route.
    #[must_use]
    pub const fn route(&self) -> &'static str {
        self.route
    }

    /// One answer to a client.
    pub fn note(&self, code: u16, duration: Duration) {
        if code != 200 {
            return self.telemetry.http_request(self.route, code, duration);
        }
        self.usual.note(duration, || {
            let route = Label::new("route", self.route);
            let of = [route.clone(), Label::new("code", "200")];
            self.telemetry.pair("emac_http_requests_total", of, "emac_http_request_duration_seconds", route)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered_with_help_and_buckets() {
        let telemetry = Telemetry::new().unwrap();
        telemetry.http_request("/api/v1/query", 200, Duration::from_micros(700));
        let meter = telemetry.route("/api/v1/query");
        meter.note(200, Duration::from_micros(700));
        meter.note(503, Duration::from_micros(700));
        telemetry.counter("emac_evaluations_total", 5);
        telemetry.reloaded(false, Timestamp::from_millis(0));
        let text = telemetry.render();
        for line in [
            "# TYPE emac_http_requests_total counter",
            r#"emac_http_requests_total{route="/api/v1/query",code="200"} 2"#,
            r#"emac_http_requests_total{route="/api/v1/query",code="503"} 1"#,
            r#"emac_http_request_duration_seconds_bucket{route="/api/v1/query",le="0.0005"} 0"#,
            r#"emac_http_request_duration_seconds_bucket{route="/api/v1/query",le="0.001"} 3"#,
            "emac_evaluations_total 5",
            "emac_model_last_reload_successful 0",
            "# HELP emac_build_info 1; the version that runs.",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
