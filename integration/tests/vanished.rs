//! A host that is gone from one moment to the next, with calls under way on it.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use lattice_integration::{Lattice, begin, get};
use lattice_rpc::header::WINDOW;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};

/// A loss is noticed after two to three seconds.
const NOTICED: Duration = Duration::from_millis(4500);

/// Two hosts: the first runs the component, the second lets HTTP in.
async fn lattice() -> Result<(Lattice, String)> {
    let lattice = Lattice::start(2).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(1, "probe").await?;
    lattice.until_status(&address, "/", 200).await?;
    Ok((lattice, address))
}

#[tokio::test]
async fn a_request_without_an_answer_ends_before_its_deadline() -> Result<()> {
    let (mut lattice, address) = lattice().await?;
    // A call that is not answered at once is accepted, which tells the caller where to ask.
    let mut answers = lattice.client.subscribe("_INBOX.>").await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    let waiting = tokio::spawn(async move { get(&address, "/wait/60000").await });
    let accepted = async {
        while let Some(message) = answers.next().await {
            let headers = message.headers.as_ref();
            if message.reply.is_some() && headers.is_some_and(|h| h.get(WINDOW).is_some()) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), accepted).await?;
    // As long as somebody listens to all inboxes, none of them is without a listener.
    answers.unsubscribe().await?;
    let killed = Instant::now();
    lattice.hosts[0].kill().await?;
    let (status, text) = waiting.await??;
    assert_eq!(status, 502, "{text}");
    assert!(text.starts_with("gone"), "{text}");
    assert!(killed.elapsed() < NOTICED, "{:?}", killed.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_body_under_way_breaks_off_soon() -> Result<()> {
    let (mut lattice, address) = lattice().await?;
    let mut client = begin(&address, "GET /slow/1000/100 HTTP/1.1").await?;
    let mut got = Vec::new();
    let some = async {
        while !String::from_utf8_lossy(&got).contains("piece 2") {
            anyhow::ensure!(client.read_buf(&mut got).await? > 0, "no body");
        }
        Ok(())
    };
    timeout(Duration::from_secs(10), some).await??;
    lattice.hosts[0].kill().await?;
    let rest = timeout(NOTICED, client.read_to_end(&mut got)).await;
    // Reset or closed, but not as if this were all of it.
    let _broken = rest.context("the body did not break off")?;
    assert!(!got.ends_with(b"0\r\n\r\n"));
    Ok(())
}
