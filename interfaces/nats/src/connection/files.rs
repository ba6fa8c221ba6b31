//! The PEM files that TLS needs.

use std::fmt;
use std::fs::Metadata;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{self, sign::CertifiedKey};
use tempfile::{NamedTempFile, TempPath};

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

/// The certificates of several files in one text.
pub(super) fn join(files: &[PathBuf]) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    for file in files {
        text.extend(std::fs::read(file).map_err(TlsError::Bundle)?);
        text.push(b'\n');
    }
    Ok(text)
}

/// A file among the temporary ones that is gone with this, and not before: what cleans up there takes
/// away what is old, so that what it holds is remembered, to be put back.
pub(super) struct Kept {
    path: TempPath,
    written: Mutex<Written>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.path()).finish()
    }
}

#[derive(Default)]
struct Written {
    content: Vec<u8>,
    mark: Option<Mark>,
    /// Whether somebody was told that it could not be put back.
    is_told: bool,
}

/// What tells the file that was written from one that somebody else has put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    owner: u32,
    modified: SystemTime,
}

impl Mark {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            owner: metadata.uid(),
            modified: metadata.modified()?,
        })
    }
}

impl Kept {
    pub(super) fn new(prefix: &str, content: Vec<u8>) -> Result<Self, TlsError> {
        let file = NamedTempFile::with_prefix(prefix).map_err(TlsError::Bundle)?;
        let kept = Self {
            path: file.into_temp_path(),
            written: Mutex::default(),
        };
        kept.write(content)?;
        Ok(kept)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what it holds; who reads meanwhile sees the old or the new.
    pub(super) fn write(&self, content: Vec<u8>) -> Result<(), TlsError> {
        let mut written = self.written();
        let mark = self.put(&content, None).map_err(TlsError::Bundle)?;
        *written = Written {
            content,
            mark: Some(mark),
            is_told: false,
        };
        Ok(())
    }

    /// Puts the file back if it is gone, or is another one.
    fn keep(&self) {
        let mut written = self.written();
        let found = std::fs::symlink_metadata(&self.path);
        let found = found.and_then(|metadata| Mark::of(&metadata)).ok();
        let Some(mark) = written.mark.filter(|mark| found != Some(*mark)) else {
            return;
        };
        let path = self.path.display();
        // It is as old as it was, so that nobody takes it for a changed one.
        match self.put(&written.content, Some(mark.modified)) {
            Ok(mark) => {
                tracing::warn!(%path, "a file of the NATS connection was gone, and is put back");
                written.mark = Some(mark);
                written.is_told = false;
            }
            Err(error) if !written.is_told => {
                tracing::error!(%path, %error, "a file of the NATS connection is gone");
                written.is_told = true;
            }
            Err(_) => {}
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, content: &[u8], modified: Option<SystemTime>) -> io::Result<Mark> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut beside = NamedTempFile::with_prefix_in("lattice-ca-", folder)?;
        beside.write_all(content)?;
        beside.flush()?;
        if let Some(modified) = modified {
            beside.as_file().set_modified(modified)?;
        }
        let mark = Mark::of(&beside.as_file().metadata()?)?;
        beside.persist(&self.path)?;
        Ok(mark)
    }
}

/// Puts those files back that are gone.
pub(super) fn keep(all: &[Arc<Kept>]) {
    all.iter().for_each(|kept| kept.keep());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_taken_away_or_replaced_is_put_back_as_it_was() {
        let kept = [Arc::new(
            Kept::new("lattice-test-", b"one".to_vec()).unwrap(),
        )];
        let path = kept[0].path().to_owned();
        kept[0].write(b"two".to_vec()).unwrap();
        let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        std::fs::remove_file(&path).unwrap();
        keep(&kept);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(modified(), before);
        let other = NamedTempFile::new().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(other.path(), &path).unwrap();
        keep(&kept);
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        drop(kept);
        assert!(!path.exists());
    }
}
