//! A Prometheus-compatible server over HTTP.
//!
//! Two kinds of requests that must not be mixed up. *Evidence* is asked for by us: gzip is welcome, the body is read
//! whole under a budget that counts after decompression, and nothing but a complete answer is accepted. *Pass-through*
//! belongs to the client: body and answer stream untouched, and of the head's headers those that a list allows.

mod body;
mod connections;
mod headers;
mod tls;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;

use super::{Answer, Body, MemoryBudget, RequestBroken, Upstream, UpstreamError, whole_body};
use crate::series::{Series, StepGrid};
use crate::unit::Timestamp;
use crate::wire::prometheus_json::decode::{self, DecodeError};
use crate::wire::prometheus_json::number;
use crate::wire::prometheus_json::{QueryAnswer, QueryData};

pub(super) use connections::AnswerBody;
use connections::Connections;
pub use tls::TlsSettings;

/// The longest URL that carries a query; longer ones are posted as a form. Every server and proxy takes this much.
const MAX_URL_BYTES: usize = 2_000;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who we are to the upstream.
#[derive(Clone)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

/// Never shows a secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => {
                write!(f, "Basic {{ username: {username:?}, password: <secret> }}")
            }
            Self::Bearer(_) => f.write_str("Bearer(<secret>)"),
        }
    }
}

/// How to reach an upstream.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `http://host:port/prefix`, without credentials, query and fragment.
    pub url: String,
    /// The value of `X-Scope-OrgID`, if any.
    pub tenant: Option<String>,
    /// Who we are, if the upstream wants to know.
    pub credentials: Option<Credentials>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// Whether a client's own `Authorization` is passed on, instead of [`HttpSettings::credentials`].
    pub forward_authorization: bool,
    /// For `https`.
    pub tls: TlsSettings,
    /// The greatest body of an evidence answer after decompression, in bytes.
    pub body_limit: usize,
    /// What all bodies together may take.
    pub memory: MemoryBudget,
}

impl HttpSettings {
    /// An upstream without authentication, and 64 MiB for a body.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant: None,
            credentials: None,
            headers: Vec::new(),
            forward_authorization: false,
            tls: TlsSettings::default(),
            body_limit: 64 << 20,
            memory: MemoryBudget::default(),
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpSettingsError {
    /// The address is not usable.
    #[error("upstream url `{url}`: {fault}; it reads like http://prometheus:9090 or https://host/prefix")]
    Url {
        /// What was given, without credentials.
        url: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// A header cannot be sent.
    #[error("upstream header `{name}`: not a legal name or value of an HTTP header")]
    Header {
        /// Its name.
        name: String,
    },
    /// The tenant is given as a header, where nothing here would know of it.
    #[error("upstream header `X-Scope-OrgID`: give it as the upstream's tenant")]
    TenantAsHeader,
    /// Certificates or keys cannot be used.
    #[error("upstream tls: {0}")]
    Tls(String),
}

/// See the module.
pub struct HttpUpstream {
    name: String,
    tenant: Option<String>,
    prefix: String,
    /// Sent with every request.
    fixed: HeaderMap,
    forward_authorization: bool,
    body_limit: usize,
    memory: MemoryBudget,
    connections: Connections,
}

impl HttpUpstream {
    /// Checks the settings; connects at the first request. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`HttpSettingsError`].
    pub fn new(settings: HttpSettings) -> Result<Self, HttpSettingsError> {
        let (scheme, authority, prefix) = address(&settings.url)?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let connector = tls::connector(&settings.tls, connector)?;
        let unusable = |fault| HttpSettingsError::Url { url: settings.url.clone(), fault };
        let server = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/");
        let server = server.build().map_err(|_| unusable("not a URL"))?;
        let host = host(&scheme, &authority).map_err(|_| unusable("the host is not a legal one"))?;
        let mut fixed = headers::fixed(&settings)?;
        fixed.entry(header::HOST).or_insert(host);
        Ok(Self {
            name: format!("{scheme}://{authority}{prefix}"),
            fixed,
            tenant: settings.tenant,
            prefix,
            forward_authorization: settings.forward_authorization,
            body_limit: settings.body_limit,
            memory: settings.memory,
            connections: Connections::new(connector, server),
        })
    }

    /// A path and query below the prefix.
    fn uri(&self, path_and_query: &str) -> Result<Uri, UpstreamError> {
        let target: Result<PathAndQuery, _> = format!("{}{path_and_query}", self.prefix).parse();
        target.map(Uri::from).map_err(|_| self.unreachable("the path is not a legal one"))
    }

    fn unreachable(&self, fault: impl fmt::Display) -> UpstreamError {
        UpstreamError::Unreachable { upstream: self.name.clone(), fault: fault.to_string() }
    }

    /// Why a request of a client got no answer.
    fn unsent(&self, fault: &(dyn std::error::Error + 'static)) -> UpstreamError {
        let mut next = Some(fault);
        while let Some(cause) = next {
            if let Some(RequestBroken { fault, late }) = cause.downcast_ref() {
                return UpstreamError::RequestBroken { fault: fault.clone(), late: *late };
            }
            next = cause.source();
        }
        self.unreachable(chain(fault))
    }

    fn malformed(&self, fault: impl fmt::Display) -> UpstreamError {
        UpstreamError::Malformed { upstream: self.name.clone(), fault: fault.to_string() }
    }

    /// Asks one endpoint of the query API, within the deadline, which the upstream is told too.
    async fn ask(
        &self,
        path: &str,
        mut form: Vec<(&'static str, String)>,
        deadline: Instant,
    ) -> Result<QueryAnswer, UpstreamError> {
        let left = deadline.saturating_duration_since(Instant::now());
        form.push(("timeout", format!("{:.3}", left.as_secs_f64())));
        let timeout = || UpstreamError::Timeout { upstream: self.name.clone() };
        match tokio::time::timeout_at(deadline.into(), self.exchange(path, &form)).await {
            Ok(answer) => answer,
            Err(_) => Err(timeout()),
        }
    }

    async fn exchange(&self, path: &str, form: &[(&str, String)]) -> Result<QueryAnswer, UpstreamError> {
        let encoded = urlencoded(form);
        let mut request = if path.len() + encoded.len() < MAX_URL_BYTES {
            let mut request = Request::new(whole_body(Bytes::new()));
            *request.uri_mut() = self.uri(&format!("{path}?{encoded}"))?;
            request
        } else {
            let mut request = Request::new(whole_body(Bytes::from(encoded)));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.uri(path)?;
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(header::CONTENT_TYPE, form);
            request
        };
        let headers = request.headers_mut();
        headers.extend(self.fixed.clone());
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let own = concat!("emac/", env!("CARGO_PKG_VERSION"));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(own));
        let response = self.connections.send(request).await.map_err(|e| self.unreachable(chain(&e)))?;
        self.read(response).await
    }

    async fn read(&self, response: Response<AnswerBody>) -> Result<QueryAnswer, UpstreamError> {
        let (status, gzip) = (response.status(), body::is_gzip(response.headers()));
        let gzip = gzip.map_err(|fault| self.malformed(fault))?;
        let limit = if status == StatusCode::OK { self.body_limit } else { body::ERROR_LIMIT };
        let refused = |message: String| UpstreamError::Refused {
            upstream: self.name.clone(),
            status: status.as_u16(),
            message,
        };
        let mut reserved = self.memory.open();
        let read = body::read(response.into_body(), gzip, limit, &mut reserved).await;
        if !status.is_success() {
            // The words of an error are welcome, not needed.
            return Err(refused(read.map_or_else(|e| e.to_string(), |body| decode::error_message(&body))));
        }
        if status != StatusCode::OK {
            return Err(self.malformed(format!("status {status} where 200 was due")));
        }
        let body = read.map_err(|fault| self.malformed(fault))?;
        body::off_the_runtime(body, |body| decode::evidence(body)).await.map_err(|fault| match fault {
            DecodeError::Error { .. } => refused(fault.to_string()),
            DecodeError::Shape(_) => self.malformed(fault),
        })
    }

    /// A client's request as the upstream gets it; takes its body.
    fn rewritten(&self, asked: &mut Request<Body>) -> Result<Request<Body>, UpstreamError> {
        let uri = match asked.uri().path_and_query() {
            // As it came, without making another.
            Some(path) if self.prefix.is_empty() => Uri::from(path.clone()),
            path => self.uri(path.map_or("/", PathAndQuery::as_str))?,
        };
        let mut request = Request::new(std::mem::take(asked.body_mut()));
        request.method_mut().clone_from(asked.method());
        *request.uri_mut() = uri;
        *request.headers_mut() =
            headers::to_upstream(asked.headers(), &self.fixed, self.forward_authorization);
        Ok(request)
    }
}

impl Upstream for HttpUpstream {
    fn name(&self) -> &str {
        &self.name
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        // VictoriaMetrics answers for 30 s before the time asked for, where that is about now, unless it is told that the
        // answer is not to be kept. Others do not know the parameter.
        let form = vec![("query", query.to_owned()), ("time", time(at)), ("nocache", "1".to_owned())];
        Box::pin(async move {
            let answer = self.ask("/api/v1/query", form, deadline).await?;
            let series = match answer.data {
                QueryData::Vector(series) => series,
                QueryData::Scalar(sample) => vec![Series { samples: vec![sample], ..Series::default() }],
                other => {
                    let fault = format!("a {} where a vector was due", other.result_type());
                    return Err(self.malformed(fault));
                }
            };
            Ok(Answer { series, warnings: answer.annotations.warnings })
        })
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let step = Timestamp::from_millis(i64::try_from(grid.step().millis()).unwrap_or(i64::MAX));
        let form = vec![
            ("query", query.to_owned()),
            ("start", time(grid.start())),
            ("end", time(grid.end())),
            ("step", time(step)),
        ];
        Box::pin(async move {
            let answer = self.ask("/api/v1/query_range", form, deadline).await?;
            let QueryData::Matrix(series) = answer.data else {
                let fault = format!("a {} where a matrix was due", answer.data.result_type());
                return Err(self.malformed(fault));
            };
            let step = grid.step().millis();
            let on_grid = |time: Timestamp| {
                (grid.start()..=grid.end()).contains(&time)
                    && time.millis().abs_diff(grid.start().millis()).is_multiple_of(step)
            };
            match series.iter().flat_map(|series| &series.samples).find(|sample| !on_grid(sample.time)) {
                Some(sample) => {
                    Err(self.malformed(format!("a sample at {} off the grid", time(sample.time))))
                }
                None => Ok(Answer { series, warnings: answer.annotations.warnings }),
            }
        })
    }

    fn forward(&self, mut request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        Box::pin(async move { self.attempt(&mut request).await })
    }

    fn attempt<'a>(
        &'a self,
        request: &'a mut Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, UpstreamError>> {
        Box::pin(async move {
            let sent = self.connections.send(self.rewritten(request)?).await;
            let mut answer = sent.map_err(|e| self.unsent(&e))?;
            headers::drop_hop_by_hop(answer.headers_mut());
            Ok(answer.map(Body::of_answer))
        })
    }
}

fn address(url: &str) -> Result<(Scheme, Authority, String), HttpSettingsError> {
    let shown = match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    };
    let fault = |fault| HttpSettingsError::Url { url: shown.clone(), fault };
    let parts = url.parse::<Uri>().map_err(|_| fault("not a URL"))?.into_parts();
    let scheme = parts.scheme.ok_or_else(|| fault("the scheme is missing"))?;
    if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
        return Err(fault("the scheme must be http or https"));
    }
    let authority = parts.authority.ok_or_else(|| fault("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(fault("credentials belong in basic_auth, not in the URL"));
    }
    let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.query().is_some() {
        return Err(fault("a query is not allowed"));
    }
    Ok((scheme, authority, path.path().trim_end_matches('/').to_owned()))
}

/// As in a `Host` header: without the port that goes without saying.
fn host(scheme: &Scheme, authority: &Authority) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let text = if authority.port_u16() == Some(usual) { authority.host() } else { authority.as_str() };
    HeaderValue::from_str(text)
}

fn time(at: Timestamp) -> String {
    let mut out = String::new();
    number::write_time(&mut out, at);
    out
}

fn urlencoded(form: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in form {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte))
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    out
}

/// An error with its causes: hyper's own says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_prefix_and_refuses_credentials() {
        let (_, authority, prefix) = address("https://mimir:8443/prometheus/").unwrap();
        assert_eq!((authority.as_str(), prefix.as_str()), ("mimir:8443", "/prometheus"));
        for url in ["", "prometheus:9090", "ftp://a", "http://", "/x", "http://u:secret@h", "http://h/?a=b"] {
            let fault = address(url).unwrap_err().to_string();
            assert!(!fault.contains("secret"), "{fault}");
        }
    }
}
