//! What a provider gets of the secrets that it and its links name.

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_claims::{CurveKey, KeyKind};
use lattice_core::provider::{SecretMap, SecretValue};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::provider::Program;
use crate::common::{SOON, until};
use crate::{REFRESH, Scene};

/// The keys that a process was given: its own, and the host's public one.
struct Opener {
    own: CurveKey,
    host: CurveKey,
}

impl Opener {
    fn of(data: &Value) -> Self {
        let text = |field: &str| data[field].as_str().unwrap().to_owned();
        Self {
            own: CurveKey::from_seed(&text("provider_xkey_private_key")).unwrap(),
            host: CurveKey::from_public_key(&text("host_xkey_public_key")).unwrap(),
        }
    }

    fn open(&self, sealed: &[u8]) -> SecretMap {
        self.own.open_secrets(Some(sealed), &self.host).unwrap()
    }

    /// The secrets in one field of a link, which are an array of numbers.
    fn field(&self, link: &Value, field: &str) -> Option<SecretMap> {
        let sealed: Option<Vec<u8>> = serde_json::from_value(link[field].clone()).unwrap();
        sealed.map(|sealed| self.open(&sealed))
    }
}

fn db(text: &str) -> SecretMap {
    SecretMap::from_iter([("db".to_owned(), SecretValue::String(text.to_owned()))])
}

fn link(config: &[&str]) -> Value {
    json!({
        "source_id": "counter", "target": "kv", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
        "target_config": config,
    })
}

async fn next(messages: &mut Subscriber) -> Vec<u8> {
    let message = timeout(SOON, messages.next()).await.expect("a message");
    message.unwrap().payload.to_vec()
}

impl Scene {
    async fn listen(&self, subject: &str) -> Subscriber {
        let subject = format!("wasmbus.rpc.default.{subject}");
        let messages = self.lattice.client.subscribe(subject).await.unwrap();
        lattice_nats_box::taken_in(&self.lattice.client)
            .await
            .unwrap();
        messages
    }

    /// Answers for the health of a process of 1.9.
    async fn answers(&self) -> tokio::task::JoinHandle<()> {
        let mut requests = self.listen("kv.health").await;
        let client = self.lattice.client.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let answer = json!({"healthy": true}).to_string().into();
                client
                    .publish(request.reply.unwrap(), answer)
                    .await
                    .unwrap();
            }
        })
    }

    /// Starts a signed provider that waits, and answers for its health.
    async fn provider(&mut self, config: &[&str]) -> (Value, tokio::task::JoinHandle<()>) {
        let health = self.answers().await;
        let program = Program::new(&self.lattice, "kv", "exec sleep 1000");
        let image = self.signed_archive(&program.path);
        let command = json!({
            "provider_id": "kv", "provider_ref": image, "host_id": self.host.id().as_str(),
            "config": config,
        });
        self.lattice.provide(&self.host, &command).await;
        (program.host_data(0).await, health)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_given_its_secrets_at_its_start_and_sealed_when_they_change() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    let mut updates = scene.listen("*.secrets.update").await;
    let (data, health) = scene.provider(&["SECRET_db"]).await;
    let given = json!({"db": {"kind": "String", "value": "hunter2"}});
    assert_eq!(data["secrets"], given);
    scene.put("db", "correct horse").await;
    let sealed = next(&mut updates).await;
    assert_eq!(Opener::of(&data).open(&sealed), db("correct horse"));
    health.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn link_secrets_are_sealed_for_the_end_that_names_them_and_put_again_when_they_change() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    scene.lattice.done("link.put", &link(&["SECRET_db"])).await;
    let mut puts = scene.listen("*.linkdefs.put").await;
    let mut dels = scene.listen("kv.linkdefs.del").await;
    let (data, health) = scene.provider(&[]).await;
    let opener = Opener::of(&data);
    let first = &data["link_definitions"][0];
    assert_eq!(opener.field(first, "target_secrets"), Some(db("hunter2")));
    assert_eq!(first["source_secrets"], Value::Null);
    assert_eq!(first["target_config"], json!({}));

    scene.put("db", "correct horse").await;
    let removal: Value = serde_json::from_slice(&next(&mut dels).await).unwrap();
    assert_eq!(removal["target_secrets"], Value::Null);
    until("the link to be put with the new secret", async || {
        let told: Value = serde_json::from_slice(&next(&mut puts).await).unwrap();
        let secrets = opener.field(&told, "target_secrets");
        (secrets == Some(db("correct horse"))).then_some(())
    })
    .await;
    health.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_secret_is_refused_fails_with_the_reason_and_is_withdrawn() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    let (_data, health) = scene.provider(&[]).await;
    scene.deny("db").await;
    let mut puts = scene.listen("*.linkdefs.put").await;
    let mut dels = scene.listen("kv.linkdefs.del").await;
    scene.lattice.done("link.put", &link(&["SECRET_db"])).await;
    let failed = |data: &Value| data["endpoint"] == "kv" && data["state"] == "failed";
    let event = scene.events.find("link_status_changed", failed).await;
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains("is not for this"), "{reason}");
    // What helps is noticed without anybody touching the link.
    scene.allow("db").await;
    next(&mut puts).await;
    // And so is what takes it away again.
    scene.deny("db").await;
    next(&mut dels).await;
    let event = scene.events.find("link_status_changed", failed).await;
    assert!(event["reason"].as_str().unwrap().contains("SECRET_db"));
    health.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_loses_a_link_whose_secret_is_refused_and_others_of_its_id_keep_it() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    scene.lattice.done("link.put", &link(&["SECRET_db"])).await;
    let (data, health) = scene.provider(&[]).await;
    assert_eq!(data["link_definitions"][0]["source_id"], "counter");
    scene.events.data("health_check_passed").await;
    let other = scene.answers().await;
    let mut dels = scene.listen("kv.linkdefs.del").await;
    scene.deny("db").await;
    let exited = scene.events.data("provider_exited").await;
    let status = exited["status"].as_str().unwrap();
    assert!(
        status.contains("no longer have one of its links"),
        "{status}"
    );
    // What it is started with anew is noted where it was before.
    let program = Program::new(&scene.lattice, "kv", "exec sleep 1000");
    let data = program.host_data(1).await;
    assert_eq!(data["link_definitions"], json!([]));
    let subject = "wasmbus.rpc.default.kv.linkdefs.del";
    let mark = scene.lattice.client.publish(subject, "mark".into());
    mark.await.unwrap();
    assert_eq!(next(&mut dels).await, b"mark");
    health.abort();
    other.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_a_token_is_refused_by_name() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    let program = Program::new(&scene.lattice, "kv", "exec sleep 1000");
    let command = json!({
        "provider_id": "kv", "provider_ref": program.reference(),
        "host_id": scene.host.id().as_str(), "config": ["SECRET_db"],
    });
    scene.lattice.provide(&scene.host, &command).await;
    let outcome = scene.outcome(["provider_start_failed", "provider_started"]);
    let (name, data) = outcome.await;
    assert_eq!(name, "provider_start_failed");
    let error = data["error"].as_str().unwrap();
    assert!(error.contains("only what is signed"), "{error}");
    assert!(data["hint"].as_str().unwrap().contains("wash par create"));
}
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_not_started_again_without_a_secret_that_it_may_no_longer_have() {
    let mut scene = Scene::start(KeyKind::Provider, REFRESH).await;
    let end = scene.lattice.path("end");
    let then = format!("while [ ! -e {} ]; do sleep 0.05; done", end.display());
    let program = Program::new(&scene.lattice, "kv", &then);
    let image = scene.signed_archive(&program.path);
    let command = json!({
        "provider_id": "kv", "provider_ref": image, "host_id": scene.host.id().as_str(),
        "config": ["SECRET_db"],
    });
    scene.lattice.provide(&scene.host, &command).await;
    program.host_data(0).await;
    scene.deny("db").await;
    scene.events.data("secrets_lost").await;
    std::fs::write(&end, "").unwrap();
    let refused = |data: &Value| data["status"].as_str().unwrap().contains("SECRET_db");
    scene.events.find("provider_exited", refused).await;
    assert_eq!(program.starts(), 1);
    // Once it may have it again, it is started with it.
    std::fs::remove_file(&end).unwrap();
    scene.allow("db").await;
    let data = program.host_data(1).await;
    let given = json!({"db": {"kind": "String", "value": "hunter2"}});
    assert_eq!(data["secrets"], given);
}
