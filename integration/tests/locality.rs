//! Links say how near their calls may stay, and `wash` shows which roads they took.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use lattice_core::Locality;
use lattice_integration::{Lattice, STEP, get, program, until};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// After how long nothing more is expected to come.
const QUIET: Duration = Duration::from_millis(500);

/// The document of a `wash` command that works.
async fn wash(lattice: &Lattice, words: &[&str]) -> Result<Value> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program("wash")?);
    command
        .args(words)
        .args(["-o", "json"])
        .env("HOME", home.path());
    command.env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string());
    let output = timeout(STEP, command.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document: Value = serde_json::from_str(&text).context(text)?;
    ensure!(document["success"] == true, "{document}");
    Ok(document)
}

/// A link from `source`, as `wash get links` shows it.
async fn link_of(lattice: &Lattice, source: &str) -> Result<Value> {
    let document = wash(lattice, &["get", "links"]).await?;
    let links = document["links"].as_array().context("no list")?;
    let mut found = links.iter().filter(|link| link["source_id"] == source);
    let link = found.next().cloned().context("no such link")?;
    ensure!(
        found.next().is_none(),
        "two links of `{source}`: {document}"
    );
    Ok(link)
}

/// Makes so many requests, all of which have to succeed.
async fn ask(address: &str, count: usize) -> Result<()> {
    for _ in 0..count {
        let (status, text) = get(address, "/").await?;
        ensure!(status == 200, "{status} {text}");
    }
    Ok(())
}

/// How many calls of a link took a road.
fn on(link: &Value, road: &str) -> u64 {
    link["roads"][road].as_u64().unwrap_or_default()
}

/// Puts the link of the HTTP server anew, and waits until the provider has taken it and answers.
async fn put_again(lattice: &Lattice, locality: &str) -> Result<()> {
    let put = [
        "link",
        "put",
        "httpserver",
        "hello",
        "wasi:http/incoming-handler",
        "--source-config",
        "http-hello",
        "--locality",
        locality,
    ];
    let document = wash(lattice, &put).await?;
    ensure!(document["locality"] == locality, "{document}");
    // What was counted before is gone as soon as the provider has taken it.
    until(async || {
        let link = link_of(lattice, "httpserver").await?;
        ensure!(link.get("roads").is_none(), "{link}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_link_is_put_with_each_locality_and_shows_it() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    for (locality, shown) in [
        ("spread", json!("spread")),
        ("local-only", json!("local-only")),
        ("prefer-local", Value::Null),
    ] {
        let put = [
            "link",
            "put",
            "a",
            "b",
            "wasi:keyvalue/store",
            "--locality",
            locality,
        ];
        let document = wash(&lattice, &put).await?;
        assert_eq!(document["locality"], locality);
        assert_eq!(link_of(&lattice, "a").await?["locality"], shown);
    }
    Ok(())
}

#[tokio::test]
async fn a_link_without_a_locality_is_the_usual_one_and_a_bad_one_is_refused() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice
        .link("a", "b", "wasi:keyvalue/store", &[], &[])
        .await?;
    assert_eq!(link_of(&lattice, "a").await?.get("locality"), None);
    let link = json!({
        "source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store"], "locality": "nearby",
    });
    let reply = lattice.ctl("link.put", link).await?;
    assert_eq!(reply["success"], false, "{reply}");
    let cause = reply["cause"].as_str().unwrap_or_default();
    assert!(
        cause.contains("`nearby`") && cause.contains("`local-only`"),
        "{reply}"
    );
    Ok(())
}

#[tokio::test]
async fn the_roads_of_calls_are_shown_and_begin_anew_with_another_locality() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    // The first calls may be made before the two processes know what the other one serves.
    until(async || {
        ask(&address, 1).await?;
        let link = link_of(&lattice, "httpserver").await?;
        ensure!(link["roads"]["last"] == "socket", "{link}");
        Ok(())
    })
    .await?;
    let before = link_of(&lattice, "httpserver").await?;
    ask(&address, 9).await?;
    let link = link_of(&lattice, "httpserver").await?;
    assert_eq!(on(&link, "socket"), on(&before, "socket") + 9, "{link}");
    put_again(&lattice, "spread").await?;
    until(async || ask(&address, 1).await).await?;
    let link = link_of(&lattice, "httpserver").await?;
    assert_eq!(on(&link, "socket"), 0, "{link}");
    assert!(on(&link, "bus") > 0, "{link}");
    Ok(())
}

#[tokio::test]
async fn spread_shares_calls_among_hosts_although_one_is_near() -> Result<()> {
    let lattice = Lattice::start(2).await?;
    for host in 0..2 {
        lattice.run(host, "hello", "http-hello", 100).await?;
    }
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    put_again(&lattice, "spread").await?;
    until(async || ask(&address, 1).await).await?;
    ask(&address, 99).await?;
    let link = link_of(&lattice, "httpserver").await?;
    assert_eq!(
        (on(&link, "process"), on(&link, "socket")),
        (0, 0),
        "{link}"
    );
    assert_eq!(on(&link, "bus"), 100, "{link}");
    assert_eq!(link["roads"]["why"]["bus"], "spread", "{link}");
    Ok(())
}

/// `wash spy` of 1.9 subscribes to the calls of a component and of what it is linked with; of each it reads
/// subject, source and payload. Answers come in the caller's inbox, which one who spies may read too.
#[expect(
    clippy::disallowed_methods,
    reason = "a test listens as the old shell does"
)]
#[tokio::test]
async fn one_who_spies_sees_the_calls_of_a_link_that_takes_the_bus() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    lattice.locality = Locality::Spread;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    let mut calls = lattice.client.subscribe("default.hello.wrpc.>").await?;
    let mut answers = lattice.client.subscribe("_INBOX.>").await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    ask(&address, 1).await?;
    let call = timeout(STEP, calls.next()).await?.context("no call")?;
    let handle = "default.hello.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";
    assert_eq!(call.subject.as_str(), handle);
    let headers = call.headers.context("no headers")?;
    let source = headers.get("source-id").map(|value| value.as_str());
    assert_eq!(source, Some("httpserver"));
    let has =
        |payload: &[u8], text: &str| payload.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(has(&call.payload, &address), "{:?}", call.payload);
    let inbox = call.reply.context("no place for an answer")?;
    let answer = async {
        loop {
            let message = answers.next().await.context("no answer")?;
            if message.subject.starts_with(inbox.as_str()) && has(&message.payload, "Hello from") {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    timeout(STEP, answer).await??;

    // By the socket there is nothing to see.
    put_again(&lattice, "prefer-local").await?;
    until(async || {
        ask(&address, 1).await?;
        let link = link_of(&lattice, "httpserver").await?;
        ensure!(link["roads"]["last"] == "socket", "{link}");
        Ok(())
    })
    .await?;
    lattice.client.flush().await?;
    while timeout(QUIET, calls.next()).await.is_ok() {}
    ask(&address, 10).await?;
    assert!(timeout(QUIET, calls.next()).await.is_err());
    Ok(())
}
