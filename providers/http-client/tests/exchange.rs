//! Requests and responses that go well.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use lattice_codec::http::{ErrorCode, RequestOptions};
use support::server::{Server, mirror, read_head, text};
use support::{Lattice, PATIENCE, Road, get, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_by_either_road() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let server = mirror(None).await;
        let mut sent = request("PUT", &server.url("/a%20b?c=d"), "hello");
        for (name, value) in [
            ("x-own", "1"),
            ("x-own", "2"),
            ("connection", "x-gone"),
            ("x-gone", "1"),
            ("te", "deflate"),
        ] {
            sent.headers_mut().append(name, value.parse().unwrap());
        }
        let (response, body) = lattice.fetch(sent).await.unwrap();
        assert_eq!(response.status(), 200);
        let expected = format!(
            "PUT /a%20b?c=d HTTP/1.1 [content-length=5; host={}; x-own=1; x-own=2] hello {{}}",
            server.address
        );
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn redirects_and_contents_are_the_guests_business() {
    let lattice = Lattice::linked(&[]).await;
    let server = Server::start(None, |_| async move {
        let mut response = text("zipped");
        *response.status_mut() = http::StatusCode::FOUND;
        let headers = response.headers_mut();
        headers.insert("location", "/elsewhere".parse().unwrap());
        headers.insert("content-encoding", "gzip".parse().unwrap());
        headers.insert("connection", "x-gone".parse().unwrap());
        headers.insert("x-gone", "1".parse().unwrap());
        response
    })
    .await;
    let (response, body) = lattice.fetch(get(&server.url("/"))).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &body[..]),
        (302, &b"zipped"[..])
    );
    assert_eq!(response.headers()["location"], "/elsewhere");
    assert!(!response.headers().contains_key("x-gone"));
}

#[tokio::test]
async fn connections_are_kept_and_limited() {
    let lattice = Lattice::linked(&[("max_connections_per_host", "2")]).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let server = Server::start(None, move |_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            text("ok")
        }
    })
    .await;
    let url = server.url("/");
    for _ in 0..5 {
        assert_eq!(lattice.text(&url).await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
    let all = futures::future::join_all((0..20).map(|_| lattice.text(&url))).await;
    assert!(
        all.iter().all(|text| text.as_deref() == Ok("ok")),
        "{all:?}"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert!(server.connections() <= 3, "{}", server.connections());
}

#[tokio::test]
async fn connections_beyond_those_that_are_kept_are_for_one_request() {
    let lattice = Lattice::linked(&[("max_pooled_connections", "1")]).await;
    let (first, second) = (mirror(None).await, mirror(None).await);
    for (server, connections) in [(&first, 1), (&second, 1), (&second, 2), (&first, 1)] {
        assert!(lattice.text(&server.url("/")).await.is_ok());
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn guests_share_no_connections() {
    let mut lattice = Lattice::linked(&[]).await;
    lattice.put_ready_for("other", &[]).await;
    let server = mirror(None).await;
    let url = server.url("/");
    for (guest, connections) in [("guest", 1), ("other", 2), ("guest", 2), ("other", 2)] {
        let sent = lattice.send_from(guest, get(&url), RequestOptions::default());
        let body = sent.await.unwrap().into_body();
        assert!(body.collect().await.is_ok());
        assert_eq!(server.connections(), connections, "{guest}");
    }
}

/// Many pieces of the same content.
fn pieces(count: usize) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    futures::stream::iter(0..count).map(move |_| Ok(Frame::data(piece.clone())))
}

#[tokio::test]
async fn bodies_stream_both_ways_in_little_memory() {
    const COUNT: usize = 1024;
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let server = Server::start(None, |request| async move {
            let body = request.into_body().into_data_stream();
            let frames = body.map(|data| Ok::<_, Infallible>(Frame::data(data.unwrap())));
            Response::new(StreamBody::new(frames).boxed_unsync())
        })
        .await;
        let sent = Request::post(server.url("/")).body(StreamBody::new(pieces(COUNT)));
        let before = resident();
        let response = lattice.send(sent.unwrap(), RequestOptions::default()).await;
        let mut body = response.unwrap().into_body();
        let mut total = 0;
        let mut most = 0;
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
            total += frame.unwrap().into_data().unwrap().len();
            most = most.max(resident());
        }
        assert_eq!(total, COUNT * 64 * 1024);
        let grown = most.saturating_sub(before);
        assert!(grown < 48 << 20, "{grown} bytes more by {road:?}");
    }
}

/// A server that answers with 413 and takes no more than a part of the request.
async fn hasty(values: &[(&str, &str)]) -> Server {
    if !values.is_empty() {
        return Server::start(None, |_| async move {
            let mut response = text("");
            *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
            response
        })
        .await;
    }
    Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        stream.read_exact(&mut [0; 64 * 1024]).await.unwrap();
        let answer = "HTTP/1.1 413 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // To close it with the rest unread might take the answer along.
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn a_body_of_which_the_server_takes_no_more_is_let_go_while_the_answer_is_kept() {
    let http2 = &[("http2", "prior-knowledge")][..];
    for (road, values) in [
        (Road::Nats, &[][..]),
        (Road::Process, &[][..]),
        (Road::Nats, http2),
        (Road::Process, http2),
    ] {
        let lattice = Lattice::linked_by(road, values).await;
        let server = hasty(values).await;
        let (held, dropped) = oneshot::channel::<()>();
        let endless = pieces(usize::MAX).map(move |piece| {
            let _held = &held;
            piece
        });
        let sent = Request::post(server.url("/")).body(StreamBody::new(endless));
        let response = lattice.send(sent.unwrap(), RequestOptions::default()).await;
        let response = response.unwrap();
        assert_eq!(response.status(), 413);
        let dropped = tokio::time::timeout(PATIENCE, dropped).await;
        assert!(matches!(dropped, Ok(Err(_))), "{road:?} {values:?}");
        drop(response);
    }
}

/// How much memory this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn the_first_piece_arrives_before_the_last_is_made() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let (go, gone) = mpsc::channel::<&'static str>(1);
        let gone = Arc::new(tokio::sync::Mutex::new(Some(gone)));
        let server = Server::start(None, move |_| {
            let gone = Arc::clone(&gone);
            async move {
                let pieces = gone.lock().await.take().unwrap();
                let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
                    let piece = pieces.recv().await?;
                    Some((Ok(Frame::data(Bytes::from(piece))), pieces))
                });
                Response::new(StreamBody::new(pieces).boxed_unsync())
            }
        })
        .await;
        let sent = Request::get(server.url("/"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = lattice.send(sent, RequestOptions::default()).await.unwrap();
        let mut body = response.into_body();
        for piece in ["one", "two"] {
            go.send(piece).await.unwrap();
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap();
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
        }
        drop(go);
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_streamed_body_goes_with_a_method_that_usually_has_none() {
    for road in [Road::Nats, Road::Process] {
        let lattice = Lattice::linked_by(road, &[]).await;
        let server = Server::start(None, |request| async move {
            let is_chunked = request.headers().contains_key("transfer-encoding");
            let body = request.into_body().collect().await.unwrap();
            text(format!("{is_chunked} {}", body.to_bytes().len()))
        })
        .await;
        for (pieces, expected) in [
            (pieces(8).boxed(), "true 524288"),
            (futures::stream::empty().boxed(), "false 0"),
            // It is kept open, and nothing is written.
            (futures::stream::pending().boxed(), "false 0"),
        ] {
            // With this it may take a while until it begins.
            let sent = Request::get(server.url("/")).header("content-type", "text/plain");
            let sent = sent.body(StreamBody::new(pieces)).unwrap();
            let sent = lattice.send(sent, RequestOptions::default());
            let body = sent.await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), expected, "{road:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_before_it_begins_is_none_where_there_is_usually_none() {
    // By messages it is the call that breaks off.
    let lattice = Lattice::linked_by(Road::Process, &[]).await;
    let server = mirror(None).await;
    let broken = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err::<Frame<Bytes>, _>("on purpose")
    });
    let sent = Request::get(server.url("/")).body(StreamBody::new(broken));
    let sent = lattice.send(sent.unwrap(), RequestOptions::default());
    let body = sent.await.unwrap().into_body().collect().await.unwrap();
    let expected = format!("GET / HTTP/1.1 [host={}]  {{}}", server.address);
    assert_eq!(body.to_bytes(), expected);
}

#[tokio::test]
async fn requests_whose_bodies_are_waited_for_are_among_those_at_once() {
    let lattice = Lattice::linked(&[("max_concurrent_requests", "1")]).await;
    let server = mirror(None).await;
    let begun = tokio::time::Instant::now();
    let sent = (0..2).map(|_| async {
        let open = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let sent = Request::get(server.url("/")).body(StreamBody::new(open));
        let sent = lattice.send(sent.unwrap(), RequestOptions::default());
        sent.await.unwrap().into_body().collect().await.unwrap();
    });
    futures::future::join_all(sent).await;
    // One after the other has 150 ms for its body.
    let taken = begun.elapsed();
    assert!(taken >= std::time::Duration::from_millis(300), "{taken:?}");
}

fn trailers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), value.parse().unwrap())])
}

#[tokio::test]
async fn trailers_go_both_ways_over_either_version() {
    for values in [&[][..], &[("http2", "prior-knowledge")][..]] {
        let lattice = Lattice::linked(values).await;
        let server = Server::start(None, |request| async move {
            let body = request.into_body().collect().await.unwrap();
            let sum = body
                .trailers()
                .map_or("none", |t| t["x-sum"].to_str().unwrap());
            let end = Frame::trailers(trailers(&format!("{sum} back")));
            let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(end)];
            let mut response =
                Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
            response
                .headers_mut()
                .insert("trailer", "x-sum".parse().unwrap());
            response
        })
        .await;
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("body"))),
            Ok(Frame::trailers(trailers("7"))),
        ];
        let sent = Request::post(server.url("/"))
            .header("trailer", "x-sum")
            .header("te", "trailers")
            .body(StreamBody::new(futures::stream::iter(frames)))
            .unwrap();
        let response = lattice.send(sent, RequestOptions::default()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        let sum = body
            .trailers()
            .map(|t| t["x-sum"].to_str().unwrap().to_owned());
        assert_eq!(sum.as_deref(), Some("7 back"), "{values:?}");
    }
}

#[tokio::test]
async fn prior_knowledge_speaks_http2_over_one_connection() {
    let lattice = Lattice::linked(&[("http2", "prior-knowledge")]).await;
    let server = mirror(None).await;
    let url = server.url("/x");
    let all = futures::future::join_all((0..20).map(|_| lattice.text(&url))).await;
    for text in all {
        let text = text.unwrap();
        assert!(text.contains("HTTP/2.0"), "{text}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn limits_are_told_by_their_names() {
    let lattice = Lattice::linked(&[
        ("max_request_body_bytes", "100000"),
        ("max_response_body_bytes", "10"),
        ("max_header_bytes", "8192"),
    ])
    .await;
    let server = Server::start(None, |request| async move {
        let path = request.uri().path().to_owned();
        let _ = request.into_body().collect().await;
        let mut response = text(if path == "/long" {
            "12345678901"
        } else {
            "1234567890"
        });
        if path == "/wide" {
            let value = "y".repeat(20_000);
            response.headers_mut().insert("x", value.parse().unwrap());
        }
        response
    })
    .await;
    assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "1234567890");
    let long = lattice.text(&server.url("/long")).await;
    assert_eq!(long, Err(ErrorCode::HttpResponseBodySize(Some(11))));
    let wide = lattice.text(&server.url("/wide")).await;
    assert_eq!(wide, Err(ErrorCode::HttpResponseHeaderSectionSize(None)));
    let streamed = Request::post(server.url("/"))
        .body(StreamBody::new(pieces(2)))
        .unwrap();
    let refused = lattice.send(streamed, RequestOptions::default()).await;
    assert_eq!(
        refused.map(|_| ()),
        Err(ErrorCode::HttpRequestBodySize(Some(131_072)))
    );
    // The limit of a response is not that of its announcement.
    let head = Request::head(server.url("/long"))
        .body(Full::new(Bytes::new()))
        .unwrap();
    assert_eq!(lattice.fetch(head).await.unwrap().1, "");
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_after_their_time() {
    let lattice = Lattice::linked(&[("max_concurrent_requests", "1")]).await;
    let server = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let url = server.url("/");
    let held = lattice
        .send(get(&url), RequestOptions::default())
        .await
        .unwrap();
    let refused = lattice
        .send(get(&url), support::limits(100, 1000, 1000))
        .await;
    assert_eq!(refused.map(|_| ()), Err(ErrorCode::ConnectionLimitReached));
    drop(held);
    let next = lattice
        .send(get(&url), support::limits(5000, 1000, 1000))
        .await;
    assert!(next.is_ok());
}

#[tokio::test]
async fn slow_requests_of_one_guest_hold_up_no_other() {
    let values = &[
        ("max_concurrent_requests", "1"),
        ("max_connections_per_host", "1"),
    ];
    let mut lattice = Lattice::linked(values).await;
    lattice.put_ready_for("other", values).await;
    let server = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let url = server.url("/");
    let held = lattice
        .send(get(&url), RequestOptions::default())
        .await
        .unwrap();
    let next = lattice
        .send_from("other", get(&url), support::limits(5000, 5000, 1000))
        .await;
    assert_eq!(next.map(|next| next.status().as_u16()), Ok(200));
    drop(held);
}
