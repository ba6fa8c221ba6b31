//! The bare exchange: a request and its answer between two processes over NATS.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::process::{Child, Command};

use crate::load::{Tally, closed_loop};

/// Where the responder answers.
pub(crate) const SUBJECT: &str = "bench.echo";

/// Answers every request with its own payload, until killed.
pub(crate) async fn respond(url: &str, subject: &str) -> Result<()> {
    let client = async_nats::connect(url).await?;
    let mut requests = client
        .queue_subscribe(subject.to_owned(), "bench".to_owned())
        .await?;
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

/// Starts the responder as a process of its own and waits until it answers.
pub(crate) async fn responder(url: &str, client: &async_nats::Client) -> Result<Child> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--respond", url, SUBJECT])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let until = Instant::now() + Duration::from_secs(10);
    while client.request(SUBJECT, Bytes::new()).await.is_err() {
        anyhow::ensure!(Instant::now() < until, "the responder does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

/// Sends requests of `size` bytes, `in_flight` at a time.
pub(crate) async fn requests(
    client: &async_nats::Client,
    in_flight: usize,
    size: usize,
    time: Duration,
) -> Result<Tally> {
    let payload = Bytes::from(vec![7; size]);
    closed_loop(in_flight, time, |mut tally| {
        let (client, payload) = (client.clone(), payload.clone());
        async move {
            while tally.goes_on() {
                client
                    .request(SUBJECT, payload.clone())
                    .await
                    .context("bare request")?;
                tally.done();
            }
            Ok(tally)
        }
    })
    .await
}
