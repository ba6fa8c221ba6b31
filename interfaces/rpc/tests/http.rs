//! HTTP messages over calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use lattice_codec::http::{ErrorCode, Part, ResponseHead, encode_response};
use lattice_rpc::http::{HttpError, answer, take_outgoing_request, take_request};
use support::{Pair, on_the_bus, trace};

async fn serve_echo(pair: &Pair) -> lattice_rpc::ServeHandle {
    pair.serve_http("handle", |mut call| async move {
        let request = take_request(&mut call.params).await.unwrap();
        if request.uri().path() == "/refuse" {
            let refusal = Err::<http::Response<Full<Bytes>>, _>(ErrorCode::HttpRequestDenied);
            return answer(call.responder, refusal).await.unwrap();
        }
        let (parts, body) = request.into_parts();
        let mut response = http::Response::new(body);
        response.headers_mut().extend(parts.headers);
        answer(call.responder, Ok(response)).await.unwrap();
    })
    .await
}

fn request<B>(path: &str, body: B) -> http::Request<B> {
    http::Request::post(format!("http://localhost:8000{path}"))
        .header("x-test", "1")
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn a_small_exchange_is_two_messages() {
    let pair = Pair::start().await;
    let _serving = serve_echo(&pair).await;
    let mut watch = pair.watch().await;
    for text in ["", "hello"] {
        let sent = request("/echo?x=1", Full::new(Bytes::from(text)));
        let response = pair
            .caller
            .call_http(pair.invocation("handle"), sent)
            .await
            .unwrap();
        assert_eq!(response.headers()["x-test"], "1");
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            text
        );
        let messages = watch.messages().await;
        assert_eq!(messages.len(), on_the_bus(2), "{messages:?}");
    }
    pair.settle().await;
}

#[tokio::test]
async fn large_and_slow_bodies_stream_both_ways() {
    let pair = Pair::start().await;
    let _serving = serve_echo(&pair).await;
    let chunks = futures::stream::iter(0..200u8).then(|i| async move {
        if i % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![i; 60_000])))
    });
    let sent = request("/echo", StreamBody::new(Box::pin(chunks)));
    let response = pair
        .caller
        .call_http(pair.invocation("handle"), sent)
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 12_000_000);
    assert!((0..200).all(|i| body[i * 60_000] == i as u8 && body[(i + 1) * 60_000 - 1] == i as u8));
    pair.settle().await;
}

#[tokio::test]
async fn trailers_cross() {
    let pair = Pair::start().await;
    let _serving = serve_echo(&pair).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let sent = Full::new(Bytes::from_static(b"data"))
        .with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
    let response = pair
        .caller
        .call_http(pair.invocation("handle"), request("/", sent))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers));
    pair.settle().await;
}

#[tokio::test]
async fn an_error_of_the_handler_is_typed() {
    let pair = Pair::start().await;
    let _serving = serve_echo(&pair).await;
    let sent = request("/refuse", Full::new(Bytes::new()));
    let error = pair
        .caller
        .call_http(pair.invocation("handle"), sent)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        HttpError::Handler(ErrorCode::HttpRequestDenied)
    ));
    pair.settle().await;
}

#[tokio::test]
async fn a_body_that_fails_half_way_fails_the_reader() {
    let pair = Pair::start().await;
    let _serving = pair.serve("handle", |_ignored| async {}).await;
    let _failing = pair
        .serve_http("fails", |mut call| async move {
            take_request(&mut call.params).await.unwrap();
            let frames = futures::stream::iter([Ok(b"part".as_slice()), Err("disk gone")]).then(
                |part| async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    part.map(|part| http_body::Frame::data(Bytes::from_static(part)))
                },
            );
            let response = http::Response::new(StreamBody::new(Box::pin(frames)));
            answer(call.responder, Ok(response)).await.unwrap();
        })
        .await;
    let sent = request("/", Full::new(Bytes::new()));
    let response = pair
        .caller
        .call_http(pair.invocation("fails"), sent)
        .await
        .unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(error.to_string().contains("disk gone"), "{error}");
    pair.settle().await;
}

#[tokio::test]
async fn a_body_whose_server_is_cut_off_is_not_taken_for_whole() {
    let pair = Pair::start().await;
    let serving = pair
        .serve_http("handle", |mut call| async move {
            take_request(&mut call.params).await.unwrap();
            let first = futures::stream::once(async {
                Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"begun")))
            });
            let body = StreamBody::new(Box::pin(first.chain(futures::stream::pending())));
            answer(call.responder, Ok(http::Response::new(body)))
                .await
                .unwrap();
        })
        .await;
    let sent = request("/", Full::new(Bytes::new()));
    let response = pair
        .caller
        .call_http(pair.invocation("handle"), sent)
        .await
        .unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "begun"
    );
    serving.drain(tokio::time::Instant::now()).await;
    let end = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
    assert!(matches!(end, Ok(Some(Err(_)))), "{end:?}");
    drop(body);
    pair.settle().await;
}

#[tokio::test]
async fn leaving_in_the_middle_of_a_body_stops_its_writer() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve_http("endless", |mut call| async move {
            take_request(&mut call.params).await.unwrap();
            let frames = futures::stream::repeat(()).then(|()| async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, String>(http_body::Frame::data(Bytes::from(vec![0; 10_000])))
            });
            let response = http::Response::new(StreamBody::new(Box::pin(frames)));
            let _ = answer(call.responder, Ok(response)).await;
        })
        .await;
    for _ in 0..20 {
        let sent = request("/", Full::new(Bytes::new()));
        let response = pair
            .caller
            .call_http(pair.invocation("endless"), sent)
            .await
            .unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
    }
    pair.settle().await;
}

/// The recorded request with a body, and what a 1.9 host answered.
fn recorded_exchange() -> trace::Call {
    let mut calls = trace::read().calls.into_iter();
    let step = "http POST counter with body";
    let recorded = calls.find(|call| call.step == step && call.function.ends_with(".handle"));
    recorded.unwrap()
}

/// The recorded request as the caller sent it.
async fn publish_recorded(client: &Client, subject: String, root: String, call: &trace::Call) {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in &call.headers {
        headers.insert(name.as_str(), value.as_str());
    }
    let first = call.frames[0].payload.clone();
    client
        .publish_with_reply_and_headers(subject, root, headers, first)
        .await
        .unwrap();
}

/// The head of a 200 without headers.
fn bare_ok() -> ResponseHead {
    ResponseHead {
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
    }
}

async fn next(incoming: &mut Subscriber) -> async_nats::Message {
    let message = tokio::time::timeout(Duration::from_secs(5), incoming.next()).await;
    message.unwrap().unwrap()
}

#[tokio::test]
async fn a_recorded_exchange_of_a_1_9_provider_is_answered() {
    let recorded = recorded_exchange();
    let pair = Pair::start().await;
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    let _serving = pair
        .serve_http("handle", move |mut call| {
            let seen = seen.clone();
            async move {
                let source = call.context.source_id.clone();
                let (parts, body) = take_request(&mut call.params).await.unwrap().into_parts();
                let body = body.collect().await.unwrap();
                let trailers = body.trailers().cloned();
                seen.send((source, parts, body.to_bytes(), trailers))
                    .unwrap();
                let body = Full::new(Bytes::from_static(b"Counter /posted: 1\n"));
                answer(call.responder, Ok(http::Response::new(body)))
                    .await
                    .unwrap();
            }
        })
        .await;
    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut incoming = client.subscribe(format!("{inbox}.>")).await.unwrap();
    // A name of its own below the inbox of the connection, as recorded.
    let own = client.new_inbox();
    let root = format!("{inbox}.{}", own.rsplit('.').next().unwrap());
    publish_recorded(&client, pair.subject("handle"), root.clone(), &recorded).await;
    let accept = next(&mut incoming).await;
    assert_eq!(accept.subject.as_str(), root);
    assert!(accept.payload.is_empty() && accept.headers.is_none());
    let server = accept.reply.unwrap();
    let of_params = |frame: &&trace::Frame| frame.part.starts_with("params");
    for frame in recorded.frames.iter().skip(1).filter(of_params) {
        let subject = format!("{server}.{}", frame.part);
        client
            .publish(subject, frame.payload.clone())
            .await
            .unwrap();
    }
    // The whole answer is one message, in which a 1.9 caller finds every value complete: a body
    // that is there travels inside the record, where the recorded one came after it.
    let mut expected = BytesMut::new();
    let body = Part::Ready(Bytes::from_static(b"Counter /posted: 1\n"));
    encode_response(&mut expected, &bare_ok(), &body, &Part::Ready(None));
    let result = next(&mut incoming).await;
    assert_eq!(result.subject.as_str(), format!("{root}.results"));
    assert_eq!((result.payload, result.headers), (expected.freeze(), None));

    let (source, request, body, trailers) = told.recv().await.unwrap();
    assert_eq!(source.as_deref(), Some("httpserver"));
    assert_eq!(request.method, http::Method::POST);
    assert_eq!(request.uri, "http://127.0.0.1:8000/posted");
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let sent = [
        ("host", "127.0.0.1:8000"),
        ("user-agent", "curl/7.88.1"),
        ("accept", "*/*"),
        ("content-type", "text/plain"),
        ("content-length", "9"),
    ];
    assert_eq!(headers, sent);
    assert_eq!(body, "some body");
    assert_eq!(trailers, None);
    pair.settle().await;
    // Nothing else was sent: what comes next is our own mark.
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    client
        .publish(format!("{inbox}.mark"), Bytes::new())
        .await
        .unwrap();
    assert!(next(&mut incoming).await.subject.ends_with(".mark"));
}

/// Where the bindings for Go read a stream, they want a zero before what follows it, or a one before
/// its items: they take the count of items that stand there for neither.
#[tokio::test]
async fn a_body_follows_the_answer_for_a_caller_that_may_be_one_in_go() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve_http("handle", |mut call| async move {
            take_request(&mut call.params).await.unwrap();
            let body = Full::new(Bytes::from_static(b"hello"));
            answer(call.responder, Ok(http::Response::new(body)))
                .await
                .unwrap();
        })
        .await;
    let client = pair.nats.client().await.unwrap();
    let root = client.new_inbox();
    let mut incoming = client.subscribe(format!("{root}.>")).await.unwrap();
    let first = recorded_exchange().frames[0].payload.clone();
    // It names neither itself nor the link, and calls from an inbox with a name of one part.
    client
        .publish_with_reply(pair.subject("handle"), root.clone(), first)
        .await
        .unwrap();
    let mut expected = BytesMut::new();
    encode_response(&mut expected, &bare_ok(), &Part::Pending, &Part::Pending);
    let results = next(&mut incoming).await;
    assert_eq!(results.subject.as_str(), format!("{root}.results"));
    assert_eq!(results.payload, expected.freeze());
    let mut body = BytesMut::new();
    let trailers = loop {
        let part = next(&mut incoming).await;
        if part.subject.ends_with(".results.0.1") {
            break part;
        }
        assert_eq!(part.subject.as_str(), format!("{root}.results.0.0"));
        body.extend_from_slice(&part.payload);
    };
    assert_eq!(
        (&body[..], &trailers.payload[..]),
        (&b"\x05hello\0"[..], &b"\0"[..])
    );
    pair.settle().await;
}

#[tokio::test]
async fn what_goes_out_takes_its_body_along_once_it_is_known_who_sends_it() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve_http("handle", |mut call| async move {
            let (request, _) = take_outgoing_request(&mut call.params).await.unwrap();
            let response = http::Response::new(request.into_body());
            answer(call.responder, Ok(response)).await.unwrap();
        })
        .await;
    let mut watch = pair.watch().await;
    let mut counts = Vec::new();
    for _ in 0..6 {
        let sent = request("/echo", Full::new(Bytes::from_static(b"hello")));
        let out = pair
            .caller
            .call_http_out(pair.invocation("handle"), sent, None);
        let body = out.await.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        counts.push(watch.messages().await.len());
    }
    assert!(counts[0] >= on_the_bus(3), "{counts:?}");
    // A callee that has no time confirms a call by a message more.
    assert!(counts[1..].contains(&on_the_bus(2)), "{counts:?}");
    pair.settle().await;
}

#[tokio::test]
async fn a_recorded_answer_of_a_1_9_host_is_read() {
    let recorded = recorded_exchange();
    let pair = Pair::start().await;
    let client = pair.nats.client().await.unwrap();
    let mut calls = client.subscribe(pair.subject("handle")).await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    let answering = tokio::spawn(async move {
        let call = next(&mut calls).await;
        let root = call.reply.unwrap();
        let server = client.new_inbox();
        for frame in &recorded.frames {
            let (part, payload) = (frame.part.as_str(), frame.payload.clone());
            if part.is_empty() {
                let accept = client.publish_with_reply(root.clone(), server.clone(), payload);
                accept.await.unwrap();
            } else if part.starts_with("results") {
                let subject = format!("{root}.{part}");
                client.publish(subject, payload).await.unwrap();
            }
        }
        client.flush().await.unwrap();
    });
    let sent = request("/posted", Full::new(Bytes::from_static(b"some body")));
    let called = pair.caller.call_http(pair.invocation("handle"), sent);
    let (parts, body) = called.await.unwrap().into_parts();
    assert_eq!(parts.status, http::StatusCode::OK);
    assert!(parts.headers.is_empty(), "{:?}", parts.headers);
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers(), None);
    assert_eq!(body.to_bytes(), "Counter /posted: 1\n");
    answering.await.unwrap();
    pair.settle().await;
}

#[tokio::test]
async fn a_request_body_that_fails_half_way_is_not_taken_for_whole() {
    let pair = Pair::start().await;
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    let _serving = pair
        .serve("collect", move |call| {
            let seen = seen.clone();
            async move {
                let mut call = call;
                let request = take_request(&mut call.params).await.unwrap();
                let body = request.into_body().collect().await;
                seen.send(body.map(|body| body.to_bytes())).unwrap();
            }
        })
        .await;
    let frames = futures::stream::iter([Ok(b"part".as_slice()), Err("client gone")]).then(
        |part| async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            part.map(|part| http_body::Frame::data(Bytes::from_static(part)))
        },
    );
    let sent = request("/", StreamBody::new(Box::pin(frames)));
    let error = pair
        .caller
        .call_http(pair.invocation("collect"), sent)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("client gone"), "{error}");
    pair.settle().await;
    // The handler either saw the failure or was dropped; it never saw a complete body.
    if let Ok(body) = told.try_recv() {
        body.unwrap_err();
    }
}
