//! Whom a client believes, and who it is.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Certificates and keys as PEM texts.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// Authorities that are believed besides those of the system.
    pub roots: Option<String>,
    /// Our own certificate, with those that lead to its authority.
    pub certificate: Option<String>,
    /// The key of our certificate.
    pub key: Option<String>,
}

impl std::fmt::Debug for TlsOptions {
    // The key is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsOptions")
            .field("roots", &self.roots.is_some())
            .field("certificate", &self.certificate.is_some())
            .finish_non_exhaustive()
    }
}

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A text is no PEM of its kind.
    #[error("the {what} is not PEM of that kind")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or an authority is none.
    #[error("the {what} cannot be used")]
    Unusable {
        /// Which one.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
    /// One of the two is missing.
    #[error("a client certificate needs its key, and a key its certificate")]
    Half,
}

impl TlsOptions {
    /// A configuration of TLS 1.2 and 1.3. Authorities of the system that cannot be read are left
    /// out; without any only those in `roots` are believed.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(text) = &self.roots {
            for root in certificates("authority", text)? {
                roots.add(root).map_err(|source| TlsError::Unusable {
                    what: "authority",
                    source,
                })?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable {
                what: "choice of TLS versions",
                source,
            })?
            .with_root_certificates(roots);
        match (&self.certificate, &self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let chain = certificates("client certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|source| {
                    TlsError::Pem {
                        what: "client key",
                        source,
                    }
                })?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|source| TlsError::Unusable {
                    what: "client certificate",
                    source,
                })
            }
            _ => Err(TlsError::Half),
        }
    }
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Pem {
            what,
            source: rustls::pki_types::pem::Error::NoItemsFound,
        }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { what, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_named() {
        let options = TlsOptions {
            roots: Some("no".to_owned()),
            ..TlsOptions::default()
        };
        let error = options.client().unwrap_err().to_string();
        assert_eq!(error, "the authority is not PEM of that kind");
        let options = TlsOptions {
            key: Some("x".to_owned()),
            ..TlsOptions::default()
        };
        assert!(matches!(options.client(), Err(TlsError::Half)));
        assert!(TlsOptions::default().client().is_ok());
    }
}
