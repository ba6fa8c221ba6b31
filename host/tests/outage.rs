//! NATS goes away and comes back; the host stays.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod common;

use std::time::Duration;

use common::provider::Program;
use common::sums::{self, link};
use common::{Lattice, SOON, until, wat};
use lattice_host::Host;
use lattice_rpc::Peer;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long NATS is away. There is nothing to wait for: the outage is what is tested, and has to
/// outlast the first attempts to connect again, which begin after 50 ms.
const OUTAGE: Duration = Duration::from_secs(1);

async fn twice(peer: &Peer) -> Option<Vec<u8>> {
    sums::twice(peer, 4, Duration::from_secs(1)).await.ok()
}

/// A lattice in which calls go from one component to another.
async fn running() -> (Lattice, Host) {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    lattice.done("link.put", &link("twice", "sums")).await;
    lattice.run(&host, "twice", wat::TWICE).await;
    lattice.run(&host, "sums", wat::SUMS).await;
    (lattice, host)
}

/// Asks until somebody answers.
async fn patient(lattice: &Lattice, tail: &str, body: &Value) -> Value {
    until("an answer", async || {
        let subject = format!("wasmbus.ctl.v1.default.{tail}");
        let request = lattice.client.request(subject, body.to_string().into());
        let reply = timeout(Duration::from_secs(1), request).await.ok()?.ok()?;
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        (reply["success"] == true).then_some(reply)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_again_after_nats_was_away() {
    let (mut lattice, host) = running().await;
    let program = Program::new(&lattice, "kv", "exec sleep 1000");
    let command = json!({"provider_id": "kv", "provider_ref": program.reference()});
    lattice.provide(&host, &command).await;
    program.host_data(0).await;
    lattice.nats.stop();
    tokio::time::sleep(OUTAGE).await;
    lattice.nats.restart().await.unwrap();
    lattice.client = lattice.nats.client().await.unwrap();

    let peer = lattice.peer().await;
    until("calls to be answered", async || {
        twice(&peer).await.filter(|answer| *answer == [8])
    })
    .await;
    let inventory = patient(&lattice, &format!("host.get.{}", host.id()), &json!({})).await;
    assert_eq!(
        inventory["response"]["components"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(inventory["response"]["providers"][0]["id"], "kv");
    // The process was not started again for it.
    assert_eq!(program.starts(), 1);

    // What is put from now on is seen: the watches are back.
    let other = json!({
        "source_id": "twice", "target": "kv", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store"],
    });
    patient(&lattice, "link.put", &other).await;
    until("the link to be listed", async || {
        let links = lattice.control_raw("link.get", "").await;
        (links["response"].as_array()?.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_takes_no_link_away_and_is_filled_again() {
    let (mut lattice, host) = running().await;
    lattice.nats.restart_wiped().await.unwrap();
    lattice.client = lattice.nats.client().await.unwrap();
    let peer = lattice.peer().await;
    until("calls to be answered", async || {
        twice(&peer).await.filter(|answer| *answer == [8])
    })
    .await;
    until("the link to be stored again", async || {
        let links = stored(&lattice, "twice").await?;
        (links[0]["target"] == "sums").then_some(())
    })
    .await;
    assert!(twice(&peer).await.is_some());
    patient(&lattice, &format!("host.get.{}", host.id()), &json!({})).await;
}

/// The links of a source as they are stored.
async fn stored(lattice: &Lattice, source: &str) -> Option<Value> {
    let js = async_nats::jetstream::new(lattice.client.clone());
    let bucket = js.get_key_value("LATTICEDATA_default").await.ok()?;
    let record = bucket.get(format!("COMPONENT_{source}")).await.ok()??;
    let spec: Value = serde_json::from_slice(&record).unwrap();
    Some(spec["links"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_deleted_before_it_is_noticed_that_the_store_was_lost_stays_so() {
    let mut lattice = Lattice::start().await;
    let _host = lattice.host().await;
    for source in ["twice", "zebra"] {
        lattice.done("link.put", &link(source, "sums")).await;
    }
    until("both links", async || {
        let known = lattice.control_raw("link.get", "").await;
        (known["response"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let js = async_nats::jetstream::new(lattice.client.clone());
    js.delete_key_value("LATTICEDATA_default").await.unwrap();
    let deleted = patient(&lattice, "link.del", &link("twice", "sums")).await;
    let text = deleted["message"].as_str().unwrap();
    assert!(text.starts_with("successfully deleted link"), "{text}");
    // It looks at its buckets when it has connected anew.
    lattice.nats.restart().await.unwrap();
    lattice.client = lattice.nats.client().await.unwrap();
    // What is known is written back in order.
    until("the other link to be stored again", async || {
        let links = stored(&lattice, "zebra").await?;
        (links[0]["target"] == "sums").then_some(())
    })
    .await;
    let links = stored(&lattice, "twice").await;
    assert!(links.is_none_or(|links| links == json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_can_be_drained_while_nats_is_away() {
    let (mut lattice, host) = running().await;
    lattice.nats.stop();
    let wish = lattice_host::StopRequest {
        reason: lattice_host::StopReason::Program,
        timeout: Some(Duration::from_secs(1)),
    };
    timeout(SOON, host.drain(wish))
        .await
        .expect("the drain to end");
}
