//! What links say, and what becomes of them when SQS is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use lattice_backend_http::aws::{AwsClient, AwsKeys, Origin};
use lattice_backend_http::encode::query;
use lattice_backend_http::xml::Element;
use lattice_backend_http::{HttpBackend, HttpOptions};
use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use queue_sqs::QueueSqs;
use tokio::time::Instant;

/// A link that cannot be served has to say so by then.
const SOON: Duration = Duration::from_secs(5);

/// Puts a link; whether it works is left to the report.
async fn put(lattice: &Lattice, name: &str, config: &[(&str, &str)]) {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let link = ResolvedLink {
        source_id: "worker".into(),
        target: "kv".into(),
        name: name.into(),
        wit_namespace: "lattice".into(),
        wit_package: "queue".into(),
        interfaces: vec!["producer".into(), "consumer".into()],
        source_config: StringMap::new(),
        target_config: config.iter().map(owned).collect(),
        source_secrets: None,
        target_secrets: None,
        locality: Locality::default(),
    };
    let id = ComponentId::new("kv").unwrap();
    let subject = ProviderSubjects::new(&LatticeName::default(), &id).link_put();
    let nats = lattice.nats.client().await.unwrap();
    let payload = serde_json::to_vec(&link).unwrap();
    nats.publish(subject, payload.into()).await.unwrap();
    nats.flush().await.unwrap();
}

async fn failure(lattice: &mut Lattice) -> String {
    let begun = Instant::now();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(begun.elapsed() < SOON, "{reason}");
    reason
}

fn client(url: &str, service: &'static str, keys: AwsKeys) -> (AwsClient, String) {
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    let client = AwsClient::new(http, Origin::Fixed(keys), service, "us-east-1".to_owned());
    (client, format!("{url}/"))
}

/// Asks IAM for something.
async fn iam(url: &str, pairs: &[(&str, &str)]) -> Element {
    let (client, url) = client(url, "iam", AwsKeys::new("any", "any"));
    let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    let body = query(pairs.iter().copied().chain([("Version", "2010-05-08")]));
    let answer = client.ask(request.body(Bytes::from(body)).unwrap()).await;
    let answer = answer.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    Element::read(&String::from_utf8_lossy(answer.body())).unwrap()
}

/// A key that may do everything with SQS, on a service that looks at signatures from now on.
async fn key_of_strict_service(url: &str) -> AwsKeys {
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}"#;
    iam(url, &[("Action", "CreateUser"), ("UserName", "me")]).await;
    let put = [
        ("Action", "PutUserPolicy"),
        ("UserName", "me"),
        ("PolicyName", "all"),
        ("PolicyDocument", policy),
    ];
    iam(url, &put).await;
    let answer = iam(url, &[("Action", "CreateAccessKey"), ("UserName", "me")]).await;
    let result = answer.child("CreateAccessKeyResult").unwrap();
    let key = result.child("AccessKey").unwrap();
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    let strict = Request::post(format!("{url}/moto-api/reset-auth"));
    let strict = http.ask(strict.body(Bytes::from("0")).unwrap()).await;
    assert!(strict.unwrap().status().is_success());
    AwsKeys::new(key.text_of("AccessKeyId"), key.text_of("SecretAccessKey"))
}

#[tokio::test]
async fn a_link_waits_for_its_service() {
    let mut lattice = Lattice::start::<QueueSqs>(&[("access_key_id", "id")]).await;
    let mut moto = Service::reserve(Kind::Moto).unwrap();
    let url = moto.url();
    let config = [("endpoint", url.as_str()), ("secret_access_key", "s3cr3t")];
    put(&lattice, "default", &config).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("could not reach"), "{reason}");
    assert!(reason.contains(&moto.port().to_string()), "{reason}");
    assert!(!reason.contains("s3cr3t"), "{reason}");
    moto.start_again().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    moto.kill();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("could not reach"), "{reason}");
}

#[tokio::test]
async fn keys_that_are_refused_fail_the_link_in_the_words_of_the_service() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    let url = moto.url();
    let keys = key_of_strict_service(&url).await;
    let mut lattice = Lattice::start::<QueueSqs>(&[("endpoint", &url)]).await;
    let id = keys.id.as_str();
    let wrong = [("access_key_id", id), ("secret_access_key", "wr0ng")];
    put(&lattice, "wrong", &wrong).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("SignatureDoesNotMatch"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let right = [
        ("access_key_id", id),
        ("secret_access_key", keys.secret.expose()),
    ];
    put(&lattice, "right", &right).await;
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn what_the_link_says_wrong_is_named() {
    let mut lattice = Lattice::start::<QueueSqs>(&[]).await;
    for (key, value, expected) in [
        ("endpoint", "nowhere", "`endpoint`"),
        ("queue", "a.b", "SQS wants"),
        ("create", "perhaps", "`create`"),
        ("tls_ca", "no", "certificates"),
    ] {
        put(&lattice, &key.replace('_', "-"), &[(key, value)]).await;
        let reason = failure(&mut lattice).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_link_needs_the_queue_that_it_must_not_create() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    let url = moto.url();
    let own = [
        ("endpoint", url.as_str()),
        ("access_key_id", "id"),
        ("secret_access_key", "x"),
        ("queue", "jobs"),
    ];
    let mut lattice = Lattice::start::<QueueSqs>(&own).await;
    put(&lattice, "strict", &[("create", "false")]).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("GetQueueUrl"), "{reason}");
    put(
        &lattice,
        "met",
        &[("require", "delay, max-message-bytes>=258048")],
    )
    .await;
    lattice.report_of(LinkState::Ready).await;
    put(&lattice, "unmet", &[("require", "groups")]).await;
    let unmet = async { while !failure(&mut lattice).await.contains("`groups`") {} };
    tokio::time::timeout(SOON, unmet).await.unwrap();
    put(
        &lattice,
        "fifo",
        &[("require", "groups, dedup"), ("fifo", "true")],
    )
    .await;
    lattice.report_of(LinkState::Ready).await;
}
