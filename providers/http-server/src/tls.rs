//! The certificate and key of a listening address, which may be renewed while it is in use.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use lattice_provider_sdk::{BoxError, LinkError};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::settings::Tls;

/// A certificate and key from files.
#[derive(Debug)]
pub(crate) struct Identity {
    files: Tls,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Loaded>);

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// Differs from that of other files.
    mark: u64,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().key))
    }
}

impl Identity {
    /// Reads both files. A failure may pass: the files may be written after the link is put.
    pub(crate) async fn load(files: Tls) -> Result<Self, LinkError> {
        let loaded = load(files.clone()).await?;
        Ok(Self {
            files,
            current: Arc::new(Current(RwLock::new(loaded))),
        })
    }

    /// Where it comes from.
    pub(crate) fn files(&self) -> &Tls {
        &self.files
    }

    /// Reads the files again, for connections that begin from now on. While they cannot be used,
    /// the certificate from before is shown.
    pub(crate) async fn renew(&self) -> Result<(), LinkError> {
        let loaded = load(self.files.clone()).await?;
        let mut current = self.current.0.write();
        if current.mark != loaded.mark {
            *current = loaded;
            let file = self.files.cert_file.display();
            tracing::info!(%file, "took a new certificate");
        }
        Ok(())
    }

    /// What takes connections in.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, LinkError> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| LinkError::invalid_because("could not set up TLS", e))?;
        let resolver = Arc::clone(&self.current);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

async fn load(files: Tls) -> Result<Loaded, LinkError> {
    let read = tokio::task::spawn_blocking(move || read(&files)).await;
    read.unwrap_or_else(|error| {
        let what = "could not read the TLS files";
        Err(LinkError::unavailable_because(what, error))
    })
}

fn read(files: &Tls) -> Result<Loaded, LinkError> {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let cert = files.cert_file.display();
    let key = files.key_file.display();
    let failed = |what: String, why: BoxError| LinkError::unavailable_because(what, why);
    let no_chain = |e: BoxError| failed(format!("could not read certificates from `{cert}`"), e);
    let no_key = |e: BoxError| failed(format!("could not read a private key from `{key}`"), e);
    let chain_pem = bytes(&files.cert_file).map_err(no_chain)?;
    let key_pem = bytes(&files.key_file).map_err(no_key)?;
    let chain = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| no_chain(e.into()))?;
    if chain.is_empty() {
        return Err(LinkError::unavailable(format!(
            "`{cert}` holds no certificate"
        )));
    }
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|e| no_key(e.into()))?;
    let certified = CertifiedKey::from_der(chain, private, &default_provider());
    let certified = certified.map_err(|e| {
        failed(
            format!("`{cert}` and `{key}` do not work together"),
            e.into(),
        )
    })?;
    Ok(Loaded {
        key: Arc::new(certified),
        mark: HASHER.hash_one((&chain_pem, &key_pem)),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, BoxError> {
    Ok(std::fs::read(path)?)
}
