//! What a link lets through.

use anyhow::{Context as _, Result, ensure};
use http::Response;
use serde_json::json;

use super::{fetch, refused, sender};
use crate::driven::peer::{Server, echo, mirror};
use crate::driven::web::whole;
use crate::ground::Ground;

pub(super) async fn limits(ground: &Ground) -> Result<()> {
    let config = json!({
        "max_header_bytes": "8192", "max_request_body_bytes": "1000",
        "max_response_body_bytes": "1000",
    });
    let id = sender(ground, "limits", config).await?;
    let server = echo(ground).await?;
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
    let large = Server::start(ground, None, |_| async {
        Response::new(whole("z".repeat(1001)))
    });
    let answer = fetch(ground, &id, &large.await?.url("/"), &[], "").await?;
    let text = answer.text();
    ensure!(
        text.contains("HttpResponseBodySize"),
        "{} {text}",
        answer.status
    );
    let headed = Server::start(ground, None, |_| async {
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

pub(super) async fn allowed(ground: &Ground) -> Result<()> {
    let (one, other) = (mirror(ground, None).await?, mirror(ground, None).await?);
    let allow = format!("{}, POST {}", one.url("/api"), one.address);
    let id = sender(ground, "allowed", json!({ "allow": allow })).await?;
    let answer = fetch(ground, &id, &one.url("/api/x"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    for url in [one.url("/"), one.url("/apix"), other.url("/api")] {
        refused(ground, &id, &url, &[], "HttpRequestDenied").await?;
    }
    ensure!(other.connections() == 0, "it was connected to");
    let anywhere = json!({ "allow": "*" });
    let id = sender(ground, "anywhere", anywhere).await?;
    refused(ground, &id, &one.url("/"), &[], "DestinationIpProhibited").await
}

pub(super) async fn separate(ground: &Ground) -> Result<()> {
    let server = mirror(ground, None).await?;
    let none = sender(ground, "closed", json!({ "allow": "none" })).await?;
    let all = sender(ground, "open", json!({})).await?;
    for _ in 0..3 {
        refused(ground, &none, &server.url("/"), &[], "HttpRequestDenied").await?;
        let answer = fetch(ground, &all, &server.url("/"), &[], "").await;
        let answer = answer.context("the open one")?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(())
}
