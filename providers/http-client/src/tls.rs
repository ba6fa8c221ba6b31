//! Whom a link believes, and who it is.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use lattice_provider_sdk::LinkError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::{Http2, Identity, TlsSettings};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("{what} is not PEM of that kind")]
    Pem { what: String, source: pem::Error },
    #[error("{what} cannot be used")]
    Unusable { what: String, source: rustls::Error },
}

impl TlsError {
    /// What a file holds may change by itself; what the link says does not.
    pub(crate) fn of_link(self, settings: &TlsSettings) -> LinkError {
        let texts = matches!(settings.identity, Some(Identity::Texts { .. }));
        let what = "could not set up TLS";
        if texts && settings.authorities.is_none() {
            return LinkError::invalid_because(what, self);
        }
        LinkError::unavailable_because(what, self)
    }
}

/// The files of a link as they were when they were read.
pub(crate) struct Material {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Material {
    /// Reads what the settings name. It may block.
    pub(crate) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let authorities = settings.authorities.as_deref().map(read).transpose()?;
        let identity = match &settings.identity {
            None => None,
            Some(Identity::Files { certificate, key }) => Some((read(certificate)?, read(key)?)),
            Some(Identity::Texts { certificate, key }) => {
                let key = key.expose().as_bytes().to_vec();
                Some((certificate.clone().into_bytes(), key))
            }
        };
        Ok(Self {
            authorities,
            identity,
        })
    }

    /// Differs when the material does.
    pub(crate) fn mark(&self) -> u64 {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        HASHER.hash_one((&self.authorities, &self.identity))
    }

    /// What connections are made with.
    pub(crate) fn config(
        &self,
        settings: &TlsSettings,
        http2: Http2,
    ) -> Result<ClientConfig, TlsError> {
        let unusable = |what: &str| {
            let what = what.to_owned();
            move |source| TlsError::Unusable { what, source }
        };
        let roots = self.roots(settings)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable("the choice of TLS versions"))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("the client certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem {
                    what: "the client key".to_owned(),
                    source,
                })?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(unusable("the client certificate with its key"))?
            }
        };
        let offered: &[&[u8]] = match http2 {
            Http2::Auto => &[b"h2", b"http/1.1"],
            Http2::Off => &[b"http/1.1"],
            Http2::PriorKnowledge => &[b"h2"],
        };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    fn roots(&self, settings: &TlsSettings) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if settings.webpki {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if settings.native {
            roots.add_parsable_certificates(native().iter().cloned());
        }
        if let (Some(pem), Some(path)) = (&self.authorities, &settings.authorities) {
            let what = format!("`{}`", path.display());
            for root in certificates(&what, pem)? {
                roots.add(root).map_err(|source| TlsError::Unusable {
                    what: what.clone(),
                    source,
                })?;
            }
        }
        Ok(roots)
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, TlsError> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The authorities of the system, which takes a while to read. Those that cannot be read are left
/// out.
fn native() -> &'static [CertificateDer<'static>] {
    static NATIVE: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    NATIVE.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "left out an authority of the system");
        }
        found.certs
    })
}

fn certificates(what: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        what: what.to_owned(),
        source,
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        return Err(failed(pem::Error::NoItemsFound));
    }
    Ok(found)
}
