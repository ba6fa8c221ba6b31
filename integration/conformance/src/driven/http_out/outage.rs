//! A server that is killed while requests are sent to it, and is back later.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{call_by, fetch, sender};
use crate::driven::load::{End, Load};
use crate::driven::peer::{mirror, mirror_again};
use crate::driven::web::{Answer, asking};
use crate::fault::Strike;
use crate::ground::Ground;

/// How long the server is away: longer than what a first attempt to connect again takes.
const AWAY: Duration = Duration::from_millis(400);
/// What a component may be told of a server that is away. Nothing else is explained by that.
const EXPLAINED: [&str; 3] = [
    "ConnectionRefused",
    "ConnectionTerminated",
    "HttpResponseIncomplete",
];

pub(super) async fn away(strike: &mut Strike<'_>) -> Result<()> {
    comes_back(strike.ground, "away", json!({})).await
}

pub(super) async fn away_2(strike: &mut Strike<'_>) -> Result<()> {
    let prior = json!({ "http2": "prior-knowledge" });
    comes_back(strike.ground, "away-2", prior).await
}

async fn comes_back(ground: &Ground, id: &str, config: Value) -> Result<()> {
    let id = sender(ground, id, config).await?;
    let server = mirror(ground, None).await?;
    let load = requests(ground, &id, server.url("/")).await?;
    let address = server.kill().await;
    load.until_explained().await?;
    let _server = mirror_again(address).await?;
    load.until_as_before().await
}

/// Has a component send requests all the time.
async fn requests(ground: &Ground, id: &str, url: String) -> Result<Load> {
    let (peer, id) = (ground.peer.clone(), id.to_owned());
    Load::begin(move || {
        let (peer, id, path) = (peer.clone(), id.clone(), format!("/fetch?{url}"));
        async move {
            let answer = async {
                let response = call_by(&peer, &id, &path, asking("GET", "/", &[], "")).await?;
                Answer::of(response).await
            };
            match answer.await {
                Ok(answer) => judge(&answer),
                // The component is there all the time.
                Err(error) => End::Broken(format!("{error:#}")),
            }
        }
    })
    .await
}

fn judge(answer: &Answer) -> End {
    let (status, text) = (answer.status, answer.text());
    match status {
        200 if text.starts_with("GET ") && !text.contains('!') => End::Well,
        200 | 502 if EXPLAINED.iter().any(|code| text.contains(code)) => End::Explained(text),
        _ => End::Broken(format!("{status} {text}")),
    }
}

pub(super) async fn idle(strike: &mut Strike<'_>) -> Result<()> {
    let ground = &*strike.ground;
    for (id, config) in [
        ("idle", json!({})),
        ("idle-2", json!({ "http2": "prior-knowledge" })),
    ] {
        let id = sender(ground, id, config).await?;
        let mut server = mirror(ground, None).await?;
        for round in 0..5 {
            let url = server.url("/");
            let many = (0..6).map(|_| fetch(ground, &id, &url, &[], ""));
            for answer in futures::future::join_all(many).await {
                let answer = answer?;
                let text = answer.text();
                ensure!(answer.status == 200, "{id}, round {round}: {text}");
            }
            let address = server.kill().await;
            server = mirror_again(address).await?;
        }
    }
    Ok(())
}

pub(super) async fn outlasted(strike: &mut Strike<'_>) -> Result<()> {
    let ground = &*strike.ground;
    let config = json!({ "retries": "10", "retry_backoff_ms": "50" });
    let id = sender(ground, "outlasted", config).await?;
    let server = mirror(ground, None).await?;
    let load = requests(ground, &id, server.url("/")).await?;
    let address = server.kill().await;
    tokio::time::sleep(AWAY).await;
    let _server = mirror_again(address).await?;
    load.until_as_before().await?;
    ensure!(load.explained() == 0, "requests failed");
    Ok(())
}
