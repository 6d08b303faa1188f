//! Which headers go on to the upstream, and which come back.

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{Credentials, HttpSettings, HttpSettingsError};
use crate::upstream::TENANT;

/// Headers of one hop (RFC 9110 §7.6.1), never passed on; `Host` is the upstream's own.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What of a client's request the upstream sees: what describes the body and the answer wanted, who asks in the sense
/// of a log, conditions, CORS, and the tenant. Anything else stays here: an upstream that trusts an authenticating
/// proxy by a header (`X-WEBAUTH-USER`, `X-Forwarded-User`) must not be told such a name by a client of ours.
const ALLOWED: [HeaderName; 21] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("uber-trace-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-dashboard-uid"),
    HeaderName::from_static("x-panel-id"),
];

/// The same by their beginnings: remote write and read announce versions, Grafana its origin.
const ALLOWED_PREFIXES: [&str; 3] = ["x-prometheus-", "x-grafana-org-", "x-rule-"];

fn is_allowed(name: &HeaderName) -> bool {
    ALLOWED.contains(name)
        || *name == TENANT
        || ALLOWED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// A client's headers on their way to the upstream: the allowed ones, then `fixed`, which win but for the tenant. A
/// client's own `Authorization` goes on, and wins, only with `forward_authorization`.
pub(super) fn to_upstream(client: &mut HeaderMap, fixed: &HeaderMap, forward_authorization: bool) {
    drop_named_by_connection(client);
    let authorization = client.remove(header::AUTHORIZATION).filter(|_| forward_authorization);
    // Those of one hop are none of the allowed.
    let refused: SmallVec<[HeaderName; 8]> =
        client.keys().filter(|name| !is_allowed(name)).cloned().collect();
    for name in refused {
        client.remove(name);
    }
    for (name, value) in fixed {
        // A client may name its own tenant: what may be seen there is the upstream's decision.
        if name != TENANT || !client.contains_key(TENANT) {
            client.insert(name, value.clone());
        }
    }
    if let Some(authorization) = authorization {
        client.insert(header::AUTHORIZATION, authorization);
    }
}

/// What is sent with every request.
pub(super) fn fixed(settings: &HttpSettings) -> Result<HeaderMap, HttpSettingsError> {
    let fault = |name: &str| HttpSettingsError::Header { name: name.to_owned() };
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let parsed = name.parse::<HeaderName>().map_err(|_| fault(name))?;
        if parsed == TENANT {
            return Err(HttpSettingsError::TenantAsHeader);
        }
        headers.insert(parsed, value.parse().map_err(|_| fault(name))?);
    }
    if let Some(tenant) = &settings.tenant {
        headers.insert(TENANT, tenant.parse().map_err(|_| fault("X-Scope-OrgID"))?);
    }
    let authorization = match &settings.credentials {
        None => None,
        Some(Credentials::Bearer(token)) => Some(format!("Bearer {token}")),
        Some(Credentials::Basic { username, password }) => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            Some(format!("Basic {pair}"))
        }
    };
    if let Some(text) = authorization {
        let mut value: HeaderValue = text.parse().map_err(|_| fault("Authorization"))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Drops the headers of one hop, and those that `Connection` names.
pub(super) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    drop_named_by_connection(headers);
    // Most answers have none: looking at each once is cheaper than looking each of those up.
    let found: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn drop_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_of_one_hop_and_those_that_connection_names_are_dropped() {
        let mut headers =
            of(&[("connection", "close, X-Private"), ("x-private", "1"), ("te", "gzip"), ("accept", "*/*")]);
        drop_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn only_what_is_allowed_goes_on_and_no_identity_that_a_client_claims() {
        let mut headers = of(&[
            ("host", "emac"),
            ("cookie", "session=1"),
            ("x-webauth-user", "admin"),
            ("x-forwarded-user", "admin"),
            ("forwarded", "for=1.2.3.4"),
            ("authorization", "Bearer client"),
            ("x-emac-lane", "automation"),
            ("content-type", "text/plain"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("x-scope-orgid", "team-b"),
        ]);
        let fixed = of(&[("x-scope-orgid", "team-a"), ("authorization", "Bearer ours"), ("x-key", "k")]);
        to_upstream(&mut headers, &fixed, false);
        let mut seen: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "authorization: Bearer ours",
                "content-type: text/plain",
                "x-key: k",
                "x-prometheus-remote-write-version: 0.1.0",
                "x-scope-orgid: team-b",
            ]
        );
    }

    #[test]
    fn a_clients_authorization_goes_on_only_where_that_is_configured() {
        let fixed = of(&[("authorization", "Bearer ours")]);
        for (forwarded, sent) in [(true, "Bearer client"), (false, "Bearer ours")] {
            let mut headers = of(&[("authorization", "Bearer client")]);
            to_upstream(&mut headers, &fixed, forwarded);
            assert_eq!(headers[header::AUTHORIZATION], sent);
        }
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let mut settings = HttpSettings::new("http://h");
        for credentials in [
            Credentials::Basic { username: "u".into(), password: "hidden".into() },
            Credentials::Bearer("hidden".into()),
        ] {
            settings.credentials = Some(credentials);
            assert!(!format!("{settings:?}").contains("hidden"));
            assert!(!format!("{:?}", super::fixed(&settings).unwrap()).contains("hidden"));
        }
    }
}
