//! The Prometheus behind the proxy: one trait, an HTTP client, an embedded in-memory store, and the guards around
//! whichever it is ([`guarded`]).

mod body;
mod breaker;
pub mod embedded;
pub mod guarded;
pub mod http;
pub mod lane;
pub mod limiter;
pub mod memory;
mod retry_budget;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::HeaderName;
use ::http::{Request, Response};
use futures::future::BoxFuture;

use crate::series::{Series, StepGrid};
use crate::unit::Timestamp;

pub use body::{Body, whole_body};
pub use guarded::{GuardSettings, GuardedUpstream};
pub use lane::Lane;
pub use memory::MemoryBudget;

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
    /// It has so much to do that the request was not sent.
    #[error("upstream {upstream} is busy: the wait would be {:.1} s", wait.as_secs_f64())]
    Busy {
        /// Its address, without credentials.
        upstream: String,
        /// The wait that was to be expected.
        wait: Duration,
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

impl UpstreamError {
    /// The fault without the upstream's name.
    fn bare(&self) -> String {
        match self {
            Self::Unreachable { fault, .. }
            | Self::Malformed { fault, .. }
            | Self::RequestBroken { fault, .. } => fault.clone(),
            Self::Timeout { .. } => "it did not answer in time".to_owned(),
            Self::Busy { .. } => "it is busy".to_owned(),
            Self::Refused { status, message, .. } => format!("{status}: {message}"),
        }
    }
}

/// How it stands with one upstream, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Its address, without credentials.
    pub upstream: String,
    /// How many requests it is sent at a time.
    pub limit: f64,
    /// How many are under way.
    pub in_flight: usize,
    /// How many wait for their turn.
    pub queued: usize,
    /// How many were refused, by lane.
    pub refused: [(&'static str, u64); 3],
    /// How many requests were sent again.
    pub retries: u64,
    /// Whether it is asked at all.
    pub circuit_open: bool,
    /// How often its circuit was opened.
    pub circuit_opened: u64,
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

/// A Prometheus-compatible server, real or embedded.
pub trait Upstream: Send + Sync + 'static {
    /// Its address for messages, without credentials.
    fn name(&self) -> &str;

    /// The tenant as whom evidence is asked for; `None` where no tenant is named.
    fn tenant(&self) -> Option<&str> {
        None
    }

    /// The same for one round of questions that must not be answered by different replicas: one that answers as far as
    /// is known, and is not called `except` if there is another. `None`: there is one server only.
    fn pinned(&self, except: Option<&str>) -> Option<Arc<dyn Upstream>> {
        let _ = except;
        None
    }

    /// How it stands with each server behind; empty where nobody keeps watch.
    fn conditions(&self) -> Vec<Condition> {
        Vec::new()
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

    /// The same for whoever may have to ask again: takes the body, and leaves the head as it is. Those to whom it costs
    /// nothing to leave it say so by their own.
    fn attempt<'a>(
        &'a self,
        request: &'a mut Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, UpstreamError>> {
        let mut copy = Request::new(std::mem::take(request.body_mut()));
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        self.forward(copy)
    }
}
