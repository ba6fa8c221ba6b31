//! Secrets: a host, a backend and what names a secret, on one NATS.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

#[path = "../common/mod.rs"]
mod common;
mod components;
mod impostors;
mod providers;

use std::time::Duration;

use common::{Events, Lattice};
use lattice_claims::archive::{ArchiveBuilder, native_target};
use lattice_claims::component::ValidTimes;
use lattice_claims::{
    ComponentMetadata, CurveKey, KeyKind, ProviderMetadata, SigningKey, epoch_seconds,
    sign_component,
};
use lattice_core::config::SecretReference;
use lattice_core::provider::SecretValue;
use lattice_core::subject::TopicPrefix;
use lattice_core::subject::secrets::{DEFAULT_SECRETS_TOPIC, SECRETS_BUCKET};
use lattice_core::{BackendName, StringMap};
use lattice_host::config::SecretsConfig;
use lattice_host::{Host, HostConfig};
use lattice_secrets::{Backend, BackendConfig, SecretsClient};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

/// Short, so that a test sees it.
const REFRESH: Duration = Duration::from_millis(200);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

fn topic() -> TopicPrefix {
    TopicPrefix::new(DEFAULT_SECRETS_TOPIC).unwrap()
}

fn backend() -> BackendName {
    BackendName::new("nats-kv").unwrap()
}

/// A lattice with a host that has a topic for secrets.
struct Scene {
    lattice: Lattice,
    host: Host,
    events: Events,
    /// Whose secrets are mapped.
    entity: SigningKey,
    secrets: SecretsClient,
    /// The seed of the key that the backend seals with.
    encryption: String,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Scene {
    /// Ends the backend, and waits until nobody answers.
    async fn silence(&mut self) {
        self.serving = None;
        let keys = ["db".to_owned()];
        // A request that the one that ended was still given goes unanswered.
        let within = Duration::from_millis(500);
        let asks = SecretsClient::new(self.lattice.client.clone(), topic(), within);
        common::until("the backend to go", async || {
            let asked = asks.add_mapping(&backend(), "M", &keys).await;
            matches!(asked, Err(lattice_secrets::AskError::NoBackend { .. })).then_some(())
        })
        .await;
    }

    /// With a backend that has the secret `db` and gives it to `entity`.
    async fn start(kind: KeyKind, refresh: Duration) -> Self {
        Self::start_with(kind, refresh, Vec::new()).await
    }

    /// The same with a host that is told the keys of backends.
    async fn start_with(
        kind: KeyKind,
        refresh: Duration,
        backend_keys: Vec<(BackendName, CurveKey)>,
    ) -> Self {
        let mut scene = Self::quiet(kind, refresh, backend_keys).await;
        scene.serve().await;
        scene.put("db", "hunter2").await;
        scene.allow("db").await;
        scene.refer("db", "db").await;
        scene
    }

    async fn quiet(
        kind: KeyKind,
        refresh: Duration,
        backend_keys: Vec<(BackendName, CurveKey)>,
    ) -> Self {
        let change = |config: &mut HostConfig| {
            config.secrets = SecretsConfig {
                topic: Some(topic()),
                refresh,
                backend_keys,
            };
            config.providers.health_interval = Duration::from_millis(200);
        };
        let (lattice, host, events) = Lattice::running_with(change).await;
        let client = lattice.client.clone();
        Self {
            secrets: SecretsClient::new(client, topic(), common::SOON),
            entity: SigningKey::generate(kind),
            encryption: CurveKey::generate().seed().expose().to_owned(),
            serving: None,
            lattice,
            host,
            events,
        }
    }

    async fn serve(&mut self) {
        let config = BackendConfig {
            topic: topic(),
            name: backend(),
            js_domain: None,
            bucket: SECRETS_BUCKET.to_owned(),
            history: 8,
            transit: CurveKey::generate(),
            encryption: CurveKey::from_seed(&self.encryption).unwrap(),
            trusted_issuers: Vec::new(),
            any_issuer: false,
            trusted_hosts: Vec::new(),
        };
        let nats = self.lattice.nats.client().await.unwrap();
        let backend = Backend::start(nats, config).await.unwrap();
        let serving = tokio::spawn(backend.run(std::future::pending()));
        self.serving = Some(AbortOnDropHandle::new(serving));
    }

    /// Gives the backend a value.
    async fn put(&self, key: &str, text: &str) {
        let value = SecretValue::String(text.to_owned());
        self.secrets.put(&backend(), key, value).await.unwrap();
    }

    /// Lets the entity have it.
    async fn allow(&self, key: &str) {
        let (id, keys) = (self.entity.public_key(), [key.to_owned()]);
        let added = self.secrets.add_mapping(&backend(), &id, &keys).await;
        added.unwrap();
    }

    /// Lets the entity no longer have it.
    async fn deny(&self, key: &str) {
        let (id, keys) = (self.entity.public_key(), [key.to_owned()]);
        let removed = self.secrets.remove_mapping(&backend(), &id, &keys).await;
        removed.unwrap();
    }

    /// Stores the reference `SECRET_{name}` to a key of the backend.
    async fn refer(&self, name: &str, key: &str) {
        let reference = SecretReference::new(name, "nats-kv", key, &StringMap::new());
        let stored = serde_json::to_value(reference.to_map()).unwrap();
        let tail = format!("config.put.SECRET_{name}");
        self.lattice.done(&tail, &stored).await;
    }

    /// Writes a component, signed for the entity, and gives its reference.
    fn signed_component(&self, text: &str) -> String {
        self.component_until(text, None)
    }

    /// The same with a token that expires.
    fn component_until(&self, text: &str, expires: Option<u64>) -> String {
        let wasm = ::wat::parse_str(text).unwrap();
        let metadata = ComponentMetadata {
            name: Some("reveal".to_owned()),
            ..ComponentMetadata::default()
        };
        let issuer = SigningKey::generate(KeyKind::Account);
        let times = ValidTimes {
            expires,
            ..ValidTimes::from(epoch_seconds())
        };
        let signed = sign_component(&wasm, metadata, &issuer, &self.entity, times).unwrap();
        let path = self.lattice.path("signed.wasm");
        std::fs::write(&path, signed).unwrap();
        common::reference(&path)
    }

    /// Writes an archive with a program, signed for the entity, and gives its reference.
    fn signed_archive(&self, program: &std::path::Path) -> String {
        let metadata = ProviderMetadata {
            name: Some("kv".to_owned()),
            vendor: "test".to_owned(),
            ..ProviderMetadata::default()
        };
        let library = std::fs::read(program).unwrap();
        let archive = ArchiveBuilder::new(metadata);
        let archive = archive.library(&native_target(), library).unwrap();
        let path = self.lattice.path("signed.par.gz");
        let file = std::fs::File::create(&path).unwrap();
        let issuer = SigningKey::generate(KeyKind::Account);
        let times = ValidTimes::from(epoch_seconds());
        let written = archive.write(file, true, &issuer, &self.entity, times);
        written.unwrap();
        common::reference(&path)
    }

    /// What became of a command.
    async fn outcome(&mut self, names: [&str; 2]) -> (String, Value) {
        loop {
            let (name, event) = self.events.next().await;
            if names.contains(&name.as_str()) {
                return (name, event["data"].clone());
            }
        }
    }
}
