//! Provider processes with NATS users of their own: what is not linked is refused, and what is linked
//! works, also right after the link was put and while credentials are replaced.

use anyhow::{Context as _, Result, ensure};
use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_claims::CurveKey;
use lattice_core::Locality;
use lattice_core::provider::{HostData, NewCredentials};
use lattice_core::subject::ProviderSubjects;
use lattice_integration::{Event, Lattice, STEP, STORE, get, until};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::attacker::{Attacker, subjects_of};
use crate::rotation::Caller;
use crate::scene::{Guarded, LONG, SHORT, Tenant};

#[tokio::test]
async fn a_providers_credentials_reach_no_further_than_its_links() -> Result<()> {
    reach_no_further(&Guarded::start(LONG).await?).await
}

#[tokio::test]
async fn in_a_strict_lattice_they_reach_no_further_either() -> Result<()> {
    reach_no_further(&Guarded::strict(LONG).await?).await
}

/// Tries everything that the credentials of the provider `kv` do not allow.
async fn reach_no_further(guarded: &Guarded) -> Result<()> {
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    let other = guarded.store("vault").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/before", 200).await?;

    let mut attacker = Attacker::new(&data).await?;
    // Call what it is not linked to, a component or another provider.
    let handle = "wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";
    attacker
        .publish(&format!("default.counter.{handle}"), "x")
        .await?;
    let get_key = "wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get";
    attacker
        .publish(&format!("default.vault.{get_key}"), "x")
        .await?;
    // Listen to the calls and the answers of others, and answer in their name.
    attacker.subscribe("default.vault.wrpc.>").await?;
    attacker.subscribe("default.counter.wrpc.>").await?;
    attacker.subscribe("default.>").await?;
    attacker.subscribe("_INBOX.>").await?;
    let inbox = other
        .lattice_bus
        .context("no bus")?
        .inbox
        .context("no inbox")?;
    attacker.subscribe(&format!("{inbox}.>")).await?;
    attacker.publish(&format!("{inbox}.a.1"), "x").await?;
    // Tell of calls in the name of another.
    let xkey = &other.provider_xkey_public_key;
    for what in ["failed", "refused"] {
        let subject = format!("wasmbus.rpc.default.{xkey}.{what}");
        attacker.publish(&subject, "{}").await?;
    }
    let queued = "default.vault.wrpc.0.0.1.>";
    let queue = "default.vault".to_owned();
    let _served = attacker
        .client
        .queue_subscribe(queued.to_owned(), queue)
        .await?;
    attacker.refused("subscription", queued).await?;
    // Give commands, to hosts and to other providers.
    let link = json!({
        "source_id": "kv", "target": "counter", "name": "default", "wit_namespace": "wasi",
        "wit_package": "http", "interfaces": ["incoming-handler"], "source_config": [],
        "target_config": [],
    });
    attacker
        .publish("wasmbus.ctl.v1.default.link.put", link.to_string())
        .await?;
    attacker
        .publish("wasmbus.rpc.default.vault.linkdefs.put", link.to_string())
        .await?;
    attacker
        .publish("wasmbus.rpc.default.vault.default.shutdown", "{}")
        .await?;
    attacker
        .publish("wasmbus.evt.default.component_scaled", "{}")
        .await?;
    // Read and write what the lattice stores.
    for bucket in ["CONFIGDATA_default", "LATTICEDATA_default"] {
        attacker.subscribe(&format!("$KV.{bucket}.>")).await?;
        attacker.publish(&format!("$KV.{bucket}.x"), "{}").await?;
        attacker
            .publish(&format!("$JS.API.STREAM.INFO.KV_{bucket}"), "")
            .await?;
        attacker
            .publish(&format!("$JS.API.DIRECT.GET.KV_{bucket}"), "{}")
            .await?;
        attacker
            .publish(&format!("$JS.API.STREAM.MSG.GET.KV_{bucket}"), "{}")
            .await?;
    }
    attacker.answer_to_itself().await?;
    attacker.told(lattice, "kv").await?;
    // Nothing of it has done anything.
    let links = lattice.ctl_ok("link.get", Value::Null).await?;
    ensure!(
        links["response"].as_array().map(Vec::len) == Some(2),
        "{links}"
    );
    let text = lattice.until_status(&address, "/before", 200).await?;
    ensure!(text == "Counter /before: 2\n", "{text}");
    Ok(())
}

#[tokio::test]
async fn what_is_tried_between_decoys_is_named() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let data = guarded.store("kv").await?;
    let attacker = Attacker::new(&data).await?;
    let put = "wasmbus.ctl.v1.default.link.put";
    let decoys = |from: usize| {
        let of_sorts = |number: usize| {
            [
                format!("x.{number}"),
                format!("wasmbus.ctl.v1.default.x.{number}"),
            ]
        };
        (from..from + 200).flat_map(of_sorts)
    };
    for subject in decoys(0).chain([put.to_owned()]).chain(decoys(200)) {
        attacker.client.publish(subject, "{}".into()).await?;
    }
    attacker.client.flush().await?;
    until(async || {
        let events = guarded.lattice.events.all();
        let mut refused = events.iter().filter(|event| event.name == "bus_refused");
        let named = refused.any(|event| subjects_of(event).any(|subject| subject == put));
        ensure!(named, "{put} is not named");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_process_may_tell_of_its_own_calls_that_failed() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let mut lattice = guarded.lattice;
    lattice.locality = Locality::Spread;
    let address = lattice.serve_http(0, "nowhere").await?;
    let (status, text) = get(&address, "/").await?;
    ensure!(status == 503, "{status} {text}");
    let failed = |event: &Event| event.name == "invocation_failed";
    let event = lattice.events.wait(failed, STEP).await?;
    let ends = (event.data("source_id"), event.data("component_id"));
    ensure!(ends == ("httpserver", "nowhere"), "{event:?}");
    Ok(())
}

#[tokio::test]
async fn links_work_as_soon_as_they_are_put_and_while_credentials_are_replaced() -> Result<()> {
    let guarded = Guarded::start(SHORT).await?;
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    // Both ends of the call get rights by links that came after their start.
    let address = lattice.serve_http(0, "counter").await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    lattice.until_status(&address, "/n", 200).await?;

    let begun = Instant::now();
    let mut caller = Caller::new(&address);
    while begun.elapsed() < SHORT * 2 {
        caller.call().await?;
    }
    let Caller { calls, again, .. } = caller;
    ensure!(again <= 2, "{again} of {calls} calls had to be made again");

    // What the process was started with has ended.
    ensure!(
        Attacker::new(&data).await.is_err(),
        "the first credentials still hold"
    );
    Ok(())
}

#[tokio::test]
async fn rights_come_and_go_with_links() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    let first = Attacker::new(&data).await?;
    // The attacker reads what its process is sent, as it has the key.
    let subjects = ProviderSubjects::new(&lattice.name.parse()?, &data.provider_key.parse()?);
    let subject = subjects.credentials(&data.provider_xkey_public_key);
    let mut sent = first.client.subscribe(subject).await?;
    lattice_nats_box::taken_in(&first.client).await?;
    let call = "default.hello.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";

    lattice.run(0, "hello", "http-hello", 1).await?;
    lattice
        .link("kv", "hello", "wasi:http/incoming-handler", &[], &[])
        .await?;
    let mut linked = Attacker::new(&next(&data, &mut sent).await?).await?;
    linked.client.publish(call, "x".into()).await?;
    // What is refused after it shows that it was not.
    linked.publish("default.other.wrpc.0.0.1.x.y", "x").await?;
    ensure!(
        !linked.seen.iter().any(|refusal| refusal.contains(call)),
        "{:?}",
        linked.seen
    );

    let link = json!({
        "source_id": "kv", "name": "default", "wit_namespace": "wasi", "wit_package": "http",
    });
    lattice.ctl_ok("link.del", link).await?;
    let mut after = Attacker::new(&next(&data, &mut sent).await?).await?;
    after.publish(call, "x").await
}

/// The host data with the credentials that come next.
async fn next(data: &HostData, sent: &mut Subscriber) -> Result<HostData> {
    let message = timeout(STEP, sent.next())
        .await?
        .context("nothing was sent")?;
    let own = CurveKey::from_seed(data.provider_xkey_private_key.expose())?;
    let host = CurveKey::from_public_key(&data.host_xkey_public_key)?;
    let new: NewCredentials = serde_json::from_slice(&own.open(&message.payload, &host)?)?;
    Ok(HostData {
        lattice_rpc_user_jwt: new.jwt,
        lattice_rpc_user_seed: new.seed,
        ..data.clone()
    })
}

#[tokio::test]
async fn the_nats_of_the_lattice_is_no_backend_of_such_a_process() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let lattice = &guarded.lattice;
    lattice
        .provide(0, "kv", "keyvalue-nats-provider", &[])
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    until(async || {
        let links = lattice.ctl_ok("link.get", Value::Null).await?;
        let text = links.to_string();
        ensure!(text.contains("credentials of its own"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_of_several_hosts_tells_what_is_refused_and_another_when_it_has_ended() -> Result<()> {
    let tenant = Tenant::new("lattice");
    let mut guarded = Guarded::with_config(&[&tenant], "max_control_line: 65536\n").await?;
    for _ in 0..2 {
        guarded.add_host(&tenant, LONG, &[]).await?;
    }
    let data = guarded.store_on(1, "kv").await?;
    // As long as the server lets a client call itself, and say a subject.
    let mut attacker = Attacker::named(&data, &"n".repeat(40_000)).await?;
    let long = format!("default.{}.x", "s".repeat(40_000));
    let tried = [
        "default.vault.a",
        "default.vault.b",
        "wasmbus.ctl.v1.default.link.put",
    ];
    for subject in tried {
        attacker.publish(subject, "x").await?;
    }
    attacker.client.publish(long.clone(), "x".into()).await?;
    attacker.note("publish", &long[..256]);
    attacker.told(&guarded.lattice, "kv").await?;
    let told = |lattice: &Lattice| {
        let events = lattice.events.all();
        let refused = events.iter().filter(|event| event.name == "bus_refused");
        let count = |event: &Event| 1 + event.body["data"]["suppressed"].as_u64().unwrap_or(0);
        refused.map(count).sum::<u64>()
    };
    ensure!(
        told(&guarded.lattice) == 4,
        "{:?}",
        guarded.lattice.events.all()
    );

    let events = guarded.lattice.events.all();
    let teller = events.iter().find(|event| event.name == "bus_refused");
    let teller = teller.context("nobody told")?.data("host_id").to_owned();
    let hosts = &mut guarded.lattice.hosts;
    let teller = hosts.iter_mut().find(|host| host.id == teller);
    teller.context("no such host")?.kill().await?;
    attacker.publish("default.vault.c", "x").await?;
    attacker.told(&guarded.lattice, "kv").await?;
    ensure!(
        told(&guarded.lattice) == 5,
        "{:?}",
        guarded.lattice.events.all()
    );
    Ok(())
}

#[tokio::test]
async fn places_for_answers_do_not_tell_the_next_ones() -> Result<()> {
    let lattice = Lattice::start(0).await?;
    let places: Vec<_> = (0..100).map(|_| lattice.client.new_inbox()).collect();
    for pair in places.windows(2) {
        let letters = pair[0].chars().zip(pair[1].chars());
        let same = letters.take_while(|(one, next)| one == next).count();
        // What every inbox begins with, and what may be equal by chance.
        let by_chance = pair[0].rfind('.').context("no place")? + 1 + 4;
        ensure!(same <= by_chance, "{pair:?}");
    }
    Ok(())
}
