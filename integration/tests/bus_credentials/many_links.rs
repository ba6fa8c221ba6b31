//! Providers with more links than their token has room for: none of them is shut out, and where the
//! server reads longer lines there is room for all.

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{STORE, until};
use serde_json::Value;

use crate::scene::{Guarded, LONG, Tenant};

/// How many components are linked to one provider.
const LINKS: usize = 100;

/// A lattice whose server reads lines of this length, as the host knows.
async fn start(line: Option<&str>) -> Result<Guarded> {
    let tenant = Tenant::new("lattice");
    let extra = line.map(|line| format!("max_control_line: {line}\n"));
    let mut guarded = Guarded::with_config(&[&tenant], &extra.unwrap_or_default()).await?;
    let flags = line.map(|line| ["--nats-max-control-line", line]);
    guarded
        .add_host(&tenant, LONG, flags.as_ref().map_or(&[], |it| it))
        .await?;
    Ok(guarded)
}

/// Links a component that works, and so many others.
async fn link_many(guarded: &Guarded) -> Result<String> {
    let lattice = &guarded.lattice;
    guarded.store("kv").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/n", 200).await?;
    for number in 0..LINKS {
        let source = format!("shop-component-{number:03}");
        lattice.link(&source, "kv", STORE, &[], &[]).await?;
    }
    Ok(address)
}

/// The links of the shop in this state, with their reasons.
async fn in_state(guarded: &Guarded, state: &str) -> Result<Vec<Value>> {
    let links = guarded.lattice.ctl_ok("link.get", Value::Null).await?;
    let links = links["response"].as_array().context("no links")?.clone();
    let is_in = |link: &Value| {
        let of_shop = link["source_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("shop-"));
        of_shop && link["status"][0]["state"] == state
    };
    Ok(links.into_iter().filter(is_in).collect())
}

/// The provider has not ended since it was started, and serves.
async fn goes_on(guarded: &Guarded, address: &str) -> Result<()> {
    let ended = |event: &lattice_integration::Event| event.name == "provider_exited";
    let events = guarded.lattice.events.all();
    ensure!(
        !events.iter().any(ended),
        "{:?}",
        events.iter().find(|event| ended(event))
    );
    guarded
        .lattice
        .until_status(address, "/n", 200)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_hundred_links_have_room_where_the_server_reads_long_lines() -> Result<()> {
    let guarded = start(Some("65536")).await?;
    let address = link_many(&guarded).await?;
    until(async || {
        let ready = in_state(&guarded, "ready").await?.len();
        ensure!(ready == LINKS, "{ready} links are ready");
        Ok(())
    })
    .await?;
    goes_on(&guarded, &address).await
}

#[tokio::test]
async fn links_without_room_fail_and_shut_nobody_out() -> Result<()> {
    let guarded = start(None).await?;
    let address = link_many(&guarded).await?;
    until(async || {
        let [ready, failed] = ["ready", "failed"].map(|state| in_state(&guarded, state));
        let (ready, failed) = (ready.await?, failed.await?);
        ensure!(
            ready.len() + failed.len() == LINKS,
            "{} {}",
            ready.len(),
            failed.len()
        );
        ensure!(ready.len() > 5, "only {} are ready", ready.len());
        let last = failed.last().context("none has failed")?;
        let why = last["status"][0]["reason"].as_str().unwrap_or_default();
        ensure!(why.contains("max_control_line"), "{why}");
        Ok(())
    })
    .await?;
    goes_on(&guarded, &address).await
}
