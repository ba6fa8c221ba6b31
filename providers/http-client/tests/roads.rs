//! TLS, proxies, and where requests may go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use http::header::PROXY_AUTHORIZATION;
use lattice_codec::http::ErrorCode;
use lattice_core::link::LinkState;
use parking_lot::Mutex;
use support::server::{Server, mirror, read_head};
use support::tls::Authority;
use support::{Lattice, PATIENCE, Road, get, request};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

#[tokio::test]
async fn an_authority_of_the_links_own_is_believed_and_http2_chosen() {
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    let both = mirror(Some(authority.server("server", &["h2", "http/1.1"]))).await;
    let old = mirror(Some(authority.server("server", &[]))).await;
    let root = authority.root();
    let mut lattice = Lattice::linked(&[]).await;
    let unknown = lattice.text(&both.https("/")).await;
    assert_eq!(unknown, Err(ErrorCode::TlsCertificateError));
    lattice.put_ready(&[("ssl_certs_file", &root)]).await;
    let text = lattice.text(&both.https("/")).await.unwrap();
    assert!(text.contains("HTTP/2.0"), "{text}");
    let text = lattice.text(&old.https("/")).await.unwrap();
    assert!(text.contains("HTTP/1.1"), "{text}");
    let other_name = format!("https://127.0.0.1:{}/", both.address.port());
    let refused = lattice.text(&other_name).await;
    assert_eq!(refused, Err(ErrorCode::TlsCertificateError));
    lattice
        .put_ready(&[("ssl_certs_file", &root), ("http2", "off")])
        .await;
    let text = lattice.text(&both.https("/")).await.unwrap();
    assert!(text.contains("HTTP/1.1"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_not_kept_is_none_of_http2() {
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    let offering = || mirror(Some(authority.server("server", &["h2", "http/1.1"])));
    let (first, second) = (offering().await, offering().await);
    let root = authority.root();
    let values = [("ssl_certs_file", &*root), ("max_pooled_connections", "1")];
    let lattice = Lattice::linked(&values).await;
    for (server, version, connections) in [
        (&first, "HTTP/2.0", 1),
        (&second, "HTTP/1.1", 1),
        (&second, "HTTP/1.1", 2),
        (&first, "HTTP/2.0", 1),
    ] {
        let text = lattice.text(&server.https("/")).await.unwrap();
        assert!(text.contains(version), "{text}");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_server_of_http2_alone_is_reached_once_a_connection_can_be_kept() {
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    let (old, new) = (
        mirror(None).await,
        mirror(Some(authority.server("server", &["h2"]))).await,
    );
    let root = authority.root();
    let values = [
        ("ssl_certs_file", &*root),
        ("max_pooled_connections", "1"),
        ("idle_timeout_ms", "1000"),
    ];
    let lattice = Lattice::linked(&values).await;
    lattice.text(&old.url("/")).await.unwrap();
    // That one is kept for a while, which may be over already.
    let text = lattice.text(&new.https("/")).await.unwrap();
    assert!(text.contains("HTTP/2.0"), "{text}");
    let connections = new.connections();
    assert!((1..=2).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    authority.sign("me", "DNS:me").await;
    let server = mirror(Some(authority.strict_server("server"))).await;
    let root = authority.root();
    let mut lattice = Lattice::linked(&[("ssl_certs_file", &root)]).await;
    let refused = lattice.text(&server.https("/")).await;
    assert!(
        matches!(
            refused,
            Err(ErrorCode::TlsAlertReceived {
                alert_id: Some(116),
                ..
            })
        ),
        "{refused:?}"
    );
    let read = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
    let texts = [
        ("ssl_certs_file", root.clone()),
        ("client_cert", read("me.pem")),
        ("client_key", read("me.key")),
    ];
    let texts: Vec<_> = texts
        .iter()
        .map(|(key, text)| (*key, text.as_str()))
        .collect();
    lattice.put_ready(&texts).await;
    assert!(lattice.text(&server.https("/")).await.is_ok());
    let path = |name: &str| authority.path(name).display().to_string();
    let (cert, key) = (path("me.pem"), path("me.key"));
    let files = [
        ("ssl_certs_file", root.as_str()),
        ("client_cert_file", &cert),
        ("client_key_file", &key),
    ];
    lattice.put_ready(&files).await;
    assert!(lattice.text(&server.https("/")).await.is_ok());
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    let server = mirror(Some(authority.server("server", &[]))).await;
    let other = Authority::new().await;
    let file = other.path("roots.pem");
    std::fs::copy(other.path("ca.pem"), &file).unwrap();
    let file = file.display().to_string();
    let lattice = Lattice::linked(&[("ssl_certs_file", &file)]).await;
    let url = server.https("/");
    assert_eq!(
        lattice.text(&url).await,
        Err(ErrorCode::TlsCertificateError)
    );
    std::fs::copy(authority.path("ca.pem"), &file).unwrap();
    let reread = async { while lattice.text(&url).await.is_err() {} };
    tokio::time::timeout(PATIENCE, reread).await.unwrap();
}

#[tokio::test]
async fn what_a_link_cannot_have_is_told_in_its_state() {
    let mut lattice = Lattice::start(Road::Nats).await;
    let report = lattice.put(&[("ssl_certs_file", "/no/such/file")]).await;
    assert_eq!(report.state, LinkState::Failed);
    assert!(report.reason.unwrap().contains("/no/such/file"));
    let report = lattice.put(&[("allow", "a/b")]).await;
    assert!(report.reason.unwrap().contains("`allow` is `a/b`"));
    let report = lattice.put(&[("require", "retries>=1")]).await;
    assert!(report.reason.unwrap().contains("`retries>=1`"));
    let report = lattice
        .put(&[("require", "http2, proxy, retries>=1"), ("retries", "2")])
        .await;
    assert_eq!(report.state, LinkState::Ready);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let proxy = format!("http://me:hidden@{address}");
    let report = lattice.put(&[("http_proxy", &proxy)]).await;
    let reason = report.reason.unwrap();
    assert!(reason.contains(&address.to_string()) && reason.contains("connection-refused"));
    assert!(!reason.contains("hidden"), "{reason}");
}

#[tokio::test]
async fn only_what_is_allowed_is_sent() {
    let (one, other) = (mirror(None).await, mirror(None).await);
    let port = one.address.port();
    let allow = format!("http://127.0.0.1:{port}/api, POST 127.0.0.1:{port}, *.localhost, *");
    let mut lattice = Lattice::linked(&[("allow", &allow)]).await;
    assert!(lattice.text(&one.url("/api/x")).await.is_ok());
    assert!(
        lattice
            .fetch(request("POST", &one.url("/"), ""))
            .await
            .is_ok()
    );
    // These are let through by `*` alone, which names nobody.
    for url in [
        one.url("/"),
        other.url("/"),
        format!("http://localhost:{port}/api"),
    ] {
        let denied = lattice.text(&url).await;
        assert_eq!(denied, Err(ErrorCode::DestinationIpProhibited), "{url}");
    }
    let allow = format!("127.0.0.1:{port}");
    lattice.put_ready(&[("allow", &allow)]).await;
    assert!(lattice.text(&one.url("/")).await.is_ok());
    for url in [other.url("/"), format!("http://localhost:{port}/")] {
        assert_eq!(
            lattice.text(&url).await,
            Err(ErrorCode::HttpRequestDenied),
            "{url}"
        );
    }
    assert_eq!(other.connections(), 0);
    lattice.put_ready(&[("allow", "none")]).await;
    assert_eq!(
        lattice.text(&one.url("/")).await,
        Err(ErrorCode::HttpRequestDenied)
    );
}

/// A proxy for both kinds of requests that keeps the heads it was sent.
async fn proxy(heads: Arc<Mutex<Vec<String>>>) -> Server {
    Server::raw(move |mut client| {
        let heads = Arc::clone(&heads);
        async move {
            let head = read_head(&mut client).await;
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let is_tunnel = head.starts_with("CONNECT ");
            heads.lock().push(head.clone());
            if !head.contains("Basic bWU6aGlkZGVu") {
                let refusal = b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n";
                client.write_all(refusal).await.unwrap();
                return;
            }
            let address = target.trim_start_matches("http://");
            let address = address.split('/').next().unwrap();
            let mut server = TcpStream::connect(address).await.unwrap();
            if is_tunnel {
                client.write_all(b"HTTP/1.1 200 Go\r\n\r\n").await.unwrap();
            } else {
                server.write_all(head.as_bytes()).await.unwrap();
            }
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    })
    .await
}

#[tokio::test]
async fn proxies_read_plain_requests_and_tunnel_others() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let proxy = proxy(Arc::clone(&heads)).await;
    let authority = Authority::new().await;
    authority.sign("server", "DNS:localhost").await;
    let (plain, secret) = (
        mirror(None).await,
        mirror(Some(authority.server("server", &["h2"]))).await,
    );
    let address = format!("http://me:hidden@{}", proxy.address);
    let root = authority.root();
    let values = [
        ("http_proxy", address.as_str()),
        ("https_proxy", &address),
        ("ssl_certs_file", &root),
    ];
    let mut lattice = Lattice::linked(&values).await;
    heads.lock().clear();
    let mut sent = get(&plain.url("/x"));
    sent.headers_mut()
        .insert(PROXY_AUTHORIZATION, "of the guest".parse().unwrap());
    let (_, text) = lattice.fetch(sent).await.unwrap();
    assert!(text.starts_with(b"GET "), "{text:?}");
    let head = heads.lock().pop().unwrap();
    assert!(
        head.starts_with(&format!("GET {} HTTP/1.1", plain.url("/x"))),
        "{head}"
    );
    assert!(!head.contains("of the guest"));
    let text = lattice.text(&secret.https("/")).await.unwrap();
    assert!(
        text.contains("HTTP/2.0") && !text.contains("proxy-auth"),
        "{text}"
    );
    let head = heads.lock().pop().unwrap();
    assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
    let stranger = format!("http://you:hidden@{}", proxy.address);
    lattice.put_ready(&[("https_proxy", &stranger)]).await;
    let refused = lattice.text(&secret.https("/")).await;
    assert_eq!(refused, Err(ErrorCode::ConfigurationError));
    lattice
        .put_ready(&[("http_proxy", &address), ("no_proxy", "127.0.0.0/8")])
        .await;
    heads.lock().clear();
    assert!(lattice.text(&plain.url("/x")).await.is_ok());
    assert!(heads.lock().is_empty());
}
