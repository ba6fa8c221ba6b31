//! What links that agree in their settings have in common.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::LinkError;
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::connect::{Waiting, reach};
use crate::proxy::ProxyChoice;
use crate::settings::HttpSettings;
use crate::tls::{Material, TlsError};

/// How long a proxy may take to be reached when a link is put or looked at.
const PROXY_LIMIT: Duration = Duration::from_secs(3);

/// Settings, and what was read as they say. It has no connections: these are each link's own.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) settings: HttpSettings,
    pub(crate) tls: Arc<RwLock<Arc<ClientConfig>>>,
    proxies: ProxyChoice,
    /// Tells the TLS files from later ones.
    mark: Mutex<u64>,
}

impl Base {
    /// Reads what the settings name.
    pub(crate) async fn new(settings: &HttpSettings) -> Result<Self, LinkError> {
        let loaded = load(settings, None).await?;
        let (mark, tls) = loaded.ok_or_else(|| LinkError::unavailable("there is no TLS"))?;
        Ok(Self {
            tls: Arc::new(RwLock::new(Arc::new(tls))),
            proxies: settings.proxies.matcher(),
            mark: Mutex::new(mark),
            settings: settings.clone(),
        })
    }

    /// Looks whether the proxies are there, and reads TLS files that have changed.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        if self.settings.tls.has_files() {
            let known = *self.mark.lock();
            if let Some((mark, tls)) = load(&self.settings, Some(known)).await? {
                *self.mark.lock() = mark;
                *self.tls.write() = Arc::new(tls);
            }
        }
        for proxy in self.proxies.addresses() {
            let usual = if proxy.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = proxy.port_u16().unwrap_or(usual);
            let host = proxy.host().unwrap_or_default();
            let waiting = Waiting::until(Instant::now() + PROXY_LIMIT);
            let reached = reach(host, port, |_| true, &waiting).await;
            reached.map_err(|fault| {
                let what = format!("could not reach the proxy at `{host}:{port}`");
                LinkError::unavailable_because(what, fault)
            })?;
        }
        Ok(())
    }
}

/// Reads the TLS files, apart from other work since it may block. Gives nothing for those that are
/// known already by their mark.
async fn load(
    settings: &HttpSettings,
    known: Option<u64>,
) -> Result<Option<(u64, ClientConfig)>, LinkError> {
    let (tls, http2) = (settings.tls.clone(), settings.http2);
    let read = tokio::task::spawn_blocking(move || {
        let made = Material::read(&tls).and_then(|material| {
            let mark = material.mark();
            if known == Some(mark) {
                return Ok(None);
            }
            Ok(Some((mark, material.config(&tls, http2)?)))
        });
        made.map_err(|error: TlsError| error.of_link(&tls))
    });
    read.await.unwrap_or_else(|error| {
        Err(LinkError::unavailable_because(
            "could not read the TLS files",
            error,
        ))
    })
}
