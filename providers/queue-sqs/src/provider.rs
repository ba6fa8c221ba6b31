//! The provider: its links and its functions.

use std::sync::Arc;
use std::time::Duration;

use lattice_backend_http::aws;
use lattice_core::StringMap;
use lattice_provider_sdk::queue::{NewLink, QueueLinks};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Sharing,
    StartError, async_trait,
};
use tokio::time::Instant;

use crate::backend::SqsQueues;
use crate::client::Sqs;
use crate::settings::{LinkSettings, SqsSettings};

/// How long SQS may take to say whether it is there. Less than a put or a look has.
const GREETING: Duration = Duration::from_millis(2400);

/// Queues in SQS.
#[derive(Debug)]
pub struct QueueSqs {
    session: Session,
    services: Sharing<SqsSettings, Arc<Sqs>>,
    links: QueueLinks<SqsQueues>,
}

impl QueueSqs {
    async fn put(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let service = SqsSettings::read(&settings, aws::environment)?;
        let said = LinkSettings::read(&settings, &service)?;
        let make = || async { Sqs::new(service.clone().located().await?).map(Arc::new) };
        let sqs = self.services.get(&service, make).await;
        let sqs = sqs.map_err(|error| {
            LinkError::invalid_because("the certificates of the link cannot be used", error)
        })?;
        let new = NewLink::read(link, &settings, SqsQueues::new(sqs, said))?;
        in_time(new.queues().open_own()).await?;
        self.links.put(&self.session, link, new);
        Ok(())
    }
}

async fn in_time(look: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    let looked = tokio::time::timeout(GREETING, look).await;
    looked.unwrap_or_else(|_| {
        Err(LinkError::unavailable(format!(
            "SQS did not answer within {GREETING:?}"
        )))
    })
}

#[async_trait]
impl Provider for QueueSqs {
    const NAME: &'static str = "queue-sqs";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            links: QueueLinks::serve(&session).await?,
            session,
            services: Sharing::new(),
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
        match self.links.of(link) {
            Some(queues) => in_time(queues.check()).await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Any value may be one that links fall back on.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.links.end(until).await;
    }
}
