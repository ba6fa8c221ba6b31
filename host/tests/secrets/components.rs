//! What a component gets of the secrets that it names.

use std::time::Duration;

use futures::StreamExt as _;
use lattice_claims::{Claims, ComponentMetadata, KeyKind, SigningKey, epoch_seconds};
use lattice_rpc::{Invocation, Peer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::until;
use crate::{NEVER, REFRESH, Scene};

/// Gets a secret by its key and reveals it: 0 and the text, or the number of the error's case.
const REVEAL: &str = include_str!("../../runtime/tests/wat/secret.wat");

impl Scene {
    async fn scale(&mut self, image: &str, config: &[&str]) -> (String, Value) {
        let command = json!({
            "component_ref": image, "component_id": "reveal", "count": 1, "config": config,
        });
        self.lattice.scale(&self.host, &command).await;
        self.outcome(["component_scaled", "component_scale_failed"])
            .await
    }

    /// Runs the component that reveals `SECRET_db`.
    async fn run(&mut self) -> Peer {
        let image = self.signed_component(REVEAL);
        let (name, data) = self.scale(&image, &["SECRET_db"]).await;
        assert_eq!(name, "component_scaled", "{data}");
        self.lattice.peer().await
    }
}

/// What the component says of a secret: the case, and the text.
async fn reveal(peer: &Peer, key: &str) -> (u8, String) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let call = Invocation::new("default.reveal.wrpc.0.0.1.run", deadline).source("test");
    let mut params = vec![u8::try_from(key.len()).unwrap()];
    params.extend_from_slice(key.as_bytes());
    let answer = peer.call(call, params.into()).await.unwrap();
    (answer[0], String::from_utf8(answer[2..].to_vec()).unwrap())
}

async fn until_revealed(peer: &Peer, wanted: &str) {
    until("the secret to change", async || {
        let (case, text) = reveal(peer, "db").await;
        (case == 0 && text == wanted).then_some(())
    })
    .await;
}

/// The cases of `secrets-error`.
const UPSTREAM: u8 = 0;
const NOT_FOUND: u8 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_component_reveals_its_secret_and_sees_a_rotated_one() {
    let mut scene = Scene::start(KeyKind::Component, REFRESH).await;
    let peer = scene.run().await;
    assert_eq!(reveal(&peer, "db").await, (0, "hunter2".to_owned()));
    assert_eq!(reveal(&peer, "other").await.0, NOT_FOUND);
    scene.put("db", "correct horse").await;
    until_revealed(&peer, "correct horse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_reference_counts_at_once_and_a_deleted_one_takes_the_secret_away() {
    let mut scene = Scene::start(KeyKind::Component, NEVER).await;
    let peer = scene.run().await;
    assert_eq!(reveal(&peer, "db").await.1, "hunter2");
    scene.put("db2", "battery staple").await;
    scene.allow("db2").await;
    scene.refer("db", "db2").await;
    until_revealed(&peer, "battery staple").await;
    scene
        .lattice
        .done("config.del.SECRET_db", &Value::Null)
        .await;
    until("the secret to go", async || {
        (reveal(&peer, "db").await.0 == NOT_FOUND).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_may_no_longer_have_a_secret_hears_so() {
    let mut scene = Scene::start(KeyKind::Component, REFRESH).await;
    let peer = scene.run().await;
    assert_eq!(reveal(&peer, "db").await.1, "hunter2");
    scene.deny("db").await;
    until("the secret to be refused", async || {
        let (case, text) = reveal(&peer, "db").await;
        // The guest gives the number of the case in the place of the 0, and no text.
        (case == UPSTREAM && text.is_empty()).then_some(())
    })
    .await;
    let told = scene.outcome(["secrets_lost", "-"]).await.1;
    let wanted = (&json!("reveal"), &json!(["SECRET_db"]));
    assert_eq!((&told["id"], &told["names"]), wanted, "{told}");
    assert!(told["error"].as_str().unwrap().contains("db"), "{told}");
    scene.allow("db").await;
    until_revealed(&peer, "hunter2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_keeps_its_secret_while_the_backend_is_away() {
    let mut scene = Scene::start(KeyKind::Component, REFRESH).await;
    let peer = scene.run().await;
    scene.silence().await;
    let until = Instant::now() + REFRESH * 5;
    while Instant::now() < until {
        assert_eq!(reveal(&peer, "db").await.1, "hunter2");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_keeps_its_secret_when_its_token_expires() {
    let mut scene = Scene::start(KeyKind::Component, REFRESH).await;
    // A slow machine takes its time to start it, so the next try gets more.
    let mut started = false;
    for seconds in [3, 15, 60] {
        let image = scene.component_until(REVEAL, Some(epoch_seconds() + seconds));
        let (name, data) = scene.scale(&image, &["SECRET_db"]).await;
        started = name == "component_scaled";
        if started {
            break;
        }
        assert!(
            data["error"].as_str().unwrap().contains("expired"),
            "{data}"
        );
    }
    assert!(started, "it never started");
    let peer = scene.lattice.peer().await;
    assert_eq!(reveal(&peer, "db").await.1, "hunter2");
    while scene.events.next().await.0 != "claims_expired" {}

    // The backend refuses from now on. After the second question the first answer has been seen.
    let asked = "wasmcloud.secrets.v1alpha1.nats-kv.get";
    let mut asked = scene.lattice.client.subscribe(asked).await.unwrap();
    for _ in 0..3 {
        asked.next().await.unwrap();
    }
    assert_eq!(reveal(&peer, "db").await, (0, "hunter2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsigned_unmapped_or_missing_is_refused_by_name_with_a_hint() {
    let mut scene = Scene::start(KeyKind::Component, NEVER).await;
    scene.put("other", "x").await;
    scene.refer("other", "other").await;
    scene.refer("none", "none").await;
    scene.allow("none").await;
    let odd = json!({"a": "b"});
    scene.lattice.done("config.put.SECRET_odd", &odd).await;
    let signed = scene.signed_component(REVEAL);
    let unsigned = scene.lattice.component("unsigned.wasm", REVEAL);
    for (image, secret, says, hint) in [
        (
            &unsigned,
            "SECRET_db",
            "only what is signed",
            "wash claims sign",
        ),
        (&signed, "SECRET_other", "is not for this", "add-mapping"),
        (
            &signed,
            "SECRET_none",
            "no such secret",
            "secrets-backend put",
        ),
        (
            &signed,
            "SECRET_gone",
            "not found in config store",
            "wash secrets put",
        ),
        (&signed, "SECRET_odd", "is no reference", "wash secrets put"),
    ] {
        let (name, data) = scene.scale(image, &[secret]).await;
        assert_eq!(name, "component_scale_failed", "{secret}: {data}");
        let error = data["error"].as_str().unwrap();
        assert!(error.contains(says), "{secret}: {error}");
        assert!(error.contains(secret), "{secret}: {error}");
        let told = data["hint"].as_str().unwrap_or_default();
        assert!(told.contains(hint), "{secret}: {told}");
    }
    let running = scene.lattice.inventory(&scene.host).await;
    assert_eq!(running["components"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_no_file_gives_no_secrets() {
    let mut scene = Scene::start(KeyKind::Component, NEVER).await;
    // A token of before hashes were compared can be put into any file.
    let subject = scene.entity.public_key();
    let mut claims = Claims::new(subject, ComponentMetadata::default(), epoch_seconds());
    claims.revision = Some(2);
    let token = claims
        .sign(&SigningKey::generate(KeyKind::Account))
        .unwrap();
    let foreign = lattice_claims::wasm::with_token(&::wat::parse_str(REVEAL).unwrap(), &token);
    let path = scene.lattice.path("moved.wasm");
    std::fs::write(&path, foreign.unwrap()).unwrap();
    let image = crate::common::reference(&path);
    let (name, data) = scene.scale(&image, &["SECRET_db"]).await;
    assert_eq!(name, "component_scale_failed", "{data}");
    let error = data["error"].as_str().unwrap();
    assert!(error.contains("only what is signed can have"), "{error}");
    // Without a secret it runs as what nobody has signed.
    let (name, data) = scene.scale(&image, &[]).await;
    assert_eq!(name, "component_scaled", "{data}");
    assert_eq!(data["claims"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_backend_that_is_being_started() {
    let mut scene = Scene::start(KeyKind::Component, NEVER).await;
    scene.silence().await;
    let image = scene.signed_component(REVEAL);
    let command = json!({
        "component_ref": image, "component_id": "reveal", "count": 1, "config": ["SECRET_db"],
    });
    scene.lattice.scale(&scene.host, &command).await;
    // It is asked for a while before the start fails.
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.serve().await;
    let outcome = scene.outcome(["component_scaled", "component_scale_failed"]);
    let (name, data) = outcome.await;
    assert_eq!(name, "component_scaled", "{data}");
}
