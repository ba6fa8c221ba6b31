//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::messaging::{self, Defaults, Deliverer, DeliveryRules, Intake};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::broker::RabbitBroker;
use crate::consumer::{self, Queue, Trouble};
use crate::rabbit::Rabbit;
use crate::settings::{ServerSettings, SourceSettings};

/// How long what is under way may take when its link is deleted.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Messages by RabbitMQ.
pub struct MessagingRabbitMq {
    session: Session,
    rabbits: Sharing<ServerSettings, Rabbit>,
    brokers: Arc<Backends<RabbitBroker>>,
    links: Mutex<HashMap<LinkKey, Link>>,
}

/// What a link has.
struct Link {
    rabbit: Arc<Shared<Rabbit>>,
    troubles: Vec<Trouble>,
    intake: Option<Intake>,
}

impl std::fmt::Debug for MessagingRabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessagingRabbitMq").finish_non_exhaustive()
    }
}

impl MessagingRabbitMq {
    async fn connect(&self, settings: &Settings) -> Result<Arc<Shared<Rabbit>>, LinkError> {
        let server = ServerSettings::read(settings)?;
        let name = self.session.id().as_str();
        let rabbit = self.rabbits.get(&server, || Rabbit::connect(&server, name));
        let rabbit = rabbit.await;
        rabbit
            .map(Arc::new)
            .map_err(|error| LinkError::unavailable(chain(&error)))
    }

    async fn tell(&self, link: &ProviderLink) -> Result<Link, LinkError> {
        let settings = Settings::of(&self.session, link);
        let (lattice, own) = (self.session.lattice(), self.session.id());
        let queue = format!("lattice.{lattice}.{own}.{}.{}", link.peer, link.name);
        let source = SourceSettings::read(&settings, queue)?;
        let rules = DeliveryRules::read(&settings, &Defaults::of(&self.session))?;
        let rabbit = self.connect(&settings).await?;
        let mut told = Link {
            rabbit: Arc::clone(&rabbit),
            troubles: Vec::new(),
            intake: None,
        };
        let intake = Intake::new();
        let deliverer = Deliverer::new(&self.session, link, rules, &intake);
        for (name, keys) in source.queues {
            let what = format!("could not consume the queue `{name}`");
            let queue = Queue {
                rabbit: Arc::clone(&rabbit),
                deliverer: deliverer.clone(),
                name,
                keys,
                quorum: source.quorum,
            };
            let begun = consumer::begin(queue, &intake).await;
            let trouble = begun.map_err(|e| LinkError::unavailable_because(what, e))?;
            told.troubles.push(trouble);
        }
        told.intake = Some(intake);
        Ok(told)
    }
}

#[async_trait]
impl Provider for MessagingRabbitMq {
    const NAME: &'static str = "messaging-rabbitmq";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let brokers = Arc::new(Backends::new());
        messaging::serve(&session, Arc::clone(&brokers)).await?;
        Ok(Arc::new(Self {
            session,
            rabbits: Sharing::new(),
            brokers,
            links: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let mandatory = settings.switch("mandatory", false)?;
        let rabbit = self.connect(&settings).await?;
        let known = Link {
            rabbit: Arc::clone(&rabbit),
            troubles: Vec::new(),
            intake: None,
        };
        self.links.lock().insert(link.key(), known);
        self.brokers
            .put(link, Arc::new(RabbitBroker { rabbit, mandatory }));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let told = self.tell(link).await?;
        self.links.lock().insert(link.key(), told);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.brokers.delete(link);
        self.links.lock().remove(&link.key());
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        let known = self.links.lock().remove(&link.key());
        if let Some(intake) = known.and_then(|link| link.intake) {
            intake.end(Instant::now() + END_WITHIN).await;
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let links = self.links.lock();
        let Some(known) = links.get(&link.key()) else {
            return Features::new();
        };
        Features::new()
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .lacking("paging")
            .with("delivery", "at-least-once")
            .with("order", "queue")
            .with("request", "no-responders")
            .with("max-message-bytes", known.rabbit.settings.largest)
            .having("groups")
            .having("headers")
            .having("dead-letter")
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (rabbit, of_queues) = {
            let links = self.links.lock();
            let Some(known) = links.get(&link.key()) else {
                return Ok(());
            };
            let mut troubles = known.troubles.iter();
            let of_queues = troubles.find_map(|trouble| trouble.lock().clone());
            (Arc::clone(&known.rabbit), of_queues)
        };
        let trouble = rabbit.trouble().await.or(of_queues);
        trouble.map_or(Ok(()), |what| Err(LinkError::unavailable(what)))
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // What links do not say themselves, the config says.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let links = std::mem::take(&mut *self.links.lock());
        let intakes = links.into_values().filter_map(|link| link.intake);
        futures::future::join_all(intakes.map(|intake| intake.end(until))).await;
    }
}
