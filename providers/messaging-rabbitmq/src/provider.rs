//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lattice_core::StringMap;
use lattice_provider_sdk::messaging::{self, Defaults, Deliverer, DeliveryRules, Intake};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bindings::{Bindings, Place};
use crate::broker::RabbitBroker;
use crate::consumer::{self, Queue, Trouble};
use crate::dead_letters::DeadLetterTarget;
use crate::given_back::GivenBack;
use crate::intake_line::IntakeLine;
use crate::left::Left;
use crate::queue;
use crate::rabbit::Rabbit;
use crate::settings::{QueueKind, ServerSettings, SourceSettings};

/// How long what is under way may take when its link is deleted.
const END_WITHIN: Duration = Duration::from_secs(3);
/// How long looking after the bindings of a link may take, which is done again and again.
const TENDED_WITHIN: Duration = Duration::from_millis(400);
/// How often in a row that may take longer: for some ten seconds.
const MISSES: u32 = 5;

/// Messages by RabbitMQ.
pub struct MessagingRabbitMq {
    session: Session,
    rabbits: Sharing<ServerSettings, Rabbit>,
    brokers: Arc<Backends<RabbitBroker>>,
    links: Mutex<HashMap<LinkKey, Link>>,
    left: Left,
}

/// What a link has.
struct Link {
    rabbit: Arc<Shared<Rabbit>>,
    /// Whether queues go when nobody consumes them.
    expires: bool,
    troubles: Vec<Trouble>,
    intake: Option<(Intake, Arc<Bindings>)>,
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

    /// The queue of a link for what has no group, unless the link names another.
    fn own_queue(&self, link: &ProviderLink) -> String {
        let (lattice, own) = (self.session.lattice(), self.session.id());
        format!("lattice.{lattice}.{own}.{}.{}", link.peer, link.name)
    }

    async fn tell(&self, link: &ProviderLink) -> Result<Link, LinkError> {
        let settings = Settings::of(&self.session, link);
        let own = self.own_queue(link);
        let source = SourceSettings::read(&settings, own.clone())?;
        let rules = DeliveryRules::read(&settings, &Defaults::of(&self.session))?;
        let rabbit = self.connect(&settings).await?;
        // Whatever becomes of it: it may be bound from now on.
        self.left.put(&link.key(), &rabbit);
        let (place, exchange) = (Place::of(link, &own), rabbit.settings.exchange.clone());
        let bindings = Arc::new(Bindings::new(place, exchange, source.queues));
        let line = rabbit.next_intake().await;
        let channels = bind(&line, &bindings, source.kind, &own).await?;
        let intake = Intake::new();
        let deliverer = Deliverer::new(&self.session, link, rules, &intake);
        let mut troubles = Vec::new();
        for (name, channel) in channels {
            let what = format!("could not consume the queue `{name}`");
            let dead_letter_target = DeadLetterTarget::new(&deliverer.rules().dead_letter, &name);
            troubles.push(Arc::clone(&dead_letter_target.trouble));
            let queue = Queue {
                rabbit: Arc::clone(&rabbit),
                deliverer: deliverer.clone(),
                name,
                kind: source.kind,
                bindings: Arc::clone(&bindings),
                dead_letter_target,
                given_back: GivenBack::default(),
            };
            let begun = consumer::begin(queue, channel, &intake).await;
            troubles.push(begun.map_err(|e| LinkError::unavailable_because(what, e))?);
        }
        Ok(Link {
            rabbit,
            expires: source.kind.expiry.is_some(),
            troubles,
            intake: Some((intake, bindings)),
        })
    }

    /// Makes the bindings of a link again if they have gone, and takes those away that it has where it
    /// was before.
    async fn tend(
        &self,
        link: &ProviderLink,
        rabbit: &Rabbit,
        bindings: &Bindings,
    ) -> Result<(), LinkError> {
        let Ok(line) = rabbit.intake() else {
            return Ok(());
        };
        let until = Instant::now() + TENDED_WITHIN;
        let mended = tokio::time::timeout_at(until, bindings.mend(&line.connection)).await;
        let misses = bindings.missed(mended.is_err());
        match mended {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::warn!(%link, "made bindings again that had gone"),
            Ok(Err(error)) => {
                let what = "could not bind the queues again";
                return Err(LinkError::unavailable_because(what, error));
            }
            // Another copy of the provider may be at it.
            Err(_) if misses < MISSES => return Ok(()),
            Err(_) => {
                let what = "could not see in time whether its queues are bound";
                return Err(LinkError::unavailable(what));
            }
        }
        let key = link.key();
        let cleared = self.left.clear(&key, &bindings.place, &line.connection);
        tokio::time::timeout_at(until, cleared).await.ok();
        Ok(())
    }

    /// Takes the bindings away that a link has had.
    async fn unbind(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let mut rabbits = self.left.take(&link.key());
        if rabbits.is_empty() {
            rabbits.push(self.connect(&Settings::of(&self.session, link)).await?);
        }
        let place = Place::of(link, &self.own_queue(link));
        // One that is not there keeps none of the others from it.
        let cleared = rabbits.iter().map(|rabbit| async {
            let line = rabbit.next_intake().await;
            place.clear(&line.connection).await
        });
        let cleared = futures::future::join_all(cleared).await;
        let cleared: Result<(), _> = cleared.into_iter().collect();
        cleared.map_err(|error| LinkError::unavailable(chain(&error)))
    }
}

/// Makes the queues of a link, and has them get what its keys say; a channel for each.
async fn bind(
    line: &IntakeLine,
    bindings: &Bindings,
    kind: QueueKind,
    own: &str,
) -> Result<Vec<(String, Channel)>, LinkError> {
    let mut channels = Vec::new();
    for name in bindings.queues.keys() {
        let declared = queue::declare(&line.connection, name, kind).await;
        let channel = declared.map_err(|error| {
            let what = format!("could not make the queue `{name}`");
            LinkError::unavailable_because(what, error)
        })?;
        channels.push((name.clone(), channel));
    }
    let bound = async {
        bindings.replace(&line.connection).await?;
        match channels.iter().find(|(name, _)| name == own) {
            Some((_, channel)) => bindings.forget_direct(channel, own).await,
            None => Ok(()),
        }
    };
    let bound = bound.await;
    bound.map_err(|e| LinkError::unavailable_because("could not bind the queues", e))?;
    Ok(channels)
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
            left: Left::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let mandatory = settings.switch("mandatory", false)?;
        let rabbit = self.connect(&settings).await?;
        let known = Link {
            rabbit: Arc::clone(&rabbit),
            // Those of most links do.
            expires: true,
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
        self.left.remove(&link.key(), &told.rabbit);
        self.links.lock().insert(link.key(), told);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.brokers.delete(link);
        self.links.lock().remove(&link.key());
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        let known = self.links.lock().remove(&link.key());
        let Some(known) = known else { return };
        self.left.put(&link.key(), &known.rabbit);
        if let Some((intake, _)) = known.intake {
            intake.end(Instant::now() + END_WITHIN).await;
        }
    }

    async fn forget_source_link(&self, link: &ProviderLink) {
        if let Err(error) = self.unbind(link).await {
            let error = error.reason();
            tracing::warn!(%link, error, "queues of a deleted link take messages until they expire");
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let links = self.links.lock();
        let Some(known) = links.get(&link.key()) else {
            return Features::new();
        };
        let features = match known.expires {
            true => Features::new().with("ttl", "queue"),
            false => Features::new().lacking("ttl"),
        };
        features
            .with("consistency", "strong")
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
        let (rabbit, of_queues, bindings) = {
            let links = self.links.lock();
            let Some(known) = links.get(&link.key()) else {
                return Ok(());
            };
            let mut troubles = known.troubles.iter();
            let of_queues = troubles.find_map(|trouble| trouble.lock().clone());
            let bindings = known.intake.as_ref();
            let bindings = bindings.map(|(_, bindings)| Arc::clone(bindings));
            (Arc::clone(&known.rabbit), of_queues, bindings)
        };
        let trouble = match bindings {
            Some(_) => rabbit.intake_trouble().await,
            None => rabbit.trouble().await,
        };
        match (trouble.or(of_queues), bindings) {
            (Some(what), _) => Err(LinkError::unavailable(what)),
            (None, Some(bindings)) => self.tend(link, &rabbit, &bindings).await,
            (None, None) => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // What links do not say themselves, the config says.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let links = std::mem::take(&mut *self.links.lock());
        let intakes = links.into_values().filter_map(|link| link.intake);
        let ends = intakes.map(|(intake, _)| intake.end(until));
        futures::future::join_all(ends).await;
    }
}
