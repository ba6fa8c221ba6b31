//! Servers that are not there, are slow, break off or talk nonsense.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use lattice_codec::http::{ErrorCode, RequestHead, RequestOptions};
use support::server::{Server, read_head, text};
use support::{Lattice, Road, get, limits, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn code(lattice: &Lattice, url: &str) -> ErrorCode {
    lattice.text(url).await.unwrap_err()
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_kind() {
    let lattice = Lattice::linked(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = code(&lattice, &format!("http://{address}/")).await;
    assert_eq!(refused, ErrorCode::ConnectionRefused);
    let unknown = code(&lattice, "http://there-is-none.invalid/").await;
    assert!(matches!(unknown, ErrorCode::DnsError { .. }), "{unknown:?}");
    let plain = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"no TLS here").await;
        let _ = stream.readable().await;
    })
    .await;
    let tls = code(&lattice, &plain.https("/")).await;
    assert_eq!(tls, ErrorCode::TlsProtocolError);
}

#[tokio::test]
async fn time_limits_of_the_guest_hold_each_for_its_stage() {
    let lattice = Lattice::linked(&[]).await;
    // Takes in connections without a word, so that TLS waits for it.
    let silent = Server::raw(|stream| async move {
        let _stream = stream;
        std::future::pending().await
    })
    .await;
    for (url, options, expected) in [
        (
            silent.https("/"),
            limits(100, 9000, 9000),
            ErrorCode::ConnectionTimeout,
        ),
        (
            silent.url("/"),
            limits(9000, 100, 9000),
            ErrorCode::ConnectionReadTimeout,
        ),
    ] {
        let before = Instant::now();
        let failed = lattice.send(get(&url), options).await;
        assert_eq!(failed.map(|_| ()), Err(expected));
        assert!(before.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn time_limits_of_the_link_cap_those_of_the_guest() {
    let lattice = Lattice::linked(&[("first_byte_timeout_ms", "100")]).await;
    let silent = Server::saying("").await;
    let failed = lattice
        .send(get(&silent.url("/")), limits(9000, 9000, 9000))
        .await;
    assert_eq!(failed.map(|_| ()), Err(ErrorCode::ConnectionReadTimeout));
}

#[tokio::test]
async fn a_body_that_pauses_or_breaks_off_is_no_whole_body() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let pausing = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
        let response = lattice
            .send(get(&pausing.url("/")), limits(9000, 9000, 100))
            .await;
        let failed = response.unwrap().into_body().collect().await.unwrap_err();
        assert!(
            failed.to_string().contains("connection-read-timeout"),
            "{failed}"
        );
        let breaking = Server::raw(|mut stream| async move {
            read_head(&mut stream).await;
            let part = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
            stream.write_all(part).await.unwrap();
        })
        .await;
        let sent = lattice.send(get(&breaking.url("/")), RequestOptions::default());
        let told = match sent.await {
            Ok(response) => response
                .into_body()
                .collect()
                .await
                .unwrap_err()
                .to_string(),
            Err(code) => code.to_string(),
        };
        assert!(told.contains("HTTP-response-incomplete"), "{told}");
    }
}

#[tokio::test]
async fn resets_and_nonsense_are_told_apart() {
    let lattice = Lattice::linked(&[]).await;
    let closing = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    assert_eq!(
        code(&lattice, &closing.url("/")).await,
        ErrorCode::ConnectionTerminated
    );
    let resetting = Server::raw(|stream| async move {
        stream.set_zero_linger().unwrap();
        let _ = stream.readable().await;
    })
    .await;
    assert_eq!(
        code(&lattice, &resetting.url("/")).await,
        ErrorCode::ConnectionTerminated
    );
    for nonsense in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 9999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let server = Server::saying(nonsense).await;
        let told = code(&lattice, &server.url("/")).await;
        assert_eq!(told, ErrorCode::HttpProtocolError, "{nonsense}");
    }
    let endless = Server::raw(|mut stream| async move {
        let line = format!("x-more: {}\r\n", "y".repeat(1000));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    let told = code(&lattice, &endless.url("/")).await;
    assert_eq!(told, ErrorCode::HttpResponseHeaderSectionSize(None));
    let switching = Server::saying(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    )
    .await;
    assert_eq!(
        code(&lattice, &switching.url("/")).await,
        ErrorCode::HttpUpgradeFailed
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_before_it_is_tried() {
    let lattice = Lattice::linked(&[]).await;
    for (url, expected) in [
        ("ftp://a.example/", ErrorCode::HttpProtocolError),
        ("/only/path", ErrorCode::HttpRequestUriInvalid),
    ] {
        assert_eq!(code(&lattice, url).await, expected, "{url}");
    }
    let tunnel = request("CONNECT", "http://a.example:80", "");
    let refused = lattice.fetch(tunnel).await.map(|_| ());
    assert_eq!(refused, Err(ErrorCode::HttpRequestMethodInvalid));
}

#[tokio::test]
async fn a_body_that_differs_from_its_announced_length_is_no_request() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let server = Server::start(None, |request| async move {
            let _ = request.into_body().collect().await;
            text("ok")
        })
        .await;
        for (announced, body) in [("5", ""), ("5", "abc"), ("3", "hello")] {
            let mut sent = request("POST", &server.url("/"), body);
            let announced = announced.parse().unwrap();
            sent.headers_mut().insert("content-length", announced);
            let refused = lattice.fetch(sent).await.map(|_| ());
            let size = Some(body.len() as u64);
            let code = ErrorCode::HttpRequestBodySize(size);
            assert_eq!(refused, Err(code), "{road:?} {body}");
            // What comes next is no part of it.
            assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "ok");
        }
    }
}

/// Breaks off the first connections, and answers on later ones.
async fn late(broken: usize) -> Server {
    let count = Arc::new(AtomicUsize::new(0));
    Server::raw(move |mut stream| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            read_head(&mut stream).await;
            if number >= broken {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn requests_are_sent_again_as_the_link_says() {
    let lattice = Lattice::linked(&[("retries", "2"), ("retry_backoff_ms", "10")]).await;
    let server = late(2).await;
    assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "ok");
    assert_eq!(server.connections(), 3);
    let worse = late(3).await;
    assert_eq!(
        code(&lattice, &worse.url("/")).await,
        ErrorCode::ConnectionTerminated
    );
    assert_eq!(worse.connections(), 3);
    let posted = late(1).await;
    let failed = lattice.fetch(request("POST", &posted.url("/"), "x")).await;
    assert_eq!(failed.map(|_| ()), Err(ErrorCode::ConnectionTerminated));
    assert_eq!(posted.connections(), 1);
    // Its body was begun.
    let put = late(1).await;
    let failed = lattice.fetch(request("PUT", &put.url("/"), "x")).await;
    assert_eq!(failed.map(|_| ()), Err(ErrorCode::ConnectionTerminated));
    assert_eq!(put.connections(), 1);
}

/// Answers the first request of each connection, and ends it at the second without an answer.
async fn tired() -> Server {
    Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn safe_requests_do_not_fail_with_a_connection_of_the_pool() {
    let lattice = Lattice::linked(&[]).await;
    let server = tired().await;
    for connections in 1..4 {
        assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "ok");
        assert_eq!(server.connections(), connections);
    }
    // The server may have done what this asks for.
    let put = lattice.fetch(request("PUT", &server.url("/"), "")).await;
    assert_eq!(put.map(|_| ()), Err(ErrorCode::ConnectionTerminated));
    assert_eq!(server.connections(), 3);
    // A new connection that ends so is a failure of the server.
    let never = late(1).await;
    let failed = code(&lattice, &never.url("/")).await;
    assert_eq!(failed, ErrorCode::ConnectionTerminated);
    assert_eq!(never.connections(), 1);
}

#[tokio::test]
async fn requests_that_wait_for_one_connection_are_each_told_why_there_is_none() {
    let lattice = Lattice::linked(&[("http2", "prior-knowledge")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for _ in 0..20 {
        let many = (0..6).map(|_| code(&lattice, &nobody));
        for told in futures::future::join_all(many).await {
            assert_eq!(told, ErrorCode::ConnectionRefused);
        }
    }
}

#[tokio::test]
async fn statuses_are_a_reason_where_the_link_lists_them() {
    let values = [
        ("retries", "3"),
        ("retry_on", "503"),
        ("retry_backoff_ms", "10"),
    ];
    let lattice = Lattice::linked(&values).await;
    let count = Arc::new(AtomicUsize::new(0));
    let server = Server::start(None, move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut response = text(format!("{number}"));
            if number < 2 {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                response
                    .headers_mut()
                    .insert("retry-after", "0".parse().unwrap());
            }
            response
        }
    })
    .await;
    assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "2");
}

#[tokio::test]
async fn a_request_body_that_breaks_off_reaches_no_server_as_a_whole_one() {
    let lattice = Lattice::linked(&[]).await;
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let server = Server::start(None, move |request| {
        let told = told.clone();
        async move {
            let whole = request.into_body().collect().await.is_ok();
            told.send(whole).await.unwrap();
            text("ok")
        }
    })
    .await;
    let pieces = futures::stream::unfold(0, |n| async move {
        let piece = bytes::Bytes::from_static(b"piece");
        match n {
            0 => Some((Ok(hyper::body::Frame::data(piece)), 1)),
            1 => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Err("on purpose"), 2))
            }
            _ => None,
        }
    });
    let sent = Request::post(server.url("/"))
        .body(StreamBody::new(pieces))
        .unwrap();
    let failed = lattice.send(sent, RequestOptions::default()).await;
    assert!(failed.is_err());
    let whole = tokio::time::timeout(support::PATIENCE, heard.recv()).await;
    assert_eq!(whole.unwrap(), Some(false));
}

#[tokio::test]
async fn a_request_body_that_is_too_long_is_told_where_its_response_has_begun() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[("max_request_body_bytes", "10")]).await;
        // It answers the first piece and waits for what never comes.
        let server = Server::raw(|mut stream| async move {
            read_head(&mut stream).await;
            let part = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
            stream.write_all(part).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let (begun, begins) = tokio::sync::oneshot::channel();
        let first = async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"12345"))) };
        let second = async move {
            begins.await.unwrap();
            Ok(Frame::data(Bytes::from_static(b"678901")))
        };
        let pieces = futures::stream::once(first).chain(futures::stream::once(second));
        let sent = Request::post(server.url("/"))
            .body(StreamBody::new(pieces))
            .unwrap();
        let response = lattice.send(sent, RequestOptions::default()).await;
        let body = response.unwrap().into_body();
        begun.send(()).unwrap();
        let failed = body.collect().await.unwrap_err().to_string();
        assert!(failed.contains("HTTP-request-body-size"), "{failed}");
    }
}

#[tokio::test]
async fn a_request_whose_body_cannot_be_read_is_not_sent_without_it() {
    let lattice = Lattice::linked(&[]).await;
    let server = Server::start(None, |_| async { text("unasked") }).await;
    let head = RequestHead {
        method: Method::GET,
        path_with_query: Some("/".to_owned()),
        scheme: Some("http".to_owned()),
        authority: Some(server.address.to_string()),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]),
    };
    let error = lattice.send_garbled(&head).await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
    assert_eq!(server.connections(), 0);
}
