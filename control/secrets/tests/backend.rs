//! The reference backend and its client on a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests speak the wire as others do"
)]

#[path = "backend/hidden.rs"]
mod hidden;
#[path = "backend/impostors.rs"]
mod impostors;
#[path = "backend/issuers.rs"]
mod issuers;
#[path = "backend/of_1x.rs"]
mod of_1x;

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use lattice_claims::claims::HostMetadata;
use lattice_claims::{
    Claims, ComponentClaims, ComponentMetadata, CurveKey, HostClaims, KeyKind, PublicKey,
    SigningKey, epoch_seconds,
};
use lattice_core::BackendName;
use lattice_core::provider::SecretValue;
use lattice_core::secrets::{
    GetSecretError, REQUEST_XKEY, RESPONSE_XKEY, SecretApplication, SecretContext, SecretRequest,
    SecretResponse,
};
use lattice_core::subject::secrets::{DEFAULT_SECRETS_TOPIC, SECRETS_BUCKET};
use lattice_core::subject::{SecretsSubjects, TopicPrefix};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_secrets::{AskError, Backend, BackendConfig, SecretsClient, ServeError};
use tokio::task::JoinHandle;

use hidden::shows;

const SOON: Duration = Duration::from_secs(10);
const VALUE: &str = "hunter2-the-secret-value";

fn topic() -> TopicPrefix {
    TopicPrefix::new(DEFAULT_SECRETS_TOPIC).unwrap()
}

fn name() -> BackendName {
    BackendName::new("nats-kv").unwrap()
}

struct Keys {
    transit: String,
    encryption: String,
}

impl Keys {
    fn new() -> Self {
        let seed = || CurveKey::generate().seed().expose().to_owned();
        Self {
            transit: seed(),
            encryption: seed(),
        }
    }

    fn config(&self) -> BackendConfig {
        BackendConfig {
            topic: topic(),
            name: name(),
            js_domain: None,
            bucket: SECRETS_BUCKET.to_owned(),
            history: 64,
            transit: CurveKey::from_seed(&self.transit).unwrap(),
            encryption: CurveKey::from_seed(&self.encryption).unwrap(),
            trusted_issuers: Vec::new(),
            any_issuer: false,
            trusted_hosts: Vec::new(),
        }
    }
}

struct Scene {
    nats: NatsBox,
    client: Client,
    keys: Keys,
    backend: JoinHandle<()>,
    secrets: SecretsClient,
    issuer: SigningKey,
    entity: SigningKey,
    host: std::sync::Arc<SigningKey>,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut BackendConfig, &Own)) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let keys = Keys::new();
        let own = Own {
            issuer: SigningKey::generate(KeyKind::Account),
            host: SigningKey::generate(KeyKind::Host),
        };
        let mut config = keys.config();
        change(&mut config, &own);
        let backend = serve(&nats, config).await;
        Self {
            secrets: SecretsClient::new(client.clone(), topic(), SOON),
            nats,
            client,
            keys,
            backend,
            issuer: own.issuer,
            entity: SigningKey::generate(KeyKind::Component),
            host: std::sync::Arc::new(own.host),
        }
    }

    fn request(&self, key: &str) -> SecretRequest {
        SecretRequest {
            key: key.to_owned(),
            field: None,
            version: None,
            context: SecretContext {
                entity_jwt: self.entity_token(&self.issuer),
                host_jwt: self.host_token(&self.host.public_key()),
                application: SecretApplication {
                    name: None,
                    policy: "{}".to_owned(),
                },
            },
        }
    }

    fn entity_token(&self, issuer: &SigningKey) -> String {
        let id = self.entity.public_key();
        let metadata = ComponentMetadata::default();
        let mut claims = ComponentClaims::new(id, metadata, epoch_seconds());
        claims.sign(issuer).unwrap()
    }

    fn host_token(&self, host: &str) -> String {
        let metadata = HostMetadata::default();
        let mut claims = HostClaims::new(host.to_owned(), metadata, epoch_seconds());
        claims
            .sign(&SigningKey::generate(KeyKind::Account))
            .unwrap()
    }

    async fn put(&self, key: &str, text: &str) -> u64 {
        let value = SecretValue::String(text.to_owned());
        self.secrets.put(&name(), key, value).await.unwrap()
    }

    async fn allow(&self, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let id = self.entity.public_key();
        let added = self.secrets.add_mapping(&name(), &id, &keys).await;
        added.unwrap();
    }

    async fn get(&self, request: &SecretRequest) -> Result<String, GetSecretError> {
        get_with(&self.secrets, request).await
    }
}

struct Own {
    issuer: SigningKey,
    host: SigningKey,
}

async fn get_with(
    secrets: &SecretsClient,
    request: &SecretRequest,
) -> Result<String, GetSecretError> {
    match secrets.get(&name(), request).await {
        Ok(secret) => match secret.into_value() {
            Some(SecretValue::String(text)) => Ok(text),
            other => panic!("{other:?}"),
        },
        Err(AskError::Refused { source, .. }) => Err(source),
        Err(error) => panic!("{error:?}"),
    }
}

async fn serve(nats: &NatsBox, config: BackendConfig) -> JoinHandle<()> {
    let client = nats.client().await.unwrap();
    let backend = Backend::start(client, config).await.unwrap();
    tokio::spawn(backend.run(std::future::pending()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_entity_gets_its_secret_and_a_new_version_of_it() {
    let scene = Scene::start().await;
    let first = scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let mut request = scene.request("db");
    assert_eq!(scene.get(&request).await.unwrap(), VALUE);
    let second = scene.put("db", "changed").await;
    assert!(second > first);
    assert_eq!(scene.get(&request).await.unwrap(), "changed");
    request.version = Some(first.to_string());
    assert_eq!(scene.get(&request).await.unwrap(), VALUE);
    request.version = Some((second + 100).to_string());
    let gone = scene.get(&request).await;
    assert_eq!(gone, Err(GetSecretError::SecretNotFound));
    // Nobody gets further by asking for it again.
    request.version = Some("latest".to_owned());
    let invalid = scene.get(&request).await;
    assert_eq!(invalid, Err(GetSecretError::InvalidRequest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_a_structured_secret_is_given() {
    let scene = Scene::start().await;
    scene.put("db", r#"{"user":"me","password":"p"}"#).await;
    scene.allow(&["db"]).await;
    let mut request = scene.request("db");
    request.field = Some("password".to_owned());
    assert_eq!(scene.get(&request).await.unwrap(), "p");
    request.field = Some("none".to_owned());
    let missing = scene.get(&request).await;
    assert_eq!(missing, Err(GetSecretError::SecretNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_mapped_is_refused_and_does_not_learn_what_there_is() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    let refused = Err(GetSecretError::Unauthorized);
    assert_eq!(scene.get(&scene.request("db")).await, refused);
    assert_eq!(scene.get(&scene.request("none")).await, refused);
    scene.allow(&["db", "none"]).await;
    assert!(scene.get(&scene.request("db")).await.is_ok());
    let missing = scene.get(&scene.request("none")).await;
    assert_eq!(missing, Err(GetSecretError::SecretNotFound));
    let id = scene.entity.public_key();
    let keys = ["db".to_owned()];
    let removed = scene.secrets.remove_mapping(&name(), &id, &keys).await;
    removed.unwrap();
    assert_eq!(scene.get(&scene.request("db")).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_hold_are_refused() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let good = scene.request("db");
    let id = scene.entity.public_key();
    let mut expired = Claims::new(id.clone(), ComponentMetadata::default(), 1);
    expired.expires = Some(2);
    let expired = expired.sign(&scene.issuer).unwrap();
    let mut altered = good.context.entity_jwt.clone();
    altered.replace_range(altered.len() - 6..altered.len() - 2, "AAAA");
    // A token about a host is not one about a component.
    let of_host = good.context.host_jwt.clone();
    for entity in [String::new(), "x.y.z".to_owned(), expired, altered, of_host] {
        let mut request = good.clone();
        request.context.entity_jwt = entity;
        let refused = scene.get(&request).await;
        assert!(
            matches!(refused, Err(GetSecretError::InvalidEntityJWT(_))),
            "{refused:?}"
        );
    }
    for host in [String::new(), good.context.entity_jwt.clone()] {
        let mut request = good.clone();
        request.context.host_jwt = host;
        let refused = scene.get(&request).await;
        assert!(
            matches!(refused, Err(GetSecretError::InvalidHostJWT(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_issuers_that_are_trusted_count() {
    let trust = |config: &mut BackendConfig, own: &Own| {
        let key = PublicKey::parse(&own.issuer.public_key()).unwrap();
        config.trusted_issuers = vec![key];
    };
    let scene = Scene::start_with(trust).await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let mut request = scene.request("db");
    assert!(scene.get(&request).await.is_ok());
    let stranger = SigningKey::generate(KeyKind::Account);
    request.context.entity_jwt = scene.entity_token(&stranger);
    let refused = scene.get(&request).await;
    assert!(matches!(refused, Err(GetSecretError::InvalidEntityJWT(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_that_are_trusted_and_prove_it_may_ask() {
    let trust = |config: &mut BackendConfig, own: &Own| {
        config.trusted_hosts = vec![PublicKey::parse(&own.host.public_key()).unwrap()];
    };
    let scene = Scene::start_with(trust).await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let request = scene.request("db");
    let refused = |got: Result<String, GetSecretError>| {
        assert!(
            matches!(got, Err(GetSecretError::InvalidHostJWT(_))),
            "{got:?}"
        );
    };
    // The token alone can be made by anybody.
    refused(scene.get(&request).await);
    let other = std::sync::Arc::new(SigningKey::generate(KeyKind::Host));
    let asks = scene.secrets.clone().signed_by(other.clone());
    refused(get_with(&asks, &request).await);
    let mut strange = request.clone();
    strange.context.host_jwt = scene.host_token(&other.public_key());
    refused(get_with(&asks, &strange).await);
    let asks = scene.secrets.clone().signed_by(scene.host.clone());
    assert_eq!(get_with(&asks, &request).await.unwrap(), VALUE);
}

/// The frames as they stand on the protocol page, made by hand.
#[tokio::test(flavor = "multi_thread")]
async fn frames_are_those_of_the_page() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let subjects = SecretsSubjects::new(&topic(), &name());
    let ask = |headers: HeaderMap, payload: Vec<u8>| {
        let (client, subject) = (scene.client.clone(), subjects.get());
        async move {
            let reply = client.request_with_headers(subject, headers, payload.into());
            reply.await.unwrap()
        }
    };
    let reply = scene
        .client
        .request(subjects.server_xkey(), "".into())
        .await;
    let server = String::from_utf8(reply.unwrap().payload.to_vec()).unwrap();
    let server = CurveKey::from_public_key(&server).unwrap();
    let own = CurveKey::generate();
    let question = serde_json::to_vec(&scene.request("db")).unwrap();
    let sealed = own.seal(&question, &server).unwrap();
    let with_key = |key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_XKEY, key);
        headers
    };
    let reply = ask(with_key(&own.public_key()), sealed.clone()).await;
    let sender = reply.headers.as_ref().unwrap().get(RESPONSE_XKEY).unwrap();
    let sender = CurveKey::from_public_key(sender.as_str()).unwrap();
    let opened = own.open(&reply.payload, &sender).unwrap();
    let answer: SecretResponse = serde_json::from_slice(&opened).unwrap();
    assert_eq!(answer.secret.unwrap().string_secret.unwrap(), VALUE);
    // Nobody else opens it.
    assert!(CurveKey::generate().open(&reply.payload, &sender).is_err());

    let stranger = CurveKey::generate().public_key();
    for (headers, payload, error) in [
        (
            HeaderMap::new(),
            sealed.clone(),
            r#"{"error":"InvalidHeaders"}"#,
        ),
        (with_key("X"), sealed.clone(), r#"{"error":"InvalidXKey"}"#),
        // Sealed with another key than the header says.
        (
            with_key(&stranger),
            sealed,
            r#"{"error":"DecryptionError"}"#,
        ),
        (
            with_key(&own.public_key()),
            own.seal(b"{}", &server).unwrap(),
            r#"{"error":"InvalidPayload"}"#,
        ),
        (
            with_key(&own.public_key()),
            b"x".to_vec(),
            r#"{"error":"DecryptionError"}"#,
        ),
    ] {
        let reply = ask(headers, payload).await;
        assert_eq!(std::str::from_utf8(&reply.payload).unwrap(), error);
        let sender = reply.headers.as_ref();
        assert!(sender.is_none_or(|headers| headers.get(RESPONSE_XKEY).is_none()));
    }
    let unknown = format!("{}.x", subjects.get());
    let reply = scene.client.request(unknown, "".into()).await.unwrap();
    assert_eq!(&reply.payload[..], br#"{"error":"InvalidRequest"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_another_key_is_asked_for_it() {
    let mut scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let request = scene.request("db");
    assert!(scene.get(&request).await.is_ok());
    scene.backend.abort();
    let _ended = (&mut scene.backend).await;
    // The subscription of the one that was ended is gone when the server says so.
    // A request that it was still given goes unanswered.
    let within = Duration::from_millis(500);
    let asks = SecretsClient::new(scene.client.clone(), topic(), within);
    let gone = async {
        loop {
            match asks.get(&name(), &request).await {
                Err(AskError::NoBackend { .. }) => break,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
    let config = BackendConfig {
        transit: CurveKey::generate(),
        ..scene.keys.config()
    };
    let _backend = serve(&scene.nats, config).await;
    assert_eq!(scene.get(&request).await.unwrap(), VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_does_not_begin_with_a_key_that_does_not_open_what_is_stored() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    let config = BackendConfig {
        encryption: CurveKey::generate(),
        ..scene.keys.config()
    };
    let client = scene.nats.client().await.unwrap();
    let error = Backend::start(client, config).await.unwrap_err();
    assert!(matches!(error, ServeError::Vault(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_are_those_of_the_domain_that_is_named() {
    let nats = NatsBox::start_with(NatsBoxOptions {
        js_domain: Some("hub".to_owned()),
        ..NatsBoxOptions::default()
    });
    let nats = nats.await.unwrap();
    let in_domain = |domain: &str| BackendConfig {
        js_domain: Some(domain.to_owned()),
        ..Keys::new().config()
    };
    let _backend = serve(&nats, in_domain("hub")).await;
    let client = nats.client().await.unwrap();
    let error = Backend::start(client, in_domain("leaf")).await.unwrap_err();
    assert!(matches!(error, ServeError::Bucket(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_listens_or_reads_the_bucket_sees_a_value() {
    let scene = Scene::start().await;
    let mut spy = scene.client.subscribe(">").await.unwrap();
    scene.client.flush().await.unwrap();
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
    scene.client.publish("end", "".into()).await.unwrap();
    let mut seen = 0;
    while let Some(message) = spy.next().await {
        if message.subject.as_str() == "end" {
            break;
        }
        seen += 1;
        let headers = format!("{:?}", message.headers);
        let is_seen = shows(&message.payload, VALUE) || shows(headers.as_bytes(), VALUE);
        assert!(!is_seen, "{}", message.subject);
    }
    assert!(seen > 8, "only {seen} messages were seen");
    let js = async_nats::jetstream::new(scene.client.clone());
    let bucket = js.get_key_value(SECRETS_BUCKET).await.unwrap();
    let entry = bucket.get("db").await.unwrap().unwrap();
    assert!(!entry.is_empty() && !shows(&entry, VALUE));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_backend_is_named() {
    let nats = NatsBox::start().await.unwrap();
    let client = nats.client().await.unwrap();
    let secrets = SecretsClient::new(client, topic(), SOON);
    let keys = ["db".to_owned()];
    let asked = secrets.add_mapping(&name(), "M", &keys).await;
    let error = asked.unwrap_err();
    assert!(matches!(error, AskError::NoBackend { .. }), "{error:?}");
    assert!(error.may_pass());
}
