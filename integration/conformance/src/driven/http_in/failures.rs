//! Components and clients that do not do their part.

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::probe;
use crate::driven::web::{Answer, Web, ask, asking, get, some};
use crate::ground::Ground;

pub(super) async fn failures(ground: &Ground) -> Result<()> {
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

pub(super) async fn broken_bodies(ground: &Ground) -> Result<()> {
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

pub(super) async fn leaving(ground: &Ground) -> Result<()> {
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
