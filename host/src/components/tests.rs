//! Tests of the table of components, with a host around it.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use async_nats::Subscriber;
use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::StringMap;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_rpc::{Invocation, PeerConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::artifact::{MAX_READS, READS};
use crate::config::NatsConfig;
use crate::{Host, HostConfig};

/// Longer than anything here should take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

struct Place {
    nats: NatsBox,
    host: Host,
    events: Subscriber,
    images: TempDir,
}

impl Place {
    async fn new() -> Self {
        Self::with(NatsBoxOptions::default()).await
    }

    async fn with(options: NatsBoxOptions) -> Self {
        let nats = NatsBox::start_with(options).await.unwrap();
        let client = nats.client().await.unwrap();
        let events = client.subscribe("wasmbus.evt.default.*").await.unwrap();
        lattice_nats_box::taken_in(&client).await.unwrap();
        let at = NatsConfig {
            port: nats.port,
            ..NatsConfig::default()
        };
        let mut config = HostConfig::new(LatticeName::default()).nats(at);
        config.allow_file_load = true;
        config.runtime.max_instances = 10;
        config.runtime.cache_dir = None;
        Self {
            host: Host::start(config).await.unwrap(),
            images: tempfile::tempdir().unwrap(),
            nats,
            events,
        }
    }

    /// Writes a component that does nothing, and returns its reference.
    fn image(&self, name: &str) -> String {
        self.image_of(name, "(component)")
    }

    fn image_of(&self, name: &str, text: &str) -> String {
        let path = self.images.path().join(name);
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        format!("file://{}", path.display())
    }

    fn scale(&self, image: &str, count: u32) {
        self.order(ScaleComponentCommand {
            component_ref: image.to_owned(),
            count,
            ..ScaleComponentCommand::default()
        });
    }

    /// The same with a command that says more.
    fn order(&self, command: ScaleComponentCommand) {
        self.host.components().scale(id(), command).unwrap();
    }

    fn update(&self, image: &str) {
        let command = UpdateComponentCommand {
            new_component_ref: image.to_owned(),
            ..UpdateComponentCommand::default()
        };
        let image = ImageRef::new(image).unwrap();
        let updated = self.host.components().update(id(), image, command);
        updated.unwrap();
    }

    /// The next event that tells how a command about components ended: its image and maximum, or
    /// the error.
    async fn told(&mut self) -> Result<(String, u64), String> {
        loop {
            let message = timeout(SOON, self.events.next()).await.unwrap().unwrap();
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let data = &event["data"];
            let text = |key: &str| data[key].as_str().unwrap().to_owned();
            if message.subject.ends_with(".component_scaled") {
                return Ok((text("image_ref"), data["max_instances"].as_u64().unwrap()));
            }
            if message.subject.ends_with(".component_scale_failed") {
                return Err(text("error"));
            }
        }
    }

    /// Has the store forget the component and take nothing any more.
    async fn seal(&self) -> jetstream::Context {
        let js = jetstream::new(self.nats.client().await.unwrap());
        let bucket = js.get_key_value("LATTICEDATA_default").await.unwrap();
        bucket.purge("COMPONENT_a").await.unwrap();
        let sealed = jetstream::stream::Config {
            sealed: true,
            ..bucket.stream.cached_info().config.clone()
        };
        js.update_stream(sealed).await.unwrap();
        js
    }

    /// What `one` of the component gives.
    async fn one(&self) -> Bytes {
        let client = self.nats.client().await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let due = Instant::now() + SOON;
        let invocation = Invocation::new("default.a.wrpc.0.0.1.one", due).source("test");
        peer.call(invocation, Bytes::new()).await.unwrap()
    }

    fn description(&self) -> ComponentDescription {
        let status = self.host.components().status(&id());
        status.unwrap().description
    }

    fn running(&self) -> Option<String> {
        let status = self.host.components().status(&id())?;
        Some(status.image.as_str().to_owned())
    }
}

fn id() -> ComponentId {
    ComponentId::new("a").unwrap()
}

/// Limits that take code of their own.
fn limits() -> StringMap {
    [("max_execution_time".to_owned(), "9".to_owned())].into()
}

/// A command under these limits.
fn limited(image: &str, count: u32) -> ScaleComponentCommand {
    ScaleComponentCommand {
        component_ref: image.to_owned(),
        count,
        component_limits: limits(),
        ..ScaleComponentCommand::default()
    }
}

/// A component that exports `one`, which gives this number.
fn answering(number: u8) -> String {
    format!(
        r#"(component
            (core module $m (func (export "one") (result i32) (i32.const {number})))
            (core instance $i (instantiate $m))
            (func (export "one") (result u32) (canon lift (core func $i "one"))))"#
    )
}

#[tokio::test]
async fn an_update_that_cannot_be_recorded_counts_and_is_recorded_later() {
    let mut place = Place::new().await;
    let [old, new] = ["old.wasm", "new.wasm"].map(|name| place.image(name));
    place.scale(&old, 1);
    assert_eq!(place.told().await, Ok((old, 1)));
    let js = place.seal().await;

    place.update(&new);
    assert_eq!(place.told().await, Ok((new.clone(), 1)));
    assert_eq!(place.told().await, Ok((new.clone(), 0)));
    assert_eq!(place.running().as_ref(), Some(&new));
    place.update(&new);
    assert_eq!(place.told().await, Ok((new.clone(), 1)));

    js.delete_stream("KV_LATTICEDATA_default").await.unwrap();
    let recorded = async {
        loop {
            let bucket = js.get_key_value("LATTICEDATA_default").await;
            if let Ok(bucket) = bucket
                && let Ok(Some(record)) = bucket.get("COMPONENT_a").await
            {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let record: Value = serde_json::from_slice(&timeout(SOON, recorded).await.unwrap()).unwrap();
    assert_eq!(record["url"], new);
}

#[tokio::test]
async fn while_an_image_is_not_to_be_read_a_stop_takes_the_place_of_what_waits_which_is_told() {
    let mut place = Place::new().await;
    let image = place.image("a.wasm");
    let turns = u32::try_from(MAX_READS).unwrap();
    let hangs = READS.acquire_many(turns).await.unwrap();
    for count in 1..=4 {
        place.scale(&image, count);
        // So that the first is no longer waiting.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.scale(&image, 0);
    for _ in 2..=4 {
        let told = place.told().await.unwrap_err();
        assert_eq!(told, ScaleError::Overtaken.to_string());
    }
    drop(hangs);
    assert_eq!(place.told().await, Ok((image.clone(), 1)));
    assert_eq!(place.told().await, Ok((image, 0)));
    let forgotten = async {
        while !place.host.components().table.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, forgotten).await.unwrap();
}

#[tokio::test]
async fn a_component_whose_subject_nats_refuses_does_not_start_and_the_subject_is_told() {
    let mut place = Place::with(NatsBoxOptions {
        extra_config: r#"
            authorization {
                default_permissions: { subscribe: { deny: ["*.a.wrpc.>"] } }
                users: [{ user: a, password: a }]
            }
            no_auth_user: a"#
            .to_owned(),
        ..NatsBoxOptions::default()
    })
    .await;
    let image = place.image_of("one.wasm", &answering(1));
    place.scale(&image, 1);
    let told = place.told().await.unwrap_err();
    assert!(
        told.contains("subscription to `default.a.wrpc.0.0.1.one`"),
        "{told}"
    );
    assert_eq!(place.running(), None);
}

#[tokio::test]
async fn a_scale_to_another_image_that_is_not_to_be_had_changes_nothing() {
    let mut place = Place::new().await;
    let old = place.image("old.wasm");
    place.scale(&old, 1);
    assert_eq!(place.told().await, Ok((old.clone(), 1)));
    place.order(ScaleComponentCommand {
        component_ref: "file:///nowhere.wasm".to_owned(),
        count: 5,
        allow_update: true,
        ..ScaleComponentCommand::default()
    });
    place.told().await.unwrap_err();
    let status = place.host.components().status(&id()).unwrap();
    assert_eq!(status.image.as_str(), old);
    assert_eq!(status.description.max_instances, 1);
}

#[tokio::test]
async fn a_scale_to_another_image_counts_as_a_whole() {
    let mut place = Place::new().await;
    let [old, new] = ["old.wasm", "new.wasm"].map(|name| place.image(name));
    place.scale(&old, 1);
    assert_eq!(place.told().await, Ok((old, 1)));
    let annotations = StringMap::from([("team".to_owned(), "shop".to_owned())]);
    place.order(ScaleComponentCommand {
        component_ref: new.clone(),
        count: 5,
        annotations: annotations.clone(),
        allow_update: true,
        ..ScaleComponentCommand::default()
    });
    assert_eq!(place.told().await, Ok((new.clone(), 5)));
    assert_eq!(place.told().await, Ok((new.clone(), 0)));
    let status = place.host.components().status(&id()).unwrap();
    assert_eq!(status.image.as_str(), new);
    assert_eq!(status.description.max_instances, 5);
    assert_eq!(status.description.annotations, Some(annotations));
}

#[tokio::test]
async fn an_update_of_what_a_command_ahead_of_it_stops_is_told_as_a_failure() {
    let mut place = Place::new().await;
    let [old, new] = ["old.wasm", "new.wasm"].map(|name| place.image(name));
    place.scale(&old, 1);
    assert_eq!(place.told().await, Ok((old.clone(), 1)));
    place.scale(&old, 0);
    place.update(&new);
    assert_eq!(place.told().await, Ok((old, 0)));
    let told = place.told().await.unwrap_err();
    assert_eq!(told, ScaleError::Stopped.to_string());
}

#[tokio::test]
async fn once_an_update_under_other_limits_is_told_of_the_old_code_takes_no_call() {
    let mut place = Place::new().await;
    let [old, new] =
        [1, 2].map(|number| place.image_of(&format!("{number}.wasm"), &answering(number)));
    place.scale(&old, 5);
    assert_eq!(place.told().await, Ok((old, 5)));
    let client = place.nats.client().await.unwrap();
    let peer = Peer::new(client.clone(), PeerConfig::default())
        .await
        .unwrap();
    // Whoever is promised room keeps the old code here for a while.
    let promise = client.request("default.a.wrpc.room", Bytes::new());
    timeout(SOON, promise).await.unwrap().unwrap();
    let limits = StringMap::from([("max_execution_time".to_owned(), "9".to_owned())]);
    place.order(ScaleComponentCommand {
        component_ref: new.clone(),
        count: 5,
        component_limits: limits,
        allow_update: true,
        ..ScaleComponentCommand::default()
    });
    assert_eq!(place.told().await, Ok((new.clone(), 5)));
    assert_eq!(place.told().await, Ok((new, 0)));
    for _ in 0..100 {
        let due = Instant::now() + SOON;
        let invocation = Invocation::new("default.a.wrpc.0.0.1.one", due).source("test");
        let answer = peer.call(invocation, Bytes::new()).await.unwrap();
        assert_eq!(answer, b"\x02"[..]);
    }
}

#[tokio::test]
async fn other_limits_that_cannot_be_recorded_change_nothing() {
    let mut place = Place::new().await;
    let image = place.image_of("one.wasm", &answering(1));
    place.scale(&image, 1);
    assert_eq!(place.told().await, Ok((image.clone(), 1)));
    let before = place.description();
    place.seal().await;
    place.order(limited(&image, 5));
    let told = place.told().await.unwrap_err();
    assert!(told.contains("could not record the component"), "{told}");
    assert_eq!(place.description(), before);
    assert_eq!(place.one().await, b"\x01"[..]);
}

#[tokio::test]
async fn other_limits_that_code_cannot_be_had_for_change_nothing() {
    let mut place = Place::new().await;
    let image = place.image_of("one.wasm", &answering(1));
    place.scale(&image, 1);
    assert_eq!(place.told().await, Ok((image.clone(), 1)));
    let before = place.description();
    let nonsense = ScaleComponentCommand {
        component_limits: [("max_memory_limit".to_owned(), "many".to_owned())].into(),
        ..limited(&image, 5)
    };
    place.order(nonsense);
    let told = place.told().await.unwrap_err();
    assert!(told.contains("`max_memory_limit`"), "{told}");
    std::fs::remove_file(place.images.path().join("one.wasm")).unwrap();
    place.order(limited(&image, 5));
    let told = place.told().await.unwrap_err();
    assert!(told.contains("could not fetch image"), "{told}");
    assert_eq!(place.description(), before);
    assert_eq!(place.one().await, b"\x01"[..]);
}

#[tokio::test]
async fn other_limits_are_told_once_by_the_reference_of_the_command_while_the_image_stays() {
    let mut place = Place::new().await;
    let [old, new] =
        [1, 2].map(|number| place.image_of(&format!("{number}.wasm"), &answering(number)));
    place.scale(&old, 1);
    assert_eq!(place.told().await, Ok((old.clone(), 1)));
    place.order(limited(&new, 3));
    assert_eq!(place.told().await, Ok((new, 3)));
    assert_eq!(place.running().as_ref(), Some(&old));
    assert_eq!(place.one().await, b"\x01"[..]);
    // A command that names no limits leaves them alone; nothing else was told before.
    place.scale(&old, 4);
    assert_eq!(place.told().await, Ok((old, 4)));
    let shown = place.description();
    assert_eq!((shown.limits, shown.max_instances), (Some(limits()), 4));
}

#[tokio::test]
async fn annotations_stay_with_an_update_that_names_none_and_go_with_other_limits() {
    let mut place = Place::new().await;
    let [old, new] = ["old.wasm", "new.wasm"].map(|name| place.image(name));
    let annotations = StringMap::from([("team".to_owned(), "shop".to_owned())]);
    place.order(ScaleComponentCommand {
        component_ref: old.clone(),
        count: 1,
        annotations: annotations.clone(),
        ..ScaleComponentCommand::default()
    });
    assert_eq!(place.told().await, Ok((old, 1)));
    place.update(&new);
    assert_eq!(place.told().await, Ok((new.clone(), 1)));
    assert_eq!(place.told().await, Ok((new.clone(), 0)));
    assert_eq!(place.description().annotations, Some(annotations));
    place.order(limited(&new, 1));
    assert_eq!(place.told().await, Ok((new, 1)));
    assert_eq!(place.description().annotations, Some(StringMap::new()));
}

#[tokio::test]
async fn a_command_that_changes_nothing_leaves_the_annotations_alone() {
    let mut place = Place::new().await;
    let image = place.image("one.wasm");
    let noted = |team: &str| StringMap::from([("team".to_owned(), team.to_owned())]);
    for team in ["shop", "bank"] {
        place.order(ScaleComponentCommand {
            component_ref: image.clone(),
            count: 1,
            annotations: noted(team),
            ..ScaleComponentCommand::default()
        });
        assert_eq!(place.told().await, Ok((image.clone(), 1)));
        assert_eq!(place.description().annotations, Some(noted("shop")));
    }
}
