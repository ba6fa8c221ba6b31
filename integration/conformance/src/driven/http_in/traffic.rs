//! What goes to and fro.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{probe, raw};
use crate::driven::peer::read_head;
use crate::driven::web::{Answer, STEP, Web, ask, asking, get, piecewise, some};
use crate::ground::Ground;

pub(super) async fn heads(ground: &Ground) -> Result<()> {
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

pub(super) async fn http2(ground: &Ground) -> Result<()> {
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

pub(super) async fn streams(ground: &Ground) -> Result<()> {
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

pub(super) async fn large(ground: &Ground) -> Result<()> {
    let address = probe(ground, "large", json!({ "timeout_ms": "30000" })).await?;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let echoed = ask(&address, asking("PUT", "/echo", &[], body.clone())).await?;
    ensure!(echoed.body == body, "{} bytes came", echoed.body.len());
    let counted = ask(&address, get("/stream/3000000")).await?;
    ensure!(counted.body == body, "{} bytes came", counted.body.len());
    Ok(())
}

pub(super) async fn events(ground: &Ground) -> Result<()> {
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
pub(super) async fn websocket(ground: &Ground) -> Result<()> {
    let config = json!({ "websocket": "true", "timeout_ms": "700" });
    let address = probe(ground, "websocket", config).await?;
    let asked = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(asked).await?;
    let head = timeout(STEP, read_head(&mut stream)).await?;
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
