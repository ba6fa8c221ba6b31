//! Somebody answers in the name of a backend.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_plain_words_is_not_taken_and_a_refusal_is() {
    let mut scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    scene.backend.abort();
    let _ended = (&mut scene.backend).await;
    let subjects = SecretsSubjects::new(&topic(), &name());
    let mut asked = scene.client.subscribe(subjects.all()).await.unwrap();
    lattice_nats_box::taken_in(&scene.client).await.unwrap();
    let key = CurveKey::generate().public_key();
    let client = scene.client.clone();
    // Somebody who cannot open what was asked says what they like.
    tokio::spawn(async move {
        let lies = [
            r#"{"secret":{"version":"1","string_secret":"evil"}}"#,
            r#"{"secret":{"version":"1","string_secret":"evil"},"error":"Unauthorized"}"#,
        ];
        let mut lies = lies.into_iter();
        while let Some(message) = asked.next().await {
            let answer = match message.subject.ends_with("server_xkey") {
                true => key.clone(),
                false => lies.next().unwrap_or("{}").to_owned(),
            };
            let reply = message.reply.unwrap();
            client.publish(reply, answer.into()).await.unwrap();
        }
    });
    let asks = SecretsClient::new(scene.client.clone(), topic(), SOON);
    let request = scene.request("db");
    let error = asks.get(&name(), &request).await.unwrap_err();
    assert!(matches!(error, AskError::Unsealed { .. }), "{error:?}");
    assert!(error.may_pass(), "whoever has the secret keeps it");
    let refused = get_with(&asks, &request).await;
    assert_eq!(refused, Err(GetSecretError::Unauthorized));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_key_is_known_is_nobody_else() {
    let mut scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let request = scene.request("db");
    let key = CurveKey::from_seed(&scene.keys.transit).unwrap();
    let key = CurveKey::from_public_key(&key.public_key()).unwrap();
    let asks = SecretsClient::new(scene.client.clone(), topic(), SOON);
    let asks = asks.pinned([(name(), key)]);
    assert_eq!(get_with(&asks, &request).await.unwrap(), VALUE);

    // Another that has a key of its own cannot open the question, and is not asked for its key.
    scene.backend.abort();
    let _ended = (&mut scene.backend).await;
    let config = BackendConfig {
        transit: CurveKey::generate(),
        ..scene.keys.config()
    };
    let _backend = serve(&scene.nats, config).await;
    let refused = get_with(&asks, &request).await;
    assert_eq!(refused, Err(GetSecretError::DecryptionError));

    // One that knows the question all the same seals another answer for the key in its header.
    let evil = CurveKey::generate();
    let subjects = SecretsSubjects::new(&topic(), &BackendName::new("other").unwrap());
    let mut asked = scene.client.subscribe(subjects.all()).await.unwrap();
    lattice_nats_box::taken_in(&scene.client).await.unwrap();
    let client = scene.client.clone();
    tokio::spawn(async move {
        let message = asked.next().await.unwrap();
        let headers = message.headers.unwrap();
        let reader = headers.get(REQUEST_XKEY).unwrap().as_str();
        let reader = CurveKey::from_public_key(reader).unwrap();
        let lie = br#"{"secret":{"version":"1","string_secret":"evil"}}"#;
        let mut headers = HeaderMap::new();
        headers.insert(RESPONSE_XKEY, evil.public_key());
        let lie = evil.seal(lie, &reader).unwrap();
        let reply = message.reply.unwrap();
        let told = client.publish_with_headers(reply, headers, lie.into());
        told.await.unwrap();
    });
    let other = BackendName::new("other").unwrap();
    let known = CurveKey::generate();
    let asks = asks.pinned([(other.clone(), known)]);
    let error = asks.get(&other, &request).await.unwrap_err();
    assert!(matches!(error, AskError::Unproven { .. }), "{error:?}");
}
