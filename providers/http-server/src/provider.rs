//! The provider's part in the life cycle.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_core::link::carries;
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Shared, Sharing,
    StartError, async_trait,
};
use tokio::time::Instant;

use crate::route::Route;
use crate::server::Servers;
use crate::settings::{InvalidSetting, LinkSettings, ProviderSettings, Tls};
use crate::tls::Identity;

/// Listens for HTTP requests and calls the components that it is linked to.
pub struct HttpServer {
    session: Session,
    servers: Servers,
    /// Certificates by their files, which links may have in common.
    identities: Sharing<Tls, Identity>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer")
            .field("id", self.session.id())
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    async fn identity(&self, files: &Tls) -> Result<Shared<Identity>, LinkError> {
        let load = || Identity::load(files.clone());
        self.identities.get(files, load).await
    }
}

#[async_trait]
impl Provider for HttpServer {
    const NAME: &'static str = "http-server";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            servers: Servers::new(session.clone()),
            identities: Sharing::new(),
            session,
        }))
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "http") || !carries(&link.interfaces, "incoming-handler") {
            return Err(LinkError::invalid(
                "an HTTP server is linked for `incoming-handler` of `wasi:http`",
            ));
        }
        let provider = ProviderSettings::of(&self.session).map_err(|e| invalid("provider", e))?;
        let settings = LinkSettings::of(link, &provider).map_err(|e| invalid("link", e))?;
        let identity = match &settings.tls {
            Some(files) => Some(self.identity(files).await?),
            None => None,
        };
        let address = settings.address;
        let route = Route::new(&self.session, link, settings, identity)?;
        self.servers.add(address, &provider.mode, route)
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.servers.remove(&link.key()).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = ProviderSettings::of(&self.session)
            .and_then(|provider| LinkSettings::of(link, &provider));
        settings.map_or_else(|_| Features::new(), |settings| features(&settings))
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let provider = ProviderSettings::of(&self.session).map_err(|e| invalid("provider", e))?;
        let settings = LinkSettings::of(link, &provider).map_err(|e| invalid("link", e))?;
        self.servers.check(settings.address)?;
        match &settings.tls {
            Some(files) => self.identity(files).await?.renew().await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.servers.shutdown(until).await;
    }
}

/// What a link with these settings can do.
fn features(settings: &LinkSettings) -> Features {
    let features = Features::new()
        .having("http1")
        .having("http2")
        .having("sse")
        .having("streams")
        .having("trailers");
    let optional = [
        ("tls", settings.tls.is_some()),
        ("websocket", settings.common.websocket),
        ("keep-alive", settings.common.keep_alive),
    ];
    let optional = optional.into_iter();
    optional.fold(features, |features, (name, is_there)| {
        features.having_if(name, is_there)
    })
}

fn invalid(whose: &str, error: InvalidSetting) -> LinkError {
    LinkError::invalid_because(
        format!("a value in the {whose}'s config cannot be used"),
        error,
    )
}
