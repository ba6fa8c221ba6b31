//! Which component gets a request.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lattice_core::link::LinkState;
use lattice_rpc::Context;
use lattice_rpc::http::IncomingBody;
use support::{Lattice, fetch, free_address, get, link, request, text};

fn asked(host: &str, path: &str) -> Request<Full<Bytes>> {
    let mut request = get(path);
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

async fn body(address: &str, request: Request<Full<Bytes>>) -> String {
    let (_, body) = fetch(address, request).await;
    String::from_utf8(body.to_vec()).unwrap()
}

/// What a component was told of the parameters of its path.
fn params(request: &Request<IncomingBody>) -> Response<Full<Bytes>> {
    let mut told: Vec<_> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-path"))
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    told.sort();
    text(&told.join(" "))
}

#[tokio::test]
async fn parameters_cannot_be_forged_where_a_path_has_none() {
    let address = free_address();
    let config = [("routing_mode", "path"), ("address", address.as_str())];
    let mut lattice = Lattice::start(&config).await;
    let to_one = link("one", &[("path", "/request/{id}")]);
    lattice.put_ready(&to_one).await;
    let to_me = link("me", &[("path", "/request/me")]);
    lattice.put_ready(&to_me).await;
    let told = |_: Context, request| async move { params(&request) };
    let _components = (
        lattice.component("one", told).await,
        lattice.component("me", told).await,
    );
    let forged = |path: &str| {
        let mut sent = get(path);
        let value = "forged".parse().unwrap();
        sent.headers_mut().insert("x-path-id", value);
        sent
    };
    assert_eq!(body(&address, forged("/request/me")).await, "");
    assert_eq!(body(&address, forged("/request/7")).await, "x-path-id=7");
}

#[tokio::test]
async fn parameters_of_a_path_are_headers_and_cannot_be_forged() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [
        ("address", address.as_str()),
        ("path", "/users/{id}/files/{rest...}"),
    ];
    lattice.put_ready(&link("a", &values)).await;
    let _component = lattice
        .component("a", |_, request| async move { params(&request) })
        .await;
    let mut sent = get("/users/a%2Fb/files/c/d?id=7");
    for name in ["x-path-id", "x-path-other"] {
        sent.headers_mut().insert(name, "forged".parse().unwrap());
    }
    assert_eq!(
        body(&address, sent).await,
        "x-path-id=a%2Fb x-path-rest=c/d"
    );
    let (response, _) = fetch(&address, get("/users/1/other")).await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn the_most_certain_place_goes_first() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    for (component, host, path) in [
        ("all", "", ""),
        ("rest", "", "/x/{rest...}"),
        ("one", "", "/x/{id}"),
        ("exact", "", "/x/y"),
        ("host", "h.example", ""),
        ("both", "h.example", "/x/{id}"),
    ] {
        let values = [
            ("address", address.as_str()),
            ("host", host),
            ("path", path),
        ];
        lattice.put_ready(&link(component, &values)).await;
    }
    let _components = (
        (lattice.named("all").await, lattice.named("rest").await),
        (lattice.named("one").await, lattice.named("exact").await),
        (lattice.named("host").await, lattice.named("both").await),
    );
    for (host, path, component) in [
        ("a.example", "/", "all"),
        ("a.example", "/x/y", "exact"),
        ("a.example", "/x/z", "one"),
        ("a.example", "/x/y/z", "rest"),
        ("h.example:8000", "/", "host"),
        ("H.example", "/x/y", "both"),
    ] {
        assert_eq!(
            body(&address, asked(host, path)).await,
            component,
            "{host}{path}"
        );
    }
    // What is left takes over.
    lattice
        .delete(&link(
            "both",
            &[
                ("address", &address),
                ("host", "h.example"),
                ("path", "/x/{id}"),
            ],
        ))
        .await;
    let over = async { while body(&address, asked("h.example", "/x/y")).await != "host" {} };
    tokio::time::timeout(support::PATIENCE, over).await.unwrap();
}

#[tokio::test]
async fn fifty_paths_of_one_provider_are_fifty_components() {
    let address = free_address();
    let config = [
        ("routing_mode", "path"),
        ("default_address", address.as_str()),
    ];
    let mut lattice = Lattice::start(&config).await;
    let mut components = Vec::new();
    for number in 0..50 {
        let name: &'static str = Box::leak(format!("c{number}").into_boxed_str());
        let path = format!("/base/{number}/{{id}}");
        lattice.put_ready(&link(name, &[("path", &path)])).await;
        components.push(lattice.named(name).await);
    }
    for number in 0..50 {
        let path = format!("/base/{number}/x");
        assert_eq!(body(&address, get(&path)).await, format!("c{number}"));
    }
}

#[tokio::test]
async fn one_rest_is_written_in_either_way_and_names_are_plain() {
    let address = free_address();
    let config = [("routing_mode", "path"), ("address", address.as_str())];
    let mut lattice = Lattice::start(&config).await;
    lattice
        .put_ready(&link("a", &[("path", "/a/{*rest}")]))
        .await;
    let _component = lattice
        .component("a", |_, request| async move {
            text(request.headers()["x-path-rest"].to_str().unwrap())
        })
        .await;
    assert_eq!(body(&address, get("/a/b/c")).await, "b/c");
    let (response, _) = fetch(&address, get("/a")).await;
    assert_eq!(response.status(), 404);
    lattice.put(&link("b", &[("path", "/b/{x.y}")])).await;
    let report = lattice.report().await;
    assert_eq!(report.state, LinkState::Failed);
    let reason = report.reason.unwrap();
    assert!(
        reason.contains("`path` is `/b/{x.y}`") && reason.contains("letters, digits"),
        "{reason}"
    );
}

/// As a lattice of 1.x has it, where links only say their paths.
#[tokio::test]
async fn in_path_mode_the_config_of_the_provider_holds_for_its_links() {
    let address = free_address();
    let config = [
        ("routing_mode", "path"),
        ("default_address", "127.0.0.1:1"),
        ("address", address.as_str()),
        ("cache_control", "max-age=9"),
        (
            "config_json",
            r#"{"readonly_mode":true,"cache_control":"max-age=5",
                "cors":{"allowed_origins":["https://a.example"]}}"#,
        ),
    ];
    let mut lattice = Lattice::start(&config).await;
    let open = [("path", "/open"), ("readonly_mode", "false")];
    lattice.put_ready(&link("open", &open)).await;
    lattice.put_ready(&link("a", &[("path", "/a")])).await;
    let _components = (lattice.named("a").await, lattice.named("open").await);
    let (response, _) = fetch(&address, request("POST", "/a", "x")).await;
    assert_eq!(response.status(), 405);
    assert_eq!(body(&address, request("POST", "/open", "x")).await, "open");
    let (response, _) = fetch(&address, get("/a")).await;
    assert_eq!(response.headers()["cache-control"], "max-age=5");
    let allowed = "access-control-allow-origin";
    for (origin, is_let_in) in [("https://a.example", true), ("https://b.example", false)] {
        let mut asked = request("OPTIONS", "/a", "");
        let headers = asked.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("access-control-request-method", "POST".parse().unwrap());
        let (response, _) = fetch(&address, asked).await;
        let told = response.headers().get(allowed);
        assert_eq!(told.map(|told| told == origin), is_let_in.then_some(true));
    }
    // What changes there changes for all.
    let config = [("routing_mode", "path"), ("address", address.as_str())];
    lattice.put_config(&config).await;
    let over = async { while body(&address, request("POST", "/a", "x")).await != "a" {} };
    tokio::time::timeout(support::PATIENCE, over).await.unwrap();
}

#[tokio::test]
async fn methods_that_are_not_listed_are_refused() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [("address", address.as_str()), ("methods", "GET, POST")];
    lattice.put_ready(&link("a", &values)).await;
    let _component = lattice.named("a").await;
    assert_eq!(body(&address, request("POST", "/", "x")).await, "a");
    let (response, body) = fetch(&address, request("DELETE", "/", "")).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET,POST");
    assert!(body.starts_with(b"method:"));
}
