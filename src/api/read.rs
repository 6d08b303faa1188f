//! `read` and `federate`: what of them is answered today.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::Method;

use super::discovery::selector;
use super::error::ApiError;
use super::forward;
use super::parameters::Call;
use super::state::ApiState;

/// `/api/v1/read`: refused. An empty answer would end alerts in silence, and passing it on to a Prometheus that reads
/// from here would loop.
pub(crate) async fn remote_read() -> Response {
    ApiError::not_built(
        "remote read is not built yet: scrape /journeys/metrics instead, or query the HTTP API",
    )
    .into_response()
}

/// `/federate`: the upstream's, except for synthetic series, which are refused.
pub(crate) async fn federate(State(state): State<ApiState>, request: Request) -> Response {
    if *request.method() != Method::GET {
        return forward::untouched(&state, request).await;
    }
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(error) => return error.into_response(),
    };
    for text in call.parameters().into_iter().flat_map(|parameters| parameters.all("match[]")) {
        match selector(&state, text) {
            Ok(None) => {}
            Ok(Some(matchers)) => {
                return ApiError::not_built(format!(
                    "{matchers} selects synthetic series, which cannot be federated yet: scrape /journeys/metrics \
                     instead"
                ))
                .into_response();
            }
            Err(error) => return error.into_response(),
        }
    }
    forward::unchanged(&state, call).await
}
