//! The one place that maps errors to HTTP: code and shape are those of Prometheus.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::reply;
use crate::execute::SelectError;
use crate::execute::query::RunError;
use crate::promql::evaluate::EvaluationError;
use crate::promql::matcher::MatcherError;
use crate::promql::query::ParseError;
use crate::upstream::UpstreamError;
use crate::upstream::memory::Exhausted;
use crate::wire::prometheus_json::{ErrorType, encode};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Decides the status.
    pub kind: ErrorType,
    /// For the client.
    pub message: String,
    /// Where it is not the status of `kind`.
    pub status: Option<u16>,
    /// Whether coming again soon may help: `Retry-After`.
    pub again: bool,
}

impl ApiError {
    /// An error with the usual status of its kind.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, again: false }
    }

    /// 400.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    /// 503, with the advice to come again.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { again: true, ..Self::new(ErrorType::Unavailable, message) }
    }

    /// 408 where the client's body was late, else 400.
    pub(crate) fn request_broken(late: bool, message: impl Into<String>) -> Self {
        Self { status: late.then_some(408), ..Self::bad_data(message) }
    }

    /// 422: Grafana and Argo show its message.
    pub fn execution(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Execution, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status.unwrap_or_else(|| self.kind.status());
        let mut response = reply::json(status, encode::error(self.kind, &self.message));
        if self.again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 503 where there may be room later, else 422: whoever is told to come again does.
impl From<Exhausted> for ApiError {
    fn from(full: Exhausted) -> Self {
        if full.is_lasting() {
            Self::execution(format!("{full}: ask for fewer series, or for less of their past"))
        } else {
            Self::busy(full.to_string())
        }
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::bad_data(format!("invalid parameter \"query\": {error}"))
    }
}

impl From<MatcherError> for ApiError {
    fn from(error: MatcherError) -> Self {
        Self::bad_data(error.to_string())
    }
}

impl From<EvaluationError> for ApiError {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::RangeType { .. } => {
                Self::bad_data(format!("invalid parameter \"query\": {error}"))
            }
            _ => Self::execution(error.to_string()),
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::Evaluation(error) => error.into(),
            RunError::Select(error) => (&error).into(),
            RunError::NoRoom(full) => full.into(),
            RunError::Timeout | RunError::Upstream(UpstreamError::Timeout { .. }) => {
                Self::new(ErrorType::Timeout, message)
            }
            RunError::Upstream(UpstreamError::Busy { .. }) | RunError::Busy => Self::busy(message),
            RunError::Upstream(_) | RunError::Unusable { .. } => Self::execution(message),
            RunError::Internal => Self::new(ErrorType::Internal, message),
        }
    }
}

impl From<&SelectError> for ApiError {
    fn from(error: &SelectError) -> Self {
        let kind = match error {
            SelectError::Deadline { .. } => ErrorType::Timeout,
            SelectError::Matcher(_) => ErrorType::BadData,
            _ => ErrorType::Execution,
        };
        Self::new(kind, error.to_string())
    }
}

/// A request that was to be passed through: the client learns that the upstream did not answer, as it would from a
/// Prometheus that is overloaded.
impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        let message = error.to_string();
        match error {
            UpstreamError::Timeout { .. } => Self::new(ErrorType::Timeout, message),
            UpstreamError::Busy { .. } => Self::busy(message),
            UpstreamError::RequestBroken { late, .. } => Self::request_broken(late, message),
            _ => Self::new(ErrorType::Unavailable, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_fits_is_refused_for_good_and_what_does_not_fit_now_for_a_while() {
        let refused = |needed| ApiError::from(Exhausted { needed, budget: 100 }).into_response();
        let now = refused(100);
        assert_eq!((now.status().as_u16(), now.headers().contains_key(header::RETRY_AFTER)), (503, true));
        let for_good = refused(101);
        let again = for_good.headers().contains_key(header::RETRY_AFTER);
        assert_eq!((for_good.status().as_u16(), again), (422, false));
    }
}
