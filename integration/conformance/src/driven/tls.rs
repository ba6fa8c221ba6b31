//! An authority of a case's own, made by `openssl`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::process::Command;

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

/// An authority, and what it has signed.
#[derive(Debug)]
pub(super) struct Authority(TempDir);

impl Authority {
    pub(super) async fn new() -> Result<Self> {
        let authority = Self(tempfile::tempdir()?);
        let made = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "2"];
        let subject = ["-subj", "/CN=authority of a case"];
        let arguments = [&["req", "-x509"][..], &KEY, &made, &subject].concat();
        authority.openssl(&arguments).await?;
        Ok(authority)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as a text for a config.
    pub(super) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    async fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let ran = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .await
            .context("could not start `openssl`")?;
        ensure!(
            ran.status.success(),
            String::from_utf8_lossy(&ran.stderr).into_owned()
        );
        Ok(())
    }

    /// Writes `{name}.pem` and `{name}.key`, for the host `localhost`.
    pub(super) async fn sign(&self, name: &str) -> Result<()> {
        let [key, csr, cert, ext] = ["key", "csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
        std::fs::write(self.path(&ext), "subjectAltName=DNS:localhost")?;
        let subject = format!("/CN={name}");
        let out = ["-keyout", &key, "-out", &csr, "-subj", &subject];
        self.openssl(&[&["req"][..], &KEY, &out].concat()).await?;
        let by = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
        ];
        let signed = ["x509", "-req", "-in", &csr, "-out", &cert, "-extfile", &ext];
        self.openssl(&[&signed[..], &by].concat()).await
    }

    pub(super) fn certificate(&self, name: &str) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_file(self.path(name))?)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")?)?;
        Ok(roots)
    }

    /// A server with the certificate `name` that offers these protocols, and wants a certificate
    /// of this authority from its clients if it is `strict`.
    pub(super) fn server(&self, name: &str, offers: &[&str], strict: bool) -> Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let roots = Arc::new(self.roots()?);
        let builder = match strict {
            true => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build()?)
            }
            false => builder.with_no_client_auth(),
        };
        let chain = vec![self.certificate(&format!("{name}.pem"))?];
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")))?;
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = protocols(offers);
        Ok(config)
    }

    /// A client that believes this authority.
    pub(super) fn client(&self, offers: &[&str]) -> Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = protocols(offers);
        Ok(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(offers: &[&str]) -> Vec<Vec<u8>> {
    offers.iter().map(|name| name.as_bytes().to_vec()).collect()
}
