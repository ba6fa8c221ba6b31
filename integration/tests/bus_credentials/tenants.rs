//! Two lattices on one server, `east` and `west`: what somebody of west does to east.

use std::mem::swap;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions};
use futures::{FutureExt as _, StreamExt as _};
use lattice_integration::{ECHO, EventLog, Lattice, text};
use lattice_rpc::{Invocation, Peer, PeerConfig};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attacker::Attacker;
use crate::scene::{Guarded, LONG, Tenant};

/// What only east is to know.
const VALUE: &str = "redis://only.here";
/// The buckets of east.
const BUCKETS: [&str; 2] = ["CONFIGDATA_east", "LATTICEDATA_east"];

/// A lattice that the helper does not speak for at the moment.
struct Side {
    name: String,
    client: Client,
    events: EventLog,
}

impl Side {
    async fn new(name: &str, client: Client) -> Result<Self> {
        let events = EventLog::open(&client, name).await?;
        let name = name.to_owned();
        Ok(Self {
            name,
            client,
            events,
        })
    }

    /// Lets the helper speak for this one, and not for the other.
    fn swap(&mut self, lattice: &mut Lattice) {
        swap(&mut self.name, &mut lattice.name);
        swap(&mut self.client, &mut lattice.client);
        swap(&mut self.events, &mut lattice.events);
    }
}

/// Both lattices, with a host each. The helper speaks for east.
struct Two {
    guarded: Guarded,
    west: Side,
}

impl Two {
    /// East in the one account, west in the other, which may be the same.
    async fn start(east: &Tenant, west: &Tenant, tenants: &[&Tenant]) -> Result<Self> {
        let mut guarded = Guarded::without_host(tenants).await?;
        let client = guarded.lattice.client.clone();
        Side::new("east", client).await?.swap(&mut guarded.lattice);
        guarded.add_host(east, LONG, &[]).await?;
        let lattice = &guarded.lattice;
        lattice.run(0, "probe", "probe", 1).await?;
        lattice.config("store", json!({ "url": VALUE })).await?;
        lattice
            .link("probe", "kv", "wasi:keyvalue/store", &[], &["store"])
            .await?;
        let creds = west.user(None)?;
        let client = ConnectOptions::with_credentials(creds.to_text().expose())?
            .connect(&lattice.nats.url)
            .await?;
        let mut west_side = Side::new("west", client).await?;
        west_side.swap(&mut guarded.lattice);
        guarded.add_host(west, LONG, &[]).await?;
        west_side.swap(&mut guarded.lattice);
        Ok(Self {
            guarded,
            west: west_side,
        })
    }

    fn east(&self) -> &Lattice {
        &self.guarded.lattice
    }

    /// East is called, told something, and says something.
    async fn east_works(&self) -> Result<()> {
        let lattice = self.east();
        let peer = Peer::new(lattice.client.clone(), PeerConfig::default()).await?;
        let deadline = Instant::now() + lattice_integration::STEP;
        let call = Invocation::new(format!("east.probe.wrpc.0.0.1.{ECHO}"), deadline);
        let answer = peer.call(call.source("test"), text(VALUE)).await?;
        ensure!(answer == text(VALUE), "{answer:?}");
        lattice.config("store", json!({ "url": VALUE })).await?;
        lattice.run(0, "probe", "probe", 2).await?;
        lattice.run(0, "probe", "probe", 1).await
    }

    /// What somebody who listens to everything hears of east while it works.
    async fn overheard(&self, client: &Client) -> Result<Vec<String>> {
        let mut heard = client.subscribe(">").await?;
        lattice_nats_box::taken_in(client).await?;
        self.east_works().await?;
        lattice_nats_box::taken_in(client).await?;
        let mut subjects = Vec::new();
        while let Some(message) = heard.next().now_or_never() {
            let message = message.context("the connection has ended")?;
            let payload = String::from_utf8_lossy(&message.payload);
            let needles = [VALUE, self.east().host(0)];
            let told = needles.iter().any(|needle| payload.contains(needle));
            if told || message.subject.contains("east") {
                subjects.push(message.subject.to_string());
            }
        }
        Ok(subjects)
    }

    /// East is what it was, and does what it did.
    async fn unharmed(&self) -> Result<()> {
        let lattice = self.east();
        let config = lattice.ctl_ok("config.get.store", Value::Null).await?;
        ensure!(config["response"]["url"] == VALUE, "{config}");
        let links = lattice.ctl_ok("link.get", Value::Null).await?;
        let one = links["response"].as_array().map(Vec::len) == Some(1);
        ensure!(one && links["response"][0]["target"] == "kv", "{links}");
        let inventory = lattice.inventory(0).await?;
        ensure!(inventory["components"][0]["id"] == "probe", "{inventory}");
        ensure!(inventory["components"][0]["max_instances"] == 1);
        let events = lattice.events.all();
        let stopped = events.iter().any(|event| event.name == "host_stopped");
        ensure!(!stopped, "the host was stopped");
        self.east_works().await
    }

    /// Commands to east: their operations and bodies.
    fn commands(&self) -> Vec<(String, Value)> {
        let host = self.east().host(0);
        let scale = json!({
            "component_ref": "file:///evil.wasm", "component_id": "probe", "count": 0,
            "host_id": host,
        });
        let link = json!({
            "source_id": "probe", "name": "default", "wit_namespace": "wasi",
            "wit_package": "keyvalue",
        });
        let bodies = [
            ("host.ping".to_owned(), Value::Null),
            (format!("host.get.{host}"), Value::Null),
            (format!("component.scale.{host}"), scale),
            ("config.get.store".to_owned(), Value::Null),
            ("config.put.store".to_owned(), json!({ "url": "evil" })),
            ("config.del.store".to_owned(), Value::Null),
            ("link.get".to_owned(), Value::Null),
            ("link.del".to_owned(), link),
            (format!("host.stop.{host}"), json!({ "timeout": 1 })),
        ];
        bodies.into()
    }
}

/// The answer of JetStream to a request.
async fn stored(client: &Client, request: &str, body: &Value) -> Result<Value> {
    let (subject, body) = (format!("$JS.API.{request}"), body.to_string());
    let answer = client.request(subject, body.into()).await?;
    Ok(serde_json::from_slice(&answer.payload)?)
}

/// Nobody is there to hear it.
async fn unheard(client: &Client, subject: String, body: &Value) -> Result<()> {
    let asked = client.request(subject.clone(), body.to_string().into());
    match asked.await {
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
        other => bail!("{subject}: {other:?}"),
    }
}

/// Nobody answers it. A server of 2.9 takes in whatever is asked of JetStream, and then says nothing.
async fn unanswered(client: &Client, subject: String, body: &Value) -> Result<()> {
    let asked = client.request(subject.clone(), body.to_string().into());
    match asked.await {
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
        Err(error) if error.kind() == RequestErrorKind::TimedOut => Ok(()),
        other => bail!("{subject}: {other:?}"),
    }
}

#[tokio::test]
async fn who_has_another_account_hears_and_reaches_nothing() -> Result<()> {
    let (east, west) = (Tenant::new("east"), Tenant::new("west"));
    let two = Two::start(&east, &west, &[&east, &west]).await?;
    // Listen: who is of east hears all of it, and who is of west nothing.
    let own = two.overheard(&two.east().client).await?;
    for part in ["wasmbus.ctl.", "wasmbus.evt.", "east.probe.", "$KV."] {
        let heard = own.iter().any(|subject| subject.starts_with(part));
        ensure!(heard, "nothing of {part} in {own:#?}");
    }
    let client = &two.west.client;
    let heard = two.overheard(client).await?;
    ensure!(heard.is_empty(), "{heard:#?}");
    // Command, and call.
    for (operation, body) in two.commands() {
        let subject = format!("wasmbus.ctl.v1.east.{operation}");
        unheard(client, subject, &body).await?;
    }
    let call = format!("east.probe.wrpc.0.0.1.{ECHO}");
    unheard(client, call, &Value::Null).await?;
    // Read what is stored, and write over it under its name.
    let all = stored(client, "STREAM.NAMES", &json!({})).await?;
    let names = all["streams"].to_string();
    ensure!(names.contains("_west") && !names.contains("_east"), "{all}");
    for bucket in BUCKETS {
        let info = stored(client, &format!("STREAM.INFO.KV_{bucket}"), &Value::Null).await?;
        ensure!(info["error"]["code"] == 404, "{info}");
        let subject = format!("$JS.API.DIRECT.GET.KV_{bucket}");
        unanswered(client, subject, &json!({ "last_by_subj": ">" })).await?;
        let subjects = format!("$KV.{bucket}.>");
        let stream = json!({ "name": format!("KV_{bucket}"), "subjects": [subjects] });
        let made = stored(client, &format!("STREAM.CREATE.KV_{bucket}"), &stream).await?;
        ensure!(made["error"].is_null(), "{made}");
        let evil = json!({ "url": "evil" }).to_string();
        let put = client.request(format!("$KV.{bucket}.store"), evil.into());
        let put: Value = serde_json::from_slice(&put.await?.payload)?;
        ensure!(put["error"].is_null(), "{put}");
    }
    two.unharmed().await
}

#[tokio::test]
async fn a_provider_of_another_lattice_of_the_account_is_refused() -> Result<()> {
    let tenant = Tenant::new("both");
    let mut two = Two::start(&tenant, &tenant, &[&tenant]).await?;
    let Two { guarded, west } = &mut two;
    west.swap(&mut guarded.lattice);
    let data = guarded.store_on(1, "kv").await?;
    let mut attacker = Attacker::new(&data).await?;
    west.swap(&mut guarded.lattice);
    for subject in [
        "east.>",
        "wasmbus.ctl.v1.east.>",
        "wasmbus.evt.east.>",
        "wasmbus.rpc.east.>",
        // As the provider of the same id that east has.
        "east.kv.wrpc.>",
        "wasmbus.rpc.east.kv.>",
    ] {
        attacker.subscribe(subject).await?;
    }
    for (operation, body) in two.commands() {
        let subject = format!("wasmbus.ctl.v1.east.{operation}");
        attacker.publish(&subject, body.to_string()).await?;
    }
    let call = format!("east.probe.wrpc.0.0.1.{ECHO}");
    attacker.publish(&call, text(VALUE)).await?;
    attacker
        .publish("wasmbus.rpc.east.kv.shutdown", "{}")
        .await?;
    attacker
        .publish("wasmbus.evt.east.host_stopped", "{}")
        .await?;
    for bucket in BUCKETS {
        attacker.subscribe(&format!("$KV.{bucket}.>")).await?;
        for subject in [
            format!("$KV.{bucket}.store"),
            format!("$JS.API.STREAM.INFO.KV_{bucket}"),
            format!("$JS.API.DIRECT.GET.KV_{bucket}"),
        ] {
            attacker.publish(&subject, "{}").await?;
        }
    }
    // It is west that is told of it, as its host made the user.
    two.west.swap(&mut two.guarded.lattice);
    attacker.told(&two.guarded.lattice, "kv").await?;
    two.west.swap(&mut two.guarded.lattice);
    two.unharmed().await
}
