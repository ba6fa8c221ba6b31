//! A component that watches keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::wrpc::Server;
use lattice_rpc::{Context, Limiter, Peer, ServeOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bindings::{self, exports::wrpc::keyvalue::watcher};
use crate::{Lattice, PATIENCE};

/// What a component was told: the bucket, the key, and for a set one its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// `watcher.on-set`
    Set(String, String, Bytes),
    /// `watcher.on-delete`
    Delete(String, String),
}

/// Takes down what a component is told.
#[derive(Debug)]
pub struct Watching {
    told: mpsc::UnboundedReceiver<Told>,
    _served: JoinSet<()>,
}

impl Watching {
    pub(crate) async fn start(peer: &Peer, id: &str) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let id = ComponentId::new(id).expect("a valid id");
        let server = Server::new(peer.clone(), &LatticeName::default(), &id, options());
        let functions = bindings::serve(&server, Watcher(sender)).await;
        let mut served = JoinSet::new();
        for (_, _, mut calls) in functions.expect("subscriptions") {
            served.spawn(async move {
                while let Some(call) = calls.next().await {
                    call.expect("parameters").await.expect("answered");
                }
            });
        }
        peer.confirm(PATIENCE).await.expect("a connection");
        Self {
            told,
            _served: served,
        }
    }

    /// Waits for the next thing.
    pub async fn told(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("told in time").expect("served")
    }

    /// What was told and not yet taken.
    pub fn now(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

/// A link that has a component watch may require what its provider tells of watching, and is refused
/// by name where it requires more. `config` is that of a link that watches, and `told` what is told.
pub async fn watches_what_it_requires(
    lattice: &mut Lattice,
    config: &[(&str, &str)],
    told: [&str; 3],
) {
    let [watch, expiry, steps] = told;
    let all = format!(
        "watch={watch}, watch-set, watch-delete, watch-expiry={expiry}, watch-steps={steps}, \
         increment=atomic, max-key-bytes>=1"
    );
    let other = match steps {
        "each" => "watch-steps=last",
        _ => "watch-steps=each",
    };
    for (required, lacking) in [
        (&*all, None),
        ("watch, telepathy", Some("telepathy")),
        (other, Some(other)),
        ("watch", None),
    ] {
        let config = [config, &[("require", required)]].concat();
        lattice.put_source("watcher", "requiring", &config).await;
        let state = lacking.map_or(LinkState::Ready, |_| LinkState::Failed);
        let reason = lattice.report_of(state).await.reason.unwrap_or_default();
        let refusal = lacking.map(|part| format!("the link requires `{part}`, which"));
        assert!(
            reason.starts_with(refusal.as_deref().unwrap_or_default()),
            "{reason}"
        );
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        limiter: Arc::new(Limiter::new(100, 100, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
        relief: lattice_rpc::Relief::default(),
        takes: None,
    }
}

#[derive(Clone)]
struct Watcher(mpsc::UnboundedSender<Told>);

impl watcher::Handler<Context> for Watcher {
    async fn on_set(
        &self,
        _cx: Context,
        bucket: String,
        key: String,
        value: Bytes,
    ) -> anyhow::Result<()> {
        Ok(self.0.send(Told::Set(bucket, key, value))?)
    }

    async fn on_delete(&self, _cx: Context, bucket: String, key: String) -> anyhow::Result<()> {
        Ok(self.0.send(Told::Delete(bucket, key))?)
    }
}
