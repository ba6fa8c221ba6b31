//! Providers: what the process is told, how it is watched, and how it ends. The process itself does
//! nothing; this test plays its part on the subjects of section 5.3 of the protocol page.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod anew;
#[path = "../common/mod.rs"]
mod common;
mod credentials;
mod health;
mod inside;
mod life;
mod links;
mod removal;

use async_nats::{Message, Subscriber};
use common::provider::Program;
use common::{Events, Lattice};
use futures::StreamExt as _;
use lattice_host::{Host, HostConfig};
use serde_json::{Value, json};
use tokio::time::timeout;

const WAIT: &str = "exec sleep 1000";

/// Answers to health requests, as long as it runs.
type Health = tokio::task::JoinHandle<()>;

fn start(host: &Host, program: &Program) -> Value {
    json!({
        "provider_id": "kv", "provider_ref": program.reference(), "host_id": host.id().as_str(),
        "annotations": {"who": "golden"},
    })
}

fn link(config: &[&str]) -> Value {
    json!({
        "source_id": "counter", "target": "kv", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
        "target_config": config,
    })
}

async fn next(messages: &mut Subscriber) -> (Message, Value) {
    let message = timeout(common::SOON, messages.next())
        .await
        .expect("a message")
        .unwrap();
    let value = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
    (message, value)
}

/// Answers health requests from now on.
async fn answer_health(lattice: &Lattice, answer: Value) -> Health {
    answer_on(lattice, "wasmbus.rpc.default.kv.health", answer).await
}

async fn answer_on(lattice: &Lattice, subject: &str, answer: Value) -> Health {
    let subject = subject.to_owned();
    let mut requests = lattice.client.subscribe(subject).await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    let client = lattice.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let payload = answer.to_string().into();
            client
                .publish(request.reply.unwrap(), payload)
                .await
                .unwrap();
        }
    })
}

/// What the host tells of its providers.
async fn listed(lattice: &Lattice, host: &Host) -> Value {
    lattice.inventory(host).await["providers"].clone()
}

/// A host that was changed in some way, and a provider that waits and says that it is healthy.
async fn healthy(change: impl FnOnce(&mut HostConfig)) -> (Lattice, Host, Events, Program, Health) {
    let (lattice, host, mut events) = Lattice::running_with(change).await;
    let program = Program::new(&lattice, "kv", WAIT);
    let health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    (lattice, host, events, program, health)
}
