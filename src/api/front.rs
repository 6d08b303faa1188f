//! What stands before the router: queries that concern no synthetic series, which nearly all requests are, go to the
//! upstream without meeting its layers. What such a request costs is code that is run once and has left the processor's
//! caches meanwhile, so that less of it is all that helps. Whatever is not plainly one of them is the router's.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, Method, Uri, header};
use tower::Service as _;

use super::parameters::Call;
use super::query::is_passed_on;
use super::reply::Own;
use super::state::ApiState;
use super::{forward, router};
use crate::telemetry::RouteMeter;

/// The whole server.
pub(super) struct Front {
    state: ApiState,
    router: Router,
    meters: [RouteMeter; 2],
}

impl Front {
    pub(super) fn new(state: ApiState, router: Router) -> Self {
        let meters = [router::QUERY, router::QUERY_RANGE].map(|route| state.telemetry().route(route));
        Self { state, router, meters }
    }

    pub(super) async fn answer(&self, request: Request) -> Response {
        let meter = self.meters.iter().find(|meter| meter.route() == request.uri().path());
        let request = match meter {
            Some(meter) if self.may_pass(request.method(), request.uri(), request.headers()).await => {
                match self.pass_on(meter, request).await {
                    Ok(response) => return response,
                    Err(request) => request,
                }
            }
            _ => request,
        };
        match Box::pin(self.router.clone().call(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Whether it may be a query that concerns no series of ours, as far as its head tells, by somebody who may ask.
    async fn may_pass(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        let may = match *method {
            Method::GET => is_passed_on(&self.state, &query_of(uri)),
            // Its form tells the rest.
            ref method => *method == Method::POST,
        };
        let security = self.state.web_security();
        may && (!security.asks() || Box::pin(security.lets_in(headers)).await)
    }

    /// The upstream's answer to what may pass; a form that concerns series of ours comes back.
    async fn pass_on(&self, meter: &RouteMeter, request: Request) -> Result<Response, Request> {
        let begun = Instant::now();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let answer = match *request.method() {
            Method::POST => match Box::pin(Call::read(request)).await {
                Ok(call)
                    if call.parameters().is_none_or(|all| is_passed_on(&self.state, all.get("query"))) =>
                {
                    AssertUnwindSafe(forward::unchanged(&self.state, call)).catch_unwind().await
                }
                Ok(call) => return Err(call.into_unread()),
                Err(error) => Ok(error.into_response()),
            },
            _ => AssertUnwindSafe(forward::untouched(&self.state, request)).catch_unwind().await,
        };
        let mut response = answer.unwrap_or_else(router::panicked);
        // The upstream's answers have headers of its own.
        if let (Some(origin), Some(_)) = (origin, response.extensions().get::<Own>()) {
            router::allow_origin(&self.state, &origin, response.headers_mut());
        }
        meter.note(response.status().as_u16(), begun.elapsed());
        Ok(response)
    }
}

/// The query of a URL, as Go reads it: the first of that name, empty where there is none.
fn query_of(uri: &Uri) -> Cow<'_, str> {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(name, _)| name == "query").map_or(Cow::Borrowed(""), |(_, value)| value)
}
