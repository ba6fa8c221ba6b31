//! Raw frames of a 1.9 caller, and what hostile ones can do (protocol page, 4.2 and 13.3).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_codec::{DecodeError, write};
use lattice_rpc::Limiter;
use support::{Pair, soon};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A 1.9 caller by hand: publishes with a reply subject and reads what comes to it.
struct Raw {
    client: async_nats::Client,
    inbox: String,
    incoming: async_nats::Subscriber,
}

impl Raw {
    async fn new(pair: &Pair) -> Self {
        let client = pair.nats.client().await.unwrap();
        let inbox = client.new_inbox();
        let incoming = client.subscribe(format!("{inbox}.>")).await.unwrap();
        lattice_nats_box::taken_in(&client).await.unwrap();
        Self {
            client,
            inbox,
            incoming,
        }
    }

    fn root(&self, call: u32) -> String {
        format!("{}.{call}", self.inbox)
    }

    async fn invoke(&self, subject: &str, call: u32, params: &'static [u8]) {
        let params = Bytes::from_static(params);
        let root = self.root(call);
        self.client
            .publish_with_reply(subject.to_owned(), root, params)
            .await
            .unwrap();
    }

    async fn next(&mut self) -> async_nats::Message {
        tokio::time::timeout(Duration::from_secs(8), self.incoming.next())
            .await
            .unwrap()
            .unwrap()
    }

    /// Begins a call with `claim`, and sends `half` of its parameters once it is accepted. Gives how
    /// many refusals of earlier calls came in between.
    async fn half_call(&mut self, subject: &str, call: u32, claim: &Bytes, half: &Bytes) -> usize {
        let root = self.root(call);
        let invoked =
            self.client
                .publish_with_reply(subject.to_owned(), root.clone(), claim.clone());
        invoked.await.unwrap();
        let mut refused = 0;
        let server = loop {
            let message = self.next().await;
            if message.subject.as_str() == root
                && let Some(server) = message.reply
            {
                break server;
            }
            refused += usize::from(is_refusal(&message));
        };
        let params = format!("{server}.params");
        self.client.publish(params, half.clone()).await.unwrap();
        self.client.flush().await.unwrap();
        refused
    }
}

async fn adder(pair: &Pair) -> lattice_rpc::ServeHandle {
    pair.serve("add", |mut call| async move {
        let sum = call.params.decode(|r| Ok(r.u32()? + r.u32()?)).await;
        match sum {
            Ok(sum) => {
                let mut out = bytes::BytesMut::new();
                write::uleb(&mut out, sum.into());
                call.responder.reply(out.freeze()).await.unwrap();
            }
            Err(error) => {
                let error = lattice_rpc::RemoteError::new("bad-request", error.to_string());
                call.responder.fail(error).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_verified_frames_are_answered() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let mut raw = Raw::new(&pair).await;
    raw.invoke(&pair.subject("add"), 1, &[0x05, 0x90, 0x4e])
        .await;
    let accept = raw.next().await;
    assert_eq!(accept.subject.as_str(), raw.root(1));
    assert!(accept.payload.is_empty() && accept.headers.is_none());
    let server = accept.reply.unwrap();
    let result = raw.next().await;
    assert_eq!(result.subject.as_str(), format!("{}.results", raw.root(1)));
    assert_eq!(result.payload, Bytes::from_static(&[0x95, 0x4e]));
    raw.client
        .publish(format!("{server}.params"), Bytes::new())
        .await
        .unwrap();
    pair.settle().await;
}

#[tokio::test]
async fn parameters_may_come_byte_by_byte() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let mut raw = Raw::new(&pair).await;
    raw.invoke(&pair.subject("add"), 1, &[]).await;
    let server = raw.next().await.reply.unwrap();
    for byte in [0x05u8, 0x90, 0x4e] {
        raw.client
            .publish(format!("{server}.params"), vec![byte].into())
            .await
            .unwrap();
    }
    assert_eq!(raw.next().await.payload, Bytes::from_static(&[0x95, 0x4e]));
    pair.settle().await;
}

#[tokio::test]
async fn a_truncated_call_harms_nobody_else() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let mut raw = Raw::new(&pair).await;
    for call in 0..100 {
        raw.invoke(&pair.subject("add"), call, &[0x05]).await;
        raw.next().await;
    }
    let before = tokio::time::Instant::now();
    let params = Bytes::from_static(&[0x05, 0x90, 0x4e]);
    let sum = pair
        .caller
        .call(pair.invocation("add"), params)
        .await
        .unwrap();
    assert_eq!(sum, Bytes::from_static(&[0x95, 0x4e]));
    assert!(before.elapsed() < Duration::from_secs(1));
    // Each truncated call ends at its own deadline with an error and an empty result.
    let mut ended = 0;
    while ended < 100 {
        let message = raw.next().await;
        ended += usize::from(message.subject.ends_with(".results") && message.payload.is_empty());
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_call_that_waits_for_parameters_holds_no_permit_and_gets_one_in_the_end() {
    let pair = Pair::start().await;
    let limiter = Arc::new(Limiter::new(1, 10, Duration::from_secs(1)));
    let options = lattice_rpc::ServeOptions {
        limiter: Arc::clone(&limiter),
        ..support::options()
    };
    let _serving = pair
        .serve_with("echo", options, |mut call| async move {
            let text = call.params.decode(lattice_codec::Reader::string).await;
            let mut out = bytes::BytesMut::new();
            write::string(&mut out, &text.unwrap());
            call.responder.reply(out.freeze()).await.unwrap();
        })
        .await;
    let mut raw = Raw::new(&pair).await;
    raw.invoke(&pair.subject("echo"), 1, &[2, b'o']).await;
    let server = raw.next().await.reply.unwrap();
    let params = Bytes::from_static(&[1, b'x']);
    for _ in 0..3 {
        let called = pair.caller.call(pair.invocation("echo"), params.clone());
        assert_eq!(called.await.unwrap(), params);
    }
    let rest = Bytes::from_static(b"k");
    raw.client
        .publish(format!("{server}.params"), rest)
        .await
        .unwrap();
    assert_eq!(
        raw.next().await.payload,
        Bytes::from_static(&[2, b'o', b'k'])
    );
    raw.client
        .publish(format!("{server}.params"), Bytes::new())
        .await
        .unwrap();
    pair.settle().await;
    let stats = limiter.stats();
    assert_eq!((stats.free, stats.queued), (1, 0));
}

#[tokio::test]
async fn a_failure_is_a_status_and_then_an_empty_result() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let mut raw = Raw::new(&pair).await;
    raw.invoke(&pair.subject("add"), 1, &[0xff; 20]).await;
    raw.next().await.reply.unwrap();
    let status = raw.next().await;
    assert_eq!(status.subject.as_str(), raw.root(1));
    let headers = status.headers.unwrap();
    assert_eq!(headers.get("Status").unwrap().as_str(), "400");
    assert!(
        headers
            .get("Description")
            .unwrap()
            .as_str()
            .contains("could not decode")
    );
    let end = raw.next().await;
    assert!(end.subject.ends_with(".results") && end.payload.is_empty());
    pair.settle().await;
}

#[tokio::test]
async fn length_bombs_are_refused() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("bytes", |mut call| async move {
            let outcome = call.params.decode(lattice_codec::Reader::bytes).await;
            let error = outcome.unwrap_err();
            let why = std::error::Error::source(&error).map(ToString::to_string);
            call.responder
                .fail(lattice_rpc::RemoteError::new(
                    "bad-request",
                    why.unwrap_or_default(),
                ))
                .await
                .unwrap();
        })
        .await;
    let mut raw = Raw::new(&pair).await;
    let before = tokio::time::Instant::now();
    // Claims 4 GiB - 1 bytes and sends none of them.
    raw.invoke(&pair.subject("bytes"), 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])
        .await;
    raw.next().await;
    let refusal = raw.next().await;
    // For more bytes it would wait until the deadline.
    assert!(before.elapsed() < Duration::from_secs(1));
    let headers = refusal.headers.unwrap();
    let header = |name| headers.get(name).unwrap().as_str();
    assert_eq!(header("Status"), "400");
    let why = header("Description");
    assert!(
        why.starts_with("a length of 4294967295 exceeds the limit of"),
        "{why}"
    );
    pair.settle().await;
}

#[tokio::test]
async fn a_call_without_a_reply_subject_is_ignored() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let raw = Raw::new(&pair).await;
    raw.client
        .publish(pair.subject("add"), Bytes::from_static(&[5, 5]))
        .await
        .unwrap();
    raw.client.flush().await.unwrap();
    let sum = pair
        .caller
        .call(pair.invocation("add"), Bytes::from_static(&[5, 5]))
        .await
        .unwrap();
    assert_eq!(sum, Bytes::from_static(&[10]));
    pair.settle().await;
}

#[tokio::test]
async fn foreign_messages_to_an_inbox_change_nothing() {
    let pair = Pair::start().await;
    let _serving = adder(&pair).await;
    let mut watch = pair.watch().await;
    let params = Bytes::from_static(&[5, 5]);
    pair.caller
        .call(pair.invocation("add"), params.clone())
        .await
        .unwrap();
    let reply = watch.messages().await[0].reply.clone().unwrap();
    let raw = Raw::new(&pair).await;
    let base = reply.rsplit_once('.').unwrap().0;
    for token in ["0-1", "0-ffffffff", "zz", "-", "", "0", "ffffffff-0"] {
        for suffix in [
            "",
            ".results",
            ".results.0",
            ".results.x",
            ".credit.0",
            ".a.b.c",
        ] {
            let subject = format!("{base}.{token}{suffix}");
            if async_nats::Subject::from(subject.as_str()).is_valid() {
                raw.client
                    .publish(subject, Bytes::from_static(b"noise"))
                    .await
                    .unwrap();
            }
        }
    }
    raw.client.flush().await.unwrap();
    let sum = pair
        .caller
        .call(pair.invocation("add"), params)
        .await
        .unwrap();
    assert_eq!(sum, Bytes::from_static(&[10]));
    pair.settle().await;
}

/// Serves `take`, which gives back the bytes it takes.
async fn taker(pair: &Pair) -> lattice_rpc::ServeHandle {
    pair.serve("take", |mut call| async move {
        match call.params.decode(lattice_codec::Reader::bytes).await {
            Ok(data) => call.responder.reply(data).await.unwrap(),
            Err(error) => call.responder.fail(error.refusal()).await.unwrap(),
        }
    })
    .await
}

#[tokio::test]
async fn half_calls_of_many_callers_hold_no_more_than_the_peer_allows() {
    const HALF: usize = 16 * 1024;
    const SLACK: usize = 2048;
    // Eight fit, since none may hold more than it leaves free; a little more while they are taken in.
    let config = lattice_rpc::PeerConfig {
        max_held_bytes: 9 * HALF + SLACK,
        ..lattice_rpc::PeerConfig::default()
    };
    let pair = Pair::with_config(config).await;
    let _serving = taker(&pair).await;
    let mut raw = Raw::new(&pair).await;
    // Each says that it sends twice as much as it ever does.
    let mut claim = bytes::BytesMut::new();
    write::uleb(&mut claim, 2 * HALF as u64);
    let (claim, half) = (claim.freeze(), Bytes::from(vec![7; HALF]));
    let subject = pair.subject("take");
    let (mut refused, mut most) = (0, 0);
    for call in 0..32 {
        refused += raw.half_call(&subject, call, &claim, &half).await;
        most = most.max(pair.callee.stats().held_bytes);
    }
    // A fourth of the callers has used the budget up; the others are refused at once.
    while refused < 24 {
        refused += usize::from(is_refusal(&raw.next().await));
        most = most.max(pair.callee.stats().held_bytes);
    }
    assert!(most <= 8 * HALF + SLACK, "{most}");
    assert_eq!(pair.callee.stats().held_bytes, 8 * HALF);
    // What comes whole with its request is not held, and is answered meanwhile.
    let mut honest = bytes::BytesMut::new();
    write::bytes(&mut honest, b"honest");
    let answer = pair.caller.call(pair.invocation("take"), honest.freeze());
    assert_eq!(answer.await.unwrap(), "honest");
    // The calls that hold it end at their deadline, and give everything back.
    pair.settle().await;
    assert_eq!(pair.callee.stats().held_bytes, 0);
    assert_eq!(pair.caller.stats().held_bytes, 0);
}

/// Whether a message tells a 1.9 caller that its call failed, because all calls hold too much.
fn is_refusal(message: &async_nats::Message) -> bool {
    let told = |headers: &async_nats::HeaderMap| {
        let has = |name, part| headers.get(name).is_some_and(|v| v.as_str().contains(part));
        has(
            lattice_rpc::header::ERROR,
            lattice_rpc::RemoteError::OVERLOADED,
        ) && has("Description", "what all open calls hold")
    };
    message.headers.as_ref().is_some_and(told)
}

#[tokio::test]
async fn much_and_then_a_byte_at_a_time_is_not_decoded_for_each() {
    const MUCH: usize = 512 * 1024;
    const BYTES: usize = 2000;
    let pair = Pair::start().await;
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    // A decoder that cannot say how much is missing, as that of a host.
    let _serving = pair
        .serve("count", move |mut call| {
            let counted = Arc::clone(&counted);
            async move {
                let decoded = call.params.decode(|reader| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    match reader.remaining() {
                        whole if whole == MUCH + BYTES => reader.take(whole),
                        _ => Err(DecodeError::Incomplete { needed: 1 }),
                    }
                });
                let size = decoded.await.unwrap().len();
                call.responder.reply(size.to_string().into()).await.unwrap();
            }
        })
        .await;
    let mut raw = Raw::new(&pair).await;
    raw.invoke(&pair.subject("count"), 1, &[7; MUCH]).await;
    let params = format!("{}.params", raw.next().await.reply.unwrap());
    let byte = Bytes::from_static(b"x");
    for _ in 0..BYTES {
        let sent = raw.client.publish(params.clone(), byte.clone());
        sent.await.unwrap();
        raw.client.flush().await.unwrap();
    }
    // The end of the parameters is not told.
    assert_eq!(raw.next().await.payload, (MUCH + BYTES).to_string());
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks < 30, "{looks}");
}

#[tokio::test]
async fn the_rest_of_parameters_that_filled_the_request_may_come_late() {
    let quiet = Duration::from_millis(20);
    let pair = Pair::start().await;
    let count = pair.serve("count", move |mut call| async move {
        let size = call.params.all(quiet).await.unwrap().len();
        call.responder.reply(size.to_string().into()).await.unwrap();
    });
    let _serving = count.await;
    let mut raw = Raw::new(&pair).await;
    let (root, client) = (raw.root(1), raw.client.clone());
    // Stock callers leave no room but for the reply subject and headers.
    let first = Bytes::from(vec![7; client.max_payload() - root.len()]);
    let invoked = client.publish_with_reply(pair.subject("count"), root, first.clone());
    invoked.await.unwrap();
    let params = format!("{}.params", raw.next().await.reply.unwrap());
    tokio::time::sleep(10 * quiet).await;
    for part in [Bytes::from_static(b"rest"), Bytes::new()] {
        client.publish(params.clone(), part).await.unwrap();
    }
    assert_eq!(raw.next().await.payload, (first.len() + 4).to_string());
    pair.settle().await;
}

/// Writes to NATS what no client does.
async fn raw(pair: &Pair, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", pair.nats.port))
        .await
        .unwrap();
    let connect: &[u8] = b"CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\n";
    for part in [connect, bytes, b"PING\r\n"] {
        stream.write_all(part).await.unwrap();
    }
    let mut answers = String::new();
    let mut lines = BufReader::new(stream);
    while !answers.contains("PONG") {
        assert_ne!(lines.read_line(&mut answers).await.unwrap(), 0, "{answers}");
    }
}

#[tokio::test]
async fn headers_that_are_none_cost_a_connection_and_not_the_peer() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    let subject = pair.subject("echo");
    for headers in [
        "xxxxx",
        "NATS/1.0\r\nno colon\r\n\r\n",
        "NATS/1.0 many\r\n\r\n",
    ] {
        let size = headers.len();
        let message = format!("HPUB {subject} _INBOX.x.y {size} {size}\r\n{headers}\r\n");
        raw(&pair, message.as_bytes()).await;
        let until = soon(10_000);
        loop {
            let params = Bytes::from_static(b"still there");
            match pair
                .caller
                .call(pair.invocation("echo"), params.clone())
                .await
            {
                Ok(result) => break assert_eq!(result, params),
                Err(error) => assert!(tokio::time::Instant::now() < until, "{error}"),
            }
        }
    }
}
