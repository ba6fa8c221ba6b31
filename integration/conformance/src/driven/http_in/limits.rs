//! How much and how long.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tokio::time::sleep;

use super::{probe, raw};
use crate::driven::web::{Answer, Web, ask, asking, get, piecewise, some};
use crate::ground::Ground;

pub(super) async fn head_limits(ground: &Ground) -> Result<()> {
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

pub(super) async fn body_limits(ground: &Ground) -> Result<()> {
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

pub(super) async fn methods(ground: &Ground) -> Result<()> {
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

pub(super) async fn too_long(ground: &Ground) -> Result<()> {
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

pub(super) async fn slow_answer(ground: &Ground) -> Result<()> {
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
