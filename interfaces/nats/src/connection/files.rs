//! The PEM files that TLS needs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{self, sign::CertifiedKey};
use tempfile::NamedTempFile;

use super::{ClientCert, Tls};

/// Why the files of a connection cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file holds no certificates, or is not there.
    #[error("could not read certificates from `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate at all.
    #[error("there is no certificate in `{}`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no private key, or is not there.
    #[error("could not read a private key from `{}`", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The key does not belong to the certificate.
    #[error("the key in `{}` is not that of the certificate in `{}`", key.display(), cert.display())]
    NoPair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities could not be put into one file.
    #[error("could not write the certificates of all authorities to one file")]
    Bundle(#[source] std::io::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificates { .. } | Self::Empty { .. } | Self::Key { .. } => {
                "name a PEM file that this user may read"
            }
            Self::NoPair { .. } => "name the certificate and the key that were made together",
            Self::Bundle(_) => "the folder for temporary files has to be writable (`TMPDIR`)",
        }
    }
}

/// Reads all files once, so that a wrong one is named.
pub(super) fn check(tls: &Tls) -> Result<(), TlsError> {
    for path in &tls.ca_files {
        certificates(path)?;
    }
    tls.client.as_ref().map_or(Ok(()), check_pair)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|source| TlsError::Certificates {
        path: path.to_owned(),
        source,
    })?;
    if found.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn check_pair(client: &ClientCert) -> Result<(), TlsError> {
    let chain = certificates(&client.cert)?;
    let key = PrivateKeyDer::from_pem_file(&client.key).map_err(|source| TlsError::Key {
        path: client.key.clone(),
        source,
    })?;
    let signing = ring::sign::any_supported_type(&key);
    let pair = signing.and_then(|key| CertifiedKey::new(chain, Arc::clone(&key)).keys_match());
    pair.map_err(|source| TlsError::NoPair {
        cert: client.cert.clone(),
        key: client.key.clone(),
        source,
    })
}

/// The certificates of several files in one, which lies among the temporary files.
#[derive(Debug)]
pub(super) struct Bundle(NamedTempFile);

impl Bundle {
    pub(super) fn new(files: &[PathBuf]) -> Result<Self, TlsError> {
        let file = NamedTempFile::with_prefix("lattice-ca-").map_err(TlsError::Bundle)?;
        let bundle = Self(file);
        bundle.write(files)?;
        Ok(bundle)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts the files together anew; who reads meanwhile sees the old ones or the new ones.
    pub(super) fn write(&self, files: &[PathBuf]) -> Result<(), TlsError> {
        let write = || {
            let folder = self.path().parent().unwrap_or(Path::new("."));
            let mut beside = NamedTempFile::with_prefix_in("lattice-ca-", folder)?;
            for file in files {
                beside.write_all(&std::fs::read(file)?)?;
                beside.write_all(b"\n")?;
            }
            beside.flush()?;
            beside.persist(self.path())?;
            Ok(())
        };
        write().map_err(TlsError::Bundle)
    }
}
