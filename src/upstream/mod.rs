//! The Prometheus behind the proxy: one trait, an HTTP client, an embedded in-memory store.

pub mod embedded;
pub mod http;

use std::time::Instant;

use ::http::header::HeaderName;
use ::http::{Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::BoxBody;

use crate::series::{Series, StepGrid};
use crate::unit::Timestamp;

/// The tenant header of Mimir, Cortex and Loki.
pub const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// What an upstream answers to a query: one series each, with one sample for an instant query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// In the upstream's order.
    pub series: Vec<Series>,
    /// The upstream's `warnings`; an answer with any is incomplete and never becomes evidence.
    pub warnings: Vec<String>,
}

/// Why an upstream did not answer. Every variant that blames the upstream names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection, or it broke.
    #[error("upstream {upstream} cannot be reached: {fault}")]
    Unreachable {
        /// Its address, without credentials.
        upstream: String,
        /// What happened.
        fault: String,
    },
    /// The deadline passed.
    #[error("upstream {upstream} did not answer in time")]
    Timeout {
        /// Its address, without credentials.
        upstream: String,
    },
    /// The client's own body broke off on its way to the upstream, which is not to blame.
    #[error("the request broke off: {fault}")]
    RequestBroken {
        /// What happened.
        fault: String,
        /// Whether it did not arrive in time.
        late: bool,
    },
    /// It answered with an error.
    #[error("upstream {upstream} answered {status}: {message}")]
    Refused {
        /// Its address, without credentials.
        upstream: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, cut to a readable length.
        message: String,
    },
    /// It answered something that is not a complete, valid answer.
    #[error("upstream {upstream} gave an unusable answer: {fault}")]
    Malformed {
        /// Its address, without credentials.
        upstream: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// The error of a request's body that is not whole: not the upstream's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct RequestBroken {
    /// What happened.
    pub fault: String,
    /// Whether it did not arrive in time.
    pub late: bool,
}

/// A body that streams through; its errors are those of the connection.
pub type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A Prometheus-compatible server, real or embedded.
pub trait Upstream: Send + Sync + 'static {
    /// Its address for messages, without credentials.
    fn name(&self) -> &str;

    /// The tenant as whom evidence is asked for; `None` where no tenant is named.
    fn tenant(&self) -> Option<&str> {
        None
    }

    /// Evaluates `query` at one time. A scalar comes back as one series without labels.
    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>>;

    /// Evaluates `query` on a grid.
    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>>;

    /// Passes a request through unchanged: path and query as the client sent them, the answer's body streamed byte
    /// for byte. Dropping the future or the body ends the upstream's work.
    fn forward(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>>;
}
