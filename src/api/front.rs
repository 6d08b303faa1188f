//! What stands before the router: queries that concern no synthetic series, which nearly all requests are, go to the
//! upstream without meeting its layers. What such a request costs is code that is run once and has left the processor's
//! caches meanwhile, so that less of it is all that helps. Whatever is not plainly one of them is the router's.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures::FutureExt as _;
use http::{HeaderMap, Method, Uri, header};
use tower::Service as _;

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
        match self.meters.iter().find(|meter| meter.route() == request.uri().path()) {
            Some(meter) if self.passes(request.method(), request.uri(), request.headers()).await => {
                self.pass_on(meter, request).await
            }
            _ => match Box::pin(self.router.clone().call(request)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        }
    }

    /// Whether it is a query that concerns no series of ours, by somebody who may ask.
    async fn passes(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        if *method != Method::GET || !is_passed_on(&self.state, uri.query()) {
            return false;
        }
        let security = self.state.web_security();
        !security.asks() || Box::pin(security.lets_in(headers)).await
    }

    async fn pass_on(&self, meter: &RouteMeter, request: Request) -> Response {
        let begun = Instant::now();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let forwarded = AssertUnwindSafe(forward::untouched(&self.state, request)).catch_unwind();
        let mut response = forwarded.await.unwrap_or_else(router::panicked);
        // The upstream's answers have headers of its own.
        if let (Some(origin), Some(_)) = (origin, response.extensions().get::<Own>()) {
            router::allow_origin(&self.state, &origin, response.headers_mut());
        }
        meter.note(response.status().as_u16(), begun.elapsed());
        response
    }
}
