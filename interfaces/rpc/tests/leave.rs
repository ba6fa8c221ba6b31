//! Calls that wait for a turn go to another server as soon as that has room.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use lattice_core::Locality;
use lattice_core::road::RoadCounts;
use lattice_rpc::http::{REQUEST, answer, take_request};
use lattice_rpc::{
    CallError, IncomingCall, Limiter, Nobody, Peer, PeerConfig, Relief, RemoteError, ServeHandle,
    ServeOptions, Watching,
};
use support::{Pair, is_local, is_socket, options, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

/// How long calls may wait for a turn: who stays is refused then.
const WAIT: Duration = Duration::from_secs(4);

/// One of the servers of `work`.
struct Server {
    gate: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    _serving: ServeHandle,
    _relief: Watching,
}

impl Server {
    /// Serves with room for `size` calls and as many that wait as `queue`; a call ends when the gate
    /// lets it, with its parameters or its request as the answer.
    async fn start(pair: &Pair, peer: &Peer, size: usize, queue: usize) -> Self {
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(size, queue, WAIT)),
            relief: Relief::default(),
            takes: Some(REQUEST),
            ..options()
        };
        let (limiter, relief) = (Arc::clone(&options.limiter), options.relief.clone());
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (open, count) = (Arc::clone(&gate), Arc::clone(&begun));
        let handler = move |call: IncomingCall| {
            let (open, count) = (Arc::clone(&open), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                open.acquire().await.unwrap().forget();
                echo(call).await;
            }
        };
        let (subject, group) = (pair.subject("work"), pair.prefix.queue_group());
        let serving = peer.serve(&subject, group, options, handler).await.unwrap();
        let watching = relief.watch(peer, &pair.prefix, limiter, Arc::new(Nobody));
        let relief = watching.await.unwrap();
        peer.confirm(SOON).await.unwrap();
        if let Some(joint) = &pair.joint {
            until(|| joint.near.reaches(&subject)).await;
        }
        Self {
            gate,
            begun,
            _serving: serving,
            _relief: relief,
        }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

async fn echo(mut call: IncomingCall) {
    if call.context.target_id.as_deref() == Some("web") {
        let request = take_request(&mut call.params).await.unwrap();
        let response = http::Response::new(request.into_body());
        return answer(call.responder, Ok(response)).await.unwrap();
    }
    let params = call.params.all(SOON).await.unwrap();
    call.responder.reply(params).await.unwrap();
}

async fn other_peer(pair: &Pair) -> Peer {
    let peer = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    peer.await.unwrap()
}

type Calls = JoinSet<Result<Bytes, CallError>>;

fn call(pair: &Pair, calls: &mut Calls, locality: Locality, counts: &Arc<RoadCounts>) {
    let (caller, invocation) = (pair.caller.clone(), pair.invocation("work"));
    let invocation = invocation.locality(locality).roads(Arc::clone(counts));
    let params = Bytes::from(format!("call {}", calls.len()));
    calls.spawn(async move {
        let answer = caller.call(invocation, params.clone()).await?;
        assert_eq!(answer, params);
        Ok(answer)
    });
}

#[tokio::test]
async fn calls_that_wait_leave_once_another_has_room() {
    let pair = Pair::start().await;
    let full = Server::start(&pair, &pair.callee, 1, 10).await;
    let (mut calls, counts) = (Calls::new(), Arc::default());
    for _ in 0..4 {
        call(&pair, &mut calls, Locality::PreferLocal, &counts);
    }
    until(|| full.begun() == 1).await;
    let free = Server::start(&pair, &other_peer(&pair).await, 10, 10).await;
    until(|| free.begun() == 3).await;
    free.gate.add_permits(3);
    full.gate.add_permits(1);
    while let Some(answer) = timeout(SOON, calls.join_next()).await.unwrap() {
        answer.unwrap().unwrap();
    }
    assert_eq!((full.begun(), free.begun()), (1, 3));
    let taken = counts.report();
    assert_eq!(taken.process + taken.socket + taken.bus, 4, "{taken:?}");
    if is_local() || is_socket() {
        assert_eq!(taken.bus, 3, "{taken:?}");
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_request_leaves_with_its_whole_body() {
    let pair = Pair::start().await;
    let full = Server::start(&pair, &pair.callee, 1, 10).await;
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let (caller, invocation) = (pair.caller.clone(), pair.invocation("work").target("web"));
        let pieces = futures::stream::iter(0..30_u8).then(|i| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![i; 10_000])))
        });
        let request = http::Request::post("http://localhost/");
        let request = request.body(StreamBody::new(Box::pin(pieces))).unwrap();
        requests.spawn(async move {
            let response = caller.call_http(invocation, request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
    }
    until(|| full.begun() == 1).await;
    let free = Server::start(&pair, &other_peer(&pair).await, 10, 10).await;
    until(|| free.begun() == 2).await;
    free.gate.add_permits(2);
    full.gate.add_permits(1);
    while let Some(body) = timeout(SOON, requests.join_next()).await.unwrap() {
        let body = body.unwrap();
        assert_eq!(body.len(), 300_000);
        assert!((0..30).all(|i| body[i * 10_000] == i as u8 && body[i * 10_000 + 9999] == i as u8));
    }
    pair.settle().await;
}

#[tokio::test]
async fn what_would_be_refused_goes_to_who_has_room() {
    let pair = Pair::start().await;
    let full = Server::start(&pair, &pair.callee, 1, 0).await;
    let (mut calls, counts) = (Calls::new(), Arc::default());
    call(&pair, &mut calls, Locality::PreferLocal, &counts);
    until(|| full.begun() == 1).await;
    let free = Server::start(&pair, &other_peer(&pair).await, 10, 10).await;
    free.gate.add_permits(5);
    let answered = async {
        let mut count = 0;
        while count < 5 {
            call(&pair, &mut calls, Locality::PreferLocal, &counts);
            match calls.join_next().await.unwrap().unwrap() {
                Ok(_) => count += 1,
                // The other may take too long to say that it has room.
                Err(CallError::Remote(e)) if e.code == RemoteError::OVERLOADED => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(SOON, answered).await.unwrap();
    assert_eq!((full.begun(), free.begun()), (1, 5));
    full.gate.add_permits(1);
    calls.join_next().await.unwrap().unwrap().unwrap();
    pair.settle().await;
}

#[tokio::test]
async fn a_call_that_has_to_stay_waits() {
    let pair = Pair::start().await;
    if !is_local() && !is_socket() {
        // Over NATS none has to.
        return;
    }
    let full = Server::start(&pair, &pair.callee, 1, 10).await;
    let free = Server::start(&pair, &other_peer(&pair).await, 10, 10).await;
    free.gate.add_permits(10);
    let (mut calls, counts) = (Calls::new(), Arc::default());
    for _ in 0..3 {
        call(&pair, &mut calls, Locality::LocalOnly, &counts);
    }
    let refused = async {
        let mut refused = 0;
        while calls.len() > 1 {
            let answer = calls.join_next().await.unwrap().unwrap();
            let is_overload =
                matches!(&answer, Err(CallError::Remote(e)) if e.code == RemoteError::OVERLOADED);
            assert!(is_overload, "{answer:?}");
            refused += 1;
        }
        refused
    };
    assert_eq!(timeout(2 * WAIT, refused).await.unwrap(), 2);
    assert_eq!((full.begun(), free.begun()), (1, 0));
    full.gate.add_permits(1);
    calls.join_next().await.unwrap().unwrap().unwrap();
    pair.settle().await;
}
