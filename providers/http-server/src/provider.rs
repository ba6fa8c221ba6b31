//! The provider's part in the life cycle.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_core::link::carries;
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session, Shared, Sharing,
    StartError, async_trait,
};
use tokio::time::Instant;

use crate::order::Order;
use crate::route::Route;
use crate::server::{Servers, Wanted};
use crate::settings::{InvalidSetting, LinkSettings, ProviderSettings, Tls};
use crate::tls::Identity;

/// Listens for HTTP requests and calls the components that it is linked to.
pub struct HttpServer {
    session: Session,
    servers: Servers,
    order: Order,
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

    /// What the settings of a link come to, and those of the provider.
    async fn wanted(&self, link: &ProviderLink) -> Result<Wanted, LinkError> {
        let provider = ProviderSettings::of(&self.session).map_err(|e| invalid("provider", e))?;
        let settings = LinkSettings::of(link, &provider).map_err(|e| invalid("link", e))?;
        let identity = match &settings.tls {
            Some(files) => Some(self.identity(files).await?),
            None => None,
        };
        let number = self.order.number(&link.key());
        Ok(Wanted {
            address: settings.address,
            mode: provider.mode,
            route: Route::new(&self.session, link, settings, identity, number)?,
        })
    }

    /// Refuses a link that requires what it would not have with its settings.
    async fn check_required(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let features = self.describe(link).await;
        let lacks = features.lacks(link.value("require").unwrap_or_default());
        if lacks.is_empty() {
            return Ok(());
        }
        Err(LinkError::invalid(format!(
            "the link requires `{}`, which {} does not have here; it has {features}",
            lacks.join("`, `"),
            Self::NAME
        )))
    }
}

#[async_trait]
impl Provider for HttpServer {
    const NAME: &'static str = "http-server";

    /// One that waits for its address is not ready.
    const LOOKS_AT_ONCE: bool = true;

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            servers: Servers::new(session.clone()),
            order: Order::default(),
            identities: Sharing::new(),
            session,
        }))
    }

    fn link_comes(&self, link: &LinkKey) {
        self.order.comes(link);
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !is_route(link) {
            return Err(LinkError::invalid(
                "an HTTP server is linked for `incoming-handler` of `wasi:http`",
            ));
        }
        self.servers.add(self.wanted(link).await?)
    }

    async fn replace_source_link(
        &self,
        old: &ProviderLink,
        new: &ProviderLink,
    ) -> Result<ConfigChange, LinkError> {
        if !is_route(new) {
            // Whoever takes the interface away does not want the old link to go on.
            return Ok(ConfigChange::Relink);
        }
        let wanted = self.wanted(new).await?;
        self.check_required(new).await?;
        // Where the config of the provider has changed, all links leave their places.
        self.servers.replace(wanted, old != new)
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.servers.remove(&link.key()).await;
    }

    async fn forget_source_link(&self, link: &ProviderLink) {
        self.order.forget(&link.key());
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = ProviderSettings::of(&self.session)
            .and_then(|provider| LinkSettings::of(link, &provider));
        settings.map_or_else(|_| Features::new(), |settings| features(&settings))
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let standing = self.servers.check(&link.key())?;
        let renewed = match &standing.identity {
            Some(identity) => identity.renew().await,
            None => Ok(()),
        };
        standing.waits.map_or(renewed, Err)
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.servers.shutdown(until).await;
    }
}

/// Whether a link is for what this provider calls.
fn is_route(link: &ProviderLink) -> bool {
    link.is_for("wasi", "http") && carries(&link.interfaces, "incoming-handler")
}

/// What a link with these settings can do.
fn features(settings: &LinkSettings) -> Features {
    let (connection, common) = (&settings.connection, &settings.common);
    let features = Features::new()
        .having("http1")
        .having("http2")
        .having("sse")
        .having("streams")
        .having("trailers")
        .with("max-header-bytes", connection.header_bytes)
        .with("max-concurrent-streams", connection.streams)
        .with("max-body-bytes", common.body.bytes);
    let features = match common.timeout {
        Some(timeout) => features.with("timeout-ms", timeout.as_millis()),
        // The host's own time for calls holds, which only the host knows.
        None => features.lacking("timeout-ms"),
    };
    let optional = [
        ("tls", settings.tls.is_some()),
        ("websocket", common.websocket),
        ("keep-alive", common.keep_alive),
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
