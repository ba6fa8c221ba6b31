//! The authorities that the system trusts, as a file: the client takes either these or files.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use super::TlsError;

/// The system's authorities in a file among the temporary ones, which is gone with the last copy of
/// this.
#[derive(Debug, Clone)]
pub struct SystemAuthorities(Arc<NamedTempFile>);

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
        let write = || {
            let mut file = NamedTempFile::with_prefix("lattice-system-ca-")?;
            file.write_all(text.as_bytes())?;
            file.flush()?;
            Ok(Some(Self(Arc::new(file))))
        };
        write().map_err(TlsError::Bundle)
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
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
        drop(system);
        assert!(!path.exists());
    }
}
