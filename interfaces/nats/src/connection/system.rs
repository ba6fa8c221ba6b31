//! Authorities written to files, since the client reads them from nowhere else: those of the system, where
//! others are trusted beside them, and those that a setting gives as PEM text.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lattice_core::provider::SecretText;

use super::TlsError;
use super::files::Kept;

/// Authorities in a file among the temporary ones, which is gone with the last copy of this and the last
/// connection that names it. These put it back when somebody has cleaned it away.
#[derive(Debug, Clone)]
pub struct AuthorityFile(Arc<Kept>);

impl AuthorityFile {
    /// Writes a PEM text to a file.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn write(pem: &SecretText) -> Result<Self, TlsError> {
        Self::keep("lattice-ca-", pem.expose().as_bytes().to_vec())
    }

    fn keep(prefix: &str, pem: Vec<u8>) -> Result<Self, TlsError> {
        let kept = Arc::new(Kept::new(prefix, pem)?);
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(&kept));
        Ok(Self(kept))
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The system's authorities in such a file.
#[derive(Debug, Clone)]
pub struct SystemAuthorities(AuthorityFile);

/// The files of this process, for connections to find those that they name.
static FILES: Mutex<Vec<Weak<Kept>>> = Mutex::new(Vec::new());

impl SystemAuthorities {
    /// The authorities as they are now; `None` when the system has none that can be read.
    ///
    /// # Errors
    ///
    /// Fails when they cannot be written to a file.
    pub fn load() -> Result<Option<Self>, TlsError> {
        let mut text = String::new();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // The client takes no file in which there is one that it cannot use.
            if RootCertStore::empty().add(certificate.clone()).is_ok() {
                push_pem(&mut text, &certificate);
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        let file = AuthorityFile::keep("lattice-system-ca-", text.into_bytes())?;
        Ok(Some(Self(file)))
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Those of the files that this process has made.
pub(super) fn among(files: &[PathBuf]) -> Vec<Arc<Kept>> {
    let made = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.iter().filter_map(Weak::upgrade);
    made.filter(|kept| files.iter().any(|file| file == kept.path()))
        .collect()
}

impl PartialEq for SystemAuthorities {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

fn push_pem(text: &mut String, certificate: &CertificateDer<'_>) {
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = &*STANDARD.encode(certificate);
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    use async_nats::rustls::pki_types::pem::PemObject as _;

    #[test]
    fn the_file_holds_what_the_system_trusts_and_is_gone_with_its_owner() {
        let Some(system) = SystemAuthorities::load().unwrap() else {
            return;
        };
        let path = system.path().to_owned();
        let read = CertificateDer::pem_file_iter(&path).unwrap();
        let read: Vec<_> = read.map(Result::unwrap).collect();
        let trusted = rustls_native_certs::load_native_certs().certs;
        assert!(!read.is_empty() && read.iter().all(|one| trusted.contains(one)));
        assert_eq!(among(std::slice::from_ref(&path)).len(), 1);
        assert!(among(&[PathBuf::from("/elsewhere")]).is_empty());
        drop(system);
        assert!(!path.exists());
    }
}
