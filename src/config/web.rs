//! `--web.config.file`: how clients reach this server, in the format of Prometheus' exporter-toolkit, with one key more
//! (`bearer_token_file`). What is not supported is refused, never ignored: a protection that is configured and not
//! there is worse than none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::ConfigError;

/// What the file says. Paths are as they stand there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebFile {
    /// TLS, if there is to be any.
    pub tls: Option<WebTls>,
    /// Users, and the bcrypt hashes of their passwords.
    pub users: BTreeMap<String, String>,
    /// A file of bearer tokens, one a line.
    pub bearer_token_file: Option<String>,
}

/// Never shows a hash.
impl fmt::Debug for WebFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebFile")
            .field("tls", &self.tls)
            .field("users", &self.users.keys())
            .field("bearer_token_file", &self.bearer_token_file)
            .finish()
    }
}

/// TLS towards clients; all are paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTls {
    /// The server's certificate chain.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// Whose certificates clients show.
    pub client_certificates: ClientCertificates,
    /// Whether TLS 1.2 is spoken; 1.3 always is.
    pub tls12: bool,
}

/// Whether clients show certificates, and the file of the authorities that sign them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nobody asks.
    None,
    /// Those that are shown must be good.
    VerifiedIfGiven(String),
    /// Nobody comes in without.
    Required(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<TlsFile>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
    bearer_token_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    cert_file: String,
    key_file: String,
    client_auth_type: Option<String>,
    client_ca_file: Option<String>,
    min_version: Option<String>,
    max_version: Option<String>,
}

impl WebFile {
    /// Reads the file; an empty one protects nothing.
    ///
    /// # Errors
    /// Every fault of the values at once; an unknown key ends the reading at the first.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: File =
            serde_saphyr::from_str(text).map_err(|error| ConfigError { faults: vec![error.to_string()] })?;
        let mut faults = Vec::new();
        for (user, hash) in &file.basic_auth_users {
            if user.is_empty() || user.contains(':') {
                faults.push(format!("basic_auth_users: `{user}` cannot be a user name"));
            }
            if hash.parse::<bcrypt::HashParts>().is_err() {
                let fault = "the password is no bcrypt hash; `htpasswd -nBC 10 \"\"` makes one";
                faults.push(format!("basic_auth_users.{user}: {fault}"));
            }
        }
        let tls = file.tls_server_config.map(|tls| tls.checked(&mut faults));
        if faults.is_empty() {
            Ok(Self { tls, users: file.basic_auth_users, bearer_token_file: file.bearer_token_file })
        } else {
            Err(ConfigError { faults })
        }
    }

    /// Whether whoever comes in has said who it is.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        let certificates = self.tls.as_ref().map(|tls| &tls.client_certificates);
        !self.users.is_empty()
            || self.bearer_token_file.is_some()
            || matches!(certificates, Some(ClientCertificates::Required(_)))
    }
}

impl TlsFile {
    fn checked(self, faults: &mut Vec<String>) -> WebTls {
        let kind = self.client_auth_type.as_deref().unwrap_or_default();
        let client_certificates = match (kind, self.client_ca_file) {
            ("" | "NoClientCert", None) => ClientCertificates::None,
            ("VerifyClientCertIfGiven", Some(ca)) => ClientCertificates::VerifiedIfGiven(ca),
            ("RequireAndVerifyClientCert", Some(ca)) => ClientCertificates::Required(ca),
            ("" | "NoClientCert", Some(_)) => {
                let fault =
                    "is given, but client_auth_type lets everybody in; set RequireAndVerifyClientCert";
                faults.push(format!("tls_server_config.client_ca_file: {fault}"));
                ClientCertificates::None
            }
            ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert", None) => {
                faults.push(format!("tls_server_config.client_ca_file: {kind} needs it"));
                ClientCertificates::None
            }
            _ => {
                faults.push(format!(
                    "tls_server_config.client_auth_type: `{kind}` is not allowed; allowed: NoClientCert, \
                     VerifyClientCertIfGiven, RequireAndVerifyClientCert (a certificate that nobody verifies says nothing)"
                ));
                ClientCertificates::None
            }
        };
        let tls12 = match self.min_version.as_deref() {
            None | Some("TLS12") => true,
            Some("TLS13") => false,
            Some(other) => {
                let fault = format!("`{other}` is not allowed; allowed: TLS12, TLS13");
                faults.push(format!("tls_server_config.min_version: {fault}"));
                true
            }
        };
        if let Some(other) = self.max_version.filter(|version| version != "TLS13") {
            let fault = format!("`{other}` is not allowed; allowed: TLS13");
            faults.push(format!("tls_server_config.max_version: {fault}"));
        }
        WebTls { cert_file: self.cert_file, key_file: self.key_file, client_certificates, tls12 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_exporter_toolkit_is_read() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let text = format!(
            "tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n  client_auth_type: RequireAndVerifyClientCert\n  \
             client_ca_file: ca.pem\n  min_version: TLS13\nbasic_auth_users:\n  alice: {hash}\n"
        );
        let file = WebFile::from_yaml(&text).unwrap();
        let tls = file.tls.clone().unwrap();
        assert_eq!((tls.cert_file.as_str(), tls.tls12), ("c.pem", false));
        assert_eq!(tls.client_certificates, ClientCertificates::Required("ca.pem".to_owned()));
        assert!(file.authenticates() && !format!("{file:?}").contains("$2b$"));
        assert_eq!(WebFile::from_yaml("").unwrap(), WebFile::default());
        assert!(!WebFile::default().authenticates());
        let only_tls = WebFile::from_yaml("tls_server_config: {cert_file: a, key_file: b}").unwrap();
        assert!(!only_tls.authenticates());
    }

    #[test]
    fn what_would_not_protect_is_refused() {
        for (text, named) in [
            ("basic_auth_users: {a: secret}", "basic_auth_users.a"),
            ("basic_auth_users: {'a:b': x}", "a:b"),
            ("basic_auth_user: {}", "basic_auth_user"),
            ("tls_server_config: {cert_file: a}", "key_file"),
            ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [x]}", "cipher_suites"),
            ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "client_ca_file"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
                "Require",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
                "ca",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS10"),
            ("tls_server_config: {cert_file: a, key_file: b, max_version: TLS12}", "max_version"),
            ("http_server_config: {http2: true}", "http_server_config"),
        ] {
            let error = WebFile::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
