//! Answers that go on: server-sent events and WebSockets; and certificates that are renewed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use lattice_core::link::LinkState;
use lattice_rpc::http::{answer, take_request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use support::{Lattice, PATIENCE, fetch, free_address, get, link, text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

/// Reads until what came ends with a text.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let read = async {
        while !seen.ends_with(end.as_bytes()) {
            seen.push(stream.read_u8().await.unwrap());
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(read.is_ok(), "{end:?} did not come after {seen:?}");
    seen
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_made() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("events", &[("address", &address)]))
        .await;
    let (go, gone) = mpsc::channel::<String>(1);
    let gone = Arc::new(tokio::sync::Mutex::new(Some(gone)));
    let _component = lattice
        .serve("events", 10, move |call| {
            let gone = Arc::clone(&gone);
            async move {
                let events = gone.lock().await.take().unwrap();
                let events = futures::stream::unfold(events, |mut events| async move {
                    let event = Bytes::from(events.recv().await?);
                    Some((
                        Ok::<_, std::convert::Infallible>(Frame::data(event)),
                        events,
                    ))
                });
                let mut response = Response::new(StreamBody::new(events));
                let kind = "text/event-stream".parse().unwrap();
                response.headers_mut().insert("content-type", kind);
                answer(call.responder, Ok(response)).await.unwrap();
            }
        })
        .await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(
        head.contains("text/event-stream") && !head.contains("content-length"),
        "{head}"
    );
    for number in 0..3 {
        let event = format!("id: {number}\ndata: hello\n\n");
        go.send(event.clone()).await.unwrap();
        until(&mut stream, &format!("{event}\r\n")).await;
    }
}

const ASKED: &[u8] = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A component that takes connections over and sends back what comes, with a greeting before.
async fn chat(lattice: &Lattice) -> lattice_rpc::ServeHandle {
    lattice
        .serve("chat", 10, |call| async move {
            let mut params = call.params;
            let request = take_request(&mut params).await.unwrap();
            assert_eq!(request.headers()["sec-websocket-version"], "13");
            let greeting = Ok::<_, String>(Frame::data(Bytes::from("welcome.")));
            let back = request.into_body().into_data_stream();
            let back = back.map(|data| data.map(Frame::data).map_err(|e| e.to_string()));
            let frames = futures::stream::iter([greeting]).chain(back);
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .body(StreamBody::new(frames));
            let _ = answer(call.responder, Ok(response.unwrap())).await;
        })
        .await
}

#[tokio::test]
async fn a_component_takes_a_connection_over_as_a_websocket() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("websocket", "true"),
        ("idle_timeout_ms", "300"),
    ];
    lattice.put_ready(&link("chat", &values)).await;
    let _component = chat(&lattice).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(ASKED).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for header in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pp",
    ] {
        assert!(head.contains(header), "{head}");
    }
    until(&mut stream, "welcome.").await;
    for text in ["one.", "two."] {
        stream.write_all(text.as_bytes()).await.unwrap();
        until(&mut stream, text).await;
        // Longer than the connection might be idle for.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let large = vec![b'z'; 300_000];
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; large.len()];
    let (sent, got) = tokio::join!(
        write.write_all(&large),
        tokio::time::timeout(PATIENCE, read.read_exact(&mut back))
    );
    sent.unwrap();
    got.unwrap().unwrap();
    assert!(back == large);
    // The component ends its body when that of the client has ended.
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn without_the_links_consent_a_websocket_is_refused_and_nothing_hangs() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("chat", &[("address", &address)]))
        .await;
    let _component = chat(&lattice).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(ASKED).await.unwrap();
    let answer = until(&mut stream, "not allow\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("no-upgrade: "), "{answer}");
    // A component that knows nothing of WebSockets answers as always, consent or not.
    for consent in ["true", "false"] {
        let address = free_address();
        let values = [("address", address.as_str()), ("websocket", consent)];
        lattice.put_ready(&link("plain", &values)).await;
        let _component = lattice
            .component("plain", |_, _| async { text("plain") })
            .await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(ASKED).await.unwrap();
        let answer = until(&mut stream, "plain").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let (response, _) = fetch(&address, get("/")).await;
    assert_eq!(
        response.status(),
        500,
        "the component wants a version of WebSocket"
    );
}

async fn openssl(folder: &std::path::Path, name: &str) {
    let ran = tokio::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ])
        .current_dir(folder)
        .output()
        .await
        .expect("`openssl` is installed");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// The certificate that a server shows, which has to be one of those that are believed.
async fn shown(address: &str, believed: &[CertificateDer<'static>]) -> CertificateDer<'static> {
    let mut roots = rustls::RootCertStore::empty();
    for root in believed {
        roots.add(root.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let mut lattice = Lattice::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    openssl(folder.path(), "one").await;
    openssl(folder.path(), "two").await;
    let certificate = |name: &str| CertificateDer::from_pem_file(path(name)).unwrap();
    let (one, two) = (certificate("one.pem"), certificate("two.pem"));
    let both = [one.clone(), two.clone()];
    let copy = |from: &str, to: &str| std::fs::copy(path(from), path(to)).unwrap();
    copy("one.pem", "used.pem");
    copy("one.key", "used.key");
    let (address, text) = (free_address(), |name| path(name).display().to_string());
    let (cert, key) = (text("used.pem"), text("used.key"));
    let values = [
        ("address", address.as_str()),
        ("tls_cert_file", &cert),
        ("tls_priv_key_file", &key),
    ];
    lattice.put_ready(&link("a", &values)).await;
    assert_eq!(shown(&address, &both).await, one);
    // Half of a pair is told, and the old one stays in use.
    copy("two.pem", "used.pem");
    let report = lattice.report().await;
    assert_eq!(report.state, LinkState::Failed);
    assert!(report.reason.unwrap().contains("do not work together"));
    assert_eq!(shown(&address, &both).await, one);
    copy("two.key", "used.key");
    assert_eq!(lattice.report().await.state, LinkState::Ready);
    assert_eq!(shown(&address, &both).await, two);
}
