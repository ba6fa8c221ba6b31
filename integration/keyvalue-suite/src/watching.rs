//! A component that watches keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_codec::Reader;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::{IncomingCall, Limiter, Peer, ServeHandle, ServeOptions};
use tokio::sync::mpsc;

use crate::PATIENCE;

const INSTANCE: &str = "wrpc:keyvalue/watcher@0.2.0-draft";

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
    _served: [ServeHandle; 2],
}

impl Watching {
    pub(crate) async fn start(peer: &Peer, id: &str) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let served = [
            serve(peer, id, "on-set", sender.clone()).await,
            serve(peer, id, "on-delete", sender).await,
        ];
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

async fn serve(
    peer: &Peer,
    id: &str,
    function: &'static str,
    told: mpsc::UnboundedSender<Told>,
) -> ServeHandle {
    let id = ComponentId::new(id).expect("a valid id");
    let prefix = RpcPrefix::new(&LatticeName::default(), &id);
    let options = ServeOptions {
        limiter: Arc::new(Limiter::new(100, 100, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
    };
    let handler = move |mut call: IncomingCall| {
        let told = told.clone();
        async move {
            let params = call.params.all(PATIENCE).await.expect("parameters");
            told.send(read(function, params)).expect("somebody listens");
            call.responder.reply(Bytes::new()).await.expect("answered");
        }
    };
    let subject = prefix.invocation(INSTANCE, function);
    let served = peer.serve(&subject, prefix.queue_group(), options, handler);
    served.await.expect("a subscription")
}

fn read(function: &str, params: Bytes) -> Told {
    let mut reader = Reader::new(params);
    let mut text = || reader.string().expect("a text");
    let (bucket, key) = (text(), text());
    match function {
        "on-set" => Told::Set(bucket, key, reader.bytes().expect("a value")),
        _ => Told::Delete(bucket, key),
    }
}
