//! Providers with more links than their token has room for: none of them is shut out, and where the
//! server reads longer lines there is room for all.

use anyhow::{Context as _, Result, bail, ensure};
use lattice_core::Locality;
use lattice_integration::{STEP, STORE, until};
use serde_json::Value;

use crate::scene::{Guarded, LONG, Tenant};

/// How many components are linked to one provider.
const LINKS: usize = 100;
/// A line that is long enough for them.
const LONG_LINE: &str = "65536";

/// A lattice whose server reads lines of this length, as the host knows.
async fn start(line: Option<&str>) -> Result<Guarded> {
    start_told(line, line).await
}

/// A lattice whose server reads lines of one length, and whose host is told another.
async fn start_told(line: Option<&str>, told: Option<&str>) -> Result<Guarded> {
    let tenant = Tenant::new("lattice");
    let extra = line.map(|line| format!("max_control_line: {line}\n"));
    let mut guarded = Guarded::with_config(&[&tenant], &extra.unwrap_or_default()).await?;
    let flags = told.map(|line| ["--nats-max-control-line", line]);
    guarded
        .add_host(&tenant, LONG, flags.as_ref().map_or(&[], |it| it))
        .await?;
    Ok(guarded)
}

/// A component that works over a provider which has many links.
struct Linked {
    /// Where it is asked.
    address: String,
    /// The process of the provider.
    provider: u32,
}

/// Links a component that works, and so many others.
async fn link_many(guarded: &Guarded) -> Result<Linked> {
    let lattice = &guarded.lattice;
    guarded.store("kv").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/n", 200).await?;
    let provider = provider(guarded)?;
    // Those that come last in order are the first to be put.
    for number in (0..LINKS).rev() {
        let source = format!("shop-component-{number:03}");
        lattice.link(&source, "kv", STORE, &[], &[]).await?;
    }
    Ok(Linked { address, provider })
}

/// The process of `kv` on the first host, by the file that it was started from.
fn provider(guarded: &Guarded) -> Result<u32> {
    guarded.lattice.hosts[0].provider_pid("/kv")
}

/// The links of the shop.
async fn links(guarded: &Guarded) -> Result<Vec<Value>> {
    let links = guarded.lattice.ctl_ok("link.get", Value::Null).await?;
    let mut links = links["response"].as_array().context("no links")?.clone();
    links.retain(|link| {
        let source = link["source_id"].as_str();
        source.is_some_and(|id| id.starts_with("shop-"))
    });
    Ok(links)
}

/// Those in this state, with their reasons.
async fn in_state(guarded: &Guarded, state: &str) -> Result<Vec<Value>> {
    let mut links = links(guarded).await?;
    links.retain(|link| link["status"][0]["state"] == state);
    Ok(links)
}

/// The sources whose links two hosts have room for, who have to agree on that and on how many more there
/// are.
async fn have_room(guarded: &Guarded, all: usize) -> Result<Vec<String>> {
    let mut ready = Vec::new();
    let links = links(guarded).await?;
    ensure!(links.len() == all, "{} links", links.len());
    for link in &links {
        let states = link["status"].as_array().context("no status")?;
        let states: Vec<_> = states
            .iter()
            .filter_map(|it| it["state"].as_str())
            .collect();
        match *states {
            ["ready", "ready"] => {
                ready.push(link["source_id"].as_str().unwrap_or_default().to_owned())
            }
            ["failed", "failed"] => {}
            _ => bail!("{}: {states:?}", link["source_id"]),
        }
    }
    ready.sort();
    Ok(ready)
}

/// The provider serves, and has not ended since it was started.
async fn goes_on(guarded: &Guarded, linked: &Linked) -> Result<()> {
    let lattice = &guarded.lattice;
    lattice.until_status(&linked.address, "/n", 200).await?;
    let now = provider(guarded)?;
    ensure!(now == linked.provider, "{now} was {}", linked.provider);
    let ended = |event: &lattice_integration::Event| event.name == "provider_exited";
    let events = lattice.events.all();
    let ended = events.iter().find(|event| ended(event));
    ensure!(ended.is_none(), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_hundred_links_have_room_where_the_server_reads_long_lines() -> Result<()> {
    let guarded = start(Some(LONG_LINE)).await?;
    let linked = link_many(&guarded).await?;
    until(async || {
        let ready = in_state(&guarded, "ready").await?.len();
        ensure!(ready == LINKS, "{ready} links are ready");
        Ok(())
    })
    .await?;
    goes_on(&guarded, &linked).await
}

#[tokio::test]
async fn links_without_room_fail_and_shut_nobody_out() -> Result<()> {
    let guarded = start(None).await?;
    let linked = link_many(&guarded).await?;
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
    goes_on(&guarded, &linked).await
}

#[tokio::test]
async fn a_process_whose_token_the_server_refuses_keeps_what_it_has() -> Result<()> {
    let mut guarded = start_told(None, Some(LONG_LINE)).await?;
    // By the host's socket it would be reached without its connection.
    guarded.lattice.locality = Locality::Spread;
    let linked = link_many(&guarded).await?;
    let refused = |event: &lattice_integration::Event| {
        let why = event.data("message");
        event.name == "health_check_failed" && why.contains("the NATS server refuses them")
    };
    guarded.lattice.events.wait(refused, STEP).await?;
    goes_on(&guarded, &linked).await?;
    // It finds its way back with what it has, too.
    guarded.lattice.nats.restart().await?;
    goes_on(&guarded, &linked).await
}

#[tokio::test]
async fn the_same_links_have_room_on_every_host_and_after_a_start() -> Result<()> {
    let tenant = Tenant::new("lattice");
    let mut guarded = Guarded::with_config(&[&tenant], "").await?;
    guarded.add_host(&tenant, LONG, &[]).await?;
    let linked = link_many(&guarded).await?;
    // This one hears of all of them at once, and the other one did one by one.
    guarded.add_host(&tenant, LONG, &[]).await?;
    guarded.store_on(1, "kv").await?;
    let before = until(async || have_room(&guarded, LINKS).await).await?;
    ensure!(before.len() > 5 && before.len() < LINKS, "{before:?}");
    let first = (0..before.len()).map(|number| format!("shop-component-{number:03}"));
    ensure!(first.eq(before.iter().cloned()), "{before:?}");
    // One that comes before them in order takes the place of the last, on both.
    guarded
        .lattice
        .link("shop-a", "kv", STORE, &[], &[])
        .await?;
    let after = until(async || {
        let after = have_room(&guarded, LINKS + 1).await?;
        ensure!(after.first().is_some_and(|id| id == "shop-a"), "{after:?}");
        Ok(after)
    })
    .await?;
    ensure!(after.len() <= before.len() + 1 && after[1..].iter().all(|id| before.contains(id)));
    ensure!(after.last() != before.last(), "{after:?}");
    goes_on(&guarded, &linked).await
}
