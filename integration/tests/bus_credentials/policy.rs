//! The policy service, from where a provider stands.

use anyhow::{Result, ensure};
use lattice_integration::policy::{CHANGES, Service, TOPIC, WITH_POLICY};
use serde_json::json;

use crate::attacker::Attacker;
use crate::scene::{Guarded, LONG, Tenant};

#[tokio::test]
async fn a_providers_credentials_neither_ask_nor_answer_nor_change_what_the_policy_says()
-> Result<()> {
    let tenant = Tenant::new("lattice");
    let mut guarded = Guarded::without_host(&[&tenant]).await?;
    let service = Service::start(&guarded.lattice).await?;
    guarded.add_host(&tenant, LONG, &WITH_POLICY).await?;
    let data = guarded.store("kv").await?;
    let lattice = &guarded.lattice;
    lattice.run(0, "probe", "probe", 1).await?;
    let asked = service.of_kind("startComponent");
    ensure!(asked.len() == 1, "{asked:?}");

    let mut attacker = Attacker::new(&data).await?;
    // Learn who asks for what, and answer before the service does.
    for subject in [TOPIC, CHANGES, "test.>"] {
        attacker.subscribe(subject).await?;
    }
    let queue = attacker.client.queue_subscribe(TOPIC, TOPIC.to_owned());
    let _heard = queue.await?;
    attacker.refused("subscription", TOPIC).await?;
    // Have what runs forbidden, or what is forbidden let in; ask what others may do.
    let change = json!({ "requestId": asked[0]["requestId"], "permitted": false });
    attacker.publish(CHANGES, change.to_string()).await?;
    attacker.publish(TOPIC, asked[0].to_string()).await?;
    attacker.told(lattice, "kv").await?;

    let events = lattice.events.all();
    let changed = events
        .iter()
        .find(|event| event.name == "policy_decision_changed");
    ensure!(changed.is_none(), "{changed:?}");
    ensure!(service.of_kind("startComponent").len() == 1, "it was asked");
    Ok(())
}
