//! Many calls at once: when they arrive, when their peer leaves, and when NATS is away.

#![expect(clippy::disallowed_methods, reason = "a test listens to the wire")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats_box::taken_in;
use lattice_rpc::{CallError, Invocation, PeerConfig, threads};
use support::{Pair, soon};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Starts `count` calls of `slow` and waits until the server has passed all of them on.
async fn start_calls(pair: &Pair, count: usize) -> JoinSet<Result<Bytes, CallError>> {
    let witness = pair.nats.client().await.expect("connected");
    let passed = witness.subscribe(pair.subject("slow")).await;
    let mut passed = passed.expect("subscribed");
    taken_in(&witness).await.expect("subscribed at the server");
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let peer = pair.caller.clone();
        let invocation = pair.invocation("slow");
        calls.spawn(async move { peer.call(invocation, Bytes::new()).await });
    }
    for _ in 0..count {
        passed.next().await.expect("a call");
    }
    calls
}

#[tokio::test]
async fn whoever_leaves_answers_all_that_has_arrived() {
    let pair = Pair::start().await;
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let serving = pair
        .serve("slow", move |call| {
            told.notify_one();
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                call.responder
                    .reply(Bytes::from_static(b"\x01"))
                    .await
                    .unwrap();
            }
        })
        .await;
    let calls = start_calls(&pair, 900).await;
    begun.notified().await;
    serving.drain(soon(4000)).await;
    for answer in calls.join_all().await {
        answer.unwrap();
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_peer_closes_in_time_while_nats_is_away() {
    let mut pair = Pair::start().await;
    pair.nats.stop();
    // More than the client and the peer have room for together.
    let mut calls = JoinSet::new();
    for _ in 0..4000 {
        let peer = pair.caller.clone();
        let invocation = pair.invocation("slow");
        calls.spawn(async move { peer.call(invocation, Bytes::new()).await });
    }
    while pair.caller.stats().open_calls < 4000 {
        tokio::task::yield_now().await;
    }
    let before = Instant::now();
    let closed = timeout(Duration::from_secs(10), pair.caller.close()).await;
    closed.expect("closed");
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    for answer in calls.join_all().await {
        answer.unwrap_err();
    }
}

#[tokio::test]
async fn after_calls_that_compute_for_long_others_begin_elsewhere() {
    let long = threads::runtime_for_long_work().unwrap();
    let pair = Pair::with_config(PeerConfig {
        long_calls: Some(long.handle().clone()),
        ..PeerConfig::default()
    })
    .await;
    let _serving = pair
        .serve("busy", |call| async move {
            let until = Instant::now() + Duration::from_millis(3);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            call.responder.reply(name.into()).await.unwrap();
        })
        .await;
    let mut elsewhere = Vec::new();
    for _ in 0..36 {
        let name = pair
            .caller
            .call(pair.invocation("busy"), Bytes::new())
            .await;
        elsewhere.push(&name.unwrap()[..] == b"long-call");
    }
    // The first two show that it does, and one is tried again later.
    let mut expected = vec![true; 36];
    (expected[0], expected[1], expected[34]) = (false, false, false);
    assert_eq!(elsewhere, expected);
    pair.settle().await;
    long.shutdown_background();
}

#[tokio::test]
async fn calls_end_in_time_while_nats_is_away_and_are_not_made_later() {
    let mut pair = Pair::start().await;
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let _serving = pair
        .serve("late", move |call| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { call.responder.reply(Bytes::new()).await.unwrap() }
        })
        .await;
    pair.nats.stop();
    while pair.caller.nats().connection_state() == State::Connected {
        tokio::task::yield_now().await;
    }
    // More than there is room for.
    let mut calls = JoinSet::new();
    let before = Instant::now();
    for _ in 0..3000 {
        let (peer, subject) = (pair.caller.clone(), pair.subject("late"));
        let invocation = Invocation::new(subject, soon(1000));
        calls.spawn(async move { peer.call(invocation, Bytes::new()).await });
    }
    for answer in calls.join_all().await {
        let error = answer.unwrap_err();
        assert!(matches!(error, CallError::Deadline { .. }), "{error}");
    }
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "{:?}",
        before.elapsed()
    );
    pair.nats.restart().await.expect("restarted");
    let back = async {
        loop {
            let invocation = Invocation::new(pair.subject("late"), soon(1000));
            if pair.caller.call(invocation, Bytes::new()).await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), back).await.expect("back");
    pair.caller
        .confirm(Duration::from_secs(5))
        .await
        .expect("confirmed");
    assert_eq!(made.load(Ordering::Relaxed), 1);
}
