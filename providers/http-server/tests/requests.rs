//! What happens to requests and responses on their way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use lattice_rpc::http::{answer, take_request};
use support::{
    Browser, Lattice, PATIENCE, body_at, fetch, free_address, get, link, request, text, whole,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

#[tokio::test]
async fn a_link_without_a_time_has_that_of_the_host() {
    let mut lattice = Lattice::start_with(&[], Some(15_000)).await;
    let address = free_address();
    let on = link("hello", &[("address", &address)]);
    lattice.put_ready(&on).await;
    let _component = lattice
        .component("hello", |context, _| async move {
            let left = (context.deadline - Instant::now()).as_secs();
            text(&left.to_string())
        })
        .await;
    let left: u64 = body_at(&address, "/").await.parse().unwrap();
    assert!((10..=15).contains(&left), "{left}");
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_and_so_does_the_response() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("hello", &[("address", &address)]))
        .await;
    let _component = lattice
        .component("hello", |context, request| async move {
            let trace = context.trace.map(|t| t.traceparent).unwrap_or_default();
            let left = context.deadline - Instant::now();
            assert!(
                left > Duration::from_secs(3) && left <= Duration::from_secs(5),
                "{left:?}"
            );
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let seen = format!(
                "{} {} {:?} {} {} {:?} {:?} {trace}",
                parts.method,
                parts.uri,
                parts.headers.get_all("x-many").iter().collect::<Vec<_>>(),
                String::from_utf8_lossy(&body),
                context.link_name,
                context.source_id,
                context.target_id,
            );
            Response::builder()
                .status(201)
                .header("x-own", "yes")
                .body(Full::from(seen))
                .unwrap()
        })
        .await;
    let mut sent = request("POST", "/a/b?c=%20d", "hello");
    sent.headers_mut().append("x-many", "1".parse().unwrap());
    sent.headers_mut().append("x-many", "2".parse().unwrap());
    sent.headers_mut()
        .insert("traceparent", "00-1-2-01".parse().unwrap());
    let (response, body) = fetch(&address, sent).await;
    assert_eq!(
        body,
        "POST http://test.example:8000/a/b?c=%20d [\"1\", \"2\"] hello default Some(\"http\") Some(\"hello\") 00-1-2-01"
    );
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-own"], "yes");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn a_small_exchange_is_two_messages() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("hello", &[("address", &address)]))
        .await;
    let _component = lattice.named("hello").await;
    let watcher = lattice.nats_box.client().await.unwrap();
    let mut seen = watcher.subscribe(">").await.unwrap();
    // Its own message comes back once the server has taken in the subscription.
    watcher.publish("mark", "".into()).await.unwrap();
    tokio::time::timeout(PATIENCE, seen.next()).await.unwrap();
    for sent in [get("/"), request("POST", "/", vec![b'x'; 20_000])] {
        let (_, body) = fetch(&address, sent).await;
        assert_eq!(body, "hello");
        watcher.publish("mark", "".into()).await.unwrap();
        let mut messages = Vec::new();
        loop {
            let message = tokio::time::timeout(PATIENCE, seen.next())
                .await
                .unwrap()
                .unwrap();
            if message.subject.as_str() == "mark" {
                break;
            }
            messages.push(message.subject);
        }
        assert_eq!(messages.len(), 2, "{messages:?}");
    }
}

#[tokio::test]
async fn large_bodies_are_streamed_both_ways() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("echo", &[("address", &address)]))
        .await;
    let _component = lattice
        .serve("echo", 10, |call| async move {
            let mut params = call.params;
            let request = take_request(&mut params).await.unwrap();
            let response = Response::new(request.into_body());
            answer(call.responder, Ok(response)).await.unwrap();
        })
        .await;
    let sent: Bytes = (0..6_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (_, body) = fetch(&address, request("PUT", "/", sent.clone())).await;
    assert!(body == sent);
}

#[tokio::test]
async fn the_first_piece_arrives_before_the_last_is_made() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("stream", &[("address", &address)]))
        .await;
    let (go, gone) = mpsc::channel::<Frame<Bytes>>(1);
    let gone = Arc::new(tokio::sync::Mutex::new(Some(gone)));
    let _component = lattice
        .serve("stream", 10, move |call| {
            let gone = Arc::clone(&gone);
            async move {
                let pieces = gone.lock().await.take().unwrap();
                let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
                    let piece = pieces.recv().await?;
                    Some((Ok::<_, std::convert::Infallible>(piece), pieces))
                });
                let response = Response::new(StreamBody::new(pieces));
                answer(call.responder, Ok(response)).await.unwrap();
            }
        })
        .await;
    let mut browser = Browser::connect(&address).await;
    let mut body = browser.get("/").await.into_body();
    for piece in ["one", "two"] {
        go.send(Frame::data(piece.into())).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(go);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_connection_is_kept_unless_the_link_says_otherwise() {
    let mut lattice = Lattice::start(&[]).await;
    let (kept, closed) = (free_address(), free_address());
    lattice.put_ready(&link("a", &[("address", &kept)])).await;
    let once = [("address", closed.as_str()), ("DISABLE_KEEPALIVE", "true")];
    lattice.put_ready(&link("b", &once)).await;
    let _components = (lattice.named("a").await, lattice.named("b").await);
    let mut browser = Browser::connect(&kept).await;
    for _ in 0..3 {
        let (response, body) = whole(browser.get("/").await).await;
        assert_eq!(body, "a");
        assert!(!response.headers().contains_key("connection"));
    }
    let (response, body) = fetch(&closed, get("/")).await;
    assert_eq!(body, "b");
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn read_only_links_refuse_writes_and_cache_reads() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("readonly_mode", "true"),
        ("cache_control", "max-age=5"),
    ];
    lattice.put_ready(&link("a", &values)).await;
    let _component = lattice
        .component("a", |_, request| async move {
            let mut response = text("a");
            if request.uri().path() == "/gone" {
                *response.status_mut() = StatusCode::GONE;
            }
            response
        })
        .await;
    let (response, body) = fetch(&address, get("/")).await;
    assert_eq!(response.headers()["cache-control"], "max-age=5");
    assert_eq!(body, "a");
    let (response, body) = fetch(&address, request("HEAD", "/", "")).await;
    assert_eq!((response.status().as_u16(), body.len()), (200, 0));
    let (response, body) = fetch(&address, request("POST", "/", "x")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(body.starts_with(b"read-only:"));
    let (response, _) = fetch(&address, get("/gone")).await;
    assert!(!response.headers().contains_key("cache-control"));
}

#[tokio::test]
async fn preflights_are_answered_and_other_options_passed_on() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("cors_allowed_origins", r#"["https://a.example"]"#),
        ("cors_allowed_methods", r#"["PATCH"]"#),
        ("cors_max_age_secs", "9"),
    ];
    lattice.put_ready(&link("a", &values)).await;
    let _component = lattice.named("a").await;
    let mut asked = request("OPTIONS", "/", "");
    asked
        .headers_mut()
        .insert("origin", "https://a.example".parse().unwrap());
    let (response, body) = fetch(&address, asked.clone()).await;
    assert_eq!(body, "a");
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "https://a.example"
    );
    let method = "access-control-request-method";
    asked.headers_mut().insert(method, "PATCH".parse().unwrap());
    let (response, body) = fetch(&address, asked).await;
    assert!(body.is_empty() && response.status().is_success());
    assert_eq!(response.headers()["access-control-allow-methods"], "PATCH");
    assert_eq!(response.headers()["access-control-max-age"], "9");
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "https://a.example"
    );
}

#[tokio::test]
async fn each_failure_has_its_status_and_names_its_cause() {
    let mut lattice = Lattice::start(&[]).await;
    let mut expect = Vec::new();
    for (component, status, code) in [
        ("nobody", 503, "not-served"),
        ("stuck", 408, "deadline-exceeded"),
        ("trap", 500, "trap"),
        ("stopping", 503, "stopping"),
        ("full", 503, "overloaded"),
    ] {
        let address = free_address();
        let values = [("address", address.as_str()), ("timeout_ms", "400")];
        lattice.put_ready(&link(component, &values)).await;
        expect.push((address, status, code));
    }
    let _failing = (
        lattice.failing("trap", "trap").await,
        lattice.failing("stopping", "stopping").await,
        lattice.serve("full", 0, |_| async {}).await,
        lattice
            .serve("stuck", 1, |call| async move {
                let _call = call;
                std::future::pending::<()>().await;
            })
            .await,
    );
    for (address, status, code) in expect {
        let before = Instant::now();
        let (response, body) = fetch(&address, get("/")).await;
        assert!(before.elapsed() < Duration::from_secs(3));
        assert_eq!(response.status().as_u16(), status, "{code}");
        assert!(body.starts_with(code.as_bytes()), "{code}: {body:?}");
        assert_eq!(
            response.headers().contains_key("retry-after"),
            status == 503
        );
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("stuck", &[("address", &address)]))
        .await;
    let running = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&running);
    let (started, mut starts) = mpsc::channel(100);
    let _component = lattice
        .serve("stuck", 100, move |call| {
            let started = started.clone();
            let counted = Counted::new(&counted);
            async move {
                let (_call, _counted) = (call, counted);
                started.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }
        })
        .await;
    for _ in 0..20 {
        let mut browser = Browser::connect(&address).await;
        browser.begin(get("/"));
        tokio::time::timeout(PATIENCE, starts.recv())
            .await
            .unwrap()
            .unwrap();
        browser.leave().await;
    }
    let ended = async {
        while running.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Well before the deadline of the calls.
    tokio::time::timeout(Duration::from_secs(3), ended)
        .await
        .unwrap();
}

/// Counts what runs.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends raw bytes and returns the first line of what comes back.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 512];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
    let n = read.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer[..n]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("a", &[("address", &address)]))
        .await;
    let _component = lattice.named("a").await;
    let mut huge = b"GET / HTTP/1.1\r\nhost: a\r\n".to_vec();
    while huge.len() < 80_000 {
        huge.extend_from_slice(format!("x-{}: {}\r\n", huge.len(), "y".repeat(1000)).as_bytes());
    }
    huge.extend_from_slice(b"\r\n");
    assert!(raw(&address, &huge).await.contains("431"));
    assert!(raw(&address, b"nonsense\r\n\r\n").await.contains("400"));
    let bad_host = b"GET / HTTP/1.1\r\nhost: a b/c\r\n\r\n";
    assert!(raw(&address, bad_host).await.contains("400"));
    for hosts in ["", "host: a\r\nhost: b\r\n", "host: a\r\nHost: a\r\n"] {
        let bad = format!("GET / HTTP/1.1\r\n{hosts}\r\n");
        let answer = raw(&address, bad.as_bytes()).await;
        assert!(answer.contains("400"), "{hosts}: {answer}");
    }
    let tunnel = b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n";
    assert!(raw(&address, tunnel).await.contains("501"));
    let no_host = b"GET / HTTP/1.0\r\n\r\n";
    assert!(raw(&address, no_host).await.contains("200"));
    assert_eq!(body_at(&address, "/").await, "a");
}

#[tokio::test]
async fn an_answer_that_is_not_as_long_as_it_says_is_refused() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("a", &[("address", &address)]))
        .await;
    let _component = lattice
        .component("a", |_, request| async move {
            let mut response = text("hello");
            let lengths = request.uri().path()[1..].split('-');
            for length in lengths.filter(|length| !length.is_empty()) {
                let headers = response.headers_mut();
                headers.append("content-length", length.parse().unwrap());
            }
            response
        })
        .await;
    for path in ["/", "/5"] {
        assert_eq!(body_at(&address, path).await, "hello", "{path}");
    }
    for path in ["/2", "/9", "/5-5", "/5-6", "/+5", "/five"] {
        let (response, body) = fetch(&address, get(path)).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{path}");
        assert!(body.starts_with(b"bad-answer"), "{path}: {body:?}");
    }
}

#[tokio::test]
async fn the_scheme_is_that_of_the_connection_whatever_the_client_says() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("a", &[("address", &address)]))
        .await;
    let _component = lattice
        .component(
            "a",
            |_, request| async move { text(&request.uri().to_string()) },
        )
        .await;
    let told = body_at(&address, "https://test.example:8000/x?y").await;
    assert_eq!(told, "http://test.example:8000/x?y");
    let (response, body) = fetch(&address, get("http://u@test.example:8000/")).await;
    assert_eq!(response.status(), 400);
    assert!(body.starts_with(b"bad-host"), "{body:?}");
}
