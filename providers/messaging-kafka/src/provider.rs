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

use crate::broker::KafkaBroker;
use crate::client::{ClientError, Kafka};
use crate::reader::{self, Reader, Trouble, Unread};
use crate::settings::{Form, ReaderSettings, ServerSettings, partitions};

/// How long what is under way may take when its link is deleted.
const END_WITHIN: Duration = Duration::from_secs(3);
/// How long a link may take to begin, which is a bit less than who puts it waits.
const BEGIN_WITHIN: Duration = Duration::from_secs(4);

/// Messages by Kafka's protocol.
pub struct MessagingKafka {
    session: Session,
    clients: Sharing<ServerSettings, Kafka>,
    brokers: Arc<Backends<KafkaBroker>>,
    links: Mutex<HashMap<LinkKey, Link>>,
}

/// What a link has.
struct Link {
    kafka: Arc<Shared<Kafka>>,
    /// Those that have to be there.
    topics: Vec<String>,
    unread: Arc<Unread>,
    unposted: Trouble,
    intake: Option<Intake>,
}

impl std::fmt::Debug for MessagingKafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessagingKafka").finish_non_exhaustive()
    }
}

impl MessagingKafka {
    async fn connect(&self, settings: &Settings) -> Result<Arc<Shared<Kafka>>, LinkError> {
        let server = ServerSettings::read(settings)?;
        let kafka = self.clients.get(&server, || Kafka::connect(&server)).await;
        kafka.map(Arc::new).map_err(no_brokers)
    }

    /// Has the component at the other end told of messages.
    async fn read(
        &self,
        link: &ProviderLink,
        settings: &Settings,
        form: Form,
        kafka: Arc<Shared<Kafka>>,
        until: Instant,
    ) -> Result<Link, LinkError> {
        let lattice = self.session.lattice();
        let group = format!("lattice-{lattice}-{}-{}", link.peer, link.name);
        let read = ReaderSettings::read(settings, form, group)?;
        let rules = DeliveryRules::read(settings, &Defaults::of(&self.session))?;
        // A topic that nobody named may be missing.
        let mut topics = read.topics.clone();
        topics.retain(|_| !read.is_usual);
        kafka.check(&topics).await.map_err(no_brokers)?;
        let intake = Intake::new();
        let reader = Reader {
            kafka: Arc::clone(&kafka),
            deliverer: Deliverer::new(&self.session, link, rules, &intake),
            settings: read,
            unread: Arc::default(),
            unposted: Trouble::default(),
        };
        let (unread, unposted) = (Arc::clone(&reader.unread), Arc::clone(&reader.unposted));
        let begun = reader::begin(reader, &intake, until).await;
        let failed = |e| LinkError::unavailable_because("could not begin to read", e);
        begun.map_err(failed)?;
        Ok(Link {
            kafka,
            topics,
            unread,
            unposted,
            intake: Some(intake),
        })
    }

    async fn end(&self, link: &ProviderLink) {
        let known = self.links.lock().remove(&link.key());
        if let Some(intake) = known.and_then(|link| link.intake) {
            intake.end(Instant::now() + END_WITHIN).await;
        }
    }
}

impl Link {
    fn trouble(&self) -> Option<String> {
        let unread = self.unread.trouble();
        unread.or_else(|| self.unposted.lock().clone())
    }
}

#[async_trait]
impl Provider for MessagingKafka {
    const NAME: &'static str = "messaging-kafka";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let brokers = Arc::new(Backends::new());
        messaging::serve(&session, Arc::clone(&brokers)).await?;
        Ok(Arc::new(Self {
            session,
            clients: Sharing::new(),
            brokers,
            links: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let until = Instant::now() + BEGIN_WITHIN;
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let partitions = partitions(&settings, "producer_partitions")?;
        let kafka = self.connect(&settings).await?;
        // As in 1.9, where this is the only way of reading.
        let reads = settings.link_text("topic").is_some() || link.is_for("wasmcloud", "messaging");
        let known = match reads {
            true => {
                let read = self.read(link, &settings, Form::Old, Arc::clone(&kafka), until);
                read.await?
            }
            false => Link {
                kafka: Arc::clone(&kafka),
                topics: Vec::new(),
                unread: Arc::default(),
                unposted: Trouble::default(),
                intake: None,
            },
        };
        self.links.lock().insert(link.key(), known);
        let broker = KafkaBroker::new(kafka, partitions);
        self.brokers.put(link, Arc::new(broker));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let until = Instant::now() + BEGIN_WITHIN;
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let kafka = self.connect(&settings).await?;
        let known = self.read(link, &settings, Form::Own, kafka, until);
        let known = known.await?;
        self.links.lock().insert(link.key(), known);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.brokers.delete(link);
        self.end(link).await;
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.end(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let links = self.links.lock();
        let Some(known) = links.get(&link.key()) else {
            return Features::new();
        };
        Features::new()
            .with("consistency", "strong")
            .with("ttl", "topic")
            .lacking("cas")
            .lacking("paging")
            .with("delivery", "at-least-once")
            .with("order", "partition")
            .with("request", "yes")
            .with("max-message-bytes", known.kafka.settings.largest)
            .having("groups")
            .having("headers")
            .having("dead-letter")
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let known = {
            let links = self.links.lock();
            links.get(&link.key()).map(|known| {
                (
                    Arc::clone(&known.kafka),
                    known.topics.clone(),
                    known.trouble(),
                )
            })
        };
        let Some((kafka, topics, trouble)) = known else {
            return Ok(());
        };
        kafka.check(&topics).await.map_err(no_brokers)?;
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

fn no_brokers(error: ClientError) -> LinkError {
    match error {
        ClientError::Make(_) => LinkError::invalid(chain(&error)),
        ClientError::Ask { .. } => LinkError::unavailable(chain(&error)),
    }
}
