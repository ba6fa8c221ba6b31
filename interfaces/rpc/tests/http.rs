//! HTTP messages over calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use lattice_codec::http::ErrorCode;
use lattice_rpc::http::{HttpError, answer, take_request};
use support::Pair;

async fn serve_echo(pair: &Pair) -> lattice_rpc::ServeHandle {
    pair.serve("handle", |mut call| async move {
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
        assert_eq!(messages.len(), 2, "{messages:?}");
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
        .serve("fails", |mut call| async move {
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
async fn leaving_in_the_middle_of_a_body_stops_its_writer() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("endless", |mut call| async move {
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

#[tokio::test]
async fn a_recorded_exchange_of_a_1_9_provider_is_answered() {
    let pair = Pair::start().await;
    let _serving = serve_echo(&pair).await;
    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut incoming = client.subscribe(format!("{inbox}.>")).await.unwrap();
    let mut params = bytes::BytesMut::new();
    // Body and trailers pending, as a 1.9 provider always writes them.
    params.extend_from_slice(&[0, 0, 0, 1, 1, b'/', 1, 0, 1, 1, b'h', 0]);
    client
        .publish_with_reply(
            pair.subject("handle"),
            format!("{inbox}.c"),
            params.freeze(),
        )
        .await
        .unwrap();
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(5), incoming.next())
            .await
            .unwrap()
            .unwrap()
    };
    let server = next().await.reply.unwrap();
    for (part, data) in [
        ("params", &b""[..]),
        ("params.0.0", b"\x03abc\x00"),
        ("params.0.1", b"\x00"),
        ("params", b""),
        ("params.0.0", b""),
        ("params.0.1", b""),
    ] {
        client
            .publish(format!("{server}.{part}"), Bytes::from_static(data))
            .await
            .unwrap();
    }
    let mut got = Vec::new();
    while got
        .iter()
        .map(|(_, data): &(String, Bytes)| data.len())
        .sum::<usize>()
        < 10
    {
        let message = next().await;
        got.push((
            message.subject.strip_prefix(&inbox).unwrap().to_owned(),
            message.payload,
        ));
    }
    let results: Vec<_> = got.iter().filter(|(at, _)| at == ".c.results").collect();
    assert!(results[0].1.starts_with(&[0]), "{got:?}");
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
