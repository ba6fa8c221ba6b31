//! Clients that send too much, too slowly, or nothing at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use lattice_rpc::http::take_request;
use support::{
    Browser, Lattice, PATIENCE, body_at, fetch, free_address, get, http2, link, over_http2,
    request, whole,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A component that answers with the length of what it was sent.
async fn counting(lattice: &Lattice) -> lattice_rpc::ServeHandle {
    lattice
        .serve("count", 100, |call| async move {
            let mut params = call.params;
            let request = take_request(&mut params).await.unwrap();
            let Ok(body) = request.into_body().collect().await else {
                return;
            };
            let length = body.to_bytes().len().to_string();
            let response = http::Response::new(Full::new(Bytes::from(length)));
            let _ = lattice_rpc::http::answer(call.responder, Ok(response)).await;
        })
        .await
}

/// Sends pieces with pauses and reads until the server closes the connection.
async fn slowly(address: &str, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let read = read.expect("the server closes the connection");
    read.expect("the answer is not cut off");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends_its_body() {
    let mut lattice = Lattice::start(&[]).await;
    let (small, fixed) = (free_address(), free_address());
    let values = [("address", small.as_str()), ("max_body_bytes", "1000")];
    lattice.put_ready(&link("count", &values)).await;
    let values = [("address", fixed.as_str()), ("readonly_mode", "true")];
    lattice.put_ready(&link("fixed", &values)).await;
    for (address, status) in [(small, "413"), (fixed, "405")] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // The answer is there before the body is.
        let mut byte = [0];
        let answered = stream.peek(&mut byte);
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        assert_eq!(answered.unwrap().unwrap(), 1);
        stream.write_all(&[b'x'; 200_000]).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_with_413() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [("address", address.as_str()), ("max_body_bytes", "200000")];
    lattice.put_ready(&link("count", &values)).await;
    let _component = counting(&lattice).await;
    let (response, body) = fetch(&address, request("POST", "/", vec![b'x'; 200_000])).await;
    assert_eq!(
        (response.status().as_u16(), &body[..]),
        (200, &b"200000"[..])
    );
    let (response, body) = fetch(&address, request("POST", "/", vec![b'x'; 200_001])).await;
    assert_eq!(response.status(), 413);
    assert!(body.starts_with(b"body-size"));
    // One whose length is not told beforehand.
    let piece = format!("{:x}\r\n{}\r\n", 150_000, "y".repeat(150_000));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = slowly(&address, &[head, piece.as_bytes(), piece.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn slow_heads_and_bodies_are_refused_with_408_and_idle_connections_closed() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("header_timeout_ms", "200"),
        ("idle_timeout_ms", "400"),
        ("body_timeout_ms", "200"),
    ];
    lattice.put_ready(&link("count", &values)).await;
    let _component = counting(&lattice).await;
    let begun = Instant::now();
    let answer = slowly(&address, &[b"GET / HTTP/1.1\r\n", b"host: a\r\n"]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("head-timeout"), "{answer}");
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n";
    let answer = slowly(&address, &[head, b"a bit"]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body-timeout"), "{answer}");
    assert_eq!(slowly(&address, &[]).await, "");
    // One that was used before is closed as well, and after the answer only.
    let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = slowly(&address, &[whole]).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("408"),
        "{answer}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_request_that_takes_its_time_is_not_cut_off() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("header_timeout_ms", "100"),
        ("idle_timeout_ms", "100"),
    ];
    lattice.put_ready(&link("slow", &values)).await;
    let _component = lattice
        .component("slow", |_, _| async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            support::text("done")
        })
        .await;
    assert_eq!(body_at(&address, "/").await, "done");
}

#[tokio::test]
async fn heads_are_as_long_as_the_link_says() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [("address", address.as_str()), ("max_header_bytes", "8192")];
    lattice.put_ready(&link("count", &values)).await;
    let _component = counting(&lattice).await;
    let with = |length: usize| {
        let mut request = get("/");
        let value = "y".repeat(length).parse().unwrap();
        request.headers_mut().insert("x-long", value);
        request
    };
    let (response, _) = fetch(&address, with(7000)).await;
    assert_eq!(response.status(), 200);
    let (response, _) = fetch(&address, with(9000)).await;
    assert_eq!(response.status(), 431);
}

#[tokio::test]
async fn a_connection_has_as_many_streams_as_the_link_says() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("max_concurrent_streams", "3"),
    ];
    lattice.put_ready(&link("slow", &values)).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let _component = lattice
        .component("slow", move |_, _| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                support::text("ok")
            }
        })
        .await;
    let (mut sender, _connection) = http2(&address).await;
    // The limit comes with the first answer at the latest.
    let first = sender.send_request(over_http2(&address)).await;
    assert_eq!(whole(first.unwrap()).await.1, "ok");
    let all = (0..20).map(|_| {
        let mut sender = sender.clone();
        let request = over_http2(&address);
        async move {
            sender.ready().await.unwrap();
            whole(sender.send_request(request).await.unwrap()).await.1
        }
    });
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|body| body == "ok"));
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_of_http_2_that_is_not_kept_ends_after_the_request_at_hand() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [("address", address.as_str()), ("disable_keepalive", "true")];
    lattice.put_ready(&link("count", &values)).await;
    let _component = counting(&lattice).await;
    let (mut sender, ended) = http2(&address).await;
    let answer = sender.send_request(over_http2(&address)).await;
    assert_eq!(whole(answer.unwrap()).await.1, "0");
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    ended.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn a_flood_of_requests_that_are_given_up_ends_its_connection_only() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("stuck", &[("address", &address)]))
        .await;
    let other = free_address();
    lattice
        .put_ready(&link("count", &[("address", &other)]))
        .await;
    let _components = (
        counting(&lattice).await,
        lattice
            .serve("stuck", 1000, |call| async move {
                let _call = call;
                std::future::pending::<()>().await;
            })
            .await,
    );
    let (sender, ended) = http2(&address).await;
    let flood = async {
        for _ in 0..5000 {
            let mut sender = sender.clone();
            if sender.ready().await.is_err() {
                return;
            }
            let sent = sender.send_request(over_http2(&address));
            // Long enough to be taken in, so that it is not reset before that.
            let _ = tokio::time::timeout(Duration::from_millis(1), sent).await;
        }
        panic!("the flood went on");
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    drop(sender);
    tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body_at(&other, "/").await, "0");
    let mut browser = Browser::connect(&other).await;
    assert_eq!(whole(browser.get("/").await).await.1, "0");
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("count", &[("address", &address)]))
        .await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let _component = lattice
        .component("count", move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { support::text("ok") }
        })
        .await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    for number in 0..20_000_u32 {
        let id = 2 * number + 1;
        // GET, http, / and the authority `a`, by the static table of HPACK.
        sent.extend(frame(1, 0x5, id, &[0x82, 0x86, 0x84, 0x41, 0x01, b'a']));
        sent.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
    }
    let (mut read, mut write) = stream.split();
    let sending = async {
        // The server stops reading when it has had enough.
        let _ = write.write_all(&sent).await;
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer));
    tokio::select! {
        () = sending => {}
        read = reading => { let _ = read.expect("the server closes the connection"); }
    }
    assert!(calls.load(Ordering::SeqCst) < 2000, "{calls:?}");
}

/// How much a server takes ahead on one stream of HTTP/2, and on all of a connection.
async fn windows(stream: &mut TcpStream) -> (u32, u32) {
    const USUAL: u32 = 65_535;
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let (mut one, mut all) = (USUAL, USUAL);
    while one == USUAL || all == USUAL {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; number(&[0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            4 => {
                let mut settings = payload.chunks_exact(6);
                let window = settings.find(|setting| setting[..2] == [0, 4]);
                one = window.map_or(one, |setting| number(&setting[2..]));
            }
            8 if head[5..] == [0; 4] => all += number(&payload),
            _ => {}
        }
    }
    (one, all)
}

#[tokio::test]
async fn uploads_that_are_left_unread_leave_room_for_others_on_their_connection() {
    let mut lattice = Lattice::start(&[]).await;
    for (streams, room_for) in [("256", 16), ("3", 3)] {
        let address = free_address();
        let values = [
            ("address", address.as_str()),
            ("max_concurrent_streams", streams),
        ];
        lattice.put_ready(&link("count", &values)).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        stream.write_all(&sent).await.unwrap();
        let windows = tokio::time::timeout(PATIENCE, windows(&mut stream)).await;
        let (one, all) = windows.unwrap();
        assert_eq!((one, all), (256 * 1024, room_for * one));
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
