//! What is only so between peers of one process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use lattice_core::Locality;
use lattice_rpc::{CallError, Limiter, Peer, PeerConfig, Switchboard};
use support::{Pair, options, soon, until};

/// Peers as `pair` has them, but with a board.
async fn beside(pair: &Pair, board: &Switchboard) -> Peer {
    let config = PeerConfig {
        local: Some(board.clone()),
        ..PeerConfig::default()
    };
    Peer::new(pair.nats.client().await.unwrap(), config)
        .await
        .unwrap()
}

async fn pair_on(board: &Switchboard) -> Pair {
    let mut pair = Pair::start().await;
    pair.caller = beside(&pair, board).await;
    pair.callee = beside(&pair, board).await;
    pair
}

#[tokio::test]
async fn calls_of_a_process_go_on_while_nats_is_away() {
    let board = Switchboard::default();
    let mut pair = pair_on(&board).await;
    let _serving = pair.serve_echo("echo").await;
    pair.nats.stop();
    for _ in 0..3 {
        let call = pair
            .caller
            .call(pair.invocation("echo"), Bytes::from_static(b"here"));
        assert_eq!(call.await.unwrap(), "here");
    }
}

#[tokio::test]
async fn peers_without_a_board_are_reached_over_nats() {
    let board = Switchboard::default();
    let pair = pair_on(&board).await;
    let stranger = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let stranger = stranger.await.unwrap();
    let _serving = pair.serve_echo("echo").await;
    let subject = pair.subject("echo");
    assert!(board.serves(&subject) && !board.serves("elsewhere"));
    let answer = stranger.call(pair.invocation("echo"), Bytes::from_static(b"far"));
    assert_eq!(answer.await.unwrap(), "far");
}

#[tokio::test]
async fn a_function_that_is_full_is_not_served_here_nor_one_that_is_gone() {
    let board = Switchboard::default();
    let pair = pair_on(&board).await;
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, 10, Duration::from_secs(1)));
    let serving = pair
        .serve_with("wait", narrow, |call| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            call.responder.reply(Bytes::new()).await.unwrap();
        })
        .await;
    let subject = pair.subject("wait");
    assert!(board.serves(&subject));
    let calls = (0..2).map(|_| {
        let (caller, call) = (pair.caller.clone(), pair.invocation("wait"));
        tokio::spawn(async move { caller.call(call, Bytes::new()).await })
    });
    let calls: Vec<_> = calls.collect();
    let limit = soon(2000);
    while board.serves(&subject) {
        assert!(tokio::time::Instant::now() < limit, "never full");
        tokio::task::yield_now().await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(board.serves(&subject));
    serving.drain(soon(1000)).await;
    assert!(!board.serves(&subject));
    let gone = pair
        .caller
        .call(pair.invocation("wait"), Bytes::new())
        .await;
    assert!(matches!(gone, Err(CallError::NotServed { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_peer_that_is_closed_leaves_the_board() {
    let board = Switchboard::default();
    let pair = pair_on(&board).await;
    let _serving = pair.serve_echo("echo").await;
    pair.callee.close().await;
    assert!(!board.serves(&pair.subject("echo")));
    let gone = pair.caller.call(pair.invocation("echo"), Bytes::new());
    let gone = tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
    assert!(gone.is_err(), "{gone:?}");
}

#[tokio::test]
async fn calls_that_find_no_turn_stay_while_nats_is_away() {
    let board = Switchboard::default();
    let mut pair = pair_on(&board).await;
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, 10, Duration::from_secs(5)));
    let _serving = pair
        .serve_with("wait", narrow, |call| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            call.responder.reply(Bytes::new()).await.unwrap();
        })
        .await;
    pair.nats.stop();
    until(|| pair.callee.nats().connection_state() != State::Connected).await;
    let calls = (0..6).map(|_| {
        let (caller, call) = (pair.caller.clone(), pair.invocation("wait"));
        tokio::spawn(async move { caller.call(call, Bytes::new()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_function_that_is_retired_takes_what_calls_under_way_call_and_nothing_else() {
    let board = Switchboard::default();
    let pair = pair_on(&board).await;
    let serving = pair.serve_echo("echo").await;
    let call = |invocation| pair.caller.call(invocation, Bytes::from_static(b"x"));
    serving.retire();
    serving.quiet().await;
    assert!(serving.is_quiet() && !board.serves(&pair.subject("echo")));
    let new = call(pair.invocation("echo")).await;
    assert!(matches!(new, Err(CallError::NotServed { .. })), "{new:?}");
    // Those of a link that spreads are for others.
    let spread = pair.invocation("echo").locality(Locality::Spread);
    let spread = call(spread.under_way()).await;
    assert!(
        matches!(spread, Err(CallError::NotServed { .. })),
        "{spread:?}"
    );
    for locality in [Locality::PreferLocal, Locality::LocalOnly] {
        let part = || pair.invocation("echo").locality(locality).under_way();
        assert_eq!(call(part()).await.unwrap(), "x");
        let begun = pair.caller.start(part(), Bytes::from_static(b"y"), &[]);
        let answer = begun.await.unwrap().result().await.unwrap();
        assert_eq!(answer.bytes, "y");
    }
    serving.drain(soon(1000)).await;
    let gone = call(pair.invocation("echo").under_way()).await;
    assert!(matches!(gone, Err(CallError::NotServed { .. })), "{gone:?}");
}
