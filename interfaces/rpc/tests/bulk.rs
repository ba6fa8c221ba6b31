//! Long streams, which go over a connection of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use lattice_codec::Path;
use lattice_rpc::{
    BulkClient, BulkConnection, Call, CallError, PeerConfig, RemoteError, ServeHandle, header,
};
use support::{Pair, until};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const PART: usize = 50_000;
const PARTS: usize = 100;
/// How much of a stream goes over the connection of calls, in parts.
const FIRST: usize = 2;

/// Two peers that share a connection for long streams, as those of one process do.
async fn pair() -> (Pair, Client) {
    let place = Arc::new(OnceLock::<Client>::new());
    let client = Arc::clone(&place);
    let bulk = BulkConnection::new(move || {
        let client = client.get().cloned();
        async move {
            let client = client.ok_or("not yet")?;
            let kept = Box::new(());
            Ok(BulkClient { client, kept })
        }
    });
    let pair = Pair::with_config(PeerConfig {
        bulk: Some(bulk),
        ..PeerConfig::default()
    })
    .await;
    let client = pair.nats.client().await.unwrap();
    place.set(client.clone()).unwrap();
    // It could not be made before.
    until(|| pair.caller.stats().subscriptions == 2).await;
    until(|| pair.callee.stats().subscriptions == 2).await;
    (pair, client)
}

fn path() -> Path {
    Path::new([0])
}

/// Serves a function that gives back the stream that it is given.
async fn serve_pipe(pair: &Pair) -> ServeHandle {
    pair.serve("pipe", |call| async move {
        let mut reader = call.params.reader(path(), None).await.unwrap();
        let answer = call.responder;
        let begun = answer.reply_streaming(Bytes::from_static(&[0]), &[], true);
        let streams = begun.await.unwrap();
        let mut writer = streams.writer(path()).await.unwrap();
        while let Some(data) = reader.next().await {
            let sent = match data {
                Ok(data) => writer.write(data).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                let error = RemoteError::new(RemoteError::FAILED, error.to_string());
                return streams.abort(error).await.unwrap();
            }
        }
        // Nobody may be left who would hear of it.
        let _ended = writer.end().await;
    })
    .await
}

/// Starts a call that sends all parts, each of which is full of its number.
async fn start(pair: &Pair) -> (Call, JoinHandle<Result<(), CallError>>) {
    let call = pair
        .caller
        .start(pair.invocation("pipe"), Bytes::from_static(&[0]), &[])
        .await
        .unwrap();
    let mut writer = call.writer(path());
    let sending = tokio::spawn(async move {
        for i in 0..PARTS {
            writer.write(Bytes::from(vec![i as u8; PART])).await?;
        }
        writer.end().await
    });
    (call, sending)
}

/// Reads what comes back, and checks it; how many bytes have come before the end.
async fn read(mut call: Call) -> Result<usize, CallError> {
    call.result().await?;
    let mut reader = call.reader(path(), None);
    let mut received = 0;
    while let Some(data) = reader.next().await {
        for byte in data? {
            assert_eq!(usize::from(byte), received / PART, "at {received}");
            received += 1;
        }
    }
    Ok(received)
}

fn streamed(message: &Message) -> bool {
    let subject = message.subject.as_str();
    subject.contains(".params.0") || subject.contains(".results.0")
}

/// Whether it follows what was sent over the other connection; the end of a short stream follows none.
fn is_long(message: &Message) -> bool {
    let offset = message.headers.as_ref();
    let offset = offset.and_then(|headers| headers.get(header::OFFSET));
    offset.is_some_and(|offset| !offset.as_str().ends_with("/0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_long_stream_goes_over_another_connection() {
    let (pair, _client) = pair().await;
    let _serving = serve_pipe(&pair).await;
    let mut watch = pair.watch().await;
    let (call, sending) = start(&pair).await;
    assert_eq!(read(call).await.unwrap(), PART * PARTS);
    sending.await.unwrap().unwrap();
    let messages = watch.messages().await;
    let parts = messages.iter().filter(|message| streamed(message));
    let (long, short): (Vec<_>, Vec<_>) = parts.partition(|message| is_long(message));
    let bytes = |messages: &[&Message]| messages.iter().map(|m| m.payload.len()).sum::<usize>();
    assert_eq!(bytes(&short), 2 * FIRST * PART, "one way and back");
    assert_eq!(bytes(&long) + bytes(&short), 2 * PARTS * PART);
    pair.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_stream_stays_on_the_connection_of_calls() {
    let (pair, _client) = pair().await;
    let _serving = serve_pipe(&pair).await;
    let mut watch = pair.watch().await;
    let begun = pair
        .caller
        .start(pair.invocation("pipe"), Bytes::from_static(&[0]), &[]);
    let call = begun.await.unwrap();
    let mut writer = call.writer(path());
    writer.write(Bytes::from(vec![0; PART])).await.unwrap();
    writer.end().await.unwrap();
    assert_eq!(read(call).await.unwrap(), PART);
    assert!(!watch.messages().await.iter().any(is_long));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_ends_its_streams_and_leaves_no_gap() {
    let (pair, client) = pair().await;
    let _serving = serve_pipe(&pair).await;
    for round in 0..5 {
        let (call, sending) = start(&pair).await;
        let reading = tokio::spawn(read(call));
        tokio::time::sleep(Duration::from_millis(round)).await;
        client.force_reconnect().await.unwrap();
        let ended = timeout(Duration::from_secs(10), reading)
            .await
            .expect("an end")
            .unwrap();
        match ended {
            Ok(received) => assert_eq!(received, PART * PARTS),
            Err(CallError::Incomplete { .. } | CallError::Remote(_) | CallError::Cancelled) => {}
            Err(other) => panic!("{other:?}"),
        }
        let _sent = timeout(Duration::from_secs(10), sending)
            .await
            .expect("an end")
            .unwrap();
    }
    pair.settle().await;
    // Calls go on as if nothing had been, once the last break is over, which may be late.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (call, sending) = start(&pair).await;
        let received = read(call).await;
        let sent = sending.await.unwrap();
        match received {
            Ok(received) => {
                assert_eq!(received, PART * PARTS);
                return sent.unwrap();
            }
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
}
