//! What operators and probes ask: health, readiness, reload, own metrics.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;
use super::reply;
use super::state::ApiState;
use crate::wire::prometheus_json::ErrorType;

/// `/-/healthy`: the process answers.
pub(crate) async fn healthy() -> Response {
    reply::text(200, "emac is healthy.\n")
}

/// `/-/ready`: a model is loaded and the server listens. Says nothing about the upstream: a load balancer that took
/// every replica out when the upstream ails would turn a wrong number into no answer at all.
pub(crate) async fn ready(State(state): State<ApiState>) -> Response {
    if state.is_draining() {
        reply::text(503, "emac is shutting down.\n")
    } else {
        reply::text(200, "emac is ready.\n")
    }
}

/// `/-/reload`: reads, checks and swaps the model. On failure the last good one stays, and the answer says why.
pub(crate) async fn reload(State(state): State<ApiState>) -> Response {
    match state.reload().await {
        Some(Ok(())) => reply::text(200, "the model was reloaded.\n"),
        Some(Err(diagnostics)) => ApiError::execution(diagnostics).into_response(),
        None => ApiError::new(ErrorType::NotFound, "there is nothing to reload from").into_response(),
    }
}

/// `/metrics`: own metrics.
pub(crate) async fn metrics(State(state): State<ApiState>) -> Response {
    let telemetry = state.telemetry();
    let counters = state.engine().counters();
    for (name, total) in [
        ("emac_evaluations_total", counters.evaluations),
        ("emac_evaluation_failures_total", counters.failed_passes),
        ("emac_evaluation_points_skipped_total", counters.skipped_points),
        ("emac_evidence_queries_total", counters.queries),
        ("emac_evidence_query_failures_total", counters.failed_queries),
        ("emac_compositions_total", counters.compositions),
        ("emac_compositions_reused_total", counters.reused_compositions),
        ("emac_backfilled_points_total", counters.backfilled_points),
        ("emac_unfilled_points_total", counters.unfilled_points),
        ("emac_remote_read_unfilled_points_total", counters.unfilled_read_points),
    ] {
        telemetry.counter(name, total);
    }
    let model = state.engine().model();
    #[expect(clippy::cast_precision_loss, reason = "counts and sizes of things in memory")]
    for (name, value) in [
        ("emac_journeys", model.journeys.len() as f64),
        ("emac_model_revision", model.revision as f64),
        ("emac_retained_series", counters.series as f64),
        ("emac_retained_sample_bytes", counters.sample_bytes as f64),
        ("emac_in_flight_bytes", state.memory().in_use() as f64),
    ] {
        telemetry.gauge(name, Vec::new(), value);
    }
    for condition in state.upstream().conditions() {
        let upstream = condition.upstream.as_str();
        #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
        for (name, value) in [
            ("emac_upstream_limit", condition.limit),
            ("emac_upstream_in_flight", condition.in_flight as f64),
            ("emac_upstream_queued", condition.queued as f64),
            ("emac_upstream_circuit_open", f64::from(u8::from(condition.circuit_open))),
        ] {
            telemetry.upstream_gauge(name, upstream, value);
        }
        telemetry.upstream_counter("emac_upstream_retries_total", upstream, None, condition.retries);
        let opened = condition.circuit_opened;
        telemetry.upstream_counter("emac_upstream_circuit_openings_total", upstream, None, opened);
        for (lane, refused) in condition.refused {
            telemetry.upstream_counter("emac_upstream_refused_total", upstream, Some(lane), refused);
        }
    }
    reply::own(200, "text/plain; version=0.0.4; charset=utf-8", telemetry.render())
}

/// Any other path below `/-/`: it speaks to this process, and must not reach the upstream's (`/-/quit`).
pub(crate) async fn unknown() -> Response {
    ApiError::new(ErrorType::NotFound, "there is no such operation").into_response()
}
