//! Calls between two peers of our kind.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_codec::Path;
use lattice_rpc::{CallError, Limiter, PeerConfig, Reached, RemoteError};
use support::{Pair, on_the_bus, options, soon, until};
use tokio::time::Instant;

#[tokio::test]
async fn a_unary_call_is_two_messages() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    let mut watch = pair.watch().await;
    for params in [&b"hello"[..], b""] {
        let result = pair
            .caller
            .call(pair.invocation("echo"), Bytes::from_static(params))
            .await
            .unwrap();
        assert_eq!(result, params);
        let messages = watch.messages().await;
        assert_eq!(messages.len(), on_the_bus(2), "{messages:?}");
    }
    pair.settle().await;
}

#[tokio::test]
async fn large_values_cross_in_pieces() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    for size in [900_000, 1_048_576, 5_000_000] {
        let params = Bytes::from(vec![7; size]);
        let result = pair
            .caller
            .call(pair.invocation("echo"), params.clone())
            .await
            .unwrap();
        assert!(result == params, "{size}");
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_call_to_nobody_fails_at_once() {
    let pair = Pair::start().await;
    let before = Instant::now();
    let error = pair
        .caller
        .call(pair.invocation("nothing"), Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::NotServed { .. }), "{error}");
    assert!(before.elapsed() < Duration::from_secs(2));
    pair.settle().await;
}

#[tokio::test]
async fn errors_arrive_with_code_and_hint() {
    let pair = Pair::start().await;
    let sent = RemoteError::new("no-link", "no link for\nthis").with_hint("put one");
    let told = sent.clone();
    let _serving = pair
        .serve("fail", move |call| {
            let told = told.clone();
            async move { call.responder.fail(told).await.unwrap() }
        })
        .await;
    let error = pair
        .caller
        .call(pair.invocation("fail"), Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Remote(got) if got == sent));
    pair.settle().await;
}

#[tokio::test]
async fn a_handler_that_ends_without_an_answer_is_an_error() {
    let pair = Pair::start().await;
    let _drops = pair.serve("drops", |call| async move { drop(call) }).await;
    let _panics = pair
        .serve("panics", |_call| async move { panic!("on purpose") })
        .await;
    for function in ["drops", "panics"] {
        let error = pair
            .caller
            .call(pair.invocation(function), Bytes::new())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Remote(e) if e.code == RemoteError::FAILED));
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_deadline_ends_both_sides() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("never", |call| async move {
            let _call = call;
            std::future::pending::<()>().await;
        })
        .await;
    let invocation = lattice_rpc::Invocation::new(pair.subject("never"), soon(300));
    let before = Instant::now();
    let error = pair
        .caller
        .call(invocation, Bytes::new())
        .await
        .unwrap_err();
    assert!(before.elapsed() < Duration::from_millis(1500));
    let told = matches!(&error, CallError::Remote(e) if e.code == RemoteError::DEADLINE);
    assert!(
        told || matches!(error, CallError::Deadline { .. }),
        "{error}"
    );
    pair.settle().await;
}

#[tokio::test]
async fn the_callee_says_that_its_deadline_has_passed() {
    let pair = Pair::start().await;
    let short = lattice_rpc::ServeOptions {
        longest_deadline: Duration::from_millis(100),
        relief: lattice_rpc::Relief::default(),
        ..options()
    };
    let _serving = pair
        .serve_with("never", short, |call| async move {
            let _call = call;
            std::future::pending::<()>().await;
        })
        .await;
    let called = pair.caller.call(pair.invocation("never"), Bytes::new());
    let error = called.await.unwrap_err();
    let told = matches!(&error, CallError::Remote(e) if e.code == RemoteError::DEADLINE);
    assert!(told, "{error}");
    pair.settle().await;
}

#[tokio::test]
async fn dropping_a_call_cancels_its_handler() {
    let pair = Pair::start().await;
    let running = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&running);
    let _serving = pair
        .serve("never", move |call| {
            let seen = Arc::clone(&seen);
            async move {
                let _call = call;
                seen.fetch_add(1, Ordering::SeqCst);
                let _end = scopeguard(move || {
                    seen.fetch_sub(1, Ordering::SeqCst);
                });
                std::future::pending::<()>().await;
            }
        })
        .await;
    for wait in [1, 30] {
        let mut calls: Vec<_> = (0..50)
            .map(|_| {
                let peer = pair.caller.clone();
                let invocation = pair.invocation("never");
                tokio::spawn(async move { peer.call(invocation, Bytes::new()).await })
            })
            .collect();
        until(|| running.load(Ordering::SeqCst) == 50).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        for call in calls.drain(..) {
            call.abort();
        }
        until(|| running.load(Ordering::SeqCst) == 0).await;
    }
    pair.settle().await;
}

fn scopeguard(f: impl FnOnce()) -> impl Drop {
    struct Guard<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Guard<F> {
        fn drop(&mut self) {
            if let Some(f) = self.0.take() {
                f();
            }
        }
    }
    Guard(Some(f))
}

#[tokio::test]
async fn a_full_callee_refuses_at_once_and_recovers() {
    let pair = Pair::start().await;
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, 2, Duration::from_millis(200)));
    let _serving = pair
        .serve_with("slow", narrow, |call| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            call.responder
                .reply(Bytes::from_static(b"\x01"))
                .await
                .unwrap();
        })
        .await;
    let calls = (0..10).map(|_| pair.caller.call(pair.invocation("slow"), Bytes::new()));
    let results = futures::future::join_all(calls).await;
    let refused = results
        .iter()
        .filter(|r| matches!(r, Err(CallError::Remote(e)) if e.code == RemoteError::OVERLOADED))
        .count();
    assert_eq!(
        (refused, results.iter().filter(|r| r.is_ok()).count()),
        (9, 1)
    );
    pair.caller
        .call(pair.invocation("slow"), Bytes::new())
        .await
        .unwrap();
    pair.settle().await;
}

#[tokio::test]
async fn a_call_that_is_cut_off_is_told_from_one_that_never_began() {
    let pair = Pair::start().await;
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, 2, Duration::from_secs(5)));
    let limiter = Arc::clone(&narrow.limiter);
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let serving = pair
        .serve_with("stuck", narrow, move |call| {
            let count = Arc::clone(&count);
            async move {
                let _held = call;
                count.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            }
        })
        .await;
    let call = || {
        let (caller, call) = (pair.caller.clone(), pair.invocation("stuck"));
        tokio::spawn(async move { caller.call(call, Bytes::new()).await })
    };
    let running = call();
    until(|| begun.load(Ordering::Relaxed) == 1).await;
    let waiting = call();
    until(|| limiter.stats().queued == 1).await;
    serving.drain(soon(0)).await;
    for (ended, code, reached) in [
        (running, RemoteError::INTERRUPTED, Reached::Maybe),
        (waiting, RemoteError::STOPPING, Reached::Never),
    ] {
        let error = ended.await.unwrap().unwrap_err();
        let told = matches!(&error, CallError::Remote(remote) if remote.code == code);
        assert!(told, "{code}: {error:?}");
        assert_eq!(error.reached(), reached);
    }
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn streams_flow_both_ways_within_their_window() {
    let config = PeerConfig {
        stream_window: 64 * 1024,
        max_buffered_bytes: 256 * 1024,
        ..PeerConfig::default()
    };
    let pair = Pair::with_config(config).await;
    let path = Path::new([0]);
    let at = path.clone();
    let _serving = pair
        .serve("pipe", move |call| {
            let at = at.clone();
            async move {
                let mut reader = call.params.reader(at.clone(), None).await.unwrap();
                let streams = call
                    .responder
                    .reply_streaming(Bytes::from_static(&[0]), &[], true)
                    .await
                    .unwrap();
                let mut writer = streams.writer(at).await.unwrap();
                while let Some(data) = reader.next().await {
                    writer.write(data.unwrap()).await.unwrap();
                }
                writer.end().await.unwrap();
            }
        })
        .await;
    let mut call = pair
        .caller
        .start(pair.invocation("pipe"), Bytes::from_static(&[0]), &[])
        .await
        .unwrap();
    let mut writer = call.writer(path.clone());
    let sending = tokio::spawn(async move {
        for i in 0..160u8 {
            writer.write(Bytes::from(vec![i; 50_000])).await.unwrap();
        }
        writer.end().await.unwrap();
    });
    assert_eq!(call.result().await.unwrap().bytes, Bytes::from_static(&[0]));
    let mut reader = call.reader(path, None);
    let mut received = 0;
    while let Some(data) = reader.next().await {
        let data = data.unwrap();
        assert_eq!(data[0] as usize, received / 50_000);
        received += data.len();
        if received < 1_000_000 {
            // A reader slower than its writer holds the writer back instead of failing.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(received, 8_000_000);
    sending.await.unwrap();
    drop((reader, call));
    pair.settle().await;
}

#[tokio::test]
async fn a_parameter_of_which_no_more_is_read_holds_up_nobody() {
    const WINDOW: usize = 64 * 1024;
    let config = PeerConfig {
        stream_window: WINDOW as u64,
        ..PeerConfig::default()
    };
    let pair = Pair::with_config(config).await;
    let path = Path::new([0]);
    let at = path.clone();
    let go = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&go);
    let _serving = pair
        .serve("early", move |call| {
            let (at, told) = (at.clone(), Arc::clone(&told));
            async move {
                let mut reader = call.params.reader(at, None).await.unwrap();
                reader.next().await.unwrap().unwrap();
                drop(reader);
                told.notified().await;
                let answer = Bytes::from_static(b"enough");
                call.responder.reply(answer).await.unwrap();
            }
        })
        .await;
    let invocation = pair.invocation("early").until(soon(20_000));
    let call = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = call.await.unwrap();
    let mut writer = call.writer(path);
    let much = Bytes::from(vec![7; 4 * WINDOW]);
    let written = tokio::time::timeout(Duration::from_secs(10), writer.write(much)).await;
    let written = written.unwrap();
    assert!(matches!(written, Err(CallError::Cancelled)), "{written:?}");
    // The call itself goes on.
    go.notify_one();
    assert_eq!(call.result().await.unwrap().bytes, "enough");
    drop((writer, call));
    pair.settle().await;
}

#[tokio::test]
async fn ten_thousand_concurrent_calls_leave_nothing_behind() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    let before = (pair.caller.stats(), pair.callee.stats());
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64u32 {
        let peer = pair.caller.clone();
        let subject = pair.subject("echo");
        tasks.spawn(async move {
            for i in 0..160u32 {
                let params = Bytes::from([worker.to_le_bytes(), i.to_le_bytes()].concat());
                let invocation = lattice_rpc::Invocation::new(subject.clone(), soon(20_000));
                assert_eq!(peer.call(invocation, params.clone()).await.unwrap(), params);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    pair.settle().await;
    assert_eq!((pair.caller.stats(), pair.callee.stats()), before);
}

#[tokio::test]
async fn draining_answers_what_is_under_way() {
    let pair = Pair::start().await;
    let serving = pair
        .serve("slow", |call| async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            call.responder
                .reply(Bytes::from_static(b"\x01"))
                .await
                .unwrap();
        })
        .await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let peer = pair.caller.clone();
            let invocation = pair.invocation("slow");
            tokio::spawn(async move { peer.call(invocation, Bytes::new()).await })
        })
        .collect();
    until(|| pair.callee.stats().serving == 20).await;
    serving.drain(soon(5000)).await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let late = pair
        .caller
        .call(pair.invocation("slow"), Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(late, CallError::NotServed { .. }), "{late}");
    pair.settle().await;
}
