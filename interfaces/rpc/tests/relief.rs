//! A server that lets calls wait for long hands them on to others who have room.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::{
    CallError, Limiter, Nobody, Peer, PeerConfig, Relief, RemoteError, ServeHandle, ServeOptions,
    Watching,
};
use support::{Pair, options, soon};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One of several who serve `work`.
struct Server {
    /// Each call takes one of these before it answers.
    gate: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    peer: Peer,
    serving: ServeHandle,
    relief: Watching,
}

impl Server {
    async fn start(pair: &Pair, peer: &Peer, size: usize) -> Self {
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(size, 100, Duration::from_secs(2))),
            relief: Relief::default(),
            ..options()
        };
        let (limiter, relief) = (Arc::clone(&options.limiter), options.relief.clone());
        let gate = Arc::new(Semaphore::new(0));
        let begun = Arc::new(AtomicUsize::new(0));
        let (open, count) = (Arc::clone(&gate), Arc::clone(&begun));
        let handler = move |call: lattice_rpc::IncomingCall| {
            let (open, count) = (Arc::clone(&open), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                match open.acquire().await {
                    Ok(permit) => permit.forget(),
                    // A gate that is closed holds nobody up, but for a moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
                call.responder
                    .reply(Bytes::from_static(b"\x01"))
                    .await
                    .unwrap();
            }
        };
        let (subject, queue) = (pair.subject("work"), pair.prefix.queue_group());
        let serving = peer.serve(&subject, queue, options, handler).await.unwrap();
        let watching = relief.watch(peer, &pair.prefix, limiter, Arc::new(Nobody));
        let relief = watching.await.unwrap();
        peer.confirm(Duration::from_secs(5)).await.unwrap();
        Self {
            gate,
            begun,
            peer: peer.clone(),
            serving,
            relief,
        }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

fn work(pair: &Pair, calls: &mut JoinSet<Result<Bytes, CallError>>) {
    let (caller, invocation) = (pair.caller.clone(), pair.invocation("work"));
    calls.spawn(async move { caller.call(invocation, Bytes::new()).await });
}

#[tokio::test]
async fn who_is_busy_hands_calls_on_and_takes_them_again() {
    let config = PeerConfig {
        linger: Duration::from_secs(1),
        ..PeerConfig::default()
    };
    let pair = Pair::with_config(config).await;
    let other = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let other = other.await.unwrap();
    let busy = Server::start(&pair, &pair.callee, 1).await;
    let free = Server::start(&pair, &other, 1000).await;
    free.gate.add_permits(10_000);
    let mut calls = JoinSet::new();
    let limit = soon(4000);
    while busy.begun() == 0 {
        assert!(Instant::now() < limit, "the busy one gets nothing");
        work(&pair, &mut calls);
        tokio::task::yield_now().await;
    }
    // Some wait at the busy one until it hands calls on; then the other has all of a row.
    let mut row = 0;
    while row < 40 {
        assert!(Instant::now() < limit, "the busy one hands nothing on");
        let before = free.begun();
        let call = pair.invocation("work").until(soon(300));
        let answered = pair.caller.call(call, Bytes::new()).await.is_ok();
        row = if answered && free.begun() > before {
            row + 1
        } else {
            0
        };
    }
    busy.gate.add_permits(10_000);
    let before = busy.begun();
    let limit = soon(4000);
    while busy.begun() == before {
        assert!(Instant::now() < limit, "the busy one takes none again");
        let call = pair.caller.call(pair.invocation("work"), Bytes::new());
        call.await.unwrap();
    }
    pair.settle().await;
}

#[tokio::test]
async fn who_is_alone_refuses() {
    let pair = Pair::start().await;
    let busy = Server::start(&pair, &pair.callee, 1).await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        work(&pair, &mut calls);
    }
    // The first waits for the gate, all others for it until they are refused.
    for _ in 0..9 {
        let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
        let CallError::Remote(refused) = refused else {
            panic!("{refused}");
        };
        assert_eq!(refused.code, RemoteError::OVERLOADED);
    }
    busy.gate.add_permits(10_000);
    assert!(calls.join_next().await.unwrap().unwrap().is_ok());
    pair.settle().await;
}

#[tokio::test]
async fn who_took_calls_of_others_ends_without_losing_one() {
    let pair = Arc::new(Pair::start().await);
    let busy = Server::start(&pair, &pair.callee, 4).await;
    busy.gate.close();
    let other = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let other = other.await.unwrap();
    let mut watch = pair.watch().await;
    for _ in 0..3 {
        let free = Server::start(&pair, &other, 100).await;
        free.gate.close();
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..100).map(|_| {
            let (pair, stop) = (Arc::clone(&pair), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let call = pair.caller.call(pair.invocation("work"), Bytes::new());
                    call.await.unwrap();
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let limit = soon(5000);
        while busy.peer.stats().serving < 8 || free.begun() < 1000 {
            assert!(Instant::now() < limit, "no load");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        free.relief.end(soon(1000)).await;
        free.serving.drain(soon(5000)).await;
        let handed_on = |m: &async_nats::Message| m.subject.contains(".at.");
        let messages = watch.messages().await;
        assert!(messages.iter().any(handed_on), "nothing was handed on");
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "stands in for one who answers anything"
)]
#[tokio::test]
async fn no_call_is_handed_on_to_a_subject_of_the_lattice() {
    use futures::StreamExt as _;

    let pair = Pair::start().await;
    let busy = Server::start(&pair, &pair.callee, 1).await;
    let client = pair.nats.client().await.unwrap();
    let mut written = client.subscribe("$KV.>").await.unwrap();
    let mut asked = client.subscribe(pair.prefix.room()).await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    let mut calls = JoinSet::new();
    (0..3).for_each(|_| work(&pair, &mut calls));
    // Whoever lets calls wait asks again and again.
    for _ in 0..5 {
        let question = asked.next().await.unwrap();
        let place = "$KV.CONFIGDATA_default.100";
        let reply = question.reply.unwrap();
        client
            .publish_with_reply(reply, place, Bytes::new())
            .await
            .unwrap();
        work(&pair, &mut calls);
    }
    busy.gate.add_permits(100);
    while let Some(answered) = calls.join_next().await {
        answered.unwrap().unwrap();
    }
    lattice_nats_box::taken_in(&client).await.unwrap();
    assert!(futures::poll!(written.next()).is_pending());
}

#[expect(
    clippy::disallowed_methods,
    reason = "stands in for answers that are late"
)]
#[tokio::test]
async fn a_late_answer_that_tells_of_room_is_not_taken_for_that_of_a_stock_function() {
    use futures::StreamExt as _;

    let pair = Pair::start().await;
    let server = Server::start(&pair, &pair.callee, 100).await;
    let mut watch = pair.watch().await;
    server.gate.add_permits(1);
    let answered = pair.caller.call(pair.invocation("work"), Bytes::new());
    answered.await.unwrap();
    let request = |sent: &async_nats::Message| sent.subject.as_str() == pair.subject("work");
    let request = watch.messages().await.into_iter().find(request).unwrap();
    let root = request.reply.unwrap();
    let nobody = format!("{}.none", root.rsplit_once('.').unwrap().0);
    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut heard = client.subscribe(format!("{inbox}.>")).await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    let room = client.publish_with_reply(pair.prefix.room(), format!("{inbox}.room"), Bytes::new());
    room.await.unwrap();
    let within = Duration::from_secs(5);
    let told = tokio::time::timeout(within, heard.next()).await;
    let place = told.expect("nobody has room").unwrap().reply.unwrap();
    for root in [place.as_str(), &inbox] {
        let late = client.publish_with_reply(nobody.clone(), root.to_owned(), Bytes::new());
        late.await.unwrap();
    }
    let end = tokio::time::timeout(within, heard.next()).await;
    let end = end.expect("a stock function waits").unwrap();
    assert_eq!(end.subject.to_string(), format!("{inbox}.params"));
    let at_place = |sent: &async_nats::Message| sent.subject.starts_with(place.as_str());
    assert!(!watch.messages().await.iter().any(at_place));
    pair.settle().await;
}
