//! Certificates for a server and its clients, made by `openssl`.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::NatsBoxError;

/// An authority of a test's own, and what it has signed: `ca.pem` and `{file}.pem` with `{file}.key`.
#[derive(Debug)]
pub struct Authority(TempDir);

impl Authority {
    /// One that has signed `server` and `client`.
    ///
    /// # Errors
    ///
    /// Fails when `openssl` is not there or refuses.
    pub fn new() -> Result<Self, NatsBoxError> {
        let authority = Self(tempfile::tempdir().map_err(folder)?);
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
             -keyout ca.key -out ca.pem",
        )?;
        for name in ["server", "client"] {
            authority.sign(name, name)?;
        }
        Ok(authority)
    }

    /// A file of the authority.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `{file}.pem` and `{file}.key` for this machine.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn sign(&self, file: &str, subject: &str) -> Result<(), NatsBoxError> {
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        std::fs::write(self.path("names"), names).map_err(folder)?;
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={subject} \
             -keyout {file}.key -out {file}.csr"
        ))?;
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out {file}.pem"
        ))
    }

    /// Lines for a server with the certificate of `server` and clients of this authority.
    #[must_use]
    pub fn server_config(&self, more: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "tls {{\n cert_file: {:?}\n key_file: {:?}\n ca_file: {:?}\n timeout: 10\n {more}\n}}\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
        )
    }

    fn openssl(&self, arguments: &str) -> Result<(), NatsBoxError> {
        let ran = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .map_err(folder)?;
        if ran.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        Err(folder(io::Error::other(said)))
    }
}

fn folder(source: io::Error) -> NatsBoxError {
    NatsBoxError::Folder { source }
}
