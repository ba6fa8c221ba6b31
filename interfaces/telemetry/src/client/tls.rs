//! Whom the exporter trusts.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::settings::TracesError;

/// Trusts the authorities of the machine and those in the files `further`. The machine is only
/// asked when the collector is reached by TLS, since it takes a while.
pub(super) fn config(secured: bool, further: &[PathBuf]) -> Result<ClientConfig, TracesError> {
    let mut roots = RootCertStore::empty();
    if secured {
        // A file that cannot be read is one authority less; the collector's may be another.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in further {
            let failed = |source| TracesError::Certificates {
                path: path.clone(),
                source,
            };
            let all = CertificateDer::pem_file_iter(path).map_err(failed)?;
            let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            roots.add_parsable_certificates(all);
        }
    }
    // Named, so that it does not depend on what other crates of the program enable.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TracesError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
