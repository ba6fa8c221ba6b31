//! What a host that cannot take part in an auction answers: nothing, as clients of 1.9 go by the first
//! answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures::StreamExt;
use lattice_control::{Drained, Server, ServerConfig, ServerHandle};
use lattice_core::LatticeName;
use lattice_nats_box::NatsBox;
use serde_json::{Value, json};

use crate::fake::{FakeHost, PANIC, SLOW};
use crate::{DEADLINE, HOST, host, nats_box, soon};

/// A host, and somebody who asks it and takes all answers at one place.
struct Scene {
    _nats: NatsBox,
    api: Arc<FakeHost>,
    server: ServerHandle,
    of_host: Client,
    client: Client,
    inbox: String,
    answers: Subscriber,
}

impl Scene {
    async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let nats = nats_box().await;
        let api = FakeHost::new(HOST);
        let mut config = ServerConfig::new(LatticeName::default(), host());
        change(&mut config);
        let of_host = nats.client().await.unwrap();
        let server = Server::start(of_host.clone(), config, Arc::clone(&api) as _);
        let server = server.await.unwrap();
        let client = nats.client().await.unwrap();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.unwrap();
        Self {
            _nats: nats,
            api,
            server,
            of_host,
            client,
            inbox,
            answers,
        }
    }

    async fn ask(&self, tail: &str, body: Value) {
        let subject = format!("wasmbus.ctl.v1.default.{tail}");
        let (inbox, body) = (self.inbox.clone(), body.to_string().into());
        let sent = self.client.publish_with_reply(subject, inbox, body);
        sent.await.unwrap();
    }

    /// Has the host work on all that it was asked, and nothing of that answered.
    async fn ends_in_silence(mut self, within: Duration, unfinished: usize) {
        // After a round trip the server of NATS has handed on what was sent before.
        self.client.request("nobody", "".into()).await.unwrap_err();
        assert_eq!(self.server.drain(within).await, Drained { unfinished });
        self.of_host.request("nobody", "".into()).await.unwrap_err();
        let over = self.client.publish(self.inbox, "over".into());
        over.await.unwrap();
        let first = soon("the end", self.answers.next()).await.unwrap();
        assert_eq!(std::str::from_utf8(&first.payload).unwrap(), "over");
    }
}

fn component(id: &str) -> Value {
    json!({"component_ref": "file:///a.wasm", "component_id": id, "constraints": {}})
}

#[tokio::test]
async fn a_host_with_too_much_to_do_is_silent() {
    for max_queued in [0, 8] {
        let scene = Scene::with(|config| {
            config.max_in_flight = 1;
            config.max_queued = max_queued;
            config.max_wait = Duration::from_millis(100);
        })
        .await;
        let slow = json!({"component_ref": "file:///a.wasm", "component_id": SLOW, "count": 1});
        scene.ask(&format!("component.scale.{HOST}"), slow).await;
        scene.api.slow_ones(1).await;
        scene.ask("component.auction", component("a")).await;
        let provider = json!({"provider_ref": "file:///a", "provider_id": "a", "constraints": {}});
        scene.ask("provider.auction", provider).await;
        // The slow command is cut off.
        scene.ends_in_silence(Duration::from_secs(2), 1).await;
    }
}

#[tokio::test]
async fn a_bid_that_panics_or_takes_too_long_is_none() {
    let scene = Scene::with(|config| config.handler_deadline = Duration::from_millis(100)).await;
    for id in [SLOW, PANIC] {
        scene.ask("component.auction", component(id)).await;
    }
    scene.api.slow_ones(1).await;
    assert_eq!(scene.api.started.load(Ordering::SeqCst), 1);
    scene.ends_in_silence(DEADLINE, 0).await;
}
