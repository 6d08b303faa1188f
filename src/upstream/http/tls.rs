//! TLS towards the upstream.

use std::fmt;
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::HttpSettingsError;

/// How the upstream's certificate is checked, and which one we show. All texts are PEM, not paths.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// The authorities trusted instead of the system's (where the system has none: Mozilla's).
    pub ca: Option<String>,
    /// Our certificate chain and its key, for mutual TLS.
    pub identity: Option<(String, String)>,
    /// The name that the certificate must carry, where it is not the URL's host.
    pub server_name: Option<String>,
}

/// Never shows a key.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

pub(super) fn connector(
    settings: &TlsSettings,
    http: HttpConnector,
) -> Result<HttpsConnector<HttpConnector>, HttpSettingsError> {
    let fault = |e: &dyn fmt::Display| HttpSettingsError::Tls(e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&e))?;
    let verified = match &settings.ca {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, "ca_file")? {
                roots.add(certificate).map_err(|e| fault(&e))?;
            }
            versions.with_root_certificates(roots)
        }
        None => match versions.clone().with_native_roots() {
            Ok(native) => native,
            Err(_) => versions.with_webpki_roots(),
        },
    };
    let config = match &settings.identity {
        Some((chain, key)) => {
            let chain = certificates(chain, "cert_file")?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|e| fault(&format!("key_file holds no private key in PEM: {e}")))?;
            verified.with_client_auth_cert(chain, key).map_err(|e| fault(&e))?
        }
        None => verified.with_no_client_auth(),
    };
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    if let Some(name) = &settings.server_name {
        let name = ServerName::try_from(name.clone()).map_err(|e| fault(&e))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(http))
}

fn certificates(pem: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, HttpSettingsError> {
    let fault =
        |e: &dyn fmt::Display| HttpSettingsError::Tls(format!("{key} holds no certificate in PEM: {e}"));
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fault(&e))?;
    if chain.is_empty() { Err(fault(&"there is none")) } else { Ok(chain) }
}
