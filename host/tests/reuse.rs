//! The annotation that lets instances serve more than one call.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Events, Lattice};
use lattice_host::Host;
use lattice_rpc::{Invocation, Peer};
use serde_json::{Value, json};
use tokio::time::Instant;

const ANNOTATION: &str = "lattice/reuse-instances";

/// Counts the calls of its instance, beginning after `start`.
fn counter(start: u32) -> String {
    format!(
        r#"(component
          (core module $m
            (global $calls (mut i32) (i32.const {start}))
            (func (export "count") (result i32)
              (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
              (global.get $calls)))
          (core instance $i (instantiate $m))
          (func (export "count") (result u32) (canon lift (core func $i "count"))))"#
    )
}

/// A component on a host, which tests scale.
struct Scene {
    lattice: Lattice,
    host: Host,
    events: Events,
    peer: Peer,
    image: String,
}

impl Scene {
    async fn start(annotations: Value) -> Self {
        let (lattice, host, events) = Lattice::running().await;
        let mut scene = Self {
            peer: lattice.peer().await,
            image: lattice.component("counter.wasm", &counter(0)),
            lattice,
            host,
            events,
        };
        scene.scale(5, annotations).await;
        scene
    }

    async fn command(&self, count: u32, annotations: Value) {
        let command = json!({
            "component_ref": self.image, "component_id": "counter", "count": count,
            "annotations": annotations,
        });
        self.lattice.scale(&self.host, &command).await;
    }

    async fn scale(&mut self, count: u32, annotations: Value) {
        self.command(count, annotations).await;
        self.events.data("component_scaled").await;
    }

    async fn counts(&self, expected: &[u8]) {
        for expected in expected {
            let deadline = Instant::now() + Duration::from_secs(5);
            let subject = "default.counter.wrpc.0.0.1.count".to_owned();
            let call = self
                .peer
                .call(Invocation::new(subject, deadline), "".into());
            assert_eq!(call.await.unwrap()[..], [*expected]);
        }
    }

    /// The annotations that the inventory shows.
    async fn annotations(&self) -> Value {
        let inventory = self.lattice.inventory(&self.host).await;
        inventory["components"][0]["annotations"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_an_instance_of_its_own_unless_the_annotation_is_there() {
    let mut scene = Scene::start(json!({"who": "test"})).await;
    scene.counts(&[1, 1, 1]).await;
    // The count stays the same, and the annotation counts all the same.
    scene
        .scale(5, json!({"who": "test", ANNOTATION: "true"}))
        .await;
    scene.counts(&[1, 2, 3]).await;
    scene.scale(5, json!({ANNOTATION: "2"})).await;
    scene.counts(&[1, 2, 1, 2]).await;
    scene.scale(5, json!({ANNOTATION: "false"})).await;
    scene.counts(&[1, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_annotations_leaves_reuse_as_it_is() {
    let on = json!({ANNOTATION: "100"});
    let mut scene = Scene::start(on.clone()).await;
    scene.counts(&[1, 2]).await;
    scene.scale(5, json!({})).await;
    scene.scale(6, json!({})).await;
    scene.counts(&[3]).await;
    assert_eq!(scene.annotations().await, on);
    scene.scale(6, json!({"who": "test"})).await;
    scene.counts(&[1, 1]).await;
    assert_eq!(scene.annotations().await, json!({"who": "test"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_means_nothing_is_refused_by_name() {
    let mut scene = Scene::start(json!({})).await;
    for value in ["0", "often"] {
        scene.command(7, json!({ANNOTATION: value})).await;
        let failed = scene.events.data("component_scale_failed").await;
        assert_eq!(failed["code"], "bad-request", "{failed}");
        let error = failed["error"].as_str().unwrap();
        assert!(
            error.contains(ANNOTATION) && error.contains(value),
            "{error}"
        );
        let hint = failed["hint"].as_str().unwrap();
        assert!(hint.contains("`true`"), "{hint}");
    }
    scene.counts(&[1, 1]).await;
    let inventory = scene.lattice.inventory(&scene.host).await;
    assert_eq!(inventory["components"][0]["max_instances"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_met_by_the_next_call_and_keeps_the_annotation() {
    let mut scene = Scene::start(json!({ANNOTATION: "true"})).await;
    scene.counts(&[1, 2]).await;
    let new = scene.lattice.component("new.wasm", &counter(100));
    let tail = format!("component.update.{}", scene.host.id());
    let update = json!({"component_id": "counter", "new_component_ref": new});
    scene.lattice.done(&tail, &update).await;
    scene
        .events
        .find("component_scaled", |data| data["max_instances"] == 0)
        .await;
    scene.counts(&[101, 102, 103]).await;
    // Other limits are other code, which begins anew as well.
    let command = json!({
        "component_ref": new, "component_id": "counter", "count": 5,
        "component_limits": {"max_execution_time": "30"},
    });
    scene.lattice.scale(&scene.host, &command).await;
    scene.events.data("component_scaled").await;
    scene.counts(&[101, 102]).await;
}
