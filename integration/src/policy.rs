//! A policy service of a test.

#![expect(
    clippy::disallowed_methods,
    reason = "answers hosts as a policy service does"
)]

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{Event, Lattice, STEP};

/// Where hosts with [`WITH_POLICY`] ask.
pub const TOPIC: &str = "test.policy";
/// Where they hear of changed decisions.
pub const CHANGES: &str = "test.policy.changes";
/// Arguments of a host that asks.
pub const WITH_POLICY: [&str; 4] = ["--policy-topic", TOPIC, "--policy-changes-topic", CHANGES];

/// A policy service of the test's own, which permits all but what `denies` says, and keeps what it
/// was asked.
#[derive(Debug, Clone, Default)]
pub struct Service {
    asked: Arc<Mutex<Vec<Value>>>,
    denies: Arc<Mutex<Option<String>>>,
}

impl Service {
    /// Answers hosts of the lattice from now on.
    ///
    /// # Errors
    ///
    /// Fails when NATS refuses the subscription.
    pub async fn start(lattice: &Lattice) -> Result<Self> {
        let service = Self::default();
        let mut requests = lattice.client.subscribe(TOPIC).await?;
        lattice_nats_box::taken_in(&lattice.client).await?;
        let (client, own) = (lattice.client.clone(), service.clone());
        // Ends with the connection, which the lattice in the box owns.
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let request: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                let answer = own.answer(&request);
                own.asked.lock().push(request);
                if let Some(reply) = message.reply {
                    let _gone = client.publish(reply, answer.to_string().into()).await;
                }
            }
        });
        Ok(service)
    }

    fn answer(&self, request: &Value) -> Value {
        let denied = self.denies.lock().clone();
        let permitted = denied.as_deref() != request["kind"].as_str();
        json!({
            "requestId": request["requestId"], "permitted": permitted,
            "message": (!permitted).then_some("not on Sundays"),
        })
    }

    /// Denies what is of a kind, from now on.
    pub fn deny(&self, kind: Option<&str>) {
        *self.denies.lock() = kind.map(str::to_owned);
    }

    /// What it was asked of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<Value> {
        let asked = self.asked.lock();
        let found = asked.iter().filter(|request| request["kind"] == kind);
        found.cloned().collect()
    }

    /// Tells hosts that an answer of before is another now, and waits until they have heard.
    ///
    /// # Errors
    ///
    /// Fails when nothing of the kind was asked, or no host says so in time.
    pub async fn change(&self, lattice: &Lattice, kind: &str, permitted: bool) -> Result<String> {
        let last = self.of_kind(kind).pop().context("nothing was asked")?;
        let id = last["requestId"].as_str().context("an id")?.to_owned();
        let change = json!({
            "requestId": id, "permitted": permitted, "message": "changed my mind",
        });
        let mark = lattice.events.len();
        lattice
            .client
            .publish(CHANGES, change.to_string().into())
            .await?;
        let told = |event: &Event| {
            event.name == "policy_decision_changed" && event.data("request_id") == id
        };
        lattice.events.wait_after(mark, told, STEP).await?;
        Ok(id)
    }
}
