//! A host of 1.9, as far as others can see it: what it answers, and what it serves.

#![expect(
    clippy::disallowed_methods,
    reason = "a host of 1.9 speaks the wire itself"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_rpc::{IncomingCall, Limiter, Peer, Relief, ServeHandle, ServeOptions};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::{Lattice, component, subject};

/// The version that it tells.
const VERSION: &str = "1.9.1";

/// A host that runs one component and knows nothing of ours. Ends when dropped.
#[derive(Debug)]
pub struct OldHost {
    served: Arc<AtomicUsize>,
    _answers: AbortOnDropHandle<()>,
    _serving: ServeHandle,
    _peer: Peer,
}

impl OldHost {
    /// How many calls it has been given.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Lattice {
    /// Plays a host of 1.9 that runs a component of the target folder, by file stem, under an id,
    /// and answers calls of one of its functions with nothing, however many they are.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached or the component is missing.
    pub async fn old_host(&self, id: &str, name: &str, function: &str) -> Result<OldHost> {
        let peer = self.peer().await?;
        let served = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&served);
        let handler = move |call: IncomingCall| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                // Who does not wait for the answer any more needs none.
                _ = call.responder.reply(Bytes::new()).await;
            }
        };
        let (subject, group) = (subject(id, function), format!("{}.{id}", self.name));
        let serving = peer.serve(&subject, &group, options(), handler).await?;
        peer.confirm(Duration::from_secs(5)).await?;
        Ok(OldHost {
            served,
            _answers: self.answer_control(id, name).await?,
            _serving: serving,
            _peer: peer,
        })
    }

    /// Answers pings and tells the inventory, as 1.9 does.
    async fn answer_control(&self, id: &str, name: &str) -> Result<AbortOnDropHandle<()>> {
        let host = nkeys::KeyPair::new_server().public_key();
        let about = json!({
            "friendly_name": "old-timer-1900", "labels": {}, "version": VERSION,
            "uptime_human": "one second", "uptime_seconds": 1,
        });
        let mut ping = about.clone();
        ping["id"] = host.as_str().into();
        ping["lattice"] = self.name.as_str().into();
        let mut inventory = about;
        inventory["host_id"] = host.as_str().into();
        inventory["providers"] = json!([]);
        inventory["components"] = json!([{
            "id": id, "image_ref": component(name)?, "annotations": {}, "revision": 0,
            "max_instances": 100, "name": null,
        }]);
        let client = self.nats.client().await?;
        let base = format!("wasmbus.ctl.v1.{}.host", self.name);
        let pings = client.subscribe(format!("{base}.ping")).await?;
        let gets = client.subscribe(format!("{base}.get.{host}")).await?;
        lattice_nats_box::taken_in(&client).await?;
        let (ping, inventory) = (success(ping)?, success(inventory)?);
        let pings = pings.map(move |asked| (asked.reply, ping.clone()));
        let gets = gets.map(move |asked| (asked.reply, inventory.clone()));
        let mut asked = futures::stream::select(pings, gets);
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some((Some(reply), answer)) = asked.next().await {
                if client.publish(reply, answer).await.is_err() {
                    return;
                }
            }
        })))
    }
}

fn success(response: Value) -> Result<Bytes> {
    let reply = json!({ "success": true, "message": "", "response": response });
    let text = serde_json::to_vec(&reply).context("a reply that is no JSON")?;
    Ok(text.into())
}

/// It takes all that comes, and tells nobody of room.
fn options() -> ServeOptions {
    ServeOptions {
        limiter: Arc::new(Limiter::new(10_000, 0, Duration::ZERO)),
        default_deadline: Duration::from_secs(10),
        longest_deadline: Duration::from_secs(60),
        relief: Relief::default(),
        takes: None,
    }
}
