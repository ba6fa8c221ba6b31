//! Life of components (weaknesses 1, 17, 18, 19, 21, 23).

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use lattice_integration::{Event, HttpClient, Lattice, STEP, component, usage};
use serde_json::{Value, json};
use tokio::time::Instant;

/// For how long clients go on asking after an update, so that old code had its chance to answer.
const ASKED_AFTER_UPDATE: Duration = Duration::from_millis(500);

/// The time over which the use of the processor by an idle host is measured.
const REST: Duration = Duration::from_secs(2);

/// A component with nothing in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn scaled(id: &str) -> impl Fn(&Event) -> bool {
    move |event| event.name == "component_scaled" && event.data("component_id") == id
}

async fn ask_to_scale(lattice: &Lattice, id: &str, reference: &str, count: u32) -> Result<()> {
    let command = json!({ "component_ref": reference, "component_id": id, "count": count });
    lattice
        .ctl_ok(&format!("component.scale.{}", lattice.host(0)), command)
        .await
        .map(drop)
}

/// Writes a file into `folder` and gives its reference.
fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> Result<String> {
    let path = folder.path().join(name);
    std::fs::write(&path, content)?;
    Ok(format!("file://{}", path.display()))
}

#[tokio::test]
async fn after_an_update_no_old_code_answers_and_none_fails() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "web", "http-hello", 20).await?;
    let address = lattice.serve_http(0, "web").await?;
    let old = lattice.until_status(&address, "/", 200).await?;
    let updated = Arc::new(AtomicBool::new(false));
    let enough = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (updated, enough) = (Arc::clone(&updated), Arc::clone(&enough));
        let (address, old) = (address.clone(), old.clone());
        clients.spawn(async move {
            let mut client = HttpClient::connect(&address).await?;
            while !enough.load(Ordering::SeqCst) {
                let begun_after = updated.load(Ordering::SeqCst);
                let answer = client.get("/").await?;
                ensure!(answer.status() == 200, "{answer:?}");
                let new = answer.body().as_ref() != old.as_bytes();
                ensure!(new || !begun_after, "the old code answered after the event");
            }
            Ok(())
        });
    }
    let mark = lattice.events.len();
    let command = json!({ "component_id": "web", "new_component_ref": component("http-probe")? });
    lattice
        .ctl_ok(&format!("component.update.{}", lattice.host(0)), command)
        .await?;
    lattice.events.wait_after(mark, scaled("web"), STEP).await?;
    updated.store(true, Ordering::SeqCst);
    tokio::time::sleep(ASKED_AFTER_UPDATE).await;
    enough.store(true, Ordering::SeqCst);
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(())
}

/// A component that takes seconds to compile: one core module with much code in it.
fn large() -> Vec<u8> {
    fn uleb(out: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
        out.push(id);
        uleb(out, content.len());
        out.extend_from_slice(content);
    }
    const FUNCTIONS: usize = 1000;
    let types = [1, 0x60, 1, 0x7e, 1, 0x7e];
    let mut functions = Vec::new();
    uleb(&mut functions, FUNCTIONS);
    functions.extend([0; FUNCTIONS]);
    let mut code = Vec::new();
    uleb(&mut code, FUNCTIONS);
    for n in 0..FUNCTIONS {
        let mut body = vec![0];
        for step in 0..1800_usize {
            // local.get 0, i64.const, i64.mul or i64.xor, local.set 0
            let constant = ((n * 31 + step * 7) % 64) as u8;
            body.extend([0x20, 0, 0x42, constant, [0x7e, 0x85][step % 2], 0x21, 0]);
        }
        body.extend([0x20, 0, 0x0b]);
        uleb(&mut code, body.len());
        code.extend(body);
    }
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &types);
    section(&mut module, 3, &functions);
    section(&mut module, 10, &code);
    let mut whole = EMPTY.to_vec();
    section(&mut whole, 1, &module);
    whole
}

#[tokio::test]
async fn a_slow_start_holds_up_no_other_component() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let folder = tempfile::tempdir()?;
    let (slow, quick) = (
        file(&folder, "slow.wasm", &large())?,
        file(&folder, "q.wasm", EMPTY)?,
    );
    ask_to_scale(&lattice, "slow", &slow, 1).await?;
    ask_to_scale(&lattice, "quick", &quick, 1).await?;
    lattice.events.wait(scaled("quick"), STEP).await?;
    lattice.inventory(0).await?;
    ask_to_scale(&lattice, "quick", &quick, 0).await?;
    let stopped =
        |event: &Event| scaled("quick")(event) && event.body["data"]["max_instances"] == 0;
    lattice.events.wait(stopped, STEP).await?;
    let began_later = lattice
        .events
        .all()
        .into_iter()
        .all(|event| !scaled("slow")(&event));
    assert!(began_later, "the slow one was not slow enough to tell");
    lattice.events.wait(scaled("slow"), STEP).await?;
    Ok(())
}

#[tokio::test]
async fn stopping_needs_no_image() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let folder = tempfile::tempdir()?;
    let reference = file(&folder, "empty.wasm", EMPTY)?;
    lattice.scale(0, "gone", &reference, 3).await?;
    std::fs::remove_file(reference.trim_start_matches("file://"))?;
    lattice.scale(0, "gone", &reference, 0).await?;
    lattice.scale(0, "never", &reference, 0).await?;
    let inventory = lattice.inventory(0).await?;
    assert_eq!(inventory["components"], json!([]));
    Ok(())
}

#[tokio::test]
async fn a_component_without_exports_uses_no_cpu_and_lets_the_host_end() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    let folder = tempfile::tempdir()?;
    lattice
        .scale(0, "empty", &file(&folder, "empty.wasm", EMPTY)?, 10)
        .await?;
    let pid = lattice.hosts[0].pid().context("the host has exited")?;
    let before = usage(pid)?.cpu_us;
    tokio::time::sleep(REST).await;
    let used = usage(pid)?.cpu_us - before;
    assert!(used < 200_000, "{used} us in {REST:?} of rest");
    let started = Instant::now();
    assert!(lattice.hosts[0].terminate(STEP).await?.success());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// The ids of the hosts that bid for a component within a second.
async fn bidders(lattice: &Lattice, id: &str) -> Result<Vec<String>> {
    let inbox = lattice.client.new_inbox();
    let mut bids = lattice.client.subscribe(inbox.clone()).await?;
    let ask = json!({ "component_ref": "file:///x.wasm", "component_id": id, "constraints": {} });
    let subject = "wasmbus.ctl.v1.default.component.auction";
    lattice
        .client
        .publish_with_reply(subject, inbox, ask.to_string().into())
        .await?;
    let mut hosts = Vec::new();
    let until = Instant::now() + Duration::from_secs(1);
    while let Ok(Some(bid)) = tokio::time::timeout_at(until, bids.next()).await {
        let bid: Value = serde_json::from_slice(&bid.payload)?;
        hosts.push(
            bid["response"]["host_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    hosts.sort();
    Ok(hosts)
}

#[tokio::test]
async fn every_host_bids_for_a_component_whether_it_runs_it_or_not() -> Result<()> {
    let lattice = Lattice::start(2).await?;
    let folder = tempfile::tempdir()?;
    lattice
        .scale(0, "taken", &file(&folder, "empty.wasm", EMPTY)?, 1)
        .await?;
    let mut both = [lattice.host(0).to_owned(), lattice.host(1).to_owned()];
    both.sort();
    // Old clients find in this way the host on which they update a component.
    assert_eq!(bidders(&lattice, "taken").await?, both);
    assert_eq!(bidders(&lattice, "free").await?, both);
    Ok(())
}

#[tokio::test]
async fn events_name_the_host_that_acted_and_come_once() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let folder = tempfile::tempdir()?;
    let reference = file(&folder, "empty.wasm", EMPTY)?;
    let host = lattice.host(0);
    let command = json!({
        "component_ref": reference, "component_id": "a", "count": 2, "host_id": "somebody-else",
    });
    lattice
        .ctl_ok(&format!("component.scale.{host}"), command)
        .await?;
    let event = lattice.events.wait(scaled("a"), STEP).await?;
    assert_eq!(
        (event.data("host_id"), &event.body["source"]),
        (host, &json!(host))
    );
    // What is told of a later command comes after all that is told of this one.
    lattice.scale(0, "b", &reference, 1).await?;
    let told = lattice
        .events
        .all()
        .into_iter()
        .filter(|event| scaled("a")(event))
        .count();
    assert_eq!(told, 1);

    lattice.provide_store(0).await?;
    let names: Vec<String> = lattice
        .events
        .all()
        .into_iter()
        .map(|event| event.name)
        .collect();
    let place = |name: &str| {
        names
            .iter()
            .position(|seen| seen == name)
            .context("not told")
    };
    assert!(
        place("provider_started")? < place("health_check_passed")?,
        "{names:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_host_bids_for_a_provider_that_is_named_by_its_link() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    // Clients of 1.9 ask for the name of the link, which several providers share.
    let auction = async |reference: &str| {
        let request = json!({
            "provider_ref": reference, "provider_id": "default", "constraints": {},
        });
        lattice.ctl_ok("provider.auction", request).await
    };
    for reference in [
        "file:///a/provider.par",
        "oci://registry.example/provider:1",
    ] {
        let bid = auction(reference).await?;
        let bid = &bid["response"];
        assert_eq!(bid["host_id"], lattice.host(0), "{bid}");
        assert_eq!(
            (&bid["provider_id"], &bid["provider_ref"]),
            (&json!("default"), &json!(reference))
        );
    }
    // Another provider that runs does not keep it from bidding.
    lattice.provide_store(0).await?;
    let bid = auction("file:///a/provider.par").await?;
    assert_eq!(bid["response"]["host_id"], lattice.host(0), "{bid}");
    Ok(())
}
