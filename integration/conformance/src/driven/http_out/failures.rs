//! Servers that do not answer well, or not at all.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Response;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::{fetch, pass_on, refused, sender};
use crate::driven::peer::{Server, failing, mirror};
use crate::driven::web::{Answer, asking, some};
use crate::ground::{COMPONENT, Ground};

pub(super) async fn times(ground: &Ground) -> Result<()> {
    let silent = Server::saying(ground, "", false).await?;
    let short = [("x-timeout-ms", "500")];
    refused(
        ground,
        COMPONENT,
        &silent.url("/"),
        &short,
        "ConnectionReadTimeout",
    )
    .await?;
    let stalling = Server::saying(
        ground,
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
        false,
    )
    .await?;
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

pub(super) async fn link_times(ground: &Ground) -> Result<()> {
    let config = json!({ "first_byte_timeout_ms": "300" });
    let id = sender(ground, "times", config).await?;
    let silent = Server::saying(ground, "", false).await?;
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

pub(super) async fn retries(ground: &Ground) -> Result<()> {
    let config = json!({
        "retries": "2", "retry_on": "connect,reset,503", "retry_backoff_ms": "10",
    });
    let id = sender(ground, "retries", config).await?;
    for (status, failures, wanted, text) in [
        (503, 2, 200, "asked 2"),
        (503, 3, 503, "asked 2"),
        (500, 1, 500, "asked 0"),
    ] {
        let server = failing(ground, failures, status).await?;
        let answer = fetch(ground, &id, &server.url("/"), &[], "").await?;
        let told = (answer.status, answer.text());
        ensure!(told == (wanted, text.to_owned()), "{status}: {told:?}");
    }
    let server = failing(ground, 1, 503).await?;
    let request = asking("POST", "/", &[], "x");
    let response = pass_on(ground, &id, &server.url("/"), request).await?;
    ensure!(response.status() == 503, "a POST was sent twice");
    Ok(())
}

pub(super) async fn broken(ground: &Ground) -> Result<()> {
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
    let ending = Server::saying(ground, "", true).await?;
    refused(
        ground,
        COMPONENT,
        &ending.url("/"),
        &[],
        "ConnectionTerminated",
    )
    .await?;
    let resetting = Server::raw(ground, |stream| async move {
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
    let nonsense = Server::saying(ground, "nonsense\r\n\r\n", false).await?;
    refused(
        ground,
        COMPONENT,
        &nonsense.url("/"),
        &[],
        "HttpProtocolError",
    )
    .await?;
    let plain = mirror(ground, None).await?;
    let text = fetch(ground, COMPONENT, &plain.secure("/"), &[], "").await?;
    ensure!(
        text.status == 502 && text.text().contains("Tls"),
        "{}",
        text.text()
    );
    Ok(())
}

pub(super) async fn killed(ground: &Ground) -> Result<()> {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let stalling = Server::saying(ground, half, false).await?;
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
