//! Requests that come in from clients, which are the driver's.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use lattice_integration::{free_port, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::kit::Link;
use super::tls::Authority;
use super::web::{Answer, STEP, Web, ask, asking, get, piecewise, secure, some};
use super::{Driven, cases};
use crate::ground::{COMPONENT, Ground, PROVIDER};

pub(crate) const CASES: &[Driven] = cases![
    "method, address, headers and status arrive as they were" => heads,
    "HTTP/2 is spoken without TLS, many requests at once" => http2,
    "a body streams both ways at once, and trailers follow it" => streams,
    "a large body arrives whole both ways" => large,
    "TLS is spoken in both versions, and a renewed certificate shown" => tls,
    "paths, templates and hosts tell components apart" => routes,
    "a link that is deleted gives its address back" => deletion,
    "a head that is too large or too slow is refused by name" => head_limits,
    "a body that is too large or too slow is refused by name" => body_limits,
    "methods are let through that the link names" => methods,
    "a component that takes too long is told by name" => too_long,
    "an answer that has begun goes on past the component's time" => slow_answer,
    "events that come seldom outlast every time limit" => events,
    "a WebSocket goes both ways, past the component's time" => websocket,
    "each failure of a component has its status and code" => failures,
    "a body that breaks off is never taken for a whole one" => broken_bodies,
    "a client that leaves ends nothing but its own request" => leaving,
    "a component that runs nowhere is told by name, until it runs" => nowhere,
];

/// Has the provider listen for a component at a link of a case's own; gives the address.
async fn serve(ground: &Ground, name: &str, component: &str, config: Value) -> Result<String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    serve_at(ground, &address, name, component, config).await?;
    ground.lattice.until_listening(&address).await?;
    Ok(address)
}

async fn serve_at(
    ground: &Ground,
    address: &str,
    name: &str,
    component: &str,
    mut config: Value,
) -> Result<()> {
    config["address"] = address.into();
    let stored = format!("in-{name}");
    ground.lattice.config(&stored, config).await?;
    let link = Link {
        source: PROVIDER,
        target: component,
        name,
        interface: "wasi:http/incoming-handler",
        source_config: &[&stored],
        target_config: &[],
    };
    ground.connect(link).await
}

/// The same for the component of the suite.
async fn probe(ground: &Ground, name: &str, config: Value) -> Result<String> {
    serve(ground, name, COMPONENT, config).await
}

async fn heads(ground: &Ground) -> Result<()> {
    let address = probe(ground, "heads", json!({})).await?;
    let headers = [
        ("host", "shop.example"),
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-odd", "tab\tand \"quote\""),
    ];
    for method in ["GET", "POST", "PATCH", "DELETE", "PROPFIND"] {
        let target = "/request/a%20b/..;x?q=1&r=%2F";
        let text = ask(&address, asking(method, target, &headers, ""))
            .await?
            .text();
        for line in [
            format!("method {method}\n").as_str(),
            "scheme http\n",
            "authority shop.example\n",
            "path /request/a%20b/..;x?q=1&r=%2F\n",
            "header x-twice: a\nheader x-twice: b\n",
            "header x-odd: tab\tand \"quote\"\n",
        ] {
            ensure!(text.contains(line), "no {line:?} in {text}");
        }
    }
    for status in [200, 201, 204, 301, 404, 418, 500, 503] {
        let answer = ask(&address, get(&format!("/status/{status}"))).await?;
        ensure!(answer.status == status, "{} for {status}", answer.status);
    }
    let cookies = ask(&address, get("/cookies")).await?;
    let found = cookies.values("set-cookie");
    ensure!(found == ["a=1", "b=2"], "{found:?}");
    Ok(())
}

async fn http2(ground: &Ground) -> Result<()> {
    let address = probe(ground, "http2", json!({})).await?;
    let mut web = Web::two(&address).await?;
    let mut answers = Vec::new();
    for _ in 0..20 {
        let request = asking("GET", &format!("http://{address}/request"), &[], "");
        answers.push(web.send(request).await?);
    }
    for answer in answers {
        let text = Answer::of(answer).await?.text();
        ensure!(text.contains(&format!("authority {address}\n")), "{text}");
    }
    Ok(())
}

async fn streams(ground: &Ground) -> Result<()> {
    let address = probe(ground, "streams", json!({})).await?;
    for mut web in [Web::one(&address).await?, Web::two(&address).await?] {
        let (pieces, body) = piecewise();
        let target = format!("http://{address}/echo");
        let mut request = asking(
            "POST",
            &target,
            &[("trailer", "x-end"), ("te", "trailers")],
            "",
        );
        request.headers_mut().insert("host", "a.example".parse()?);
        *request.body_mut() = body;
        pieces
            .send(Frame::data(Bytes::from_static(b"begin")))
            .await?;
        let mut response = web.send(request).await?;
        ensure!(some(response.body_mut(), 5).await? == b"begin");
        for piece in ["one", "two", "three"] {
            let data = Bytes::from_static(piece.as_bytes());
            pieces.send(Frame::data(data)).await?;
            let echoed = some(response.body_mut(), piece.len()).await?;
            ensure!(echoed == piece.as_bytes(), "{echoed:?}");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "done".parse()?);
        pieces.send(Frame::trailers(trailers)).await?;
        drop(pieces);
        let rest = Answer::of(response).await?;
        ensure!(rest.body.is_empty(), "{:?}", rest.body);
    }
    // HTTP/1.1 has trailers where they are announced.
    let mut web = Web::two(&address).await?;
    let request = asking(
        "GET",
        &format!("http://{address}/trailers"),
        &[("te", "trailers")],
        "",
    );
    let answer = Answer::of(web.send(request).await?).await?;
    ensure!(answer.text() == "body\n", "{}", answer.text());
    let end = answer.trailers.get("x-end");
    ensure!(
        end.is_some_and(|end| end == "done"),
        "{:?}",
        answer.trailers
    );
    Ok(())
}

async fn large(ground: &Ground) -> Result<()> {
    let address = probe(ground, "large", json!({ "timeout_ms": "30000" })).await?;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let echoed = ask(&address, asking("PUT", "/echo", &[], body.clone())).await?;
    ensure!(echoed.body == body, "{} bytes came", echoed.body.len());
    let counted = ask(&address, get("/stream/3000000")).await?;
    ensure!(counted.body == body, "{} bytes came", counted.body.len());
    Ok(())
}

async fn tls(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("one").await?;
    authority.sign("two").await?;
    let show = |name: &str| -> Result<()> {
        // The key first: a half of each pair is noticed, and the old one stays in use.
        for end in ["key", "pem"] {
            let to = authority.path(&format!("shown.{end}"));
            fs::copy(authority.path(&format!("{name}.{end}")), to)?;
        }
        Ok(())
    };
    show("one")?;
    let config = json!({
        "tls_cert_file": authority.file("shown.pem"), "tls_priv_key_file": authority.file("shown.key"),
    });
    let address = probe(ground, "tls", config).await?;
    for (offers, wanted) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = secure(&address, authority.client(offers)?).await?;
        let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        ensure!(
            spoken.as_deref() == Some(wanted.as_bytes()),
            "{spoken:?} for {wanted}"
        );
        let target = format!("https://{address}/request");
        let mut request = asking("GET", &target, &[], "");
        request.headers_mut().insert("host", address.parse()?);
        let mut web = Web::secure(stream).await?;
        let answer = web.send(request).await?;
        let text = Answer::of(answer).await?.text();
        ensure!(text.contains("scheme https\n"), "{text}");
    }
    show("two")?;
    let renewed = authority.certificate("two.pem")?;
    until(async || {
        let stream = secure(&address, authority.client(&[])?).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown
            .and_then(|chain| chain.first())
            .context("no certificate")?;
        ensure!(*shown == renewed, "the old certificate is shown");
        Ok(())
    })
    .await
}

async fn routes(ground: &Ground) -> Result<()> {
    let address = probe(ground, "any", json!({})).await?;
    ground.run_with("in-other", "http-probe", &[]).await?;
    let places = [
        ("template", json!({ "path": "/request/{id}" })),
        ("rest", json!({ "path": "/request/files/{rest...}" })),
        ("host", json!({ "host": "shop.example" })),
    ];
    for (name, config) in places {
        serve_at(ground, &address, name, "in-other", config).await?;
    }
    let told = async |host: &str, path: &str| -> Result<String> {
        let headers = [("host", host), ("x-path-id", "forged")];
        Ok(ask(&address, asking("GET", path, &headers, ""))
            .await?
            .text())
    };
    let text = told("a.example", "/request/7").await?;
    ensure!(
        text.contains("header x-path-id: 7\n") && !text.contains("forged"),
        "{text}"
    );
    let text = told("a.example", "/request/files/a/b").await?;
    ensure!(text.contains("header x-path-rest: a/b\n"), "{text}");
    // Neither a template nor a host: the link without a place.
    let text = told("a.example", "/request").await?;
    ensure!(text.contains("header x-path-id: forged\n"), "{text}");
    // Each is a component of its own, which counts its requests by itself.
    let of_host = told("shop.example", "/request/x/y/z").await?;
    ensure!(of_host.contains("authority shop.example\n"), "{of_host}");
    Ok(())
}

async fn deletion(ground: &Ground) -> Result<()> {
    let address = probe(ground, "deletion", json!({})).await?;
    ensure!(ask(&address, get("/")).await?.status == 200);
    let link = json!({
        "source_id": PROVIDER, "name": "deletion", "wit_namespace": "wasi", "wit_package": "http",
    });
    ground.lattice.ctl_ok("link.del", link).await?;
    until(async || match TcpStream::connect(&address).await {
        Ok(_) => bail!("somebody still listens at {address}"),
        Err(_) => Ok(()),
    })
    .await?;
    let again = probe(ground, "deletion-again", json!({})).await?;
    ensure!(ask(&again, get("/")).await?.status == 200);
    Ok(())
}

/// Sends bytes as they are and reads to the end of the connection.
async fn raw(address: &str, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    let read = timeout(STEP, stream.read_to_end(&mut answer)).await;
    // A server that refuses what it does not read may end the connection the hard way.
    drop(read.context("the connection stays open")?);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn head_limits(ground: &Ground) -> Result<()> {
    let config = json!({
        "max_header_bytes": "8192", "header_timeout_ms": "300", "idle_timeout_ms": "400",
    });
    let address = probe(ground, "heads-limited", config).await?;
    let most = "y".repeat(7000);
    let answer = ask(&address, asking("GET", "/", &[("x-long", &most)], "")).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    let more = "y".repeat(9000);
    let answer = ask(&address, asking("GET", "/", &[("x-long", &more)], "")).await?;
    ensure!(answer.status == 431, "{}", answer.status);
    let slow = raw(&address, b"GET / HTTP/1.1\r\nhost: a").await?;
    ensure!(
        slow.starts_with("HTTP/1.1 408 ") && slow.contains("head-timeout"),
        "{slow}"
    );
    // A connection on which nothing is asked is closed without a word.
    let idle = raw(&address, b"").await?;
    ensure!(idle.is_empty(), "{idle}");
    Ok(())
}

async fn body_limits(ground: &Ground) -> Result<()> {
    let config = json!({ "max_body_bytes": "1000", "body_timeout_ms": "300" });
    let address = probe(ground, "bodies-limited", config).await?;
    let most = ask(&address, asking("PUT", "/length", &[], "y".repeat(1000))).await?;
    ensure!(most.text() == "1000\n", "{} {}", most.status, most.text());
    let more = ask(&address, asking("PUT", "/length", &[], "y".repeat(1001))).await?;
    ensure!(
        more.status == 413 && more.text().contains("body-size"),
        "{}",
        more.text()
    );
    // One that does not tell its length.
    let (pieces, body) = piecewise();
    let mut request = asking("PUT", "/length", &[], "");
    *request.body_mut() = body;
    let mut web = Web::one(&address).await?;
    let sent = async {
        for _ in 0..3 {
            // Nobody reads on after the answer.
            drop(pieces.send(Frame::data(Bytes::from(vec![0; 500]))).await);
        }
        drop(pieces);
    };
    let (answer, ()) = futures::join!(web.send(request), sent);
    let answer = Answer::of(answer?).await?;
    ensure!(answer.status == 413, "{} {}", answer.status, answer.text());
    let slow = raw(
        &address,
        b"PUT /length HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\npart",
    )
    .await?;
    ensure!(
        slow.starts_with("HTTP/1.1 408 ") && slow.contains("body-timeout"),
        "{slow}"
    );
    Ok(())
}

async fn methods(ground: &Ground) -> Result<()> {
    let address = probe(ground, "methods", json!({ "methods": "GET,PUT" })).await?;
    for (method, status) in [("GET", 200), ("PUT", 200), ("POST", 405), ("DELETE", 405)] {
        let answer = ask(&address, asking(method, "/", &[], "")).await?;
        ensure!(answer.status == status, "{method}: {}", answer.status);
        if status == 405 {
            let allow = answer.values("allow");
            ensure!(allow == ["GET,PUT"], "{allow:?}");
        }
    }
    let address = probe(ground, "read-only", json!({ "readonly_mode": "true" })).await?;
    ensure!(ask(&address, get("/")).await?.status == 200);
    let answer = ask(&address, asking("PUT", "/", &[], "")).await?;
    ensure!(
        answer.status == 405 && answer.text().contains("read-only"),
        "{}",
        answer.text()
    );
    Ok(())
}

async fn too_long(ground: &Ground) -> Result<()> {
    let address = probe(ground, "too-long", json!({ "timeout_ms": "300" })).await?;
    for path in ["/wait/20000", "/spin"] {
        let answer = ask(&address, get(path)).await?;
        let told = (answer.status, answer.text());
        ensure!(
            told.0 == 408 && told.1.contains("deadline-exceeded"),
            "{path}: {told:?}"
        );
    }
    Ok(())
}

async fn slow_answer(ground: &Ground) -> Result<()> {
    let address = probe(ground, "slow", json!({ "timeout_ms": "1000" })).await?;
    // Longer than the time of the component, and so is each of the pauses.
    let answer = ask(&address, get("/slow/2/1300")).await?.text();
    ensure!(answer.ends_with("piece 2\n"), "{answer}");
    // A body that is sent for longer than that.
    let (pieces, body) = piecewise();
    let mut request = asking("PUT", "/echo", &[], "");
    *request.body_mut() = body;
    pieces
        .send(Frame::data(Bytes::from_static(b"begin")))
        .await?;
    let mut web = Web::one(&address).await?;
    let mut response = web.send(request).await?;
    let mut echoed = some(response.body_mut(), 5).await?;
    for _ in 0..4 {
        sleep(Duration::from_millis(400)).await;
        pieces
            .send(Frame::data(Bytes::from_static(b"piece")))
            .await?;
        echoed = some(response.body_mut(), 5).await?;
    }
    ensure!(echoed == b"piece", "{echoed:?}");
    drop(pieces);
    Answer::of(response).await.map(drop)
}

async fn events(ground: &Ground) -> Result<()> {
    let limits = json!({ "timeout_ms": "700", "idle_timeout_ms": "500", "body_timeout_ms": "500" });
    let address = probe(ground, "events", limits).await?;
    // One comes at once, the next after a silence that is longer than all limits.
    let mut web = Web::one(&address).await?;
    let mut response = web.send(get("/events/1/3000")).await?;
    let kind = response.headers().get("content-type");
    ensure!(
        kind.is_some_and(|kind| kind == "text/event-stream"),
        "{kind:?}"
    );
    ensure!(some(response.body_mut(), 9).await? == b"data: 0\n\n");
    let rest = Answer::of(response).await?.text();
    ensure!(rest == "data: 1\n\n", "{rest:?}");
    Ok(())
}

/// Frames of RFC 6455 are the component's own business, so that any bytes will do.
async fn websocket(ground: &Ground) -> Result<()> {
    let config = json!({ "websocket": "true", "timeout_ms": "700" });
    let address = probe(ground, "websocket", config).await?;
    let asked = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(asked).await?;
    let head = timeout(STEP, super::peer::read_head(&mut stream)).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    ensure!(head.contains("sec-websocket-accept"), "{head}");
    for text in ["<one>", "<two>", "<three>"] {
        stream.write_all(text.as_bytes()).await?;
        let mut echoed = vec![0; text.len()];
        timeout(STEP, stream.read_exact(&mut echoed)).await??;
        ensure!(echoed == text.as_bytes(), "{echoed:?}");
        sleep(Duration::from_millis(500)).await;
    }
    stream.shutdown().await?;
    let mut rest = Vec::new();
    timeout(STEP, stream.read_to_end(&mut rest)).await??;
    ensure!(rest.is_empty(), "{rest:?}");
    let address = probe(ground, "no-websocket", json!({})).await?;
    let closing = String::from_utf8_lossy(asked).replace("upgrade\r\n", "upgrade, close\r\n");
    let refused = raw(&address, closing.as_bytes()).await?;
    ensure!(refused.contains("no-upgrade"), "{refused}");
    Ok(())
}

async fn failures(ground: &Ground) -> Result<()> {
    let address = probe(ground, "failures", json!({})).await?;
    for (path, status, code) in [
        ("/trap", 500, "failed"),
        ("/silent", 500, ""),
        ("/error", 500, "internal-error"),
    ] {
        let answer = ask(&address, get(path)).await?;
        let told = (answer.status, answer.text());
        ensure!(
            told.0 == status && told.1.contains(code),
            "{path}: {told:?}"
        );
        ensure!(
            !told.1.contains("as asked"),
            "inner matters are told: {told:?}"
        );
    }
    ensure!(
        ask(&address, get("/")).await?.status == 200,
        "it does not go on"
    );
    Ok(())
}

async fn broken_bodies(ground: &Ground) -> Result<()> {
    let address = probe(ground, "broken", json!({})).await?;
    for path in ["/trap-after/300000", "/unfinished/300000"] {
        for (mut web, version) in [
            (Web::one(&address).await?, 1),
            (Web::two(&address).await?, 2),
        ] {
            let mut request = asking("GET", &format!("http://{address}{path}"), &[], "");
            request.headers_mut().insert("host", address.parse()?);
            let answer = match web.send(request).await {
                Ok(answer) => Answer::of(answer).await,
                Err(_) => continue,
            };
            let Ok(answer) = answer else { continue };
            ensure!(
                answer.status == 500,
                "HTTP/{version} {path}: {} whole",
                answer.status
            );
        }
    }
    Ok(())
}

async fn leaving(ground: &Ground) -> Result<()> {
    let address = probe(ground, "leaving", json!({ "timeout_ms": "20000" })).await?;
    let mut web = Web::two(&address).await?;
    for _ in 0..10 {
        let target = format!("http://{address}/slow/1000/20");
        let mut response = web.send(asking("GET", &target, &[], "")).await?;
        some(response.body_mut(), 1).await?;
    }
    // The connection and the component are as they were.
    let target = format!("http://{address}/");
    let answer = web.send(asking("GET", &target, &[], "")).await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    for _ in 0..10 {
        let mut stream = TcpStream::connect(&address).await?;
        stream
            .write_all(b"GET /slow/1000/20 HTTP/1.1\r\nhost: a\r\n\r\n")
            .await?;
        stream.read_u8().await?;
    }
    ensure!(ask(&address, get("/")).await?.status == 200);
    Ok(())
}

async fn nowhere(ground: &Ground) -> Result<()> {
    let address = serve(ground, "nowhere", "in-late", json!({})).await?;
    let answer = ask(&address, get("/")).await?;
    ensure!(
        answer.status == 503 && answer.text().contains("not-served"),
        "{} {}",
        answer.status,
        answer.text()
    );
    ensure!(
        !answer.values("retry-after").is_empty(),
        "{:?}",
        answer.headers
    );
    ground.run_with("in-late", "http-probe", &[]).await?;
    until(async || {
        let answer = ask(&address, get("/")).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(())
    })
    .await
}
