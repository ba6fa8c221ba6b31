//! Streams that are silent, and such that go on after the deadline of their call.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_codec::Path;
use lattice_core::subject::RpcPrefix;
use lattice_nats_box::taken_in;
use lattice_rpc::wrpc::{CallContext, Client};
use lattice_rpc::{CallError, Invocation, PeerConfig, ServeHandle, header};
use support::{Pair, id, lattice, soon};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The limit of silence in these tests.
const IDLE: Duration = Duration::from_millis(200);
/// Far beyond the time in which a loss is noticed.
const PATIENCE_MS: u64 = 60_000;

fn path() -> Path {
    Path::new([0])
}

#[tokio::test]
async fn a_silent_stream_lives_as_long_as_its_two_ends() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("silent", |call| async move {
            let answer = Bytes::from_static(&[0]);
            let streams = call.responder.reply_streaming(answer, &[], true).await;
            let mut writer = streams.unwrap().writer(path()).await.unwrap();
            for part in ["one", "two"] {
                sleep(IDLE * 4).await;
                writer.write(Bytes::from(part)).await.unwrap();
            }
            writer.end().await.unwrap();
        })
        .await;
    let invocation = pair.invocation("silent");
    let call = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = call.await.unwrap();
    call.result().await.unwrap();
    let stream = call.reader(path(), None).idle_limit(IDLE);
    assert_eq!(stream.collect(100).await.unwrap(), "onetwo");
}

/// Answers a call with a stream that stays silent, until it is told to leave.
async fn silent(pair: &Pair, headers: HeaderMap) -> (String, JoinHandle<async_nats::Subscriber>) {
    let is_old = headers.is_empty();
    let client = pair.nats.client().await.unwrap();
    let subject = pair.subject("silent");
    let mut requests = client.subscribe(subject.clone()).await.unwrap();
    let inbox = client.new_inbox();
    let own = client.subscribe(format!("{inbox}.>")).await.unwrap();
    taken_in(&client).await.unwrap();
    let answering = tokio::spawn(async move {
        let caller = requests.next().await.unwrap().reply.unwrap();
        let results = format!("{caller}.results");
        let place = format!("{inbox}.0");
        let accept = client.publish_with_reply_and_headers(caller, place, headers, Bytes::new());
        accept.await.unwrap();
        client.publish(results.clone(), "x".into()).await.unwrap();
        // A 1.9 peer says so when that was all.
        if is_old {
            client.publish(results, Bytes::new()).await.unwrap();
        }
        client.flush().await.unwrap();
        own
    });
    (subject, answering)
}

/// How the silent stream ends, and after what time.
async fn end_of(pair: &Pair, subject: String) -> (CallError, Duration) {
    let invocation = Invocation::new(subject, soon(PATIENCE_MS));
    let call = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = call.await.unwrap();
    call.result().await.unwrap();
    let mut stream = call.reader(path(), None).idle_limit(IDLE);
    let began = Instant::now();
    let ended = timeout(Duration::from_secs(10), stream.next()).await;
    (ended.unwrap().unwrap().unwrap_err(), began.elapsed())
}

#[tokio::test]
async fn a_silent_stream_ends_when_its_writer_is_gone() {
    let pair = Pair::start().await;
    let mut window = HeaderMap::new();
    window.insert(header::WINDOW, "65536");
    let (subject, answering) = silent(&pair, window).await;
    let leaving = tokio::spawn(async move {
        let own = answering.await.unwrap();
        sleep(IDLE * 4).await;
        drop(own);
    });
    let (error, after) = end_of(&pair, subject).await;
    assert!(matches!(error, CallError::Gone { .. }), "{error:?}");
    assert!(after > IDLE * 2, "{after:?}");
    leaving.await.unwrap();
}

#[tokio::test]
async fn a_1_9_peer_that_is_silent_counts_as_gone() {
    let pair = Pair::start().await;
    let (subject, answering) = silent(&pair, HeaderMap::new()).await;
    let (error, after) = end_of(&pair, subject).await;
    assert!(matches!(error, CallError::Deadline { .. }), "{error:?}");
    assert!(after < Duration::from_secs(5), "{after:?}");
    answering.await.unwrap();
}

#[tokio::test]
async fn what_goes_up_after_the_answer_outlives_the_deadline() {
    let window = 64 * 1024;
    let pair = Pair::with_config(PeerConfig {
        stream_window: window,
        ..PeerConfig::default()
    })
    .await;
    let _serving = pair
        .serve("slow", |call| async move {
            let mut reader = call.params.reader(path(), None).await.unwrap();
            let answer = Bytes::from_static(&[0]);
            let streams = call.responder.reply_streaming(answer, &[], true).await;
            let mut writer = streams.unwrap().writer(path()).await.unwrap();
            // The window is full until long after the deadline.
            sleep(Duration::from_millis(1500)).await;
            let mut count = 0;
            while let Some(data) = reader.next().await {
                count += data.unwrap().len();
            }
            writer.write(count.to_string().into()).await.unwrap();
            writer.end().await.unwrap();
        })
        .await;
    let invocation = pair.invocation("slow").until(soon(500));
    let call = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = call.await.unwrap();
    let mut writer = call.writer(path());
    let sending = tokio::spawn(async move {
        for _ in 0..4 {
            let part = Bytes::from(vec![7; window as usize]);
            writer.write(part).await?;
        }
        writer.end().await
    });
    call.result().await.unwrap();
    let counted = call.reader(path(), None).collect(100).await.unwrap();
    sending.await.unwrap().unwrap();
    assert_eq!(counted, (4 * window).to_string());
}

/// Takes in what comes for `subject`, and says nothing.
async fn mute(pair: &Pair, subject: String) -> async_nats::Subscriber {
    let client = pair.nats.client().await.unwrap();
    let requests = client.subscribe(subject).await.unwrap();
    taken_in(&client).await.unwrap();
    requests
}

#[tokio::test]
async fn a_call_that_a_dead_process_had_not_confirmed_ends_soon() {
    let pair = Pair::start().await;
    let mut requests = mute(&pair, pair.subject("mute")).await;
    let other = RpcPrefix::new(&lattice(), &id("target-2"));
    let other = other.invocation("test:pkg/iface@0.1.0", "mute");
    let mut unconcerned = mute(&pair, other.clone()).await;
    let begin = |subject: String| {
        let caller = pair.caller.clone();
        let invocation = Invocation::new(subject, soon(PATIENCE_MS));
        tokio::spawn(async move { caller.call(invocation, Bytes::from_static(&[0])).await })
    };
    let (call, bystander) = (begin(pair.subject("mute")), begin(other));
    requests.next().await.unwrap();
    unconcerned.next().await.unwrap();
    let died = Instant::now();
    pair.caller.has_died(&lattice(), "target");
    let ended = timeout(Duration::from_secs(10), call).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Gone { .. }), "{error:?}");
    // Whoever else might have had it was given time to say so.
    assert!(died.elapsed() > Duration::from_millis(900));
    assert!(!bystander.is_finished());
    bystander.abort();
}

#[tokio::test]
async fn a_call_that_another_instance_confirms_outlives_a_death() {
    let pair = Pair::start().await;
    let (began, mut begun) = tokio::sync::mpsc::channel(1);
    let _serving = pair
        .serve("slow", move |call| {
            let began = began.clone();
            async move {
                began.send(()).await.unwrap();
                sleep(Duration::from_secs(3)).await;
                call.responder
                    .reply(Bytes::from_static(b"done"))
                    .await
                    .unwrap();
            }
        })
        .await;
    let (caller, invocation) = (pair.caller.clone(), pair.invocation("slow"));
    let call = tokio::spawn(async move { caller.call(invocation, Bytes::from_static(&[0])).await });
    begun.recv().await.unwrap();
    pair.caller.has_died(&lattice(), "target");
    assert_eq!(call.await.unwrap().unwrap(), "done");
}

#[tokio::test]
async fn a_caller_that_reads_nothing_of_its_answer_ends_it() {
    const WINDOW: usize = 64 * 1024;
    let pair = Pair::with_config(PeerConfig {
        stream_window: WINDOW as u64,
        longest_stall: IDLE * 4,
        ..PeerConfig::default()
    })
    .await;
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let _serving = pair
        .serve("full", move |call| {
            let tell = tell.clone();
            async move {
                let answer = Bytes::from_static(&[0]);
                let streams = call.responder.reply_streaming(answer, &[], true).await;
                let mut writer = streams.unwrap().writer(path()).await.unwrap();
                let much = Bytes::from(vec![7; 3 * WINDOW]);
                tell.send(writer.write(much).await).await.unwrap();
            }
        })
        .await;
    let begin = async || {
        let call = pair.invocation("full").until(soon(PATIENCE_MS));
        let call = pair.caller.start(call, Bytes::from_static(&[0]), &[]);
        let mut call = call.await.unwrap();
        call.result().await.unwrap();
        call
    };
    let unread = begin().await;
    let ended = timeout(Duration::from_secs(10), told.recv()).await;
    let ended = ended.unwrap().unwrap();
    assert!(
        matches!(ended, Err(CallError::SlowReader { buffered: WINDOW })),
        "{ended:?}"
    );
    // What it has not read is not taken for the whole.
    let mut reader = unread.reader(path(), None);
    let mut size = 0;
    while size < WINDOW {
        size += reader.next().await.unwrap().unwrap().len();
    }
    assert_eq!(size, WINDOW);
    let end = timeout(Duration::from_secs(10), reader.next()).await;
    let end = end.unwrap().unwrap();
    assert!(matches!(end, Err(CallError::Remote(_))), "{end:?}");
    // One that pauses goes on where it was.
    let mut reader = begin().await.reader(path(), None);
    let mut size = 0;
    while size < 3 * WINDOW {
        sleep(IDLE).await;
        size += reader.next().await.unwrap().unwrap().len();
    }
    told.recv().await.unwrap().unwrap();
}

/// How long a caller may be quiet in the next test.
const QUIET: Duration = Duration::from_secs(1);

async fn serve_all(pair: &Pair) -> ServeHandle {
    pair.serve("all", |mut call| async move {
        let all = call.params.all(QUIET).await.unwrap();
        call.responder.reply(all).await.unwrap();
    })
    .await
}

/// The answer to parameters of three parts, between which there are pauses.
async fn answer_to(pair: &Pair, headers: HeaderMap, pauses: [Duration; 2]) -> Bytes {
    let client = pair.nats.client().await.unwrap();
    let root = format!("{}.0", client.new_inbox());
    let mut own = client.subscribe(format!("{root}.>")).await.unwrap();
    let mut accepts = client.subscribe(root.clone()).await.unwrap();
    let (subject, first) = (pair.subject("all"), Bytes::from_static(b"a"));
    client
        .publish_with_reply_and_headers(subject, root, headers, first)
        .await
        .unwrap();
    let accept = timeout(Duration::from_secs(10), accepts.next()).await;
    let params = format!("{}.params", accept.unwrap().unwrap().reply.unwrap());
    for (part, pause) in ["b", "c"].into_iter().zip(pauses) {
        sleep(pause).await;
        client.publish(params.clone(), part.into()).await.unwrap();
        client.flush().await.unwrap();
    }
    client.publish(params, Bytes::new()).await.unwrap();
    loop {
        let message = timeout(Duration::from_secs(10), own.next()).await;
        let message = message.unwrap().unwrap();
        if message.subject.as_str().ends_with(".results") {
            return message.payload;
        }
    }
}

#[tokio::test]
async fn parameters_whose_end_is_told_are_waited_for() {
    let pair = Pair::start().await;
    let _serving = serve_all(&pair).await;
    let pause = QUIET + IDLE * 2;
    let mut newer = HeaderMap::new();
    newer.insert(header::CALL, "left=60000;window=65536");
    assert_eq!(answer_to(&pair, newer, [pause, pause]).await, "abc");
    // A 1.9 caller that has begun to send the rest.
    let none = Duration::ZERO;
    let older = answer_to(&pair, HeaderMap::new(), [none, pause]).await;
    assert_eq!(older, "abc");
}

#[tokio::test]
async fn a_stock_callee_is_told_of_a_stream_that_bindings_drop_before_it_is_written() {
    use wrpc_transport::{Index as _, Invoke as _};

    let pair = Pair::start().await;
    let callee = pair.nats.client().await.unwrap();
    let mut calls = callee.subscribe(pair.subject("pipe")).await.unwrap();
    let place = callee.new_inbox();
    let params = callee.subscribe(format!("{place}.params.>")).await;
    taken_in(&callee).await.unwrap();
    let (caller, target) = (pair.caller.clone(), id("target"));
    let client = Client::new(caller, &lattice(), id("tester"), target, IDLE * 50);
    let none: [[Option<usize>; 0]; 0] = [];
    let pending = Bytes::from_static(&[0]);
    let context = CallContext::default();
    let call = client.invoke(context, "test:pkg/iface@0.1.0", "pipe", pending, none);
    let (outgoing, incoming) = call.await.unwrap();
    drop(outgoing.index(&[0]).unwrap());
    let caller = calls.next().await.unwrap().reply.unwrap();
    let accepted = callee.publish_with_reply(caller, place.clone(), Bytes::new());
    accepted.await.unwrap();
    drop((outgoing, incoming));
    let end = timeout(Duration::from_secs(5), params.unwrap().next()).await;
    let end = end.expect("the callee is not told").unwrap();
    let told = (end.subject.to_string(), end.payload);
    assert_eq!(told, (format!("{place}.params.0"), Bytes::new()));
    pair.settle().await;
}

#[tokio::test]
async fn an_answer_of_a_stock_callee_that_cannot_be_told_of_an_end_is_not_lost() {
    let pair = Pair::start().await;
    let callee = pair.nats.client().await.unwrap();
    let mut calls = callee.subscribe(pair.subject("pipe")).await.unwrap();
    taken_in(&callee).await.unwrap();
    let (pending, ended) = (Bytes::from_static(&[0]), [path()]);
    let invocation = pair.invocation("pipe");
    let call = pair.caller.start(invocation, pending.clone(), &ended);
    let mut call = call.await.unwrap();
    let caller = calls.next().await.unwrap().reply.unwrap();
    let results = format!("{caller}.results");
    // What begins with it is longer than subjects may be.
    let place = format!("{:x<1899}", callee.new_inbox());
    let accepted = callee.publish_with_reply(caller, place, Bytes::new());
    accepted.await.unwrap();
    for part in [pending.clone(), Bytes::new()] {
        callee.publish(results.clone(), part).await.unwrap();
    }
    taken_in(&callee).await.unwrap();
    // All of it is here before anybody waits for it.
    pair.caller.confirm(Duration::from_secs(5)).await.unwrap();
    assert_eq!(call.result().await.unwrap().bytes, pending);
    drop(call);
    pair.settle().await;
}
