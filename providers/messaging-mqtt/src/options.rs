//! What a connection to a broker begins with.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::BoxError;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::{TlsConfiguration, Transport};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::{ServerSettings, TlsSettings};

/// How long one attempt to connect may take, in seconds.
const CONNECT_WITHIN: u64 = 4;
/// How soon a broker that is silently gone is noticed, once and a half.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// What a packet has besides its body: topic, properties.
const OVERHEAD: usize = 128 * 1024;

/// The options of a session called `id`.
pub(crate) fn options(server: &ServerSettings, id: &str) -> Result<MqttOptions, BoxError> {
    let mut options = MqttOptions::new(id, &server.host, server.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_connection_timeout(CONNECT_WITHIN);
    options.set_pending_throttle(Duration::ZERO);
    if let Some((user, password)) = &server.login {
        options.set_credentials(user, password.expose());
    }
    let mut properties = ConnectProperties::new();
    let largest = u32::try_from(server.largest.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
    properties.max_packet_size = Some(largest);
    options.set_connect_properties(properties);
    if let Some(settings) = &server.tls {
        let tls = TlsConfiguration::Rustls(Arc::new(tls(settings)?));
        options.set_transport(Transport::tls_with_config(tls));
    }
    Ok(options)
}

fn tls(settings: &TlsSettings) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    match &settings.authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.expose().as_bytes()) {
                roots.add(certificate?)?;
            }
            if roots.is_empty() {
                return Err("there is no certificate in `tls_ca`".into());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &settings.own else {
        return Ok(config.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(certificate.expose().as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())?;
    Ok(config.with_client_auth_cert(chain, key)?)
}
