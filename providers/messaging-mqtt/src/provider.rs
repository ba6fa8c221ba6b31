//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::messaging::{self, Defaults, Deliverer, DeliveryRules, Intake};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, LinkRole, Provider, ProviderLink,
    Session, Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use rumqttc::v5::MqttOptions;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::MqttBroker;
use crate::broker_session::BrokerSession;
use crate::dead_letters::DeadLetterTarget;
use crate::options;
use crate::publisher::{ConnectError, Publisher};
use crate::settings::{ServerSettings, SourceSettings, kept};
use crate::subscriber::{self, Status};

/// How long what is under way may take when its link is deleted.
const END_WITHIN: Duration = Duration::from_secs(3);
/// How many messages of its own a session may have on their way.
const OUTGOING_AT_ONCE: u16 = 256;
/// How long a message that the broker does not keep is held for a component out of reach.
const UNREACHED: Duration = Duration::from_secs(5);

/// Messages by MQTT 5.
pub struct MessagingMqtt {
    session: Session,
    publishers: Sharing<ServerSettings, Publisher>,
    brokers: Arc<Backends<MqttBroker>>,
    links: Mutex<HashMap<LinkKey, Link>>,
    /// The sessions of links, which stay with the brokers when links go.
    sessions: Mutex<HashMap<LinkKey, LinkSession>>,
}

/// The session of a link, which stays with its broker.
#[derive(Clone)]
struct LinkSession {
    broker_session: BrokerSession,
    /// Where copies tell each other who has it.
    publisher: Arc<Shared<Publisher>>,
}

/// What a link has.
struct Link {
    publisher: Arc<Shared<Publisher>>,
    kept: bool,
    /// Whether no dead letter is lost.
    keeps_letters: bool,
    told: Option<Told>,
}

/// What a link has with the provider as source.
struct Told {
    intake: Intake,
    status: watch::Receiver<Status>,
    /// Why it cannot post dead letters.
    unposted: Arc<Mutex<Option<String>>>,
}

impl Told {
    fn trouble(&self) -> Option<String> {
        match &*self.status.borrow() {
            Status::Failed(why) => Some(why.clone()),
            _ => self.unposted.lock().clone(),
        }
    }
}

impl std::fmt::Debug for MessagingMqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessagingMqtt").finish_non_exhaustive()
    }
}

impl MessagingMqtt {
    async fn publisher(
        &self,
        server: &ServerSettings,
    ) -> Result<Arc<Shared<Publisher>>, LinkError> {
        // A broker hangs up on one of two connections of the same name.
        let name = format!("lattice-{}", uuid::Uuid::new_v4().simple());
        let connect = || Publisher::connect(server, &name);
        let publisher = self.publishers.get(server, connect).await;
        publisher.map(Arc::new).map_err(|error| match error {
            ConnectError::Tls(_) => LinkError::invalid(chain(&error)),
            ConnectError::Connect { .. } => LinkError::unavailable(chain(&error)),
        })
    }

    /// The session of a link. Its name does not tell what it is subscribed to, so that it is still the same
    /// when that changes.
    fn session_of(
        &self,
        link: &ProviderLink,
        source: &SourceSettings,
        server: &ServerSettings,
        at_once: u16,
    ) -> Result<BrokerSession, LinkError> {
        let name = source.client_id.clone().unwrap_or_else(|| {
            let (lattice, own) = (self.session.lattice(), self.session.id());
            let (peer, name) = (&link.peer, &link.name);
            let package = format!("{}-{}", link.namespace, link.package);
            format!("lattice.{lattice}.{own}.{peer}.{name}.{package}")
        });
        let options = options_of_session(server, &name, source.expiry, at_once)?;
        Ok(BrokerSession::new(
            options,
            source.shared,
            source.filters.clone(),
        ))
    }

    /// Goes on with the session that the link had, if it is the same one. Returns what that may still be
    /// subscribed to and should not.
    fn take_up(&self, link: &ProviderLink, link_session: &mut LinkSession) -> Vec<String> {
        let mut known = self.sessions.lock();
        let gone = match known.get(&link.key()) {
            // It is let go when there is another in its place.
            Some(before)
                if !before
                    .broker_session
                    .is_same_session(&link_session.broker_session) =>
            {
                return Vec::new();
            }
            Some(before) => link_session
                .broker_session
                .continue_from(&before.broker_session),
            None => Vec::new(),
        };
        let mut whole = link_session.clone();
        whole.broker_session.filters.extend(gone.iter().cloned());
        known.insert(link.key(), whole);
        gone
    }

    /// Has the session of a link that works in the place of the one from before, which is let go if it is
    /// another one.
    fn settle(&self, link: &ProviderLink, link_session: LinkSession) {
        let mut known = self.sessions.lock();
        let before = known.insert(link.key(), link_session);
        if let Some(before) = before.filter(|before| !has(&known, before)) {
            tokio::spawn(async move { before.broker_session.unsubscribe(&before.publisher).await });
        }
    }

    async fn tell(&self, link: &ProviderLink) -> Result<Link, LinkError> {
        let settings = Settings::of(&self.session, link);
        let source = SourceSettings::read(&settings)?;
        let server = ServerSettings::read(&settings)?;
        let defaults = match source.kept {
            true => Defaults::of(&self.session),
            false => Defaults {
                unreached: Some(UNREACHED),
                ..Defaults::of(&self.session)
            },
        };
        let rules = DeliveryRules::read(&settings, &defaults)?;
        let publisher = self.publisher(&server).await?;
        let at_once = u16::try_from(rules.max_in_flight).unwrap_or(u16::MAX);
        let mut link_session = LinkSession {
            broker_session: self.session_of(link, &source, &server, at_once)?,
            publisher: Arc::clone(&publisher),
        };
        let gone = self.take_up(link, &mut link_session);
        let intake = Intake::new();
        let dead_letter_target = DeadLetterTarget::new(&rules, link.peer.as_str(), source.kept);
        let (keeps_letters, unposted) = (
            dead_letter_target.keeps(),
            Arc::clone(&dead_letter_target.trouble),
        );
        let session = subscriber::Session {
            broker_session: link_session.broker_session.clone(),
            gone,
            kept: source.kept,
            deliverer: Deliverer::new(&self.session, link, rules, &intake),
            publisher: Arc::clone(&publisher),
            dead_letter_target,
        };
        let mut status = subscriber::begin(session, &intake);
        let known = status.wait_for(|status| *status != Status::Beginning).await;
        let known = known.map_or(Status::Beginning, |status| status.clone());
        if let Status::Failed(why) = known {
            return Err(LinkError::unavailable(why));
        }
        self.settle(link, link_session);
        Ok(Link {
            publisher,
            kept: source.kept,
            keeps_letters,
            told: Some(Told {
                intake,
                status,
                unposted,
            }),
        })
    }
}

/// Whether a link has this session.
fn has(known: &HashMap<LinkKey, LinkSession>, link_session: &LinkSession) -> bool {
    known.values().any(|other| {
        other
            .broker_session
            .is_same_session(&link_session.broker_session)
    })
}

/// How a session is connected to that outlives its connection by `expiry`.
fn options_of_session(
    server: &ServerSettings,
    name: &str,
    expiry: Duration,
    at_once: u16,
) -> Result<MqttOptions, LinkError> {
    let mut options = options::options(server, name)
        .map_err(|e| LinkError::invalid_because("could not use the certificates", e))?;
    options.set_clean_start(false);
    options.set_manual_acks(true);
    let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
    options.set_session_expiry_interval(Some(seconds));
    options.set_receive_maximum(Some(at_once));
    // It publishes nothing, and the client has room for as many as this.
    options.set_outgoing_inflight_upper_limit(OUTGOING_AT_ONCE);
    Ok(options)
}

#[async_trait]
impl Provider for MessagingMqtt {
    const NAME: &'static str = "messaging-mqtt";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let brokers = Arc::new(Backends::new());
        messaging::serve(&session, Arc::clone(&brokers)).await?;
        Ok(Arc::new(Self {
            session,
            publishers: Sharing::new(),
            brokers,
            links: Mutex::default(),
            sessions: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let (kept, retain) = (kept(&settings)?, settings.switch("retain", false)?);
        let publisher = self.publisher(&ServerSettings::read(&settings)?).await?;
        let known = Link {
            publisher: Arc::clone(&publisher),
            kept,
            // It is for those links to say that bring what this one publishes.
            keeps_letters: kept,
            told: None,
        };
        self.links.lock().insert(link.key(), known);
        let broker = MqttBroker {
            publisher,
            kept,
            retain,
        };
        self.brokers.put(link, Arc::new(broker));
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
        if let Some(told) = known.and_then(|link| link.told) {
            told.intake.end(Instant::now() + END_WITHIN).await;
        }
    }

    async fn forget_source_link(&self, link: &ProviderLink) {
        let link_session = {
            let mut known = self.sessions.lock();
            let link_session = known.remove(&link.key());
            link_session.filter(|link_session| !has(&known, link_session))
        };
        if let Some(link_session) = link_session {
            link_session
                .broker_session
                .unsubscribe(&link_session.publisher)
                .await;
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let links = self.links.lock();
        let Some(link) = links.get(&link.key()) else {
            return Features::new();
        };
        let features = Features::new()
            .lacking("cas")
            .lacking("paging")
            .with("order", "connection")
            .with("request", "no-responders")
            .having("groups")
            .having("headers")
            .with("max-message-bytes", link.publisher.limit());
        let features = match link.keeps_letters {
            true => features.having("dead-letter"),
            false => features.lacking("dead-letter"),
        };
        match link.kept {
            true => features
                .with("consistency", "strong")
                .with("ttl", "session")
                .with("delivery", "at-least-once"),
            false => features
                .lacking("consistency")
                .lacking("ttl")
                .with("delivery", "at-most-once"),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (publisher, trouble) = {
            let links = self.links.lock();
            let Some(known) = links.get(&link.key()) else {
                return Ok(());
            };
            let trouble = known.told.as_ref().and_then(Told::trouble);
            (Arc::clone(&known.publisher), trouble)
        };
        if let Some(why) = trouble {
            return Err(LinkError::unavailable(why));
        }
        // A session has a connection of its own, which tells when it is lost.
        if link.role == LinkRole::Source && !publisher.is_connected() {
            return Ok(());
        }
        let checked = publisher.check().await;
        checked.map_err(|error| LinkError::unavailable(error.to_string()))
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // What links do not say themselves, the config says.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let links = std::mem::take(&mut *self.links.lock());
        let told = links.into_values().filter_map(|link| link.told);
        let ends = told.map(|told| told.intake.end(until));
        futures::future::join_all(ends).await;
    }
}
