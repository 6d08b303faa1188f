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
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tower::Service as _;

use super::body::AnswerBody;
use super::error::ApiError;
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

    pub(super) async fn answer(&self, mut request: Request) -> http::Response<AnswerBody> {
        let meter = self.meters.iter().find(|meter| meter.route() == request.uri().path());
        if let Some(meter) = meter
            && self.may_pass(request.method(), request.uri(), request.headers()).await
            && let Some(response) = self.pass_on(meter, &mut request).await
        {
            return response;
        }
        match Box::pin(self.router.clone().call(request)).await {
            Ok(response) => response.map(AnswerBody::Own),
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

    /// The upstream's answer to what may pass, which is taken; a form that concerns series of ours is left as it was.
    /// Lent, since each handing over copies all of a head.
    async fn pass_on(&self, meter: &RouteMeter, request: &mut Request) -> Option<http::Response<AnswerBody>> {
        let begun = Instant::now();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let taken = match *request.method() {
            Method::POST => match Box::pin(Call::read(std::mem::take(request))).await {
                Ok(call)
                    if call.parameters().is_none_or(|all| is_passed_on(&self.state, all.get("query"))) =>
                {
                    Ok(call.into_request())
                }
                Ok(call) => {
                    *request = call.into_unread();
                    return None;
                }
                Err(error) => Err(error),
            },
            _ => Ok(forward::as_it_came(std::mem::take(request))),
        };
        let answer = match taken {
            Ok(mut taken) => {
                match AssertUnwindSafe(forward::send(&self.state, &mut taken)).catch_unwind().await {
                    Ok(answer) => answer.map_err(|error| ApiError::from(error).into_response()),
                    Err(panic) => Err(router::panicked(panic)),
                }
            }
            Err(error) => Err(error.into_response()),
        };
        let response = match answer {
            // It has headers of the upstream's own.
            Ok(answer) => answer.map(AnswerBody::Upstreams),
            Err(refusal) => self.refused(refusal, origin.as_ref()),
        };
        meter.note(response.status().as_u16(), begun.elapsed());
        Some(response)
    }

    fn refused(&self, mut response: Response, origin: Option<&HeaderValue>) -> http::Response<AnswerBody> {
        if let (Some(origin), Some(_)) = (origin, response.extensions().get::<Own>()) {
            router::allow_origin(&self.state, origin, response.headers_mut());
        }
        response.map(AnswerBody::Own)
    }
}

/// The query of a URL, as Go reads it: the first of that name, empty where there is none.
fn query_of(uri: &Uri) -> Cow<'_, str> {
    let text = uri.query().unwrap_or_default();
    if !text.contains(['%', '+']) {
        // Nothing to decode.
        let mut pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        return Cow::Borrowed(pairs.find(|(name, _)| *name == "query").map_or("", |(_, value)| value));
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.find(|(name, _)| name == "query").map_or(Cow::Borrowed(""), |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_url_is_the_first_of_that_name_decoded_or_not() {
        for (target, query) in [
            ("/?query=up&query=down", "up"),
            ("/?time=1&query=up%7B%7D&query=down", "up{}"),
            ("/?%71uery=a+b&query=down", "a b"),
            ("/?query&query=down", ""),
            ("/?queryx=1&&xquery=2&=3", ""),
            ("/?query=a==b", "a==b"),
            ("/?query=\u{fc}", "\u{fc}"),
            ("/?", ""),
            ("/", ""),
        ] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(query_of(&uri), query, "{target}");
            let text = uri.query().unwrap_or_default().as_bytes();
            let decoded = form_urlencoded::parse(text).find(|(name, _)| name == "query");
            assert_eq!(query_of(&uri), decoded.map_or(Cow::Borrowed(""), |(_, value)| value), "{target}");
        }
    }
}
