//! Requests that a component must not have sent: to private and metadata addresses, however they are
//! written, found or come by.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use http::StatusCode;
use http::header::LOCATION;
use lattice_codec::http::ErrorCode;
use lattice_core::link::LinkState;
use parking_lot::Mutex;
use support::server::{Server, mirror, read_head};
use support::{Lattice, get, link, request};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

const PROHIBITED: Result<String, ErrorCode> = Err(ErrorCode::DestinationIpProhibited);

#[tokio::test]
async fn what_only_a_wildcard_lets_through_is_not_private_in_any_form() {
    let inner = mirror(None).await;
    let port = inner.address.port();
    let lattice = Lattice::linked(&[("allow", "*, *.localhost")]).await;
    for host in [
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        // Names: of the hosts file, and numbers that the resolver takes for addresses.
        "localhost",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        let denied = lattice.text(&format!("http://{host}:{port}/")).await;
        assert_eq!(denied, PROHIBITED, "{host}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn a_network_that_is_named_is_let_in_to_and_others_are_not() {
    let inner = mirror(None).await;
    let port = inner.address.port();
    let lattice = Lattice::linked(&[("allow", "*, 127.0.0.0/8")]).await;
    assert!(lattice.text(&inner.url("/")).await.is_ok());
    let by_name = format!("http://localhost:{port}/");
    assert!(lattice.text(&by_name).await.is_ok());
    for host in ["[::1]", "10.0.0.1", "169.254.169.254"] {
        let denied = lattice.text(&format!("http://{host}:{port}/")).await;
        assert_eq!(denied, PROHIBITED, "{host}");
    }
}

#[tokio::test]
async fn localhost_by_its_name_is_this_machine_and_other_names_are_public_hosts() {
    let inner = mirror(None).await;
    let port = inner.address.port();
    let by_name = format!("http://localhost:{port}/");
    let mut lattice = Lattice::linked(&[("allow", &by_name)]).await;
    assert!(lattice.text(&by_name).await.is_ok());
    // What leads to this machine by another name, which no list calls local.
    let other = format!("http://127.1:{port}/");
    lattice.put_ready(&[("allow", &other)]).await;
    assert_eq!(lattice.text(&other).await, PROHIBITED);
    let with_network = format!("{other}, 127.0.0.0/8");
    lattice.put_ready(&[("allow", &with_network)]).await;
    assert!(lattice.text(&other).await.is_ok());
}

#[tokio::test]
async fn a_link_that_names_nothing_is_as_in_1_x_but_for_metadata_services() {
    let inner = mirror(None).await;
    let lattice = Lattice::linked(&[]).await;
    assert!(lattice.text(&inner.url("/")).await.is_ok());
    for host in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "0251.0376.0251.0376",
    ] {
        let denied = lattice.text(&format!("http://{host}/latest/")).await;
        assert_eq!(denied, PROHIBITED, "{host}");
    }
}

#[tokio::test]
async fn a_strict_lattice_lets_out_what_is_named_and_nothing_else() {
    let inner = mirror(None).await;
    let mut lattice = Lattice::strict(&[]).await;
    let url = inner.url("/v1/x");
    let denied = Err(ErrorCode::HttpRequestDenied);
    assert_eq!(lattice.text(&url).await, denied);
    assert_eq!(inner.connections(), 0);
    let allow = inner.url("/v1");
    lattice.put_ready(&[("allow", &allow)]).await;
    assert!(lattice.text(&url).await.is_ok());
    // What the caller's host keeps as a rule of the link says it as well.
    let mut ruled = link(&[]);
    ruled.rules.to = vec![format!("GET {allow}")];
    let report = lattice.put_link(&ruled).await;
    assert_eq!(report.state, LinkState::Ready, "{report:?}");
    assert!(lattice.text(&url).await.is_ok());
    assert_eq!(lattice.text(&inner.url("/v2")).await, denied);
    let posted = lattice.fetch(request("POST", &url, "")).await;
    assert_eq!(posted.map(|_| ()), Err(ErrorCode::HttpRequestDenied));
}

#[tokio::test]
async fn a_redirect_is_handed_over_and_its_place_is_judged_like_any_other() {
    let inner = mirror(None).await;
    let place = inner.url("/secret");
    let told = place.clone();
    let outer = Server::start(None, move |_| {
        let mut answer = support::server::text("elsewhere");
        *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        answer.headers_mut().insert(LOCATION, told.parse().unwrap());
        async move { answer }
    })
    .await;
    let allow = format!("{}, *", outer.address);
    let lattice = Lattice::linked(&[("allow", &allow)]).await;
    let (head, _) = lattice.fetch(get(&outer.url("/"))).await.unwrap();
    assert_eq!(head.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(head.headers()[LOCATION], place);
    assert_eq!(lattice.text(&place).await, PROHIBITED);
    assert_eq!(inner.connections(), 0);
}

/// A proxy that connects to wherever it is asked for, and keeps the heads of what it is asked.
async fn proxy(heads: Arc<Mutex<Vec<String>>>) -> Server {
    Server::raw(move |mut client| {
        let heads = Arc::clone(&heads);
        async move {
            let head = read_head(&mut client).await;
            // A look at whether it is there asks nothing.
            let Some(target) = head.split(' ').nth(1).map(str::to_owned) else {
                return;
            };
            heads.lock().push(head.clone());
            let address = target.trim_start_matches("http://");
            let address = address.split('/').next().unwrap_or_default();
            let Ok(mut server) = TcpStream::connect(address).await else {
                return;
            };
            if head.starts_with("CONNECT ") {
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
async fn a_proxy_is_asked_for_the_address_that_was_looked_at() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let proxy = proxy(Arc::clone(&heads)).await;
    let proxy = format!("http://me:hidden@{}", proxy.address);
    let inner = mirror(None).await;
    let port = inner.address.port();
    let by_name = format!("http://localhost:{port}/");
    let values = |allow| [("http_proxy", proxy.as_str()), ("allow", allow)];

    let mut lattice = Lattice::linked(&values("*")).await;
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"] {
        let denied = lattice.text(&format!("http://{host}:{port}/")).await;
        assert_eq!(denied, PROHIBITED, "{host}");
    }
    assert!(heads.lock().is_empty(), "{:?}", heads.lock());

    lattice.put_ready(&values("*, 127.0.0.0/8")).await;
    let text = lattice.text(&by_name).await.unwrap();
    let head = heads.lock().pop().unwrap();
    assert!(
        head.starts_with(&format!("CONNECT 127.0.0.1:{port} ")),
        "{head}"
    );
    // The server is asked as if there were no proxy, and is not shown the login for that.
    assert!(text.starts_with("GET / "), "{text}");
    assert!(text.contains(&format!("host=localhost:{port}")), "{text}");
    assert!(!text.contains("proxy-auth"), "{text}");

    // A host that is named is as well, lest it lead elsewhere from there.
    lattice.put_ready(&values("localhost")).await;
    assert!(lattice.text(&by_name).await.is_ok());
    let head = heads.lock().pop().unwrap();
    assert!(head.starts_with("CONNECT "), "{head}");
    assert!(!head.contains("localhost"), "{head}");

    // A proxy that looks by itself is asked for the name.
    let mut trusting = values("*").to_vec();
    trusting.push(("proxy_checks", "true"));
    lattice.put_ready(&trusting).await;
    assert!(lattice.text(&by_name).await.is_ok());
    let head = heads.lock().pop().unwrap();
    assert!(head.starts_with(&format!("GET {by_name} ")), "{head}");
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_metadata_services() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let proxy = proxy(Arc::clone(&heads)).await;
    let proxy = format!("http://{}", proxy.address);
    let lattice = Lattice::linked(&[("http_proxy", &proxy)]).await;
    for host in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "2852039166",
        "0xa9.254.43518",
    ] {
        let denied = lattice.text(&format!("http://{host}/latest/")).await;
        assert_eq!(denied, PROHIBITED, "{host}");
    }
    assert!(heads.lock().is_empty(), "{:?}", heads.lock());
}
