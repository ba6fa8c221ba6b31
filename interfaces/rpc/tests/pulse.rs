//! The end of a call whose other end is gone, long before the deadline.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats_box::taken_in;
use lattice_rpc::{CallError, Invocation, header};
use support::{Pair, options, soon};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Far beyond the time in which a loss is noticed.
const PATIENCE_MS: u64 = 60_000;

fn window() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::WINDOW, "65536");
    headers
}

/// Answers a call with nothing but its accept, as a process does that dies then.
async fn accept_one(pair: &Pair, function: &str) -> tokio::task::JoinHandle<()> {
    let client = pair.nats.client().await.unwrap();
    let mut requests = client.subscribe(pair.subject(function)).await.unwrap();
    let inbox = client.new_inbox();
    let own = client.subscribe(format!("{inbox}.>")).await.unwrap();
    taken_in(&client).await.unwrap();
    tokio::spawn(async move {
        let request = requests.next().await.unwrap();
        let caller = request.reply.unwrap();
        client
            .publish_with_reply_and_headers(caller, format!("{inbox}.0"), window(), Bytes::new())
            .await
            .unwrap();
        client.flush().await.unwrap();
        drop((own, requests));
        client.flush().await.unwrap();
    })
}

#[tokio::test]
async fn a_call_ends_soon_when_its_callee_is_gone() {
    let pair = Pair::start().await;
    let callee = accept_one(&pair, "vanish").await;
    let started = Instant::now();
    let invocation = Invocation::new(pair.subject("vanish"), soon(PATIENCE_MS));
    let failed = pair.caller.call(invocation, Bytes::from_static(b"x")).await;
    assert!(matches!(failed, Err(CallError::Gone { .. })), "{failed:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(pair.caller.stats().open_calls, 0);
    callee.await.unwrap();
}

#[tokio::test]
async fn a_call_ends_soon_when_its_callee_dies_with_it_unconfirmed() {
    let pair = Pair::start().await;
    let handler = |call: lattice_rpc::IncomingCall| async move {
        let answer = Bytes::from_static(b"x");
        call.responder.reply(answer).await.unwrap();
    };
    let subject = pair.subject("vanish");
    let served = pair.callee.serve(&subject, "q", options(), handler).await;
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    let invocation = || Invocation::new(subject.clone(), soon(PATIENCE_MS));
    let answered = pair.caller.call(invocation(), Bytes::new()).await;
    assert_eq!(answered.unwrap(), "x");
    // Who takes the next call says nothing at all.
    served.unwrap().drain(soon(1000)).await;
    let client = pair.nats.client().await.unwrap();
    let _mute = client.queue_subscribe(subject.clone(), "q".into()).await;
    taken_in(&client).await.unwrap();
    let started = Instant::now();
    let failed = pair.caller.call(invocation(), Bytes::new()).await;
    assert!(matches!(failed, Err(CallError::Gone { .. })), "{failed:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(pair.caller.stats().open_calls, 0);
}

#[tokio::test]
async fn a_handler_ends_soon_when_its_caller_is_gone() {
    let pair = Pair::start().await;
    let (begun, mut begins) = mpsc::channel::<()>(1);
    let (held, mut ended) = mpsc::channel::<()>(1);
    let handler = move |call: lattice_rpc::IncomingCall| {
        let (begun, held) = (begun.clone(), held.clone());
        async move {
            let _alive = (call, held);
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }
    };
    let subject = pair.subject("forever");
    let served = pair.callee.serve(&subject, "q", options(), handler).await;
    let served = served.unwrap();
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();

    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut own = client.subscribe(format!("{inbox}.>")).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::CALL, format!("left={PATIENCE_MS};turn=1"));
    client
        .publish_with_reply_and_headers(subject, format!("{inbox}.0"), headers, "x".into())
        .await
        .unwrap();
    begins.recv().await.unwrap();
    let accept = timeout(Duration::from_secs(5), own.next()).await.unwrap();
    assert!(accept.unwrap().reply.is_some());
    drop(own);
    client.flush().await.unwrap();

    // The handler is the last to hold a sender once the one in the closure is gone.
    let serving = || pair.callee.stats().serving;
    let gone = async {
        while serving() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.unwrap();
    assert_eq!(pair.callee.stats().open_calls, 0);
    drop(served);
    assert!(ended.recv().await.is_none());
}

#[tokio::test]
async fn a_quiet_call_between_living_peers_goes_on() {
    let pair = Pair::start().await;
    let handler = |call: lattice_rpc::IncomingCall| async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        call.responder
            .reply(Bytes::from_static(b"late"))
            .await
            .unwrap();
    };
    let subject = pair.subject("late");
    let served = pair.callee.serve(&subject, "q", options(), handler).await;
    let _served = served.unwrap();
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    let invocation = Invocation::new(subject, soon(PATIENCE_MS));
    let answer = pair.caller.call(invocation, Bytes::from_static(b"x")).await;
    assert_eq!(answer.unwrap(), "late");
}
