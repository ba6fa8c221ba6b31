//! Parts of streams that are lost on their way, as with a connection that breaks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_codec::Path;
use lattice_nats_box::taken_in;
use lattice_rpc::{Call, CallError, Invocation, header};
use support::{Pair, soon};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

fn path() -> Path {
    Path::new([0])
}

/// A callee that speaks the wire itself, and has answered with a stream that is open.
struct Callee {
    client: Client,
    /// Where its caller listens.
    caller: String,
    inbox: String,
    _own: Subscriber,
}

impl Callee {
    async fn called(pair: &Pair, function: &str) -> (Self, Call) {
        let client = pair.nats.client().await.unwrap();
        let subject = pair.subject(function);
        let mut requests = client.subscribe(subject.clone()).await.unwrap();
        let inbox = client.new_inbox();
        let own = client.subscribe(format!("{inbox}.>")).await.unwrap();
        taken_in(&client).await.unwrap();
        let invocation = Invocation::new(subject, soon(60_000));
        let call = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
        let mut call = call.await.unwrap();
        let caller = requests.next().await.unwrap().reply.unwrap();
        let mut window = HeaderMap::new();
        window.insert(header::WINDOW, "65536");
        let place = format!("{inbox}.0");
        client
            .publish_with_reply_and_headers(caller.clone(), place, window, Bytes::new())
            .await
            .unwrap();
        let results = format!("{caller}.results");
        client.publish(results, "x".into()).await.unwrap();
        call.result().await.unwrap();
        let callee = Self {
            client,
            caller: caller.to_string(),
            inbox,
            _own: own,
        };
        (callee, call)
    }

    /// Sends a part of the stream, with what it tells of how much came before it.
    async fn send(&self, part: &'static str, offset: Option<&str>) {
        let mut headers = HeaderMap::new();
        if let Some(offset) = offset {
            headers.insert(header::OFFSET, offset);
        }
        let subject = format!("{}.results.0", self.caller);
        let sent = self
            .client
            .publish_with_headers(subject, headers, part.into());
        sent.await.unwrap();
    }

    /// Asks whether the caller is there, and tells how much was sent.
    async fn ask(&self, sent: &'static str) {
        let subject = format!("{}.alive", self.caller);
        let reply = format!("{}.0.lost", self.inbox);
        let asked = self.client.publish_with_reply(subject, reply, sent.into());
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_with_a_hole_does_not_end_as_if_it_were_whole() {
    let pair = Pair::start().await;
    for (function, offset, is_whole) in [
        ("whole", Some("3/0"), true),
        ("hole", Some("6/0"), false),
        // A peer that tells nothing of it is believed, as before.
        ("older", None, true),
    ] {
        let (callee, call) = Callee::called(&pair, function).await;
        callee.send("one", None).await;
        callee.send("", offset).await;
        let reading = call.reader(path(), None).collect(100);
        let read = timeout(SOON, reading).await.unwrap();
        match read {
            Ok(data) => assert!(is_whole && data == "one", "{function}: {data:?}"),
            Err(CallError::Incomplete { .. }) => assert!(!is_whole, "{function}"),
            Err(other) => panic!("{function}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_open_stream_of_which_a_part_was_lost_fails_soon() {
    let pair = Pair::start().await;
    let (callee, call) = Callee::called(&pair, "open").await;
    let mut reader = call.reader(path(), None);
    for part in ["one", "two"] {
        callee.send(part, None).await;
        let read = timeout(SOON, reader.next()).await.unwrap();
        assert_eq!(read.unwrap().unwrap(), part);
    }
    callee.ask("0=3").await;
    callee.ask("0=6").await;
    callee.send("end", None).await;
    let read = timeout(SOON, reader.next()).await.unwrap();
    assert_eq!(read.unwrap().unwrap(), "end");
    callee.ask("0=10").await;
    let failed = timeout(SOON, reader.next()).await.unwrap().unwrap();
    assert!(
        matches!(failed, Err(CallError::Incomplete { .. })),
        "{failed:?}"
    );
}

#[tokio::test]
async fn the_last_of_several_messages_tells_how_much_came_before_it() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("parts", |call| async move {
            let parts = call.params.first().clone();
            let answer = Bytes::from_static(&[0]);
            let streams = call.responder.reply_streaming(answer, &[], true).await;
            let mut writer = streams.unwrap().writer(path()).await.unwrap();
            for _ in 1..parts[0] {
                writer.write(Bytes::from_static(b"part")).await.unwrap();
            }
            writer.finish(Bytes::from_static(b"last")).await.unwrap();
        })
        .await;
    let mut watch = pair.watch().await;
    for (parts, expected) in [(1, None), (3, Some("8/0"))] {
        let invocation = pair.invocation("parts");
        let begun = pair.caller.start(invocation, Bytes::from(vec![parts]), &[]);
        let mut call = begun.await.unwrap();
        call.result().await.unwrap();
        let mut reader = call.reader(path(), None);
        let mut size = 0;
        while size < 4 * usize::from(parts) {
            let data = timeout(SOON, reader.next()).await.unwrap().unwrap();
            size += data.unwrap().len();
        }
        let messages = watch.messages().await;
        let mut sent = messages
            .iter()
            .filter(|message| message.subject.as_str().ends_with(".results.0"));
        let last = sent.next_back().unwrap();
        assert_eq!(last.payload, "last");
        let offset = last.headers.as_ref();
        let offset = offset.and_then(|headers| headers.get(header::OFFSET));
        assert_eq!(offset.map(|offset| offset.as_str()), expected);
        assert!(sent.all(|earlier| earlier.headers.is_none()));
    }
}

#[tokio::test]
async fn who_has_a_stream_open_tells_how_much_was_sent() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("open", |call| async move {
            let answer = Bytes::from_static(&[0]);
            let streams = call.responder.reply_streaming(answer, &[], true).await;
            let mut writer = streams.unwrap().writer(path()).await.unwrap();
            writer
                .write(Bytes::from_static(b"something"))
                .await
                .unwrap();
            std::future::pending::<()>().await;
        })
        .await;
    let mut watch = pair.watch().await;
    let invocation = pair.invocation("open");
    let begun = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = begun.await.unwrap();
    call.result().await.unwrap();
    let limit = Instant::now() + SOON;
    loop {
        let messages = watch.messages().await;
        let tells = |message: &async_nats::Message| {
            message.subject.as_str().ends_with(".alive") && message.payload == "0=9"
        };
        if messages.iter().any(tells) {
            return;
        }
        assert!(Instant::now() < limit, "nothing told");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A part of a long stream, unlike all others.
fn numbered(part: u16) -> Bytes {
    Bytes::from((0x4000 + part).to_be_bytes().repeat(50))
}

/// Whether pieces are of the whole, in its order and none of them twice.
fn are_in_order(pieces: &[Bytes], whole: &[u8]) -> bool {
    let mut rest = whole;
    pieces.iter().all(|piece| {
        let place = rest
            .windows(piece.len().max(1))
            .position(|some| some == piece);
        rest = &rest[place.map_or(rest.len(), |place| place + piece.len())..];
        place.is_some()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_nats_in_mid_stream_leaves_it_whole_or_ends_it_with_an_error() {
    const PARTS: u16 = 300;
    let mut pair = Pair::start().await;
    let _serving = pair
        .serve("steady", |call| async move {
            let answer = Bytes::from_static(&[0]);
            let streams = call.responder.reply_streaming(answer, &[], true).await;
            let mut writer = streams.unwrap().writer(path()).await.unwrap();
            for part in 0..PARTS {
                if writer.write(numbered(part)).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
            // Nobody may be left who would hear of it.
            let _ended = writer.end().await;
        })
        .await;
    let invocation = pair.invocation("steady").until(soon(60_000));
    let begun = pair.caller.start(invocation, Bytes::from_static(&[0]), &[]);
    let mut call = begun.await.unwrap();
    call.result().await.unwrap();
    let mut reader = call.reader(path(), None);
    let (began, begins) = tokio::sync::oneshot::channel();
    let reading = tokio::spawn(async move {
        let (mut pieces, mut began) = (Vec::new(), Some(began));
        while let Some(data) = reader.next().await {
            match data {
                Ok(piece) => pieces.push(piece),
                Err(error) => return (pieces, Err(error)),
            }
            if let Some(began) = began.take_if(|_| pieces.len() > 10) {
                began.send(()).unwrap();
            }
        }
        (pieces, Ok(()))
    });
    begins.await.unwrap();
    pair.nats.restart().await.unwrap();
    let read = timeout(Duration::from_secs(60), reading).await.unwrap();
    let (pieces, ended) = read.unwrap();
    let whole: Vec<u8> = (0..PARTS).flat_map(numbered).collect();
    // What comes after a hole is read before the hole is noticed, but never to a good end.
    assert!(are_in_order(&pieces, &whole));
    match ended {
        Ok(()) => assert_eq!(pieces.concat(), whole),
        Err(CallError::Incomplete { .. } | CallError::Gone { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}
