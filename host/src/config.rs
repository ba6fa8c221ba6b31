//! What a host is told at its start; nothing here changes while it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{KeyKind, PublicKey, SigningKey};
use lattice_core::provider::{LogLevel, OtelConfig};
use lattice_core::subject::{TopicPrefix, is_reserved};
use lattice_core::{LatticeName, StringMap};
use lattice_runtime::RuntimeConfig;

use crate::builtin::Builtins;

mod nats;

pub use nats::{NatsConfig, ProviderSigner};

mod secrets;
mod trust;

pub use secrets::SecretsConfig;
pub use trust::{PolicyConfig, TrustConfig};

/// How calls to a component queue up when all its instances are busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// How many calls may wait, per component.
    pub max_queued: usize,
    /// How long one may wait before it is refused.
    pub max_wait: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_queued: 1_024,
            max_wait: Duration::from_secs(1),
        }
    }
}

/// How providers are started, watched and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderConfig {
    /// How long a provider may take to answer a shutdown request before it is killed.
    pub shutdown_delay: Duration,
    /// The largest provider file or library in an archive, in bytes.
    pub max_bytes: u64,
    /// How often a healthy provider is asked for its health.
    pub health_interval: Duration,
    /// How long a process that has been started may do other things before it answers one.
    pub settling: Duration,
    /// How long a process has to live without a word to count as started all the same, as one does in
    /// 1.9 from its first moment.
    pub silence: Duration,
    /// How many health requests in a row may stay unanswered before the provider counts as failed.
    pub health_misses: u32,
    /// The pause before the first restart of a process that ended by itself.
    pub first_restart: Duration,
    /// The longest pause before a restart.
    pub longest_restart: Duration,
    /// How long a process has to live for its next end to count as the first again.
    pub stable_after: Duration,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            shutdown_delay: Duration::from_millis(300),
            max_bytes: 512 << 20,
            health_interval: Duration::from_secs(30),
            settling: Duration::from_secs(20),
            // Whoever waits for its start waits longer.
            silence: Duration::from_secs(5),
            health_misses: 3,
            first_restart: Duration::from_millis(500),
            longest_restart: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
        }
    }
}

/// Who, in this lattice, may have code run in this host that it has not compiled itself.
///
/// A holder of one of these keys can do whatever the host's process can. Nobody is trusted unless
/// named.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// The cluster key: signs what this host compiles, and is trusted. It has to be of the kind
    /// [`KeyKind::Cluster`]; the hosts that are to share code have the same. `None` gives nothing
    /// to others.
    pub key: Option<Arc<SigningKey>>,
    /// Further cluster keys that are trusted.
    pub issuers: Vec<PublicKey>,
}

impl ClusterConfig {
    /// Whose code counts, the own key first. Empty when code is not shared.
    pub fn trusted(&self) -> Vec<PublicKey> {
        let own = self.key.as_ref();
        let own = own.and_then(|key| PublicKey::parse(&key.public_key()).ok());
        let others = self.issuers.iter().filter(|issuer| {
            let own = own.as_ref().map(PublicKey::as_text);
            Some(issuer.as_text()) != own
        });
        own.iter().chain(others).cloned().collect()
    }
}

/// Everything a [`Host`](crate::Host) needs to know before it starts.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The lattice to join.
    pub lattice: LatticeName,
    /// The key whose public half is the host id. It has to be of the kind [`KeyKind::Host`].
    pub key: Arc<SigningKey>,
    /// The cluster of the host: who vouches for it, whose hosts it believes, and with whom compiled
    /// code is shared.
    pub cluster: ClusterConfig,
    /// Whether compiled code is shared within the cluster.
    pub share_code: bool,
    /// Whether calls are let in that do not prove who makes them, as those of 1.x hosts and
    /// providers. Without them the host needs a cluster key.
    pub allow_legacy_peers: bool,
    /// The name shown to people; made up when there is none.
    pub friendly_name: Option<String>,
    /// Labels of the operator, over those of the machine.
    pub labels: StringMap,
    /// The connection for control, events and the store.
    pub ctl: NatsConfig,
    /// The connection for calls and for providers.
    pub rpc: NatsConfig,
    /// Who signs for users of provider processes; `None` to let them connect as the host does.
    pub provider_signer: Option<Arc<ProviderSigner>>,
    /// The log of the NATS server, for what it refuses to become events.
    pub bus_log: Option<PathBuf>,
    /// What control subjects start with.
    pub ctl_topic_prefix: TopicPrefix,
    /// The JetStream domain of the store.
    pub js_domain: Option<String>,
    /// How many servers keep a copy of a bucket that this host creates; 0 leaves it to the server.
    pub store_replicas: usize,
    /// How long a request to a provider may take.
    pub rpc_timeout: Duration,
    /// The deadline of calls whose caller tells none.
    pub call_timeout: Duration,
    /// The latest deadline that a call may have.
    pub max_execution_time: Duration,
    /// The time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How long calls under way may take to end when the host stops.
    pub drain_timeout: Duration,
    /// Whether components and providers may be read from files of this machine.
    pub allow_file_load: bool,
    /// Whose components and providers run here.
    pub trust: TrustConfig,
    /// Who is asked before something runs or is called.
    pub policy: Option<PolicyConfig>,
    /// Whether the host bids for components.
    pub component_auctions: bool,
    /// Whether the host bids for providers.
    pub provider_auctions: bool,
    /// How calls wait for an instance.
    pub queue: QueueConfig,
    /// Whether what all components do at once is bounded while the host has more to do than it
    /// can.
    pub adaptive_limit: bool,
    /// How providers are run.
    pub providers: ProviderConfig,
    /// Where secrets come from.
    pub secrets: SecretsConfig,
    /// The folder for the socket over which provider processes are reached; `None` for none, so
    /// that they are reached over NATS.
    pub socket_folder: Option<PathBuf>,
    /// The providers that can run inside the host.
    pub builtins: Builtins,
    /// Settings of the runtime.
    pub runtime: RuntimeConfig,
    /// How much providers log.
    pub log_level: LogLevel,
    /// Whether logs are JSON lines.
    pub structured_logging: bool,
    /// Telemetry settings, those of the host's process and what its providers receive.
    pub otel: OtelConfig,
    /// Where `/livez`, `/readyz` and `/metrics` are answered.
    pub http_admin: Option<SocketAddr>,
}

impl HostConfig {
    /// The usual deadline of calls whose caller tells none.
    pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

    /// The settings of a host that is told nothing: a fresh key, the local NATS server.
    pub fn new(lattice: LatticeName) -> Self {
        Self {
            lattice,
            key: Arc::new(SigningKey::generate(KeyKind::Host)),
            cluster: ClusterConfig::default(),
            share_code: true,
            allow_legacy_peers: true,
            friendly_name: None,
            labels: StringMap::new(),
            ctl: NatsConfig::default(),
            rpc: NatsConfig::default(),
            provider_signer: None,
            bus_log: None,
            ctl_topic_prefix: TopicPrefix::default(),
            js_domain: None,
            store_replicas: 0,
            rpc_timeout: Duration::from_secs(2),
            call_timeout: Self::CALL_TIMEOUT,
            max_execution_time: Duration::from_secs(600),
            heartbeat_interval: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            allow_file_load: false,
            trust: TrustConfig::default(),
            policy: None,
            component_auctions: true,
            provider_auctions: true,
            queue: QueueConfig::default(),
            adaptive_limit: true,
            providers: ProviderConfig::default(),
            secrets: SecretsConfig::default(),
            socket_folder: None,
            builtins: Builtins::default(),
            runtime: RuntimeConfig::default(),
            log_level: LogLevel::default(),
            structured_logging: false,
            otel: OtelConfig::default(),
            http_admin: None,
        }
    }

    /// What it listens to and asks at that is not for components, beside what every host has.
    pub(crate) fn reserved_subjects(&self) -> Vec<String> {
        let policy = self.policy.iter();
        let policy = policy.flat_map(|policy| [Some(&policy.topic), policy.changes_topic.as_ref()]);
        let topics = policy.chain([Some(&self.ctl_topic_prefix), self.secrets.topic.as_ref()]);
        let topics = topics.flatten().map(ToString::to_string);
        // Those that every provider knows need not be told.
        let is_news = |topic: &String| !is_reserved(topic, &self.lattice);
        topics.filter(is_news).collect()
    }

    /// Uses one NATS server for both connections.
    #[must_use]
    pub fn nats(mut self, nats: NatsConfig) -> Self {
        self.rpc = nats.clone();
        self.ctl = nats;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_its_own_are_told_as_not_for_components() {
        let topic = |text| TopicPrefix::new(text).unwrap();
        let mut config = HostConfig::new(LatticeName::default());
        assert!(config.reserved_subjects().is_empty());
        config.ctl_topic_prefix = topic("acme.ctl");
        config.secrets.topic = Some(topic("acme.secrets"));
        config.policy = Some(PolicyConfig {
            changes_topic: Some(topic("acme.news")),
            ..PolicyConfig::new(topic("acme.policy"))
        });
        let told = config.reserved_subjects();
        assert_eq!(
            told,
            ["acme.policy", "acme.news", "acme.ctl", "acme.secrets"]
        );
    }

    #[test]
    fn the_own_key_is_trusted_first_and_once() {
        let key = Arc::new(SigningKey::generate(KeyKind::Cluster));
        let other = SigningKey::generate(KeyKind::Cluster).public_key();
        let own = key.public_key();
        let issuers = [&other, &own].map(|text| PublicKey::parse(text).unwrap());
        let trusted = |key| {
            let issuers = issuers.to_vec();
            let trusted = ClusterConfig { key, issuers }.trusted();
            trusted.iter().map(PublicKey::as_text).collect::<Vec<_>>()
        };
        assert_eq!(trusted(Some(key)), [own.clone(), other.clone()]);
        assert_eq!(trusted(None), [other, own]);
        assert!(ClusterConfig::default().trusted().is_empty());
    }
}
