//! One NATS, one host in this process, and raw messages to it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

pub(crate) mod golden;
pub(crate) mod provider;
pub(crate) mod sums;
pub(crate) mod wat;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt as _;
use lattice_core::LatticeName;
use lattice_host::config::NatsConfig;
use lattice_host::{Host, HostConfig};
use lattice_nats_box::NatsBox;
use lattice_rpc::{Peer, PeerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long anything may take that is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Lattice {
    pub(crate) nats: NatsBox,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
}

impl Lattice {
    pub(crate) async fn start() -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        Self {
            nats,
            client,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Settings for a host of this lattice.
    pub(crate) fn config(&self) -> HostConfig {
        let nats = NatsConfig {
            port: self.nats.port,
            ..NatsConfig::default()
        };
        let mut config = HostConfig::new(LatticeName::default()).nats(nats);
        config.allow_file_load = true;
        config.labels.insert("zone".into(), "a".into());
        config.runtime.max_instances = 50;
        config.runtime.cache_dir = None;
        config.heartbeat_interval = Duration::from_secs(600);
        config
    }

    pub(crate) async fn host(&self) -> Host {
        Host::start(self.config()).await.unwrap()
    }

    /// A lattice with one host, and what is told from now on.
    pub(crate) async fn running() -> (Self, Host, Events) {
        Self::running_with(|_| {}).await
    }

    /// As [`Lattice::running`], with a host that is set up in another way.
    pub(crate) async fn running_with(change: impl FnOnce(&mut HostConfig)) -> (Self, Host, Events) {
        let lattice = Self::start().await;
        let mut config = lattice.config();
        change(&mut config);
        let mut events = lattice.events().await;
        let host = Host::start(config).await.unwrap();
        // On its way still when the host is there.
        events.data("host_started").await;
        (lattice, host, events)
    }

    /// A peer to call components with.
    pub(crate) async fn peer(&self) -> Peer {
        let client = self.nats.client().await.unwrap();
        Peer::new(client, PeerConfig::default()).await.unwrap()
    }

    /// Sends raw bytes to a control subject and returns the reply.
    pub(crate) async fn control_raw(&self, tail: &str, body: &str) -> Value {
        let subject = format!("wasmbus.ctl.v1.default.{tail}");
        let request = self.client.request(subject, body.to_owned().into());
        let reply = timeout(SOON, request).await.unwrap().unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    }

    pub(crate) async fn control(&self, tail: &str, body: &Value) -> Value {
        self.control_raw(tail, &body.to_string()).await
    }

    /// As [`Lattice::control`], for what has to succeed.
    pub(crate) async fn done(&self, tail: &str, body: &Value) -> Value {
        let reply = self.control(tail, body).await;
        assert_eq!(reply["success"], true, "{tail}: {reply}");
        reply
    }

    /// Sends a command to scale a component, which has to be accepted.
    pub(crate) async fn scale(&self, host: &Host, command: &Value) -> Value {
        let tail = format!("component.scale.{}", host.id());
        self.done(&tail, command).await
    }

    /// Sends a command to start a provider, which has to be accepted.
    pub(crate) async fn provide(&self, host: &Host, command: &Value) -> Value {
        let tail = format!("provider.start.{}", host.id());
        self.done(&tail, command).await
    }

    /// Starts a component in text form and waits until it runs.
    pub(crate) async fn run(&self, host: &Host, id: &str, text: &str) {
        let image = self.component(&format!("{id}.wasm"), text);
        let mut events = self.events().await;
        let command = json!({"component_ref": image, "component_id": id, "count": 10});
        self.scale(host, &command).await;
        events
            .find("component_scaled", |data| data["component_id"] == id)
            .await;
    }

    /// What a host runs.
    pub(crate) async fn inventory(&self, host: &Host) -> Value {
        let reply = self
            .control_raw(&format!("host.get.{}", host.id()), "")
            .await;
        reply["response"].clone()
    }

    pub(crate) async fn events(&self) -> Events {
        let messages = self
            .client
            .subscribe("wasmbus.evt.default.*")
            .await
            .unwrap();
        lattice_nats_box::taken_in(&self.client).await.unwrap();
        Events { messages }
    }

    /// The requests to a provider to end.
    pub(crate) async fn shutdown_of(&self, provider: &str) -> Subscriber {
        let subject = format!("wasmbus.rpc.default.{provider}.default.shutdown");
        let requests = self.client.subscribe(subject).await.unwrap();
        lattice_nats_box::taken_in(&self.client).await.unwrap();
        requests
    }

    /// Writes a component in text form to a file and returns its reference.
    pub(crate) fn component(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, ::wat::parse_str(text).unwrap()).unwrap();
        reference(&path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub(crate) fn reference(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// The events of a lattice, in order.
pub(crate) struct Events {
    messages: Subscriber,
}

impl Events {
    /// The next event, with its name as `type` ends.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        let message = timeout(SOON, self.messages.next())
            .await
            .expect("an event")
            .unwrap();
        let (name, event) = event(&message);
        assert_eq!(event["type"], format!("com.wasmcloud.lattice.{name}"));
        (name, event)
    }

    /// Waits for an event of this name and returns its data.
    pub(crate) async fn data(&mut self, wanted: &str) -> Value {
        loop {
            let (name, event) = self.next().await;
            if name == wanted {
                return event["data"].clone();
            }
        }
    }

    /// Waits for an event that fulfils a condition and returns its data.
    pub(crate) async fn find(&mut self, wanted: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let data = self.data(wanted).await;
            if fits(&data) {
                return data;
            }
        }
    }

    /// Takes what has arrived by now.
    pub(crate) async fn drain(&mut self) -> Vec<(String, Value)> {
        let mut seen = Vec::new();
        while let Ok(Some(message)) =
            timeout(Duration::from_millis(300), self.messages.next()).await
        {
            let (name, event) = event(&message);
            seen.push((name, event["data"].clone()));
        }
        seen
    }
}

/// The name of an event, as its subject ends, and the event.
fn event(message: &Message) -> (String, Value) {
    let name = message.subject.as_str().rsplit('.').next().unwrap();
    let event = serde_json::from_slice(&message.payload).unwrap();
    (name.to_owned(), event)
}

/// Repeats until something holds.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, search)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
