//! Buckets, clients and backends of 1.x (`secrets-nats-kv`).

use lattice_core::secrets::PutSecretRequest;
use lattice_core::subject::SecretsOp;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_which_values_are_sealed_alone_is_served() {
    let scene = Scene::start().await;
    let key = CurveKey::from_seed(&scene.keys.encryption).unwrap();
    let js = async_nats::jetstream::new(scene.client.clone());
    let bucket = js.get_key_value(SECRETS_BUCKET).await.unwrap();
    let sealed = key.seal(VALUE.as_bytes(), &key).unwrap();
    let first = bucket.put("db", sealed.into()).await.unwrap();
    // It begins on what is stored so.
    let _another = serve(&scene.nats, scene.keys.config()).await;
    scene.allow(&["db"]).await;
    let mut request = scene.request("db");
    assert_eq!(scene.get(&request).await.unwrap(), VALUE);
    scene.put("db", "changed").await;
    assert_eq!(scene.get(&request).await.unwrap(), "changed");
    request.version = Some(first.to_string());
    assert_eq!(scene.get(&request).await.unwrap(), VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_1x_reads_what_became_of_its_value() {
    let scene = Scene::start().await;
    let subjects = SecretsSubjects::new(&topic(), &name());
    let server = CurveKey::from_seed(&scene.keys.transit).unwrap();
    let own = CurveKey::generate();
    let value = PutSecretRequest::new("db", SecretValue::String(VALUE.to_owned()));
    let value = serde_json::to_vec(&value).unwrap();
    let sealed = own.seal(&value, &server).unwrap();
    let mut with_key = HeaderMap::new();
    with_key.insert(REQUEST_XKEY, own.public_key());
    for (headers, answer) in [
        (with_key, r#"{"revision":1,"error":null}"#),
        (
            HeaderMap::new(),
            r#"{"revision":0,"error":"InvalidHeaders"}"#,
        ),
    ] {
        let payload = sealed.clone().into();
        let asked = scene
            .client
            .request_with_headers(subjects.put_secret(), headers, payload);
        let reply = asked.await.unwrap();
        assert_eq!(std::str::from_utf8(&reply.payload).unwrap(), answer);
    }
}

/// A client beside which a backend answers as one of 1.x; `removed` when a mapping is to go.
async fn beside_1x(removed: &'static str) -> (NatsBox, SecretsClient) {
    let nats = NatsBox::start().await.unwrap();
    let client = nats.client().await.unwrap();
    let subjects = SecretsSubjects::new(&topic(), &name());
    let mut asked = client.subscribe(subjects.all()).await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    let secrets = SecretsClient::new(client.clone(), topic(), SOON);
    let key = CurveKey::generate().public_key();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let answer = match subjects.parse(&message.subject) {
                Some(SecretsOp::ServerXkey) => key.as_str(),
                Some(SecretsOp::PutSecret) => r#"{"revision":7,"error":null}"#,
                Some(SecretsOp::AddMapping(_)) => "ok",
                Some(SecretsOp::RemoveMapping(_)) => removed,
                _ => "",
            };
            let (reply, answer) = (message.reply.unwrap(), answer.to_owned());
            client.publish(reply, answer.into()).await.unwrap();
        }
    });
    (nats, secrets)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_of_1x_answers_is_understood() {
    let (_nats, secrets) = beside_1x("timed out getting lock").await;
    let value = SecretValue::String(VALUE.to_owned());
    assert_eq!(secrets.put(&name(), "db", value).await.unwrap(), 7);
    let keys = ["db".to_owned()];
    secrets.add_mapping(&name(), "M", &keys).await.unwrap();
    let refused = secrets.remove_mapping(&name(), "M", &keys).await;
    let Err(AskError::Refused { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.to_string(), "timed out getting lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_of_1x_only_agrees_to_is_not_done() {
    let (_nats, secrets) = beside_1x("ok").await;
    let keys = ["db".to_owned()];
    let removed = secrets.remove_mapping(&name(), "M", &keys).await;
    let error = removed.unwrap_err();
    assert!(matches!(error, AskError::NotRemoved { .. }), "{error:?}");
    assert!(error.hint().contains("_state"), "{}", error.hint());
    let added = secrets.add_mapping_of(&name(), "M", "A", &keys).await;
    let error = added.unwrap_err();
    assert!(matches!(error, AskError::IssuerIgnored { .. }), "{error:?}");
    assert!(!error.may_pass());
}
