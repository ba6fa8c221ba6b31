//! The certificate and key of a listening address.

use std::sync::Arc;

use lattice_provider_sdk::{BoxError, LinkError};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::Tls;

/// Reads both files. A failure may pass: the files may be written after the link is put.
pub(crate) async fn load(files: Tls) -> Result<TlsAcceptor, LinkError> {
    let read = tokio::task::spawn_blocking(move || read(&files)).await;
    read.unwrap_or_else(|error| {
        let what = "could not read the TLS files";
        Err(LinkError::unavailable_because(what, error))
    })
}

fn read(files: &Tls) -> Result<TlsAcceptor, LinkError> {
    let cert = files.cert_file.display();
    let key = files.key_file.display();
    let failed = |what: String, why: BoxError| LinkError::unavailable_because(what, why);
    let chain = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| {
            failed(
                format!("could not read certificates from `{cert}`"),
                e.into(),
            )
        })?;
    if chain.is_empty() {
        return Err(LinkError::unavailable(format!(
            "`{cert}` holds no certificate"
        )));
    }
    let private = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|e| {
        failed(
            format!("could not read a private key from `{key}`"),
            e.into(),
        )
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|e| {
            failed(
                format!("`{cert}` and `{key}` do not work together"),
                e.into(),
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
