//! Calls under way when a component goes and the host with it: they end by themselves, as long as
//! the host has time for them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::provider::Program;
use common::{Lattice, SOON, sums, until, wat};
use futures::StreamExt as _;
use lattice_host::{Host, StopReason, StopRequest};
use lattice_rpc::{CallError, IncomingCall, Limiter, Peer, RemoteError, ServeHandle, ServeOptions};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A component on a host, under way with a call that waits for one that the test answers.
struct Scene {
    lattice: Lattice,
    host: Host,
    peer: Peer,
    image: String,
    call: JoinHandle<Result<Vec<u8>, CallError>>,
    /// Lets the call go on.
    gate: Arc<Semaphore>,
    _adder: ServeHandle,
}

/// Serves `sums.add`, whose answers wait at the gate.
async fn serve_adder(peer: &Peer, arrived: Arc<Semaphore>, gate: Arc<Semaphore>) -> ServeHandle {
    let options = ServeOptions {
        limiter: Arc::new(Limiter::new(10, 10, SOON)),
        default_deadline: SOON,
        longest_deadline: SOON,
        relief: lattice_rpc::Relief::default(),
        takes: None,
    };
    let answer = move |call: IncomingCall| {
        let (arrived, gate) = (Arc::clone(&arrived), Arc::clone(&gate));
        async move {
            arrived.add_permits(1);
            gate.acquire().await.unwrap().forget();
            call.responder.reply(vec![42].into()).await.unwrap();
        }
    };
    let subject = "default.adder.wrpc.0.0.1.test:add/sums@0.1.0.add";
    let handle = peer.serve(subject, "adder", options, answer).await.unwrap();
    peer.confirm(SOON).await.unwrap();
    handle
}

impl Scene {
    async fn new() -> Self {
        let (lattice, host, mut events) = Lattice::running().await;
        let peer = lattice.peer().await;
        let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let adder = serve_adder(&peer, Arc::clone(&arrived), Arc::clone(&gate)).await;
        let link = sums::link("twice", "adder");
        lattice.done("link.put", &link).await;
        events.data("linkdef_set").await;
        lattice.run(&host, "twice", wat::TWICE).await;
        let image = common::reference(&lattice.path("twice.wasm"));
        let call = tokio::spawn(call_twice(peer.clone()));
        timeout(SOON, arrived.acquire())
            .await
            .unwrap()
            .unwrap()
            .forget();
        Self {
            lattice,
            host,
            peer,
            image,
            call,
            gate,
            _adder: adder,
        }
    }

    async fn scale(&self, command: Value) {
        let mut events = self.lattice.events().await;
        self.lattice.scale(&self.host, &command).await;
        let seen = |data: &Value| data["max_instances"] == command["count"];
        events.find("component_scaled", seen).await;
    }

    /// Stops the host, answers the call when the host waits for nothing else, and expects that it
    /// has an end like any other.
    async fn stops_after_the_call(self) {
        let drain = tokio::spawn(self.host.drain(StopRequest::now(StopReason::Program)));
        let mut events = self.lattice.events().await;
        // Longer than everything else that the host does before it ends.
        let early = timeout(Duration::from_secs(1), events.data("host_stopped")).await;
        assert!(early.is_err() && !drain.is_finished() && !self.call.is_finished());
        self.gate.add_permits(1);
        assert_eq!(self.call.await.unwrap().unwrap(), [42]);
        timeout(SOON, drain).await.unwrap().unwrap();
    }
}

async fn call_twice(peer: Peer) -> Result<Vec<u8>, CallError> {
    sums::twice(&peer, 21, SOON).await
}

fn command(image: &str, count: u32) -> Value {
    json!({"component_ref": image, "component_id": "twice", "count": count})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_waits_for_the_calls_of_a_component_that_was_stopped_before() {
    let scene = Scene::new().await;
    scene.scale(command(&scene.image, 0)).await;
    scene.stops_after_the_call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_waits_for_the_calls_of_a_component_that_was_limited_otherwise() {
    let scene = Scene::new().await;
    let mut limited = command(&scene.image, 11);
    limited["component_limits"] = json!({"max_execution_time": "30"});
    scene.scale(limited).await;
    scene.stops_after_the_call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_waits_for_the_calls_of_a_function_that_an_update_removed() {
    let scene = Scene::new().await;
    let image = scene.lattice.component("sums.wasm", wat::SUMS);
    let mut events = scene.lattice.events().await;
    let update = json!({"component_id": "twice", "new_component_ref": image});
    let tail = format!("component.update.{}", scene.host.id());
    scene.lattice.done(&tail, &update).await;
    events
        .find("component_scaled", |data| data["max_instances"] == 0)
        .await;
    scene.stops_after_the_call().await;
}

/// Starts a provider that only calls others and does not end when it is asked to, as one does that has a
/// stream open.
async fn start_source(scene: &Scene) {
    let program = Program::new(&scene.lattice, "gateway", "exec sleep 1000");
    let mut events = scene.lattice.events().await;
    let link = sums::link("gateway", "twice");
    scene.lattice.done("link.put", &link).await;
    events.data("linkdef_set").await;
    let command = json!({
        "provider_id": "gateway", "provider_ref": program.reference(),
        "host_id": scene.host.id().as_str(),
    });
    scene.lattice.provide(&scene.host, &command).await;
    until("the provider", async || {
        let inventory = scene.lattice.inventory(&scene.host).await;
        (inventory["providers"][0]["id"] == "gateway").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_in_with_an_open_stream_leaves_time_for_the_calls_of_others() {
    let scene = Scene::new().await;
    // It is asked, and nobody answers.
    let mut shutdown = scene.lattice.shutdown_of("gateway").await;
    start_source(&scene).await;
    let request = StopRequest {
        reason: StopReason::Program,
        timeout: Some(Duration::from_secs(6)),
    };
    let peer = scene.peer.clone();
    let drain = tokio::spawn(scene.host.drain(request));
    timeout(SOON, shutdown.next()).await.unwrap().unwrap();
    until("the component to take no more calls", async || {
        let call = timeout(Duration::from_millis(500), call_twice(peer.clone())).await;
        matches!(call, Ok(Err(CallError::NotServed { .. }))).then_some(())
    })
    .await;
    assert!(!scene.call.is_finished() && !drain.is_finished());
    scene.gate.add_permits(100);
    assert_eq!(scene.call.await.unwrap().unwrap(), [42]);
    timeout(SOON, drain).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_stopped_component_are_cut_off_when_the_host_has_no_more_time() {
    let scene = Scene::new().await;
    scene.scale(command(&scene.image, 0)).await;
    let request = StopRequest {
        reason: StopReason::Program,
        timeout: Some(Duration::from_millis(300)),
    };
    timeout(Duration::from_secs(8), scene.host.drain(request))
        .await
        .unwrap();
    let error = scene.call.await.unwrap().unwrap_err();
    let CallError::Remote(error) = error else {
        panic!("no error of the called side: {error}")
    };
    assert_eq!(error.code, RemoteError::INTERRUPTED);
    scene.gate.add_permits(1);
    until("the call to be forgotten", async || {
        (scene.peer.stats().open_calls == 0).then_some(())
    })
    .await;
}
