//! Every route.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use hyper::body::Body as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::body;
use super::error::ApiError;
use super::reply::Own;
use super::state::ApiState;
use super::{
    discovery, exposition, federate, forward, journeys, lifecycle, page, query, remote_read, tenant,
    web_security,
};
use crate::wire::prometheus_json::ErrorType;

/// Where instant queries go.
pub(super) const QUERY: &str = "/api/v1/query";

/// Where range queries go.
pub(super) const QUERY_RANGE: &str = "/api/v1/query_range";

/// The whole server.
pub fn router(state: ApiState) -> Router {
    let compress = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &http::Extensions| {
        extensions.get::<Own>().is_some()
    };
    let synthetic = Router::new()
        .route("/journeys/metrics", get(exposition::journeys))
        .merge(page::routes(state.journeys().clone()))
        .merge(journeys::routes(state.journeys().clone()))
        .route_layer(middleware::from_fn_with_state(state.clone(), tenant::only_own));
    Router::new()
        // Ours alone.
        .merge(synthetic)
        .route("/metrics", get(lifecycle::metrics))
        .route("/-/healthy", get(lifecycle::healthy))
        .route("/-/ready", get(lifecycle::ready))
        .route("/-/reload", post(lifecycle::reload).put(lifecycle::reload))
        .route("/-/{*operation}", any(lifecycle::unknown))
        // Answered here where synthetic series are concerned.
        .route(QUERY, any(query::instant))
        .route(QUERY_RANGE, any(query::range))
        .route("/api/v1/explain_query", get(query::explain).post(query::explain))
        .route("/api/v1/series", any(discovery::series))
        .route("/api/v1/labels", any(discovery::labels))
        .route("/api/v1/label/{name}/values", any(discovery::label_values))
        .route("/api/v1/metadata", any(discovery::metadata))
        .route("/federate", any(federate::federate))
        .route("/api/v1/read", any(remote_read::remote_read))
        // The upstream's: `query_exemplars`, `rules`, `alerts`, `status/*`, `format_query`, `parse_query`, whatever
        // comes with newer versions.
        .fallback(pass_through)
        .layer(middleware::from_fn_with_state(state.clone(), hold_memory))
        .layer(CompressionLayer::new().gzip(true).deflate(true).compress_when(compress))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(state.clone(), web_security::authenticate))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// Answers from this size on count against the memory budget, in bytes.
const LARGE_ANSWER: u64 = 64 << 10;

/// Counts large own answers against the memory budget until they are sent: many that are taken slowly would fill the
/// memory. One for which there is no room is refused.
async fn hold_memory(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.extensions().get::<Own>().is_none() {
        return response;
    }
    let Some(bytes) = response.body().size_hint().exact().filter(|bytes| *bytes >= LARGE_ANSWER) else {
        return response;
    };
    match state.memory().reserve(usize::try_from(bytes).unwrap_or(usize::MAX)) {
        Ok(reserved) => response.map(|body| body::holding(body, reserved)),
        Err(full) => ApiError::from(full).into_response(),
    }
}

async fn pass_through(State(state): State<ApiState>, request: Request) -> Response {
    forward::untouched(&state, request).await
}

pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::new(ErrorType::Internal, "an internal fault; the log says more").into_response()
}

/// Counts requests, and adds CORS headers to own answers as Prometheus does.
async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    if let (Some(origin), Some(_)) = (origin, response.extensions().get::<Own>()) {
        allow_origin(&state, &origin, response.headers_mut());
    }
    let route = route.as_ref().map_or("pass-through", MatchedPath::as_str);
    state.telemetry().http_request(route, response.status().as_u16(), begun.elapsed());
    response
}

pub(super) fn allow_origin(state: &ApiState, origin: &HeaderValue, headers: &mut HeaderMap) {
    let allowed = &state.settings().cors_origin;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if allowed.as_str() == "^(?:.*)$" {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if origin.to_str().is_ok_and(|origin| allowed.is_match(origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}
