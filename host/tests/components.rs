//! Components: start, scale, update in place, stop, and calls to them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Events, Lattice, golden, until, wat};
use lattice_host::Host;
use lattice_rpc::{CallError, Invocation, Peer, RemoteError};
use serde_json::{Value, json};
use tokio::time::Instant;

fn scale(host: &Host, image: &str, count: u32) -> Value {
    json!({
        "component_ref": image, "component_id": "addc", "annotations": {"who": "golden"},
        "count": count, "host_id": host.id().as_str(), "config": [],
    })
}

async fn call(peer: &Peer, function: &str, params: &[u8]) -> Result<Vec<u8>, CallError> {
    let subject = format!("default.addc.wrpc.0.0.1.{function}");
    let deadline = Instant::now() + Duration::from_secs(5);
    let invocation = Invocation::new(subject, deadline).source("test");
    peer.call(invocation, params.to_vec().into())
        .await
        .map(|bytes| bytes.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_started_scaled_and_stopped() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    let image = lattice.component("add.wasm", &wat::adder(0));

    let reply = lattice.scale(&host, &scale(&host, &image, 10)).await;
    golden::same_shape(&reply, &golden::reply("component.scale counter"));
    let event = loop {
        // That the host has started may still be on its way.
        let (name, event) = events.next().await;
        if name != "host_started" {
            assert_eq!(name, "component_scaled");
            break event;
        }
    };
    assert_eq!(event["source"], host.id().as_str());
    let recorded = golden::event("component.scale counter", "component_scaled");
    golden::same_shape(&event["data"], &recorded);
    assert_eq!(event["data"]["max_instances"], 10);
    assert_eq!(event["data"]["image_ref"], image);
    assert_eq!(event["data"]["annotations"], json!({"who": "golden"}));
    assert_eq!(
        call(&peer, "add", &[5, 0x90, 0x4e]).await.unwrap(),
        [0x95, 0x4e]
    );

    lattice.scale(&host, &scale(&host, &image, 5)).await;
    assert_eq!(events.data("component_scaled").await["max_instances"], 5);
    lattice.scale(&host, &scale(&host, &image, 5)).await;
    assert_eq!(events.data("component_scaled").await["max_instances"], 5);
    let inventory = lattice.inventory(&host).await;
    let component = &inventory["components"][0];
    assert_eq!(
        (&component["id"], &component["max_instances"]),
        (&json!("addc"), &json!(5))
    );

    // The file is not needed to stop.
    std::fs::remove_file(lattice.path("add.wasm")).unwrap();
    lattice.scale(&host, &scale(&host, &image, 0)).await;
    let stopped = events.data("component_scaled").await;
    golden::same_shape(
        &stopped,
        &golden::event("component stop", "component_scaled"),
    );
    assert_eq!(stopped["max_instances"], 0);
    let gone = call(&peer, "add", &[1, 2]).await.unwrap_err();
    assert!(matches!(gone, CallError::NotServed { .. }), "{gone}");
    // Stopping what does not run fetches nothing and is a success.
    lattice
        .scale(&host, &scale(&host, "file:///nowhere.wasm", 0))
        .await;
    assert_eq!(events.data("component_scaled").await["max_instances"], 0);
    assert!(events.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_a_success_first_and_a_failure_as_an_event() {
    let (lattice, host, mut events) = Lattice::running().await;
    let command = json!({"component_ref": "file:///nope.wasm", "component_id": "nope", "count": 1});
    let reply = lattice.scale(&host, &command).await;
    assert_eq!(reply, golden::reply("component.scale missing file"));
    let mut data = events.data("component_scale_failed").await;
    // Only our hosts say of what kind it is and what to do.
    let fields = data.as_object_mut().unwrap();
    assert_eq!(fields.remove("code").unwrap(), "not-found");
    let hint = fields.remove("hint").unwrap();
    assert!(hint.as_str().unwrap().contains("check the path"), "{hint}");
    golden::same_shape(
        &data,
        &golden::event("component.scale missing file", "component_scale_failed"),
    );
    assert_eq!(data["host_id"], host.id().as_str());
    let error = data["error"].as_str().unwrap();
    assert!(
        error.contains("file:///nope.wasm") && error.contains("No such file"),
        "{error}"
    );
}

/// An image that cannot be started, the config it is to get, and parts of the error and the hint.
type BadImage = (String, &'static [&'static str], &'static str, &'static str);

/// References to everything that is no image, for a host whose images have 100,000 bytes at most.
fn bad_images(lattice: &Lattice) -> Vec<BadImage> {
    let write = |name: &str, bytes: &[u8]| {
        let path = lattice.path(name);
        std::fs::write(&path, bytes).unwrap();
        common::reference(&path)
    };
    let whole = ::wat::parse_str(wat::adder(0)).unwrap();
    let cut = write("cut.wasm", &whole[..whole.len() / 2]);
    let large = write("large.wasm", &[0; 100_001]);
    let unlinked = lattice.component(
        "unlinked.wasm",
        r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance
             (export "nonsense" (func)))))"#,
    );
    let large_hint = "--max-component-size-bytes";
    let plain = [
        (
            write("text.wasm", b"hello"),
            "not WebAssembly",
            "wash build",
        ),
        (write("empty.wasm", b""), "it is empty", "wash build"),
        (cut, "well-formed", "cut off"),
        (large, "limit of 100000", large_hint),
        (
            lattice.component("module.wasm", "(module)"),
            "core module",
            "wasm32-wasip2",
        ),
        (unlinked, "nonsense", "wash inspect"),
        (
            common::reference(lattice.dir.path()),
            "is not a file",
            "name the file",
        ),
        ("oci://ghcr.io/a/b:1".into(), "registry", "file:///"),
        ("./relative.wasm".into(), "relative.wasm", "file:///"),
        ("file://relative.wasm".into(), "absolute path", "file:///"),
    ];
    let none: &[&str] = &[];
    let plain = plain.map(|(image, error, hint)| (image, none, error, hint));
    let good = lattice.component("add.wasm", &wat::adder(0));
    let missing = "Config nothing does not exist";
    let secret = "secret store not configured";
    let configured: [BadImage; 2] = [
        (good.clone(), &["nothing"], missing, "wash config put"),
        (good, &["SECRET_x"], secret, "--secrets-topic"),
    ];
    plain.into_iter().chain(configured).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_images_are_refused_by_name() {
    let (lattice, host, mut events) =
        Lattice::running_with(|config| config.runtime.max_component_bytes = 100_000).await;
    for (image, config, expected, hint) in bad_images(&lattice) {
        let command = json!({
            "component_ref": image, "component_id": "addc", "count": 1, "config": config,
        });
        lattice.scale(&host, &command).await;
        let failed = events.data("component_scale_failed").await;
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains(expected), "{image}: {error}");
        let told = failed["hint"].as_str().unwrap_or_default();
        assert!(told.contains(hint), "{image}: {told}");
    }
    let inventory = lattice.inventory(&host).await;
    assert_eq!(inventory["components"], json!([]));
}

/// Calls `add(1, 2)` one time after the other until the version that adds 100 answers.
async fn answers_until_the_new_one(peer: Peer) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while answers.last() != Some(&vec![103]) {
        answers.push(call(&peer, "add", &[1, 2]).await.unwrap());
    }
    answers
}

/// The new image is told of with its instances, and then that the old one has none left.
async fn the_swap_is_told(events: &mut Events, image: &str) {
    let first = events.data("component_scaled").await;
    golden::same_shape(
        &first,
        &golden::event("component.update counter", "component_scaled"),
    );
    assert_eq!(
        (&first["image_ref"], &first["max_instances"]),
        (&json!(image), &json!(5))
    );
    assert_eq!(first["annotations"], json!({"who": "golden"}));
    let second = events.data("component_scaled").await;
    assert_eq!(
        (&second["image_ref"], &second["max_instances"]),
        (&json!(image), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_swaps_the_code_in_place() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    let old = lattice.component("old.wasm", &wat::adder(0));
    let new = lattice.component("new.wasm", &wat::adder(100));
    lattice.scale(&host, &scale(&host, &old, 5)).await;
    events.data("component_scaled").await;

    let update = |image: &str| json!({"component_id": "addc", "new_component_ref": image});
    let tail = format!("component.update.{}", host.id());
    let unknown = json!({"component_id": "other", "new_component_ref": new});
    let reply = lattice.control(&tail, &unknown).await;
    assert_eq!(
        (&reply["success"], &reply["message"]),
        (&json!(false), &json!("component other not found"))
    );
    let reply = lattice.done(&tail, &update(&old)).await;
    assert_eq!(
        reply["message"],
        format!("component addc already updated to {old}")
    );

    // Calls go on all the time, and each is answered by one version or the other.
    let calls = tokio::spawn(answers_until_the_new_one(peer.clone()));
    let reply = lattice.done(&tail, &update(&new)).await;
    assert_eq!(
        reply["message"],
        format!("component addc updating from {old} to {new}")
    );
    the_swap_is_told(&mut events, &new).await;
    let answers = calls.await.unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| *answer == [3] || *answer == [103]),
        "{answers:?}"
    );
    for _ in 0..20 {
        assert_eq!(call(&peer, "add", &[1, 2]).await.unwrap(), [103]);
    }

    // A failed update is told, and the running version stays.
    lattice.done(&tail, &update("file:///nope.wasm")).await;
    let failed = events.data("component_scale_failed").await;
    assert_eq!(failed["image_ref"], "file:///nope.wasm");
    assert_eq!(call(&peer, "add", &[1, 2]).await.unwrap(), [103]);
    let inventory = lattice.inventory(&host).await;
    assert_eq!(inventory["components"][0]["image_ref"], new);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_may_change_the_exports() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    let old = lattice.component("old.wasm", wat::TROUBLE);
    let new = lattice.component("new.wasm", wat::SUMS);
    lattice.scale(&host, &scale(&host, &old, 5)).await;
    events.data("component_scaled").await;
    let mut command = scale(&host, &new, 5);
    command["allow_update"] = json!(true);
    let reply = lattice.scale(&host, &command).await;
    assert!(reply["message"].as_str().unwrap().contains("updated"));
    events
        .find("component_scaled", |data| data["max_instances"] == 0)
        .await;
    assert_eq!(
        call(&peer, "test:add/sums@0.1.0.add", &[1, 2])
            .await
            .unwrap(),
        [3]
    );
    until("the old export to be gone", async || {
        call(&peer, "add", &[1, 2])
            .await
            .err()
            .filter(|e| matches!(e, CallError::NotServed { .. }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_and_an_overdue_call_are_errors_for_the_caller_and_events_for_the_operator() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    let image = lattice.component("trouble.wasm", wat::TROUBLE);
    let mut command = scale(&host, &image, 5);
    command["component_limits"] = json!({"max_execution_time": "1"});
    lattice.scale(&host, &command).await;
    events.data("component_scaled").await;

    let error = call(&peer, "trap", &[]).await.unwrap_err();
    let CallError::Remote(remote) = &error else {
        panic!("{error}")
    };
    assert!(
        remote.code == RemoteError::FAILED && remote.message.contains("trap"),
        "{remote:?}"
    );
    let data = events.data("invocation_failed").await;
    assert_eq!(
        (&data["component_id"], &data["code"]),
        (&json!("addc"), &json!("component-failed"))
    );
    assert_eq!(
        (&data["source_id"], &data["operation"]),
        (&json!("test"), &json!("trap"))
    );

    let started = Instant::now();
    let error = call(&peer, "spin", &[]).await.unwrap_err();
    let CallError::Remote(remote) = &error else {
        panic!("{error}")
    };
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert!(!remote.message.is_empty());
    let data = events.data("invocation_failed").await;
    assert_eq!(data["operation"], "spin");
    // Neither has harmed the component.
    assert_eq!(call(&peer, "add", &[1, 2]).await.unwrap(), [3]);
    until("all permits and slots to be free", async || {
        (peer.stats().open_calls == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_exports_waits_and_ends() {
    let (lattice, host, mut events) = Lattice::running().await;
    let image = lattice.component("empty.wasm", wat::EMPTY);
    lattice.scale(&host, &scale(&host, &image, 1)).await;
    assert_eq!(events.data("component_scaled").await["max_instances"], 1);
    lattice.scale(&host, &scale(&host, &image, 0)).await;
    assert_eq!(events.data("component_scaled").await["max_instances"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_signed_component_are_checked_told_and_kept() {
    use lattice_claims::component::ValidTimes;
    use lattice_claims::{ComponentMetadata, KeyKind, SigningKey, epoch_seconds, sign_component};

    let (lattice, host, mut events) = Lattice::running().await;
    let account = SigningKey::generate(KeyKind::Account);
    let subject = SigningKey::generate(KeyKind::Component);
    let metadata = ComponentMetadata {
        name: Some("Adder".into()),
        revision: Some(7),
        version: Some("0.1.0".into()),
        ..ComponentMetadata::default()
    };
    let wasm = ::wat::parse_str(wat::adder(0)).unwrap();
    let times = ValidTimes::from(epoch_seconds());
    let signed = sign_component(&wasm, metadata, &account, &subject, times).unwrap();
    let path = lattice.path("signed.wasm");
    std::fs::write(&path, &signed).unwrap();
    let image = common::reference(&path);
    lattice.scale(&host, &scale(&host, &image, 1)).await;
    let data = events.data("component_scaled").await;
    assert_eq!(data["public_key"], subject.public_key());
    assert_eq!(data["claims"]["issuer"], account.public_key());
    assert_eq!(data["claims"]["expires_human"], "never");
    let claims = until("the claims", async || {
        let reply = lattice.control_raw("claims.get", "").await;
        reply["response"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&claims["name"], &claims["rev"]),
        (&json!("Adder"), &json!("7"))
    );
    let inventory = lattice.inventory(&host).await;
    let listed = &inventory["components"][0];
    assert_eq!(
        (&listed["name"], &listed["revision"]),
        (&json!("Adder"), &json!(7))
    );

    // One changed byte in the code is noticed.
    let place = signed
        .windows(4)
        .position(|bytes| bytes == [0x20, 0x00, 0x20, 0x01])
        .unwrap();
    let mut changed = signed;
    changed[place + 3] = 0x00;
    std::fs::write(&path, &changed).unwrap();
    let mut command = scale(&host, &image, 1);
    command["component_id"] = json!("other");
    lattice.scale(&host, &command).await;
    let failed = events.data("component_scale_failed").await;
    assert!(
        failed["error"].as_str().unwrap().contains("hash mismatch"),
        "{failed}"
    );
}
