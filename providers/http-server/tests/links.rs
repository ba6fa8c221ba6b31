//! What links and config do to listening.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lattice_core::link::LinkState;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use support::{
    Browser, Lattice, PATIENCE, body_at, fetch, free_address, get, link, text, until_closed, whole,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn an_address_in_use_is_told_and_taken_when_it_is_free() {
    let mut lattice = Lattice::start(&[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    lattice.put(&link("a", &[("address", &address)])).await;
    let report = lattice.report().await;
    assert_eq!(report.state, LinkState::Failed);
    let reason = report.reason.unwrap();
    assert!(
        reason.contains(&address) && reason.contains("in use"),
        "{reason}"
    );
    drop(taken);
    assert_eq!(lattice.report().await.state, LinkState::Ready);
    let _component = lattice.named("a").await;
    assert_eq!(body_at(&address, "/").await, "a");
}

#[tokio::test]
async fn a_bad_value_is_told_by_name() {
    let mut lattice = Lattice::start(&[]).await;
    lattice.put(&link("a", &[("timeout_ms", "soon")])).await;
    let reason = lattice.report().await.reason.unwrap();
    assert!(reason.contains("`timeout_ms` is `soon`"), "{reason}");
    let mut other = link("a", &[]);
    other.wit_package = "keyvalue".into();
    lattice.put(&other).await;
    assert!(lattice.report().await.reason.unwrap().contains("wasi:http"));
}

#[tokio::test]
async fn a_link_of_1_9_may_name_the_version_of_the_interface() {
    let mut lattice = Lattice::start(&[]).await;
    let mut link = link("a", &[("address", &free_address())]);
    link.interfaces = vec!["incoming-handler@0.2.0".into()];
    lattice.put_ready(&link).await;
}

#[tokio::test]
async fn a_link_may_require_what_the_server_has() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let requiring = |what| link("a", &[("address", &address), ("require", what)]);
    lattice.put(&requiring("http2, websocket")).await;
    let reason = lattice.report().await.reason.unwrap();
    assert!(
        reason.starts_with("the link requires `websocket`"),
        "{reason}"
    );
    lattice.put(&requiring("http2, sse")).await;
    assert_eq!(lattice.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_link_may_require_limits_that_it_has() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let limited = [
        ("address", &*address),
        ("max_header_bytes", "16384"),
        ("max_body_bytes", "1000000"),
        ("timeout_ms", "2500"),
        ("max_concurrent_streams", "100"),
    ];
    let requiring = |what| link("a", &[&limited[..], &[("require", what)]].concat());
    let most = "max-header-bytes>=16384, max-body-bytes>=1000000, timeout-ms=2500, \
                max-concurrent-streams>=100";
    lattice.put_ready(&requiring(most)).await;
    for more in [
        "max-header-bytes>=16385",
        "max-body-bytes>=1000001",
        "timeout-ms>=2501",
        "max-concurrent-streams>=101",
    ] {
        lattice.put(&requiring(more)).await;
        let report = lattice.report().await;
        assert_eq!(report.state, LinkState::Failed, "{more}");
        let reason = report.reason.unwrap();
        let told = format!("the link requires `{more}`");
        assert!(reason.contains(&told), "{reason}");
    }
    // Without limits a body may be as large as anybody wants, and the host says how long a call may take.
    let endless = [
        ("address", &*address),
        ("require", "max-body-bytes>=1000000000000, timeout-ms=none"),
    ];
    lattice.put_ready(&link("a", &endless)).await;
}

#[tokio::test]
async fn components_on_one_address_take_over_in_order() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let links: Vec<_> = ["a", "b", "c"]
        .map(|id| link(id, &[("address", &address)]))
        .into();
    lattice.put_ready(&links[0]).await;
    for link in &links[1..] {
        lattice.put(link).await;
        let report = lattice.report().await;
        assert_eq!(report.state, LinkState::Failed);
        let reason = report.reason.unwrap();
        let told = format!("the address {address} is that of component `a`;");
        assert!(reason.starts_with(&told), "{reason}");
    }
    let _components = (
        lattice.named("a").await,
        lattice.named("b").await,
        lattice.named("c").await,
    );
    assert_eq!(body_at(&address, "/").await, "a");
    lattice.delete(&links[1]).await;
    lattice.delete(&links[0]).await;
    let taken_over = async { while body_at(&address, "/").await != "c" {} };
    tokio::time::timeout(PATIENCE, taken_over).await.unwrap();
    let is_ready = async {
        loop {
            let report = lattice.report().await;
            if (report.state, &*report.target) == (LinkState::Ready, "c") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, is_ready).await.unwrap();
    lattice.delete(&links[2]).await;
    until_closed(&address).await;
}

#[tokio::test]
async fn a_changed_link_moves() {
    let mut lattice = Lattice::start(&[]).await;
    let (old, new) = (free_address(), free_address());
    lattice.put_ready(&link("a", &[("address", &old)])).await;
    lattice.put_ready(&link("a", &[("address", &new)])).await;
    let _component = lattice.named("a").await;
    assert_eq!(body_at(&new, "/").await, "a");
    until_closed(&old).await;
}

#[tokio::test]
async fn paths_belong_to_components() {
    let address = free_address();
    let config = [
        ("routing_mode", "path"),
        ("default_address", address.as_str()),
    ];
    let mut lattice = Lattice::start(&config).await;
    lattice.put_ready(&link("a", &[("path", "/a")])).await;
    lattice.put_ready(&link("b", &[("PATH", "/b")])).await;
    let _components = (lattice.named("a").await, lattice.named("b").await);
    assert_eq!(body_at(&address, "/a?x=1").await, "a");
    assert_eq!(body_at(&address, "/b").await, "b");
    let (response, body) = fetch(&address, get("/a/b")).await;
    assert_eq!(response.status(), 404);
    assert!(body.starts_with(b"no-route"));
}

#[tokio::test]
async fn hosts_belong_to_components() {
    let address = free_address();
    let config = [
        ("routing_mode", "host"),
        ("default_address", address.as_str()),
    ];
    let mut lattice = Lattice::start(&config).await;
    lattice
        .put_ready(&link("a", &[("host", "A.example")]))
        .await;
    lattice
        .put_ready(&link("b", &[("host", "b.example:81")]))
        .await;
    let _components = (lattice.named("a").await, lattice.named("b").await);
    let asked = |host: &str| {
        let mut request = get("/");
        request.headers_mut().insert("host", host.parse().unwrap());
        request
    };
    for (host, component) in [
        ("a.example", "a"),
        ("a.EXAMPLE:8000", "a"),
        ("b.example:81", "b"),
    ] {
        let (_, body) = fetch(&address, asked(host)).await;
        assert_eq!(body, component, "{host}");
    }
    let (response, _) = fetch(&address, asked("b.example")).await;
    assert_eq!(response.status(), 404);
    let mut without = get("/");
    without.headers_mut().remove("host");
    let (response, body) = fetch(&address, without).await;
    assert_eq!(response.status(), 400);
    assert!(body.starts_with(b"bad-host"));
    let mut twice = asked("a.example");
    let other = "b.example:81".parse().unwrap();
    twice.headers_mut().append("host", other);
    let (response, body) = fetch(&address, twice).await;
    assert_eq!(response.status(), 400);
    assert!(body.starts_with(b"bad-host"));
}

#[tokio::test]
async fn a_new_provider_config_moves_its_links() {
    let (old, new) = (free_address(), free_address());
    let mut lattice = Lattice::start(&[("default_address", &old)]).await;
    lattice.put_ready(&link("a", &[])).await;
    let _component = lattice.named("a").await;
    assert_eq!(body_at(&old, "/").await, "a");
    lattice.put_config(&[("default_address", &new)]).await;
    assert_eq!(lattice.report().await.state, LinkState::Ready);
    assert_eq!(body_at(&new, "/").await, "a");
    until_closed(&old).await;
}

fn data(file: &str) -> String {
    format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn connector(protocol: &[u8]) -> TlsConnector {
    let certificate = CertificateDer::from_pem_file(data("localhost.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn https_speaks_both_versions() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let (cert, key) = (data("localhost.pem"), data("localhost.key"));
    let values = [
        ("address", address.as_str()),
        ("tls_cert_file", cert.as_str()),
        ("tls_priv_key_file", key.as_str()),
    ];
    lattice.put_ready(&link("a", &values)).await;
    let _component = lattice
        .component(
            "a",
            |_, request| async move { text(&request.uri().to_string()) },
        )
        .await;
    let connect = |protocol: &'static [u8]| {
        let address = address.clone();
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            TokioIo::new(connector(protocol).connect(name, stream).await.unwrap())
        }
    };
    let one = hyper::client::conn::http1::handshake(connect(b"http/1.1").await).await;
    let (mut sender, connection) = one.unwrap();
    tokio::spawn(connection);
    let (_, body) = whole(sender.send_request(get("/x")).await.unwrap()).await;
    assert_eq!(body, "https://test.example:8000/x");
    let io = connect(b"h2").await;
    let two = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = two.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/y").body(Full::<Bytes>::default());
    let (response, body) = whole(sender.send_request(request.unwrap()).await.unwrap()).await;
    assert_eq!(body, "https://localhost/y");
    assert_eq!(response.version(), http::Version::HTTP_2);
}

/// The link to a component that has a path at an address, with TLS or without.
fn at(address: &str, target: &str, path: &str, has_tls: bool) -> lattice_core::ResolvedLink {
    let (cert, key) = (data("localhost.pem"), data("localhost.key"));
    let mut values = vec![("address", address), ("path", path)];
    if has_tls {
        values.push(("tls_cert_file", cert.as_str()));
        values.push(("tls_priv_key_file", key.as_str()));
    }
    link(target, &values)
}

#[tokio::test]
async fn a_link_for_https_is_not_ready_where_connections_begin_without() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let (plain, secret) = (
        at(&address, "a", "/a", false),
        at(&address, "b", "/b", true),
    );
    lattice.put_ready(&plain).await;
    lattice.put(&secret).await;
    let report = lattice.report().await;
    assert_eq!((report.state, &*report.target), (LinkState::Failed, "b"));
    let reason = report.reason.unwrap();
    let told = format!("connections to {address} have the TLS of the link `default` to `a`");
    assert!(reason.starts_with(&told), "{reason}");
    let (response, _) = fetch(&address, get("/b")).await;
    assert_eq!(response.status(), 404);
    // Alone at its address it has what it wants.
    lattice.delete(&plain).await;
    let is_ready = async {
        loop {
            let report = lattice.report().await;
            if (report.state, &*report.target) == (LinkState::Ready, "b") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, is_ready).await.unwrap();
}

#[tokio::test]
async fn a_link_for_https_whose_turn_comes_is_not_served_without() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let (first, before) = (
        at(&address, "a", "/a", false),
        at(&address, "b", "/b", false),
    );
    lattice.put_ready(&first).await;
    lattice.put_ready(&before).await;
    lattice.put(&at(&address, "c", "/b", true)).await;
    assert_eq!(lattice.report().await.state, LinkState::Failed);
    let _components = (lattice.named("b").await, lattice.named("c").await);
    assert_eq!(body_at(&address, "/b").await, "b");
    lattice.delete(&before).await;
    let refused = async {
        loop {
            let (response, body) = fetch(&address, get("/b")).await;
            assert_ne!(body, "c");
            if response.status() == 421 {
                assert!(body.starts_with(b"tls-only"), "{body:?}");
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn missing_tls_files_are_told_and_awaited() {
    let mut lattice = Lattice::start(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, address) = (path("cert"), path("key"), free_address());
    let values = [
        ("address", address.as_str()),
        ("tls_cert_file", cert.as_str()),
        ("tls_priv_key_file", key.as_str()),
    ];
    lattice.put(&link("a", &values)).await;
    let report = lattice.report().await;
    assert!(report.reason.unwrap().contains(&cert));
    std::fs::copy(data("localhost.key"), &key).unwrap();
    std::fs::copy(data("localhost.pem"), &cert).unwrap();
    assert_eq!(lattice.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_stop_lets_requests_finish() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("slow", &[("address", &address)]))
        .await;
    let (started, mut starts) = tokio::sync::mpsc::channel(1);
    let _component = lattice
        .component("slow", move |_, _| {
            let started = started.clone();
            async move {
                started.send(()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
                text("done")
            }
        })
        .await;
    let mut browser = Browser::connect(&address).await;
    let response = tokio::spawn(async move { whole(browser.get("/").await).await });
    tokio::time::timeout(PATIENCE, starts.recv())
        .await
        .unwrap()
        .unwrap();
    lattice.stop.cancel();
    let (_, body) = response.await.unwrap();
    assert_eq!(body, "done");
    tokio::time::timeout(PATIENCE, lattice.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    until_closed(&address).await;
}
