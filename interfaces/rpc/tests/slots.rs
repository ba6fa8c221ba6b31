//! Slots of calls that were given up, and for how long they are taken.

mod support;

use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use support::{Pair, soon, until};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many messages wait at most to be sent.
const WAITING: usize = 2 * 256;

#[tokio::test]
async fn a_call_that_was_given_up_frees_its_slot_when_it_is_answered() {
    let pair = Pair::start().await;
    // Sooner than a call is confirmed, of which its caller would have heard.
    let _serving = pair
        .serve("quick", |call| async move {
            sleep(Duration::from_millis(2)).await;
            call.responder.reply(Bytes::new()).await.unwrap();
        })
        .await;
    for function in ["quick", "nobody"] {
        for _ in 0..100 {
            let invocation = pair.invocation(function);
            let begun = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
            drop(begun.await.unwrap());
        }
        // Long before it would be given up.
        until(|| pair.caller.stats().open_calls == 0).await;
    }
    pair.settle().await;
}

#[tokio::test]
async fn requests_that_never_left_keep_no_slot() {
    let mut pair = Pair::start().await;
    pair.nats.stop();
    until(|| pair.caller.nats().connection_state() != State::Connected).await;
    // Their time is over, or whoever makes them gives them up.
    for (within, given_up) in [(500, false), (60_000, true)] {
        let mut calls = JoinSet::new();
        for _ in 0..3 * WAITING {
            let (caller, call) = (pair.caller.clone(), pair.invocation("nobody"));
            let call = call.until(soon(within));
            calls.spawn(async move { caller.call(call, Bytes::from_static(b"x")).await });
        }
        if given_up {
            until(|| pair.caller.stats().open_calls >= 3 * WAITING).await;
            calls.abort_all();
        }
        while let Some(ended) = calls.join_next().await {
            assert!(ended.is_err() || ended.unwrap().is_err());
        }
        // Those that wait to be sent.
        until(|| pair.caller.stats().open_calls <= WAITING).await;
    }
}
