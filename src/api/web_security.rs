//! What protects the way in: TLS, and who may come.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, header};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::reply;
use super::state::ApiState;
use crate::config::{ClientCertificates, WebFile};

/// Passwords that were found good and bad are remembered, since checking one takes a tenth of a second; so many.
const MAX_REMEMBERED: usize = 256;

/// Passwords checked at a time: guessing must not take every core.
const CHECKED_AT_ONCE: usize = 1;

/// Why the way in cannot be protected as configured.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {fault}")]
pub struct WebSecurityError {
    key: &'static str,
    fault: String,
}

type Digest = [u8; 32];

/// Never shows a secret.
impl fmt::Debug for WebSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSecurity")
            .field("tls", &self.tls.is_some())
            .field("users", &self.users.len())
            .field("tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// See the module.
pub struct WebSecurity {
    tls: Option<TlsAcceptor>,
    users: BTreeMap<String, String>,
    tokens: Vec<Digest>,
    /// Set where a password or token is asked for.
    asks: bool,
    /// Differs from process to process, so that what is remembered can be guessed by nobody.
    salt: [u8; 32],
    /// A hash that no password has: whoever gives an unknown name waits as long as for a known one.
    nobody: String,
    remembered: Mutex<HashMap<Digest, bool>>,
    checking: Semaphore,
}

impl Default for WebSecurity {
    /// Open to everybody who reaches it.
    fn default() -> Self {
        Self {
            tls: None,
            users: BTreeMap::new(),
            tokens: Vec::new(),
            asks: false,
            salt: rand::random(),
            nobody: String::new(),
            remembered: Mutex::default(),
            checking: Semaphore::new(CHECKED_AT_ONCE),
        }
    }
}

impl WebSecurity {
    /// Builds it from a file. `read` gives the text of the files that it names.
    ///
    /// # Errors
    /// Where one of those cannot be read or used.
    pub fn new(
        file: &WebFile,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Self, WebSecurityError> {
        let read =
            |key: &'static str, path: &str| read(path).map_err(|fault| WebSecurityError { key, fault });
        let tokens: Vec<Digest> = match &file.bearer_token_file {
            None => Vec::new(),
            Some(path) => {
                let text = read("bearer_token_file", path)?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let tokens: Vec<Digest> = lines.map(|line| Sha256::digest(line).into()).collect();
                if tokens.is_empty() {
                    let fault = format!("{path} holds no token");
                    return Err(WebSecurityError { key: "bearer_token_file", fault });
                }
                tokens
            }
        };
        let tls = match &file.tls {
            None => None,
            Some(tls) => {
                let chain = certificates("cert_file", &read("cert_file", &tls.cert_file)?)?;
                let key = read("key_file", &tls.key_file)?;
                let fault =
                    |key, fault: &dyn std::fmt::Display| WebSecurityError { key, fault: fault.to_string() };
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| fault("key_file", &e))?;
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let versions: &[&rustls::SupportedProtocolVersion] = if tls.tls12 {
                    &[&rustls::version::TLS12, &rustls::version::TLS13]
                } else {
                    &[&rustls::version::TLS13]
                };
                let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_protocol_versions(versions)
                    .map_err(|e| fault("min_version", &e))?;
                let verifier = |path: &str, required: bool| {
                    let mut roots = RootCertStore::empty();
                    for certificate in certificates("client_ca_file", &read("client_ca_file", path)?)? {
                        roots.add(certificate).map_err(|e| fault("client_ca_file", &e))?;
                    }
                    let builder =
                        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                    let builder = if required { builder } else { builder.allow_unauthenticated() };
                    builder.build().map_err(|e| fault("client_ca_file", &e))
                };
                let builder = match &tls.client_certificates {
                    ClientCertificates::None => builder.with_no_client_auth(),
                    ClientCertificates::VerifiedIfGiven(ca) => {
                        builder.with_client_cert_verifier(verifier(ca, false)?)
                    }
                    ClientCertificates::Required(ca) => {
                        builder.with_client_cert_verifier(verifier(ca, true)?)
                    }
                };
                let mut config = builder.with_single_cert(chain, key).map_err(|e| fault("cert_file", &e))?;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(TlsAcceptor::from(Arc::new(config)))
            }
        };
        let asks = !file.users.is_empty() || !tokens.is_empty();
        let costs = file.users.values().filter_map(|hash| hash.parse::<bcrypt::HashParts>().ok());
        let nobody = match costs.map(|parts| parts.get_cost()).max() {
            None => String::new(),
            Some(cost) => bcrypt::hash(rand::random::<[u8; 32]>(), cost)
                .map_err(|fault| WebSecurityError { key: "basic_auth_users", fault: fault.to_string() })?,
        };
        Ok(Self { tls, users: file.users.clone(), tokens, asks, nobody, ..Self::default() })
    }

    /// TLS, where it is spoken.
    pub(super) const fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Whether credentials are asked for.
    pub(super) const fn asks(&self) -> bool {
        self.asks
    }

    /// Whether the credentials are good, or none are asked for.
    pub(super) async fn lets_in(&self, headers: &HeaderMap) -> bool {
        if !self.asks {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = given.and_then(|text| text.split_once(' ')) else { return false };
        if scheme.eq_ignore_ascii_case("bearer") {
            let given: Digest = Sha256::digest(given.trim()).into();
            // Every token is looked at, whichever is right.
            let one_of = |found: Choice, token: &Digest| found | token.ct_eq(&given);
            return self.tokens.iter().fold(Choice::from(0), one_of).into();
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(given.trim()).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
            return false;
        };
        self.knows(user, password).await
    }

    async fn knows(&self, user: &str, password: &str) -> bool {
        let hash = self.users.get(user);
        let mut digest = Sha256::new_with_prefix(self.salt);
        for part in [user, hash.map_or("", String::as_str), password] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let id: Digest = digest.finalize().into();
        let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        if let Some(known) = known {
            return known;
        }
        let Ok(_one_at_a_time) = self.checking.acquire().await else { return false };
        let (password, against) = (password.to_owned(), hash.unwrap_or(&self.nobody).clone());
        let checking =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &against).unwrap_or(false));
        let good = checking.await.unwrap_or(false) && hash.is_some();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            // Guesses go first, whoever is known stays.
            remembered.retain(|_, good| *good);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(id, good);
        }
        good
    }
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, WebSecurityError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| WebSecurityError { key, fault: fault.to_string() })?;
    if chain.is_empty() {
        return Err(WebSecurityError { key, fault: "there is no certificate in PEM".to_owned() });
    }
    Ok(chain)
}

/// Lets in whoever may come; 401 for others. Every path is behind it, as in Prometheus.
pub(crate) async fn authenticate(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let security = state.web_security();
    if security.lets_in(request.headers()).await {
        return next.run(request).await;
    }
    state.telemetry().authentication_failed();
    let mut response = reply::text(401, "Unauthorized\n");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}
