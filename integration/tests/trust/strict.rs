//! A host that lets in calls without proof, where the others of its cluster do not.

#![expect(
    clippy::disallowed_methods,
    reason = "an attacker speaks the wire itself"
)]

use anyhow::{Result, ensure};
use lattice_claims::{KeyKind, SigningKey};
use lattice_integration::{Event, HostOptions, Lattice, STEP, echo, until};
use serde_json::json;

/// A host of a cluster, which tells often how it is.
fn member(cluster: &SigningKey, more: &[&str]) -> HostOptions {
    let words = [&["--heartbeat-interval-seconds", "1"][..], more].concat();
    let seed = cluster.seed().expose().to_owned();
    HostOptions {
        arguments: words.into_iter().map(str::to_owned).collect(),
        environment: vec![("WASMCLOUD_CLUSTER_SEED".to_owned(), seed)],
        ..HostOptions::default()
    }
}

const STRICT: &[&str] = &["--allow-legacy-peers=false"];

/// Says in the name of a host that it is strict, as any client of the bus can.
async fn forge(lattice: &Lattice) -> Result<()> {
    let heartbeat = json!({
        "specversion": "1.0", "id": "1", "type": "com.wasmcloud.lattice.host_heartbeat",
        "source": "NFORGED", "datacontenttype": "application/json", "time": "2026-01-01T00:00:00Z",
        "data": {
            "components": [], "providers": [], "host_id": "NFORGED", "friendly_name": "forged",
            "labels": {}, "strict": true, "strict_proof": "forged",
        },
    });
    let subject = "wasmbus.evt.default.host_heartbeat";
    let body = heartbeat.to_string().into();
    lattice.client.publish(subject, body).await?;
    Ok(lattice_nats_box::taken_in(&lattice.client).await?)
}

#[tokio::test]
async fn a_host_without_the_flag_tells_that_another_of_its_cluster_is_strict() -> Result<()> {
    let [own, other] = [(); 2].map(|()| SigningKey::generate(KeyKind::Cluster));
    let mut lattice = Lattice::start(0).await?;
    let lax = lattice.add_host(member(&own, &[])).await?;
    lattice.run(lax, "probe", "probe", 1).await?;
    // What no host of its cluster says is not believed.
    forge(&lattice).await?;
    let stranger = lattice.add_host(member(&other, STRICT)).await?;
    let of_stranger = |event: &Event| {
        event.name == "host_heartbeat" && event.data("host_id") == lattice.host(stranger)
    };
    let heard = lattice.events.wait(of_stranger, STEP).await?;
    ensure!(!heard.data("strict_proof").is_empty(), "{heard:?}");

    let strict = lattice.add_host(member(&own, STRICT)).await?;
    let told = |event: &Event| event.name == "host_not_strict";
    let event = lattice.events.wait(told, STEP).await?;
    ensure!(event.data("host_id") == lattice.host(lax), "{event:?}");
    let named = event.data("strict_host_id");
    ensure!(named == lattice.host(strict), "{event:?}");
    until(async || {
        let log = lattice.hosts[lax].log();
        ensure!(
            log.contains("this host lets in calls without proof"),
            "{log}"
        );
        Ok(())
    })
    .await?;
    for (host, expected) in [(lax, None), (strict, Some(true))] {
        let inventory = lattice.inventory(host).await?;
        let strict = inventory.get("strict").and_then(|told| told.as_bool());
        ensure!(strict == expected, "{inventory}");
    }
    // That is all it does: nothing on the bus makes it strict.
    echo(&lattice.peer().await?, "probe").await.map(drop)
}
