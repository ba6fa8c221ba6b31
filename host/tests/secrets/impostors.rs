//! Curve keys that are not those that host and backend think.

use futures::StreamExt as _;
use lattice_claims::{CurveKey, KeyKind};
use lattice_core::secrets::{REQUEST_XKEY, RESPONSE_XKEY};
use lattice_core::subject::SecretsSubjects;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::common::provider::Program;
use crate::{NEVER, Scene, backend, topic};

/// A component that does nothing.
const IDLE: &str = "(component)";

impl Scene {
    /// Starts what is signed and names the secret `db`; gives why that failed.
    async fn refused(&mut self, kind: KeyKind) -> Value {
        let host = self.host.id().as_str().to_owned();
        let names = match kind {
            KeyKind::Component => {
                let image = self.signed_component(IDLE);
                let command = json!({
                    "component_ref": image, "component_id": "idle", "count": 1,
                    "config": ["SECRET_db"],
                });
                self.lattice.scale(&self.host, &command).await;
                ["component_scaled", "component_scale_failed"]
            }
            _ => {
                let program = Program::new(&self.lattice, "kv", "exec sleep 1000");
                let command = json!({
                    "provider_id": "kv", "provider_ref": self.signed_archive(&program.path),
                    "host_id": host, "config": ["SECRET_db"],
                });
                self.lattice.provide(&self.host, &command).await;
                ["provider_started", "provider_start_failed"]
            }
        };
        let (name, data) = self.outcome(names).await;
        assert_eq!(name, names[1], "{data}");
        let inventory = self.lattice.inventory(&self.host).await;
        for running in ["components", "providers"] {
            assert_eq!(inventory[running], json!([]));
        }
        assert!(!data.to_string().contains("hunter2"), "{data}");
        data
    }

    /// Takes the place of the backend, and seals for one key what is said to be of another.
    async fn seal_wrongly(&mut self) -> AbortOnDropHandle<()> {
        self.silence().await;
        let (told, used) = (CurveKey::generate(), CurveKey::generate());
        let subjects = SecretsSubjects::new(&topic(), &backend());
        let mut asked = self.lattice.client.subscribe(subjects.all()).await.unwrap();
        lattice_nats_box::taken_in(&self.lattice.client)
            .await
            .unwrap();
        let client = self.lattice.client.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let reply = message.reply.unwrap();
                if message.subject.ends_with("server_xkey") {
                    let key = told.public_key().into();
                    client.publish(reply, key).await.unwrap();
                    continue;
                }
                let headers = message.headers.unwrap();
                let reader = headers.get(REQUEST_XKEY).unwrap().as_str();
                let reader = CurveKey::from_public_key(reader).unwrap();
                let secret = br#"{"secret":{"version":"1","string_secret":"hunter2"}}"#;
                let sealed = used.seal(secret, &reader).unwrap();
                let mut headers = async_nats::HeaderMap::new();
                headers.insert(RESPONSE_XKEY, told.public_key());
                let sent = client.publish_with_headers(reply, headers, sealed.into());
                sent.await.unwrap();
            }
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_of_the_backend_lets_nothing_start_that_names_a_secret() {
    for kind in [KeyKind::Component, KeyKind::Provider] {
        let wrong = vec![(backend(), CurveKey::generate())];
        let mut scene = Scene::start_with(kind, NEVER, wrong).await;
        let data = scene.refused(kind).await;
        let error = data["error"].as_str().unwrap();
        assert!(error.contains("SECRET_db"), "{error}");
        assert!(error.contains("`nats-kv` refused"), "{error}");
        let hint = data["hint"].as_str().unwrap();
        assert!(hint.contains("--secrets-backend-key"), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_seals_with_another_key_lets_nothing_start_that_names_a_secret() {
    for kind in [KeyKind::Component, KeyKind::Provider] {
        let mut scene = Scene::start(kind, NEVER).await;
        let _impostor = scene.seal_wrongly().await;
        let data = scene.refused(kind).await;
        let error = data["error"].as_str().unwrap();
        assert!(error.contains("SECRET_db"), "{error}");
        assert!(error.contains("could not be opened"), "{error}");
        let hint = data["hint"].as_str().unwrap();
        assert!(hint.contains("nothing but the backend"), "{hint}");
    }
}
