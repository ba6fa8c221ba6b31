//! Who makes a call that goes over the bus: proven, checked and refused between real peers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lattice_claims::peer::{sign_host, sign_provider};
use lattice_claims::{CurveKey, KeyKind, PublicKey, SigningKey, epoch_seconds};
use lattice_core::event::CallRefused;
use lattice_core::identity::PeerTokens;
use lattice_core::subject::RpcPrefix;
use lattice_nats_box::{NatsBox, NatsBoxOptions, taken_in};
use lattice_rpc::{
    Auth, AuthSettings, CallError, IncomingCall, Invocation, Peer, PeerConfig, RemoteError,
    ServeHandle, header,
};
use support::{id, lattice, options, soon};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const FUNCTION: &str = "test:pkg/iface@0.1.0";

/// Peers of one cluster on one server.
struct Cluster {
    key: SigningKey,
    nats: NatsBox,
    reports: mpsc::Sender<CallRefused>,
    refused: mpsc::Receiver<CallRefused>,
}

impl Cluster {
    async fn start() -> Self {
        let (reports, refused) = mpsc::channel(64);
        Self {
            key: SigningKey::generate(KeyKind::Cluster),
            nats: NatsBox::start().await.unwrap(),
            reports,
            refused,
        }
    }

    fn settings(&self, provider: Option<&str>, strict: bool) -> AuthSettings {
        let host = SigningKey::generate(KeyKind::Host);
        let (host_key, key) = (CurveKey::generate(), CurveKey::generate());
        let valid = (epoch_seconds(), Duration::from_secs(3600));
        let own = if provider.is_some() { &host_key } else { &key };
        let token = sign_host(&self.key, &host.public_key(), "default", own, valid).unwrap();
        let provider =
            provider.map(|id| sign_provider(&host, id, "i", "default", &key, valid).unwrap());
        AuthSettings {
            lattice: "default".to_owned(),
            tokens: PeerTokens {
                host: token,
                provider,
            },
            key,
            trusted: vec![PublicKey::parse(&self.key.public_key()).unwrap()],
            strict,
            confined: false,
            links: None,
            reports: Some(self.reports.clone()),
        }
    }

    async fn peer(&self, settings: Option<AuthSettings>) -> Peer {
        let config = PeerConfig {
            auth: settings.map(Auth::new),
            ..PeerConfig::default()
        };
        Peer::new(self.nats.client().await.unwrap(), config)
            .await
            .unwrap()
    }

    async fn host(&self) -> Peer {
        self.peer(Some(self.settings(None, true))).await
    }

    /// The code of the next refused call.
    async fn told(&mut self) -> String {
        let refused = timeout(SOON, self.refused.recv()).await.unwrap().unwrap();
        assert_eq!(refused.operation, format!("{FUNCTION}.f"));
        refused.code
    }
}

/// Serves `f` of `target` and counts the calls, all of which are proven or not as `proven` says.
async fn serve(peer: &Peer, target: &str, proven: bool) -> (ServeHandle, Arc<AtomicUsize>) {
    let prefix = RpcPrefix::new(&lattice(), &id(target));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let handler = move |mut call: IncomingCall| {
        let counted = Arc::clone(&counted);
        async move {
            assert_eq!(call.context.is_proven(), proven);
            counted.fetch_add(1, Ordering::Relaxed);
            let params = call.params.all(SOON).await.unwrap();
            call.responder.reply(params).await.unwrap();
        }
    };
    let subject = prefix.invocation(FUNCTION, "f");
    let handle = peer
        .serve(&subject, prefix.queue_group(), options(), handler)
        .await
        .unwrap();
    peer.confirm(SOON).await.unwrap();
    (handle, count)
}

fn invocation(source: &str, target: &str) -> Invocation {
    let subject = RpcPrefix::new(&lattice(), &id(target)).invocation(FUNCTION, "f");
    Invocation::new(subject, soon(20_000)).source(source)
}

async fn call(peer: &Peer, source: &str, target: &str) -> Result<Bytes, CallError> {
    let params = Bytes::from_static(b"hello");
    peer.call(invocation(source, target), params).await
}

fn code(result: Result<Bytes, CallError>) -> String {
    match result {
        Err(CallError::Remote(RemoteError { code, .. })) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn strict_peers_of_a_cluster_call_one_another() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.host().await, cluster.host().await);
    let (_handle, count) = serve(&two, "target", true).await;
    let calls = (0..100).map(|_| call(&one, "any", "target"));
    for result in futures::future::join_all(calls).await {
        assert_eq!(result.unwrap(), "hello");
    }
    let large = Bytes::from(vec![7; 3 << 20]);
    let echoed = one.call(invocation("any", "target"), large.clone()).await;
    assert_eq!(echoed.unwrap(), large);
    assert_eq!(count.load(Ordering::Relaxed), 101);
}

#[tokio::test]
async fn any_member_of_a_queue_group_learns_the_key_and_new_ones_do() {
    let cluster = Cluster::start().await;
    let caller = cluster.host().await;
    let mut handles = Vec::new();
    for _ in 0..3 {
        let server = cluster.host().await;
        handles.push((serve(&server, "target", true).await, server));
        for _ in 0..60 {
            call(&caller, "any", "target").await.unwrap();
        }
    }
    let counts = handles
        .iter()
        .map(|((_, count), _)| count.load(Ordering::Relaxed));
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts.iter().sum::<usize>(), 180, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn a_provider_is_itself_and_nobody_else() {
    let mut cluster = Cluster::start().await;
    let host = cluster.host().await;
    let provider = cluster.peer(Some(cluster.settings(Some("kv"), true))).await;
    let (_served, _) = serve(&host, "target", true).await;
    let (_own, _) = serve(&provider, "kv", true).await;
    let (_others, count) = serve(&provider, "secret", true).await;
    call(&provider, "kv", "target").await.unwrap();
    call(&host, "any", "kv").await.unwrap();
    let foreign = call(&provider, "other", "target").await;
    assert_eq!(code(foreign), RemoteError::FOREIGN_SOURCE);
    assert_eq!(cluster.told().await, RemoteError::FOREIGN_SOURCE);
    // It listens where it should not, and is not given the key.
    let overheard = call(&host, "any", "secret").await;
    assert_eq!(code(overheard), RemoteError::UNTRUSTED);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_proves_nothing_is_refused_where_it_is_strict_and_let_in_elsewhere() {
    let mut cluster = Cluster::start().await;
    let (strict, plain) = (cluster.host().await, cluster.peer(None).await);
    let lenient = cluster.peer(Some(cluster.settings(None, false))).await;
    let (_strict, _) = serve(&strict, "strict", true).await;
    let (_lenient, _) = serve(&lenient, "lenient", false).await;
    let (_plain, _) = serve(&plain, "plain", false).await;
    assert_eq!(
        code(call(&plain, "any", "strict").await),
        RemoteError::UNAUTHENTICATED
    );
    assert_eq!(cluster.told().await, RemoteError::UNAUTHENTICATED);
    call(&plain, "any", "lenient").await.unwrap();
    call(&strict, "any", "plain").await.unwrap();
}

/// Sends a recorded call again, as it was but for what `change` does to it.
#[expect(clippy::disallowed_methods, reason = "an attacker on the wire")]
async fn replay(
    client: &async_nats::Client,
    recorded: &async_nats::Message,
    change: impl FnOnce(&mut HeaderMap, &mut Vec<u8>),
) {
    let mut headers = recorded.headers.clone().unwrap();
    let mut payload = recorded.payload.to_vec();
    change(&mut headers, &mut payload);
    let (subject, reply) = (recorded.subject.clone(), recorded.reply.clone().unwrap());
    client
        .publish_with_reply_and_headers(subject, reply, headers, payload.into())
        .await
        .unwrap();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "an attacker on the wire")]
async fn recorded_and_changed_calls_are_refused() {
    let mut cluster = Cluster::start().await;
    let (caller, server) = (cluster.host().await, cluster.host().await);
    let (_handle, count) = serve(&server, "target", true).await;
    let attacker = cluster.nats.client().await.unwrap();
    let mut overheard = attacker.subscribe("default.target.>").await.unwrap();
    taken_in(&attacker).await.unwrap();
    call(&caller, "any", "target").await.unwrap();
    let recorded = overheard.next().await.unwrap();
    assert!(header::proof(recorded.headers.as_ref()).is_some());
    replay(&attacker, &recorded, |_, _| {}).await;
    assert_eq!(cluster.told().await, RemoteError::REPLAYED);
    replay(&attacker, &recorded, |_, payload| payload[0] ^= 1).await;
    assert_eq!(cluster.told().await, RemoteError::BAD_PROOF);
    replay(&attacker, &recorded, |headers, _| {
        headers.insert(header::SOURCE_ID, "he")
    })
    .await;
    assert_eq!(cluster.told().await, RemoteError::BAD_PROOF);
    replay(&attacker, &recorded, |headers, _| {
        headers.insert(header::LINK_NAME, "x")
    })
    .await;
    assert_eq!(cluster.told().await, RemoteError::BAD_PROOF);
    replay(&attacker, &recorded, |headers, _| {
        *headers = HeaderMap::new();
        headers.insert(header::SOURCE_ID, "any");
    })
    .await;
    assert_eq!(cluster.told().await, RemoteError::UNAUTHENTICATED);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    // All of that does not keep the caller out.
    call(&caller, "any", "target").await.unwrap();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "an attacker on the wire")]
async fn who_points_to_another_inbox_keeps_nobody_out() {
    let mut cluster = Cluster::start().await;
    let (caller, server) = (cluster.host().await, cluster.host().await);
    let attacker = cluster.nats.client().await.unwrap();
    let mut overheard = attacker.subscribe("default.target.>").await.unwrap();
    taken_in(&attacker).await.unwrap();
    // Nobody serves the target yet, so that the key is still unknown when the attacker comes.
    let first = invocation("any", "target").until(soon(300));
    let _unanswered = caller.call(first, Bytes::from_static(b"hello")).await;
    let mut recorded = overheard.next().await.unwrap();
    let (_handle, count) = serve(&server, "target", true).await;
    recorded.reply = Some("_INBOX.nobody.1".into());
    replay(&attacker, &recorded, |_, _| {}).await;
    assert_eq!(cluster.told().await, RemoteError::UNKNOWN_SESSION);
    // What is no inbox gets no answer at all.
    let mut elsewhere = attacker.subscribe("wasmbus.ctl.>").await.unwrap();
    recorded.reply = Some("wasmbus.ctl.v1.default.x".into());
    replay(&attacker, &recorded, |_, _| {}).await;
    assert_eq!(cluster.told().await, RemoteError::BAD_REQUEST);
    call(&caller, "any", "target").await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
    server.confirm(SOON).await.unwrap();
    taken_in(&attacker).await.unwrap();
    assert!(elsewhere.next().now_or_never().is_none());
}

#[tokio::test]
async fn names_of_inboxes_say_nothing_of_one_another() {
    // The client can be built to count them up, and providers may write to whatever inbox they know.
    let nats = NatsBox::start().await.unwrap();
    let client = nats.client().await.unwrap();
    let names: Vec<_> = (0..3).map(|_| client.new_inbox()).collect();
    for (one, other) in names.iter().zip(&names[1..]) {
        let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
        assert!(same.count() < "_INBOX.".len() + 6, "{names:?}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "an attacker on the wire")]
async fn a_server_that_leads_elsewhere_fails_its_call() {
    let cluster = Cluster::start().await;
    let caller = cluster.host().await;
    let attacker = cluster.nats.client().await.unwrap();
    let mut calls = attacker.subscribe("default.target.>").await.unwrap();
    let mut elsewhere = attacker.subscribe("wasmbus.ctl.>").await.unwrap();
    taken_in(&attacker).await.unwrap();
    let calling = caller.clone();
    let call = tokio::spawn(async move { call(&calling, "any", "target").await });
    let reply = calls.next().await.unwrap().reply.unwrap();
    // Parameters, credit and the end of the call would go there, with the caller's own rights.
    let accept = attacker.publish_with_reply(reply, "wasmbus.ctl.v1.default.x", "".into());
    accept.await.unwrap();
    let failed = timeout(SOON, call).await.unwrap().unwrap();
    assert!(matches!(failed, Err(CallError::Protocol(_))), "{failed:?}");
    caller.confirm(SOON).await.unwrap();
    taken_in(&attacker).await.unwrap();
    assert!(elsewhere.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_server_that_is_started_again_loses_no_call() {
    let cluster = Cluster::start().await;
    let caller = cluster.host().await;
    for _ in 0..3 {
        let server = cluster.host().await;
        let (handle, count) = serve(&server, "target", true).await;
        call(&caller, "any", "target").await.unwrap();
        call(&caller, "any", "target").await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
        handle.drain(soon(10_000)).await;
        server.close().await;
    }
}

#[tokio::test]
async fn a_caller_that_closes_is_known_no_more() {
    let cluster = Cluster::start().await;
    let server = cluster.host().await;
    let (_handle, count) = serve(&server, "target", true).await;
    for calls in 1..4 {
        let caller = cluster.host().await;
        call(&caller, "any", "target").await.unwrap();
        caller.close().await;
        assert_eq!(count.load(Ordering::Relaxed), calls);
    }
}

#[tokio::test]
async fn the_proof_has_its_room_in_the_first_message() {
    let options = NatsBoxOptions {
        extra_config: "max_payload: 8192\n".to_owned(),
        ..NatsBoxOptions::default()
    };
    let mut cluster = Cluster::start().await;
    cluster.nats = NatsBox::start_with(options).await.unwrap();
    let (one, two) = (cluster.host().await, cluster.host().await);
    let (_handle, _) = serve(&two, "target", true).await;
    for size in (7600..8300).step_by(9) {
        let params = Bytes::from(vec![1; size]);
        let result = one.call(invocation("any", "target"), params.clone()).await;
        assert_eq!(result.unwrap(), params, "{size}");
    }
}

#[tokio::test]
async fn calls_that_wait_for_their_keys_hold_no_more_than_the_peer_allows() {
    let cluster = Cluster::start().await;
    let caller = cluster.host().await;
    let config = PeerConfig {
        auth: Some(Auth::new(cluster.settings(None, true))),
        max_held_bytes: 20_000,
        ..PeerConfig::default()
    };
    let server = Peer::new(cluster.nats.client().await.unwrap(), config);
    let server = server.await.unwrap();
    let (_handle, count) = serve(&server, "target", true).await;
    let large = Bytes::from(vec![7; 100_000]);
    let refused = caller
        .call(invocation("any", "target"), large.clone())
        .await;
    assert_eq!(code(refused), RemoteError::OVERLOADED);
    call(&caller, "any", "target").await.unwrap();
    // With the key here, nothing has to wait.
    let taken = caller
        .call(invocation("any", "target"), large.clone())
        .await;
    assert_eq!(taken.unwrap(), large);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert_eq!(server.stats().held_bytes, 0);
}

#[tokio::test]
async fn a_call_that_names_somebody_by_more_than_any_name_is_refused_by_name() {
    let mut cluster = Cluster::start().await;
    let (caller, server) = (cluster.host().await, cluster.host().await);
    let (_handle, count) = serve(&server, "target", true).await;
    let long = "x".repeat(100_000);
    let to_target = || invocation("any", "target");
    for (named, header) in [
        (to_target().source(&long), header::SOURCE_ID),
        (to_target().link_name(&long), header::LINK_NAME),
        (to_target().link_package(&long), header::LINK_PACKAGE),
        (to_target().target(&long), header::TARGET_ID),
    ] {
        let refused = caller.call(named, Bytes::new()).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(header) && text.len() < 200, "{text}");
        assert_eq!(code(Err(refused)), RemoteError::BAD_REQUEST);
        assert_eq!(cluster.told().await, RemoteError::BAD_REQUEST);
    }
    let longest = to_target().source(&"x".repeat(1024));
    caller.call(longest, Bytes::new()).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
