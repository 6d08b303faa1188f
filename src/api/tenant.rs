//! Who may read synthetic samples: they are computed with the configured tenant and credentials, so a request that
//! names another tenant gets none of them.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::error::ApiError;
use super::state::ApiState;
use crate::promql::query::Query;
use crate::synthetic::catalog;
use crate::upstream::TENANT;

/// Whether the request names a tenant that is not, to the letter, the configured one. One that names none is asked
/// as the configured one, also of the upstream. Several tenants at once (`a|b`) are another one.
pub(crate) fn is_foreign(state: &ApiState, headers: &HeaderMap) -> bool {
    let own = state.upstream().tenant().map(str::as_bytes);
    headers.get_all(TENANT).iter().any(|named| Some(named.as_bytes()) != own)
}

/// Whether a query asks for synthetic series by their names: whoever gets none of them must be told so, since an
/// empty answer ends an alert. Selectors without a name are the upstream's to answer.
pub(crate) fn names_ours(query: &Query) -> bool {
    query.selectors().iter().any(|matchers| matchers.literal_name().is_some_and(catalog::is_synthetic))
}

/// The answer to a request that asks for synthetic series as another tenant. Does not name the configured one.
pub(crate) fn refusal(state: &ApiState) -> ApiError {
    state.telemetry().foreign_tenant_refused();
    ApiError::execution(
        "synthetic series are computed for the configured tenant, and this request names another one in \
         X-Scope-OrgID: leave the header out, or set upstream.tenant to it",
    )
}

/// For routes that answer with synthetic samples alone.
pub(crate) async fn only_own(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if is_foreign(&state, request.headers()) {
        return refusal(&state).into_response();
    }
    next.run(request).await
}
