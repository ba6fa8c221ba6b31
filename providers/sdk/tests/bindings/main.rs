//! Providers of interfaces of one's own, whose bindings are checked by the text of the interface.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::HostData;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Context, Provider, RunError, Session, StartError, chain, run};
use lattice_rpc::{CallError, Invocation, Peer, PeerConfig, RemoteError};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use store::exports::test::store::api;
use wide::exports::test::store::wide as caps;

#[allow(warnings, clippy::all, reason = "generated from the WIT package")]
mod store {
    wit_bindgen_wrpc::generate!({
        path: "tests/bindings/wit",
        world: "store",
        generate_all,
    });
}

#[allow(warnings, clippy::all, reason = "generated from the WIT package")]
mod wide {
    wit_bindgen_wrpc::generate!({
        path: "tests/bindings/wit",
        world: "caps",
        generate_all,
    });
}

const WIT: &str = include_str!("wit/store.wit");

const PATIENCE: Duration = Duration::from_secs(20);

/// Two items: `a` without a count, and five of `b`.
const TWO: &[u8] = b"\x02\x01a\x00\x01b\x01\x05";

#[derive(Clone)]
struct Store;

impl api::Handler<Context> for Store {
    async fn put(&self, _cx: Context, items: Vec<api::Item>) -> anyhow::Result<u32> {
        Ok(u32::try_from(items.len())?)
    }
}

#[lattice_provider_sdk::async_trait]
impl Provider for Store {
    const NAME: &'static str = "store";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let server = session.server().checked_by([WIT])?;
        let functions = store::serve(&server, Self).await;
        let functions = functions.map_err(|e| StartError::because("no bindings", e))?;
        server.drive(functions).await?;
        Ok(Arc::new(Self))
    }
}

/// Answers with flags of 20 names.
#[derive(Clone)]
struct Wide;

impl caps::Handler<Context> for Wide {
    async fn get_caps(&self, _cx: Context) -> anyhow::Result<caps::Caps> {
        Ok(caps::Caps::C19)
    }
}

#[lattice_provider_sdk::async_trait]
impl Provider for Wide {
    const NAME: &'static str = "wide";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let server = session.server().checked_by([WIT])?;
        let functions = wide::serve(&server, Self).await;
        let functions = functions.map_err(|e| StartError::because("no bindings", e))?;
        server.drive(functions).await?;
        Ok(Arc::new(Self))
    }
}

fn data(nats: &NatsBox) -> HostData {
    HostData {
        host_id: "NTESTHOST".into(),
        lattice_rpc_prefix: "default".into(),
        lattice_rpc_url: nats.url.clone().into(),
        provider_key: "store".into(),
        ..HostData::default()
    }
}

/// The subject of `put`.
fn subject() -> String {
    let provider = ComponentId::new("store").unwrap();
    let prefix = RpcPrefix::new(&LatticeName::default(), &provider);
    prefix.invocation("test:store/api@0.1.0", "put")
}

struct Lattice {
    nats: NatsBox,
    peer: Peer,
    _stop: DropGuard,
}

impl Lattice {
    /// Runs the provider, and waits until it answers.
    async fn start() -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(run::<Store>(data(&nats), stop.clone()));
        let lattice = Self {
            nats,
            peer,
            _stop: stop.drop_guard(),
        };
        let answers = async { while lattice.put(&[0]).await.is_err() {} };
        tokio::time::timeout(PATIENCE, answers).await.unwrap();
        lattice
    }

    async fn put(&self, params: &'static [u8]) -> Result<Bytes, CallError> {
        let invocation = Invocation::new(subject(), Instant::now() + PATIENCE).source("tester");
        self.peer.call(invocation, params.into()).await
    }

    async fn refusal(&self, params: &'static [u8]) -> RemoteError {
        match self.put(params).await {
            Err(CallError::Remote(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_count_that_the_bytes_do_not_bear_out_is_refused_and_the_provider_lives_on() {
    let lattice = Lattice::start().await;
    // Of these parameters generated code would make room for four thousand million items.
    for params in [&b"\xff\xff\xff\xff\x0f"[..], b"\x03\x01a\x00"] {
        let error = lattice.refusal(params).await;
        assert_eq!(error.code, RemoteError::BAD_REQUEST, "{error}");
    }
    assert_eq!(lattice.put(TWO).await.unwrap(), &b"\x02"[..]);
}

#[tokio::test]
async fn parameters_of_a_longer_list_are_refused() {
    let lattice = Lattice::start().await;
    let error = lattice.refusal(b"\x02\x01a\x00\x01b\x01\x05\x01").await;
    assert_eq!(error.code, RemoteError::BAD_REQUEST, "{error}");
    assert!(error.message.contains("1 bytes follow"), "{error}");
}

#[tokio::test]
async fn a_caller_of_1_9_is_told_where_an_answer_of_bindings_ends() {
    let lattice = Lattice::start().await;
    let client = lattice.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut accepts = client.subscribe(inbox.clone()).await.unwrap();
    let mut results = client.subscribe(format!("{inbox}.results")).await.unwrap();
    let sent = client.publish_with_reply(subject(), inbox, TWO.into());
    sent.await.unwrap();
    let accept = tokio::time::timeout(PATIENCE, accepts.next()).await;
    let place = accept.unwrap().unwrap().reply.unwrap();
    let end = client.publish(format!("{place}.params"), Bytes::new());
    end.await.unwrap();
    for part in [&b"\x02"[..], b""] {
        let next = tokio::time::timeout(PATIENCE, results.next()).await;
        let next = next.expect("the caller waits").unwrap();
        assert_eq!(next.payload, part);
    }
}

#[tokio::test]
async fn a_provider_whose_answers_would_be_misread_does_not_start_and_says_why() {
    let nats = NatsBox::start().await.unwrap();
    let running = run::<Wide>(data(&nats), CancellationToken::new());
    let ended = tokio::time::timeout(PATIENCE, running).await;
    let error: RunError = ended.expect("it starts").unwrap_err();
    let why = chain(&error);
    assert!(why.contains("`caps`") && why.contains("20 names"), "{why}");
    assert!(error.hint().is_some_and(|hint| hint.contains("16 names")));
}
