//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::queue::{NewLink, QueueLinks};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, LinkRole, Provider, ProviderLink, Session, Settings,
    Sharing, StartError, async_trait, chain,
};
use lattice_rabbitmq::{ConnectError, RabbitSettings};
use tokio::time::Instant;

use crate::backend::RabbitQueues;
use crate::rabbit::Rabbit;
use crate::settings::LinkSettings;

/// Queues in RabbitMQ.
#[derive(Debug)]
pub struct QueueRabbitmq {
    session: Session,
    rabbits: Sharing<RabbitSettings, Rabbit>,
    links: QueueLinks<RabbitQueues>,
}

impl QueueRabbitmq {
    async fn put(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let said = LinkSettings::read(&settings)?;
        let name = self.session.id().as_str();
        let connect = || Rabbit::connect(&said.server, name);
        let rabbit = self.rabbits.get(&said.server, connect).await;
        let rabbit = rabbit.map_err(no_connection)?;
        let queues = RabbitQueues::new(rabbit, said, link.key());
        let new = NewLink::read(link, &settings, queues)?;
        new.queues().check().await?;
        self.links.put(&self.session, link, new);
        Ok(())
    }
}

#[async_trait]
impl Provider for QueueRabbitmq {
    const NAME: &'static str = "queue-rabbitmq";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            links: QueueLinks::serve(&session).await?,
            session,
            rabbits: Sharing::new(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.put(link).await
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.put(link).await
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.links.delete(link).await;
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.links.delete(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let queues = self.links.of(link);
        queues.map_or_else(Features::new, |queues| queues.features())
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let Some(queues) = self.links.of(link) else {
            return Ok(());
        };
        queues.check().await?;
        match link.role {
            LinkRole::Target => queues.check_sending(),
            // What it takes is handled all the same.
            LinkRole::Source => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.links.end(until).await;
    }
}

fn no_connection(error: ConnectError) -> LinkError {
    LinkError::unavailable(chain(&error))
}
