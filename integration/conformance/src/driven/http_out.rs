//! Requests that a component sends, to servers that are the driver's.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use lattice_integration::{HANDLE, subject};
use lattice_rpc::Invocation;
use lattice_rpc::http::IncomingBody;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::kit::Link;
use super::peer::{Server, echo, failing, mirror, proxy};
use super::tls::Authority;
use super::web::{Answer, Out, STEP, asking, piecewise, some, whole};
use super::{Driven, cases};
use crate::ground::{COMPONENT, Ground, PROVIDER};

pub(crate) const CASES: &[Driven] = cases![
    "method, path, headers and status arrive as they were" => heads,
    "a body streams both ways at once, and trailers follow it" => streams,
    "a large body arrives whole both ways" => large,
    "connections are used again, and shared" => pool,
    "HTTP/2 is spoken where the link or the server says so" => http2,
    "authorities are believed that the link names, and no others" => authorities,
    "a client certificate is shown to who wants one" => client_certificate,
    "requests take the proxy of their kind" => proxies,
    "each time limit of the component has its error" => times,
    "time limits of the link hold where they are shorter" => link_times,
    "requests are sent again as the link says, and no others" => retries,
    "a server that is not there, resets or stalls is told by name" => broken,
    "a server that is killed in mid-body breaks the body off" => killed,
    "limits of heads and bodies are told by name" => limits,
    "only what the link allows is sent" => allowed,
    "links with the same provider do not mix" => separate,
];

/// A component of a case's own with a link that says this. Its id is that of the case.
async fn sender(ground: &Ground, id: &str, config: serde_json::Value) -> Result<String> {
    let id = format!("out-{id}");
    ground.run_with(&id, "http-probe", &[]).await?;
    ground.lattice.config(&id, config).await?;
    let link = Link {
        source: &id,
        target: PROVIDER,
        name: "default",
        interface: "wasi:http/outgoing-handler",
        source_config: &[],
        target_config: &[&id],
    };
    ground.connect(link).await?;
    Ok(id)
}

/// Has a component send a request on to an address.
async fn pass_on(
    ground: &Ground,
    id: &str,
    url: &str,
    request: Request<Out>,
) -> Result<Response<IncomingBody>> {
    call(ground, id, &format!("/fetch?{url}"), request).await
}

async fn call(
    ground: &Ground,
    id: &str,
    path: &str,
    mut request: Request<Out>,
) -> Result<Response<IncomingBody>> {
    *request.uri_mut() = format!("http://a.example{path}").parse()?;
    let until = Instant::now() + STEP;
    let call = Invocation::new(subject(id, HANDLE), until).source("driver");
    Ok(ground.peer.call_http(call, request).await?)
}

/// The same, and all of the answer.
async fn fetch(
    ground: &Ground,
    id: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let method = if body.is_empty() { "GET" } else { "PUT" };
    let request = asking(method, "/", headers, body.to_owned());
    Answer::of(pass_on(ground, id, url, request).await?).await
}

/// Expects the component to be told of an error, by its code in `wasi:http`.
async fn refused(
    ground: &Ground,
    id: &str,
    url: &str,
    headers: &[(&str, &str)],
    code: &str,
) -> Result<()> {
    let answer = fetch(ground, id, url, headers, "").await?;
    let text = answer.text();
    ensure!(
        answer.status == 502 && text.contains(code),
        "{url}: {} {text}, wanted {code}",
        answer.status
    );
    Ok(())
}

async fn heads(ground: &Ground) -> Result<()> {
    let server = mirror(None).await?;
    let headers = [
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-odd", "tab\tand \"quote\""),
    ];
    for method in ["GET", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = asking(method, "/", &headers, "");
        let url = server.url("/a%20b/..;x?q=1&r=%2F");
        let answer = pass_on(ground, COMPONENT, &url, request).await?;
        let text = Answer::of(answer).await?.text();
        let line = format!("{method} /a%20b/..;x?q=1&r=%2F HTTP/1.1\n");
        ensure!(text.starts_with(&line), "{text}");
        for line in [
            "x-twice: a\n",
            "x-twice: b\n",
            "x-odd: tab\tand \"quote\"\n",
        ] {
            ensure!(text.contains(line), "{text}");
        }
        let host = format!("host: {}\n", server.address);
        ensure!(text.contains(&host), "{text}");
    }
    for status in [200, 201, 204, 301, 404, 418, 500, 503] {
        let server = Server::start(None, move |_| async move {
            let response = Response::builder().status(status).header("x-a", "1");
            let response = response.header("x-a", "2").header("location", "/other");
            response.body(whole("")).expect("these are a response")
        });
        let server = server.await?;
        let answer = fetch(ground, COMPONENT, &server.url("/"), &[], "").await?;
        ensure!(answer.status == status, "{} for {status}", answer.status);
        ensure!(answer.values("x-a") == ["1", "2"], "{:?}", answer.headers);
        ensure!(server.connections() == 1, "it was followed");
    }
    Ok(())
}

async fn streams(ground: &Ground) -> Result<()> {
    let server = echo().await?;
    let (pieces, body) = piecewise();
    let mut request = asking("POST", "/", &[("trailer", "x-end"), ("te", "trailers")], "");
    *request.body_mut() = body;
    pieces
        .send(Frame::data(Bytes::from_static(b"begin")))
        .await?;
    let path = format!("/relay?{}", server.url("/"));
    let response = call(ground, COMPONENT, &path, request).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    ensure!(some(&mut body, 5).await? == b"begin");
    for piece in ["one", "two", "three"] {
        pieces
            .send(Frame::data(Bytes::from_static(piece.as_bytes())))
            .await?;
        let echoed = some(&mut body, piece.len()).await?;
        ensure!(echoed == piece.as_bytes(), "{echoed:?}");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "done".parse()?);
    pieces.send(Frame::trailers(trailers)).await?;
    drop(pieces);
    let rest = Answer::of(Response::new(body)).await?;
    ensure!(rest.body.is_empty(), "{:?}", rest.body);
    let end = rest.trailers.get("x-end");
    ensure!(end.is_some_and(|end| end == "done"), "{:?}", rest.trailers);
    Ok(())
}

async fn large(ground: &Ground) -> Result<()> {
    let server = echo().await?;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let request = asking("PUT", "/", &[], body.clone());
    let response = pass_on(ground, COMPONENT, &server.url("/"), request).await?;
    let answer = Answer::of(response).await?;
    ensure!(answer.body == body, "{} bytes came", answer.body.len());
    Ok(())
}

async fn pool(ground: &Ground) -> Result<()> {
    let id = sender(
        ground,
        "pool",
        serde_json::json!({ "max_connections_per_host": "3" }),
    )
    .await?;
    let server = mirror(None).await?;
    for _ in 0..5 {
        fetch(ground, &id, &server.url("/"), &[], "x").await?;
    }
    ensure!(
        server.connections() == 1,
        "{} connections",
        server.connections()
    );
    let url = server.url("/");
    let many = (0..12).map(|_| fetch(ground, &id, &url, &[], "x"));
    for answer in futures::future::join_all(many).await {
        ensure!(answer?.status == 200);
    }
    ensure!(
        server.connections() <= 3,
        "{} connections",
        server.connections()
    );
    Ok(())
}

async fn http2(ground: &Ground) -> Result<()> {
    let prior = serde_json::json!({ "http2": "prior-knowledge" });
    let id = sender(ground, "prior", prior).await?;
    let server = mirror(None).await?;
    let url = server.url("/");
    let many = (0..8).map(|_| fetch(ground, &id, &url, &[], "x"));
    for answer in futures::future::join_all(many).await {
        let text = answer?.text();
        ensure!(text.contains("HTTP/2.0"), "{text}");
    }
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let roots = serde_json::json!({ "ssl_certs_file": authority.file("ca.pem") });
    let id = sender(ground, "auto", roots).await?;
    for (offers, wanted) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&[], "HTTP/1.1")] {
        let server = mirror(Some(authority.server("server", offers, false)?)).await?;
        let text = fetch(ground, &id, &server.secure("/"), &[], "")
            .await?
            .text();
        ensure!(text.contains(wanted), "{offers:?}: {text}");
    }
    Ok(())
}

async fn authorities(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let server = mirror(Some(authority.server("server", &[], false)?)).await?;
    refused(
        ground,
        COMPONENT,
        &server.secure("/"),
        &[],
        "TlsCertificateError",
    )
    .await?;
    let roots = serde_json::json!({ "ssl_certs_file": authority.file("ca.pem") });
    let id = sender(ground, "roots", roots).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    // The certificate is for another name.
    let other = format!("https://127.0.0.1:{}/", server.address.port());
    refused(ground, &id, &other, &[], "TlsCertificateError").await
}

async fn client_certificate(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    authority.sign("me").await?;
    let server = mirror(Some(authority.server("server", &[], true)?)).await?;
    let roots = authority.file("ca.pem");
    let without = serde_json::json!({ "ssl_certs_file": roots });
    let id = sender(ground, "nobody", without).await?;
    refused(ground, &id, &server.secure("/"), &[], "TlsAlertReceived").await?;
    let with = serde_json::json!({
        "ssl_certs_file": roots, "client_cert_file": authority.file("me.pem"),
        "client_key_file": authority.file("me.key"),
    });
    let id = sender(ground, "somebody", with).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    Ok(())
}

async fn proxies(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let (one, other) = (proxy().await?, proxy().await?);
    let config = serde_json::json!({
        "http_proxy": one.url(""), "https_proxy": other.url(""), "no_proxy": "127.0.0.1",
        "ssl_certs_file": authority.file("ca.pem"),
    });
    let id = sender(ground, "proxies", config).await?;
    let (before, before_other) = (one.connections(), other.connections());
    let answer = fetch(ground, &id, "http://there.example/x?y", &[], "").await?;
    let text = answer.text();
    ensure!(text == "proxied http://there.example/x?y", "{text}");
    ensure!(one.connections() > before, "the proxy was not asked");
    let server = mirror(Some(authority.server("server", &[], false)?)).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.text().starts_with("GET / "), "{}", answer.text());
    ensure!(
        other.connections() > before_other,
        "the proxy was not asked"
    );
    let (before, server) = (one.connections(), mirror(None).await?);
    fetch(ground, &id, &server.url("/"), &[], "").await?;
    ensure!(server.connections() == 1 && one.connections() == before);
    Ok(())
}

async fn times(ground: &Ground) -> Result<()> {
    let silent = Server::saying("", false).await?;
    let short = [("x-timeout-ms", "500")];
    refused(
        ground,
        COMPONENT,
        &silent.url("/"),
        &short,
        "ConnectionReadTimeout",
    )
    .await?;
    let stalling =
        Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", false).await?;
    // Long enough for the head on a busy machine, and shorter than the pause.
    let answer = fetch(
        ground,
        COMPONENT,
        &stalling.url("/"),
        &[("x-timeout-ms", "3000")],
        "",
    )
    .await?;
    let text = answer.text();
    ensure!(answer.status == 200, "{} {text}", answer.status);
    ensure!(
        text.starts_with("part!") && text.contains("ConnectionReadTimeout"),
        "{text}"
    );
    Ok(())
}

async fn link_times(ground: &Ground) -> Result<()> {
    let config = serde_json::json!({ "first_byte_timeout_ms": "300" });
    let id = sender(ground, "times", config).await?;
    let silent = Server::saying("", false).await?;
    let before = Instant::now();
    let long = [("x-timeout-ms", "60000")];
    refused(
        ground,
        &id,
        &silent.url("/"),
        &long,
        "ConnectionReadTimeout",
    )
    .await?;
    ensure!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
    Ok(())
}

async fn retries(ground: &Ground) -> Result<()> {
    let config = serde_json::json!({
        "retries": "2", "retry_on": "connect,reset,503", "retry_backoff_ms": "10",
    });
    let id = sender(ground, "retries", config).await?;
    for (status, failures, wanted, text) in [
        (503, 2, 200, "asked 2"),
        (503, 3, 503, "asked 2"),
        (500, 1, 500, "asked 0"),
    ] {
        let server = failing(failures, status).await?;
        let answer = fetch(ground, &id, &server.url("/"), &[], "").await?;
        let told = (answer.status, answer.text());
        ensure!(told == (wanted, text.to_owned()), "{status}: {told:?}");
    }
    let server = failing(1, 503).await?;
    let request = asking("POST", "/", &[], "x");
    let response = pass_on(ground, &id, &server.url("/"), request).await?;
    ensure!(response.status() == 503, "a POST was sent twice");
    Ok(())
}

async fn broken(ground: &Ground) -> Result<()> {
    // Bound and never listening: nobody else gets the port, and nobody is let in.
    let bound = TcpSocket::new_v4()?;
    bound.bind("127.0.0.1:0".parse()?)?;
    let nobody = format!("http://{}/", bound.local_addr()?);
    refused(ground, COMPONENT, &nobody, &[], "ConnectionRefused").await?;
    refused(
        ground,
        COMPONENT,
        "http://there-is-none.invalid/",
        &[],
        "DnsError",
    )
    .await?;
    refused(
        ground,
        COMPONENT,
        "ftp://a.example/",
        &[],
        "HttpProtocolError",
    )
    .await?;
    let ending = Server::saying("", true).await?;
    refused(
        ground,
        COMPONENT,
        &ending.url("/"),
        &[],
        "ConnectionTerminated",
    )
    .await?;
    let resetting = Server::raw(|stream| async move {
        // An end without a farewell.
        drop(stream.set_zero_linger());
        drop(stream.readable().await);
    });
    let resetting = resetting.await?;
    refused(
        ground,
        COMPONENT,
        &resetting.url("/"),
        &[],
        "ConnectionTerminated",
    )
    .await?;
    let nonsense = Server::saying("nonsense\r\n\r\n", false).await?;
    refused(
        ground,
        COMPONENT,
        &nonsense.url("/"),
        &[],
        "HttpProtocolError",
    )
    .await?;
    let plain = mirror(None).await?;
    let text = fetch(ground, COMPONENT, &plain.secure("/"), &[], "").await?;
    ensure!(
        text.status == 502 && text.text().contains("Tls"),
        "{}",
        text.text()
    );
    Ok(())
}

async fn killed(ground: &Ground) -> Result<()> {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let stalling = Server::saying(half, false).await?;
    let request = asking("GET", "/", &[], "");
    let response = pass_on(ground, COMPONENT, &stalling.url("/"), request).await?;
    let mut body = response.into_body();
    ensure!(some(&mut body, 4).await? == b"half");
    drop(stalling);
    let rest = Answer::of(Response::new(body)).await?.text();
    ensure!(rest.starts_with('!'), "no error: {rest:?}");
    ensure!(
        rest.contains("HttpResponseIncomplete") || rest.contains("ConnectionTerminated"),
        "{rest}"
    );
    Ok(())
}

async fn limits(ground: &Ground) -> Result<()> {
    let config = serde_json::json!({
        "max_header_bytes": "8192", "max_request_body_bytes": "1000",
        "max_response_body_bytes": "1000",
    });
    let id = sender(ground, "limits", config).await?;
    let server = echo().await?;
    let (most, more) = ("y".repeat(1000), "y".repeat(1001));
    let answer = fetch(ground, &id, &server.url("/"), &[], &most).await?;
    ensure!(answer.text() == most, "{} {}", answer.status, answer.text());
    let answer = fetch(ground, &id, &server.url("/"), &[], &more).await?;
    let text = answer.text();
    ensure!(
        text.contains("HttpRequestBodySize"),
        "{} {text}",
        answer.status
    );
    let large = Server::start(None, |_| async { Response::new(whole("z".repeat(1001))) });
    let answer = fetch(ground, &id, &large.await?.url("/"), &[], "").await?;
    let text = answer.text();
    ensure!(
        text.contains("HttpResponseBodySize"),
        "{} {text}",
        answer.status
    );
    let headed = Server::start(None, |_| async {
        let response = Response::builder().header("x-long", "h".repeat(9000));
        response.body(whole("")).expect("these are a response")
    });
    let headed = headed.await?;
    refused(
        ground,
        &id,
        &headed.url("/"),
        &[],
        "HttpResponseHeaderSectionSize",
    )
    .await
}

async fn allowed(ground: &Ground) -> Result<()> {
    let (one, other) = (mirror(None).await?, mirror(None).await?);
    let allow = format!("{}, POST {}", one.url("/api"), one.address);
    let id = sender(ground, "allowed", serde_json::json!({ "allow": allow })).await?;
    let answer = fetch(ground, &id, &one.url("/api/x"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    for url in [one.url("/"), one.url("/apix"), other.url("/api")] {
        refused(ground, &id, &url, &[], "HttpRequestDenied").await?;
    }
    ensure!(other.connections() == 0, "it was connected to");
    let anywhere = serde_json::json!({ "allow": "*" });
    let id = sender(ground, "anywhere", anywhere).await?;
    refused(ground, &id, &one.url("/"), &[], "DestinationIpProhibited").await
}

async fn separate(ground: &Ground) -> Result<()> {
    let server = mirror(None).await?;
    let none = sender(ground, "closed", serde_json::json!({ "allow": "none" })).await?;
    let all = sender(ground, "open", serde_json::json!({})).await?;
    for _ in 0..3 {
        refused(ground, &none, &server.url("/"), &[], "HttpRequestDenied").await?;
        let answer = fetch(ground, &all, &server.url("/"), &[], "").await;
        let answer = answer.context("the open one")?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(())
}
