//! Two peers on a private NATS server, and a way to count what they send.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a part of each test binary, which speaks the wire itself"
)]

pub mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::provider::SecretText;
use lattice_core::subject::RpcPrefix;
use lattice_nats_box::NatsBox;
use lattice_rpc::{
    Expected, IncomingCall, Invocation, Limiter, Peer, PeerConfig, ServeHandle, ServeOptions,
    Switchboard,
};
use lattice_rpc::{SocketListener, keep_connected};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Pair {
    pub nats: NatsBox,
    pub caller: Peer,
    pub callee: Peer,
    pub prefix: RpcPrefix,
    /// What joins the two processes that the peers stand for.
    pub joint: Option<Joint>,
}

/// A socket between two boards, as between a host and a provider process.
pub struct Joint {
    pub near: Switchboard,
    pub far: Switchboard,
    /// Ends the connecting side; the listening side stays.
    pub stop: CancellationToken,
    /// Where others may come to the near one.
    pub path: PathBuf,
    /// What makes the far one the provider that the tests call.
    pub expected: Option<Expected>,
    _end: DropGuard,
    _folder: TempDir,
}

impl Joint {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/host.sock");
        let (near, far) = (Switchboard::default(), Switchboard::default());
        // The far end is the provider that the tests call.
        let ticket = SecretText::new("the ticket of the target");
        let expected = near.expect(&ticket, "target");
        far.show(ticket);
        let end = CancellationToken::new();
        let stop = end.child_token();
        let listener = SocketListener::bind(&path).unwrap();
        tokio::spawn(listener.run(near.clone(), end.clone()));
        tokio::spawn(keep_connected(path.clone(), far.clone(), stop.clone()));
        Self {
            near,
            far,
            stop,
            path,
            expected: Some(expected),
            _end: end.drop_guard(),
            _folder: folder,
        }
    }
}

/// Whether this test binary has its peers call one another without NATS.
pub fn is_local() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_local")
}

/// Whether it has its peers call one another over a socket.
pub fn is_socket() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_socket")
}

/// How many messages that peers exchange a watcher of the server sees.
pub fn on_the_bus(count: usize) -> usize {
    if is_local() || is_socket() { 0 } else { count }
}

pub fn lattice() -> LatticeName {
    "default".parse().unwrap()
}

pub fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

pub fn options() -> ServeOptions {
    ServeOptions {
        limiter: Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
        relief: lattice_rpc::Relief::default(),
        takes: None,
    }
}

/// Waits for what no event tells of.
pub async fn until(mut fulfilled: impl FnMut() -> bool) {
    let limit = soon(10_000);
    while !fulfilled() {
        assert!(Instant::now() < limit, "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

impl Pair {
    pub async fn start() -> Self {
        Self::with_config(PeerConfig::default()).await
    }

    pub async fn with_config(mut config: PeerConfig) -> Self {
        config.local = is_local().then(Switchboard::default);
        let mut near = config.clone();
        let joint = is_socket().then(Joint::start);
        if let Some(joint) = &joint {
            config.local = Some(joint.far.clone());
            near.local = Some(joint.near.clone());
        }
        let nats = NatsBox::start().await.unwrap();
        let caller = Peer::new(nats.client().await.unwrap(), near).await.unwrap();
        let callee = Peer::new(nats.client().await.unwrap(), config)
            .await
            .unwrap();
        let prefix = RpcPrefix::new(&lattice(), &id("target"));
        Self {
            nats,
            caller,
            callee,
            prefix,
            joint,
        }
    }

    pub fn subject(&self, function: &str) -> String {
        self.prefix.invocation("test:pkg/iface@0.1.0", function)
    }

    pub fn invocation(&self, function: &str) -> Invocation {
        Invocation::new(self.subject(function), soon(5000)).source("tester")
    }

    /// As [`Pair::serve`], for a handler of HTTP.
    pub async fn serve_http<H, F>(&self, function: &str, handler: H) -> ServeHandle
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let subject = self.subject(function);
        let queue = self.prefix.queue_group();
        let options = ServeOptions {
            takes: Some(lattice_rpc::http::REQUEST),
            ..options()
        };
        let served = self.callee.serve(&subject, queue, options, handler);
        self.ready(&subject, served.await.unwrap()).await
    }

    async fn ready(&self, subject: &str, handle: ServeHandle) -> ServeHandle {
        self.callee.confirm(Duration::from_secs(5)).await.unwrap();
        if let Some(joint) = &self.joint {
            until(|| joint.near.reaches(subject)).await;
        }
        handle
    }

    pub async fn serve<H, F>(&self, function: &str, handler: H) -> ServeHandle
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.serve_with(function, options(), handler).await
    }

    pub async fn serve_with<H, F>(
        &self,
        function: &str,
        options: ServeOptions,
        handler: H,
    ) -> ServeHandle
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let subject = self.subject(function);
        let queue = self.prefix.queue_group();
        let served = self.callee.serve(&subject, queue, options, handler).await;
        self.ready(&subject, served.unwrap()).await
    }

    /// Serves a function that answers with its parameters.
    pub async fn serve_echo(&self, function: &str) -> ServeHandle {
        self.serve(function, |mut call| async move {
            let all = call.params.all(Duration::from_secs(1)).await.unwrap();
            call.responder.reply(all).await.unwrap();
        })
        .await
    }

    /// Waits until both peers hold no call any more.
    pub async fn settle(&self) {
        let until = soon(20_000);
        loop {
            let open = self.caller.stats().open_calls + self.callee.stats().open_calls;
            if open == 0 && self.callee.stats().serving == 0 {
                return;
            }
            assert!(
                Instant::now() < until,
                "{open} calls stay open: {:?}",
                self.callee.stats()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn watch(&self) -> Watch {
        Watch::start(&self.nats).await
    }
}

/// Records every message on the server.
pub struct Watch {
    subscriber: async_nats::Subscriber,
    client: async_nats::Client,
}

impl Watch {
    pub async fn start(nats: &NatsBox) -> Self {
        let client = nats.client().await.unwrap();
        let subscriber = client.subscribe(">").await.unwrap();
        // A message of our own that comes back shows that the subscription stands.
        let mut this = Self { subscriber, client };
        this.messages().await;
        this
    }

    /// What has passed since the last time.
    pub async fn messages(&mut self) -> Vec<async_nats::Message> {
        self.client.publish("mark", Bytes::new()).await.unwrap();
        let mut all = Vec::new();
        loop {
            let message =
                tokio::time::timeout(Duration::from_secs(5), self.subscriber.next()).await;
            let message = message.unwrap().unwrap();
            if message.subject.as_str() == "mark" {
                return all;
            }
            all.push(message);
        }
    }
}
