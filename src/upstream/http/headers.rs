//! Which headers go on to the upstream, and which come back.

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{Credentials, HttpSettings, HttpSettingsError};
use crate::upstream::TENANT;

/// Whether a header is of one hop (RFC 9110 §7.6.1), and never passed on.
fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What of a client's request the upstream sees: what describes the body and the answer wanted, who asks in the sense
/// of a log, conditions, CORS, and the tenant. Anything else stays here: an upstream that trusts an authenticating
/// proxy by a header (`X-WEBAUTH-USER`, `X-Forwarded-User`) must not be told such a name by a client of ours.
fn is_allowed(name: &HeaderName) -> bool {
    match name.as_str() {
        "accept"
        | "accept-encoding"
        | "accept-language"
        | "access-control-request-headers"
        | "access-control-request-method"
        | "cache-control"
        | "content-encoding"
        | "content-length"
        | "content-type"
        | "if-modified-since"
        | "if-none-match"
        | "origin"
        | "pragma"
        | "range"
        | "user-agent"
        | "traceparent"
        | "tracestate"
        | "uber-trace-id"
        | "x-request-id"
        | "x-dashboard-uid"
        | "x-panel-id" => true,
        name => name == TENANT.as_str() || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
    }
}

/// The same by their beginnings: remote write and read announce versions, Grafana its origin.
const ALLOWED_PREFIXES: [&str; 3] = ["x-prometheus-", "x-grafana-org-", "x-rule-"];

/// How many headers an answer has, as a rule.
const USUAL_HEADERS: usize = 6;

/// What goes on of a client's headers: the allowed ones, then `fixed`, which win but for the tenant. A client's own
/// `Authorization` goes on, and wins, only with `forward_authorization`.
pub(super) fn to_upstream(client: &HeaderMap, fixed: &HeaderMap, forward_authorization: bool) -> HeaderMap {
    // Its room is that of the answer's headers afterwards.
    let mut sent = HeaderMap::with_capacity((client.len() + fixed.len()).max(USUAL_HEADERS));
    let mut names_others = false;
    // Those of one hop are none of the allowed.
    for (name, value) in client {
        if is_allowed(name) {
            sent.append(name, value.clone());
        } else if *name == header::CONNECTION {
            names_others = true;
        } else if forward_authorization && *name == header::AUTHORIZATION {
            sent.entry(name).or_insert_with(|| value.clone());
        }
    }
    if names_others {
        for name in named_by_connection(client) {
            sent.remove(name);
        }
    }
    for (name, value) in fixed {
        // A client may name its own tenant: what may be seen there is the upstream's decision.
        let clients_own = name == TENANT || name == header::AUTHORIZATION;
        if !clients_own || !sent.contains_key(name) {
            sent.insert(name, value.clone());
        }
    }
    sent
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
    // Most answers have none: looking at each once is cheaper than looking each of those up.
    let found: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| is_of_one_hop(name)).cloned().collect();
    if found.contains(&header::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for name in found {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let all = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
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
            ("connection", "close, x-request-id"),
            ("x-request-id", "1"),
            ("te", "trailers"),
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
        headers = to_upstream(&headers, &fixed, false);
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
            let client = of(&[("authorization", "Bearer client")]);
            assert_eq!(to_upstream(&client, &fixed, forwarded)[header::AUTHORIZATION], sent);
            // Nor where it is said to be of this hop alone.
            let client = of(&[("authorization", "Bearer client"), ("connection", "authorization")]);
            assert_eq!(to_upstream(&client, &fixed, forwarded)[header::AUTHORIZATION], "Bearer ours");
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
