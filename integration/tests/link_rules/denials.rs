//! What is told of a denial.

use anyhow::{Result, ensure};
use lattice_integration::{Event, STEP};
use serde_json::json;

use crate::scene::{KEYVALUE, ROADS, Road, Scene};

const MESSAGING: &str = "wasmcloud:messaging/consumer";
const BLOBSTORE: &str = "wasi:blobstore/blobstore,container";
const COMMAND: &str = "wasmbus.ctl.v1.default.link.put";

#[tokio::test]
async fn denials_are_events_that_name_rule_and_grant_and_do_not_flood() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    of.link(
        "nobody",
        KEYVALUE,
        Road::Socket,
        json!({"prefix": ["orders/"]}),
    )
    .await?;
    for _ in 0..200 {
        of.refused("get", &["", "users/1"], "AccessDenied").await?;
    }
    let denial = of
        .denial("`--prefix 'users/1'` would let it through")
        .await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    ensure!(
        denial["operation"] == "wrpc:keyvalue/store@0.2.0-draft.get",
        "{denial}"
    );
    let error = denial["error"].as_str().unwrap_or_default();
    ensure!(
        error.starts_with("the rule `prefix` of the link `reach -> wasi:keyvalue (default)`"),
        "{error}"
    );
    // The others are counted, not told one by one.
    let all = of.lattice.events.all();
    let denials = all
        .iter()
        .filter(|event| event.name == "invocation_failed")
        .count();
    ensure!(denials < 50, "{denials} events");
    Ok(())
}

#[tokio::test]
async fn what_is_the_lattices_own_is_refused_by_its_provider_with_an_event() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        for (id, name, interface) in [
            ("messages", "messaging-nats", MESSAGING),
            ("kv", "keyvalue-nats", KEYVALUE),
            ("blobs", "blobstore-nats", BLOBSTORE),
        ] {
            let program = format!("{name}-provider");
            of.lattice.provide(0, id, &program, &[]).await?;
            of.link(id, interface, road, json!({})).await?;
        }
        of.does("publish", &["free"]).await?;
        of.does("create-container", &["mine"]).await?;
        for _ in 0..200 {
            of.refused("publish", &[COMMAND], "reserved").await?;
        }
        of.refused("get", &["CONFIGDATA_default", "x"], "AccessDenied")
            .await?;
        of.refused("list-objects", &["CODECACHE_default"], "compiled code")
            .await?;
        for (target, function, why) in [
            (
                "messages",
                "wasmcloud:messaging/consumer@0.2.0.publish",
                COMMAND,
            ),
            ("kv", "wrpc:keyvalue/store@0.2.0-draft.get", "access denied"),
            ("blobs", "wrpc:blobstore/blobstore@", "CODECACHE_default"),
        ] {
            let is_it = |event: &Event| {
                let said = ["target_id", "source_id", "code"].map(|field| event.data(field));
                said == [target, "reach", "denied"]
                    && event.name == "call_refused"
                    && event.data("operation").starts_with(function)
                    && event.data("error").contains(why)
            };
            of.lattice.events.wait(is_it, STEP).await?;
        }
        // The others are counted, not told one by one.
        let all = of.lattice.events.all();
        let told = all.iter().filter(|event| event.name == "call_refused");
        let told = told.count();
        ensure!(told < 50, "{told} events");
        let log = of.lattice.hosts[0].log();
        let lines = log.matches("a messaging call failed").count();
        ensure!((1..50).contains(&lines), "{lines} lines");
    }
    Ok(())
}
