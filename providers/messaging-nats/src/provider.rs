//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::messaging::{self, Defaults, Deliverer, DeliveryRules, Intake};
use lattice_provider_sdk::nats::{NatsError, SubscriptionWatch, subscriptions_known};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, LinkRole, Provider, ProviderLink,
    Session, Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::NatsBroker;
use crate::cluster::Cluster;
use crate::jetstream::{ConsumerError, Trouble};
use crate::reach::Reach;
use crate::settings::{ClusterSettings, SourceSettings, Subscription};
use crate::{core, groups, jetstream};

/// How long what is under way may take when its link is deleted.
const END_WITHIN: Duration = Duration::from_secs(3);
/// How long a message of core NATS is held for a component that cannot be reached.
const UNREACHED: Duration = Duration::from_secs(5);

/// Messages by NATS and JetStream.
pub struct MessagingNats {
    session: Session,
    clusters: Sharing<ClusterSettings, Cluster>,
    brokers: Arc<Backends<NatsBroker>>,
    told: Mutex<HashMap<LinkKey, Told>>,
    /// Links of which this provider is the target.
    targets: Mutex<HashMap<LinkKey, Target>>,
}

/// What a component publishes to.
#[derive(Clone)]
struct Target {
    cluster: Arc<Shared<Cluster>>,
    /// Whether publishing means streams.
    to_streams: bool,
}

/// A component that is told of messages.
struct Told {
    cluster: Arc<Shared<Cluster>>,
    troubles: Vec<Trouble>,
    /// Whether all of them are kept in streams.
    is_stored: bool,
    subscriptions: Vec<Subscription>,
    /// What the server makes of these.
    watches: Vec<SubscriptionWatch>,
    intake: Intake,
}

impl std::fmt::Debug for MessagingNats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessagingNats").finish_non_exhaustive()
    }
}

impl MessagingNats {
    async fn connect(&self, settings: &ClusterSettings) -> Result<Arc<Shared<Cluster>>, LinkError> {
        let connect = || Cluster::connect(settings, &self.session);
        let cluster = self.clusters.get(settings, connect).await;
        cluster.map(Arc::new).map_err(no_connection)
    }

    /// What a link says of its NATS, and which subjects of that are for its component.
    fn reach(&self, settings: &Settings) -> Result<(ClusterSettings, Reach), LinkError> {
        let cluster = ClusterSettings::read(settings, &self.session.nats_settings())?;
        let reach = Reach::read(settings, &cluster, &self.session)?;
        Ok((cluster, reach))
    }

    /// The queue group of subscriptions that name none: copies of this provider share a link.
    fn group(&self, link: &ProviderLink) -> String {
        let (lattice, own) = (self.session.lattice(), self.session.id());
        // A queue group takes no blanks, which a link name may have.
        if link.name.as_str().contains(' ') {
            return self.session.name_in_backend(link);
        }
        format!("lattice-{lattice}-{own}-{}-{}", link.peer, link.name)
    }

    /// What a link says that its component gets.
    fn source(
        &self,
        link: &ProviderLink,
        settings: &Settings,
    ) -> Result<SourceSettings, LinkError> {
        let own = self.session.name_in_backend(link);
        let source = SourceSettings::read(settings, &self.group(link), &own)?;
        if source.subscriptions.is_empty() && source.consumers.is_empty() {
            let why = "its config names no `subscriptions`, `stream` or `consumers`";
            tracing::warn!(%link, why, "the component of a link gets nothing");
        }
        Ok(source)
    }

    /// Begins to take messages; those of core NATS are handed over when `turn` is cancelled.
    async fn tell(&self, link: &ProviderLink, turn: &CancellationToken) -> Result<Told, LinkError> {
        let settings = Settings::of(&self.session, link);
        let source = self.source(link, &settings)?;
        let fleeting = Defaults {
            max_in_flight: 1024,
            unreached: Some(UNREACHED),
            ..Defaults::of(&self.session)
        };
        let fleeting = DeliveryRules::read(&settings, &fleeting)?;
        let stored = DeliveryRules::read(&settings, &Defaults::of(&self.session))?;
        let (cluster, reach) = self.reach(&settings)?;
        reach.check_source(&source, &stored.dead_letter)?;
        let cluster = self.connect(&cluster).await?;
        // Only its server tells whether another address is that of the lattice.
        let reach = reach.over(&cluster);
        reach.check_source(&source, &stored.dead_letter)?;
        let mut told = Told {
            cluster: Arc::clone(&cluster),
            troubles: Vec::new(),
            is_stored: source.subscriptions.is_empty() && !source.consumers.is_empty(),
            subscriptions: source.subscriptions.clone(),
            watches: Vec::new(),
            intake: Intake::new(),
        };
        for consumer in source.consumers {
            // The attempt after which the server gives up has to be the last one here too.
            let make = |theirs: Option<u32>| {
                let mut rules = stored.clone();
                rules.max_deliver = theirs.map_or(rules.max_deliver, |n| n.min(rules.max_deliver));
                Deliverer::new(&self.session, link, rules, &told.intake)
            };
            let place = (&cluster, reach.clone());
            let begun = jetstream::begin(place, make, consumer, &told.intake).await;
            told.troubles.extend(begun.map_err(no_consumer)?);
        }
        let deliverer = Deliverer::new(&self.session, link, fleeting, &told.intake);
        for subscription in &source.subscriptions {
            let begun = core::begin(&cluster, &deliverer, subscription, &told.intake, turn).await;
            let watch = begun.map_err(|e| LinkError::unavailable(chain(&e)))?;
            told.watches.push(watch);
        }
        if !told.watches.is_empty() {
            subscriptions_known(&cluster.nats).await;
        }
        Ok(told)
    }

    /// Whether a changed link can begin before the old one ends. A message must not come to both, which
    /// being of one queue group makes sure of. Streams keep their messages meanwhile, and have an order.
    fn can_follow(&self, link: &ProviderLink) -> bool {
        if messaging::check_package(link, Self::NAME).is_err() {
            return false;
        }
        let settings = Settings::of(&self.session, link);
        let Ok(source) = self.source(link, &settings) else {
            return false;
        };
        let told = self.told.lock();
        let old = told.get(&link.key());
        source.consumers.is_empty()
            && old.is_some_and(|old| {
                !old.has_consumers() && groups::agree(&old.subscriptions, &source.subscriptions)
            })
    }

    /// Gives a link the place of the one before, which ends as a deleted one does. Then it is the new
    /// one's turn: no more messages are under way than the link allows.
    fn follow(&self, link: LinkKey, told: Told, turn: CancellationToken) {
        // Who waits for the new one waits for this too.
        let tasks = told.intake.tasks();
        let old = self.told.lock().insert(link, told);
        tasks.spawn(async move {
            let _turn = turn.drop_guard();
            if let Some(old) = old {
                old.intake.end(Instant::now() + END_WITHIN).await;
            }
        });
    }
}

#[async_trait]
impl Provider for MessagingNats {
    const NAME: &'static str = "messaging-nats";

    /// One of which the server refuses a subscription is not ready.
    const LOOKS_AT_ONCE: bool = true;

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let brokers = Arc::new(Backends::new());
        messaging::serve(&session, Arc::clone(&brokers)).await?;
        Ok(Arc::new(Self {
            session,
            clusters: Sharing::new(),
            brokers,
            told: Mutex::default(),
            targets: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let settings = Settings::of(&self.session, link);
        let to_streams = settings.switch("jetstream", false)?;
        let (cluster, reach) = self.reach(&settings)?;
        let cluster = self.connect(&cluster).await?;
        let target = Target {
            cluster: Arc::clone(&cluster),
            to_streams,
        };
        target.check().await?;
        self.targets.lock().insert(link.key(), target);
        let broker = NatsBroker {
            reach: reach.over(&cluster),
            cluster,
            to_streams,
        };
        self.brokers.put(link, Arc::new(broker));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        messaging::check_package(link, Self::NAME)?;
        let turn = CancellationToken::new();
        turn.cancel();
        let told = self.tell(link, &turn).await?;
        self.told.lock().insert(link.key(), told);
        Ok(())
    }

    async fn replace_source_link(
        &self,
        _old: &ProviderLink,
        new: &ProviderLink,
    ) -> Result<ConfigChange, LinkError> {
        if !self.can_follow(new) {
            return Ok(ConfigChange::Relink);
        }
        let turn = CancellationToken::new();
        let told = self.tell(new, &turn).await;
        match told {
            Ok(told) => {
                self.follow(new.key(), told, turn);
                Ok(ConfigChange::Taken)
            }
            Err(error) if error.may_pass() => Err(error),
            // It may be that less is allowed now than the old one has.
            Err(_) => Ok(ConfigChange::Relink),
        }
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.brokers.delete(link);
        self.targets.lock().remove(&link.key());
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        let told = self.told.lock().remove(&link.key());
        if let Some(told) = told {
            told.intake.end(Instant::now() + END_WITHIN).await;
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let (cluster, is_stored) = match link.role {
            LinkRole::Target => {
                let target = self.targets.lock().get(&link.key()).cloned();
                let to_streams = target.as_ref().is_some_and(|target| target.to_streams);
                (target.map(|target| target.cluster), to_streams)
            }
            LinkRole::Source => {
                let told = self.told.lock();
                let told = told.get(&link.key());
                let cluster = told.map(|told| Arc::clone(&told.cluster));
                (cluster, told.is_some_and(|told| told.is_stored))
            }
        };
        let limit = cluster.map_or(0, |cluster| cluster.nats.max_payload());
        let features = Features::new()
            .lacking("cas")
            .lacking("paging")
            .with("order", "connection")
            .with("request", "no-responders")
            .having("groups")
            .having("headers")
            .with("max-message-bytes", limit);
        match is_stored {
            true => features
                .with("consistency", "strong")
                .with("ttl", "stream")
                .with("delivery", "at-least-once")
                .having("dead-letter"),
            false => features
                .lacking("consistency")
                .lacking("ttl")
                .with("delivery", "at-most-once")
                .lacking("dead-letter"),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if link.role == LinkRole::Target {
            let target = self.targets.lock().get(&link.key()).cloned();
            return match target {
                Some(target) => target.check().await,
                None => Ok(()),
            };
        }
        let (cluster, trouble) = {
            let told = self.told.lock();
            let Some(told) = told.get(&link.key()) else {
                return Ok(());
            };
            (Arc::clone(&told.cluster), told.trouble())
        };
        is_connected(&cluster)?;
        trouble.map_or(Ok(()), |what| Err(LinkError::unavailable(what)))
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // What links do not say themselves, the config says.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let told = std::mem::take(&mut *self.told.lock());
        let ends = told.into_values().map(|told| told.intake.end(until));
        futures::future::join_all(ends).await;
    }
}

impl Target {
    /// Whether what the component publishes can be taken.
    async fn check(&self) -> Result<(), LinkError> {
        is_connected(&self.cluster)?;
        if !self.to_streams {
            return Ok(());
        }
        let answers = self.cluster.has_jetstream().await;
        answers.map_err(|e| LinkError::unavailable_because("JetStream does not answer", e))
    }
}

fn is_connected(cluster: &Cluster) -> Result<(), LinkError> {
    match cluster.is_connected() {
        true => Ok(()),
        false => Err(LinkError::unavailable(
            "there is no connection to NATS at the moment",
        )),
    }
}

impl Told {
    fn has_consumers(&self) -> bool {
        // Each has its own.
        !self.troubles.is_empty()
    }

    /// What the server refuses: its component is told of the rest.
    fn refusal(&self) -> Option<String> {
        let refused = self.watches.iter().find(|watch| watch.is_refused())?;
        let subject = refused.subject();
        Some(format!(
            "the NATS server refuses the subscription to `{subject}`; its user there needs the right to it"
        ))
    }

    fn trouble(&self) -> Option<String> {
        let mut troubles = self.troubles.iter();
        let trouble = || troubles.find_map(|trouble| trouble.lock().clone());
        self.refusal().or_else(trouble)
    }
}

fn no_connection(error: NatsError) -> LinkError {
    LinkError::unavailable(chain(&error))
}

/// Whatever it is, it may be mended at the server: consumers are deleted, streams made anew.
fn no_consumer(error: ConsumerError) -> LinkError {
    LinkError::unavailable(chain(&error))
}
