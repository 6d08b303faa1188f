//! Own answers.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// Marks an answer as our own: only those are compressed and get CORS headers. What is passed through carries the
/// upstream's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own;

/// An own answer.
pub(crate) fn own(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.extensions_mut().insert(Own);
    response
}

/// JSON as Prometheus' API sends it.
pub(crate) fn json(status: u16, body: String) -> Response {
    own(status, "application/json", body)
}

/// A line for a person or a probe.
pub(crate) fn text(status: u16, body: impl Into<String>) -> Response {
    own(status, "text/plain; charset=utf-8", body.into())
}
