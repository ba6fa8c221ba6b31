//! Rules as they are put and stored.

use anyhow::{Context as _, Result, ensure};
use lattice_integration::until;
use serde_json::{Value, json};

use crate::scene::{KEYVALUE, Road, Scene};

#[tokio::test]
async fn rules_without_a_meaning_are_refused_when_a_link_is_put() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    for (interface, rules, words) in [
        (
            "my:own/thing",
            json!({"prefix": ["a"]}),
            "`prefix` has no meaning for `my:own/thing`",
        ),
        (
            KEYVALUE,
            json!({"to": ["https://a"]}),
            "`to` has no meaning",
        ),
        (
            KEYVALUE,
            json!({"of_tomorrow": true}),
            "does not know the rule `of_tomorrow`",
        ),
        (
            KEYVALUE,
            json!({"rate": "quick"}),
            "does not know the rule `rate`",
        ),
        (KEYVALUE, json!({"allow": ["grab"]}), "names `grab`"),
        (
            "wasi:http/incoming-handler",
            json!({"rate": "1/s"}),
            "a provider makes",
        ),
    ] {
        let reply = of
            .put("reach", "kv", interface, Road::Socket, rules)
            .await?;
        ensure!(
            reply["success"] == false && reply["code"] == "bad-request",
            "{reply}"
        );
        ensure!(
            reply["message"]
                .as_str()
                .unwrap_or_default()
                .contains(words),
            "{reply}"
        );
        ensure!(reply["hint"].is_string(), "{reply}");
    }
    let links = of.lattice.ctl_ok("link.get", Value::Null).await?;
    ensure!(links["response"] == json!([]), "{links}");
    Ok(())
}

/// A record that a host of a later version may have written.
#[tokio::test]
async fn a_rule_of_tomorrow_shuts_its_link_and_stays_in_the_record() -> Result<()> {
    let of = Scene::start(Road::Inside).await?;
    of.lattice.provide_store(0).await?;
    of.link("kv", KEYVALUE, Road::Inside, json!({})).await?;
    of.does("set", &["", "a"]).await?;
    let store = async_nats::jetstream::new(of.lattice.client.clone());
    let store = store.get_key_value("LATTICEDATA_default").await?;
    let record = store.get("COMPONENT_reach").await?.context("no record")?;
    let mut record: Value = serde_json::from_slice(&record)?;
    let tomorrow = json!({"allow": ["get"], "weekdays": ["monday"]});
    record["links"][0]["rules"] = tomorrow.clone();
    store
        .put("COMPONENT_reach", serde_json::to_vec(&record)?.into())
        .await?;
    until(async || of.refused("get", &["", "a"], "AccessDenied").await).await?;
    let denial = of.denial("the rule `weekdays`").await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    // A host of today that writes the record keeps what it does not know.
    of.link("nobody", "lattice:lock/lock", Road::Inside, json!({}))
        .await?;
    let record = store.get("COMPONENT_reach").await?.context("no record")?;
    let record: Value = serde_json::from_slice(&record)?;
    ensure!(record["links"][0]["rules"] == tomorrow, "{record}");
    ensure!(
        record["links"].as_array().map(Vec::len) == Some(2),
        "{record}"
    );
    Ok(())
}
