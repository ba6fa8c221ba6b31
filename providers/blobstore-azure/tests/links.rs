//! What links say, and what becomes of them when Azure is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

use std::time::Duration;

use blobstore_azure::BlobstoreAzure;
use http::Method;
use lattice_azure::{Azure, AzureOptions, AzureRequest};
use lattice_backend_http::{HttpBackend, HttpOptions, Retry};
use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use tokio::time::Instant;

/// A link that cannot be served has to say so by then.
const SOON: Duration = Duration::from_secs(5);

/// Puts a link; whether it works is left to the report.
async fn put(lattice: &Lattice, name: &str, config: &[(&str, &str)]) {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let link = ResolvedLink {
        source_id: "uploader".into(),
        target: "kv".into(),
        name: name.into(),
        wit_namespace: "wasi".into(),
        wit_package: "blobstore".into(),
        interfaces: vec!["blobstore".into()],
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

async fn create_container(url: &str, name: &str) {
    let value = |key: &str| match key {
        "STORAGE_ACCOUNT" => Some("devstoreaccount1".to_owned()),
        "endpoint" => Some(url.to_owned()),
        _ => None,
    };
    let options = AzureOptions::read(lattice_azure::Kind::Blob, value).unwrap();
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    let azure = Azure::new(http, options, Retry::default());
    let create = AzureRequest {
        query: vec![("restype", "container")],
        ..AzureRequest::new("create", Method::PUT, format!("/{name}"))
    };
    azure.ask(&create).await.unwrap();
}

#[tokio::test]
async fn a_link_waits_for_its_service_and_its_container() {
    let mut lattice = Lattice::start::<BlobstoreAzure>(&[]).await;
    let mut azurite = Service::reserve(Kind::Azurite).unwrap();
    let url = azurite.url();
    let config = [
        ("CLOUD_LOCATION", url.as_str()),
        ("STORAGE_ACCOUNT", "devstoreaccount1"),
        ("container", "corp-own"),
    ];
    put(&lattice, "default", &config).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("could not reach"), "{reason}");
    assert!(reason.contains(&azurite.port().to_string()), "{reason}");
    azurite.start_again().await.unwrap();
    let missing = async {
        loop {
            let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
            if reason.contains("`corp-own` of the link is not there") {
                return;
            }
        }
    };
    let missing = tokio::time::timeout(Duration::from_secs(30), missing);
    missing.await.unwrap();
    create_container(&url, "corp-own").await;
    lattice.report_of(LinkState::Ready).await;
    azurite.kill();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("could not reach"), "{reason}");
}

#[tokio::test]
async fn a_wrong_key_fails_the_link_in_the_words_of_the_service() {
    let azurite = Service::start(Kind::Azurite).await.unwrap();
    let url = azurite.url();
    let own = [
        ("CLOUD_LOCATION", url.as_str()),
        ("STORAGE_ACCOUNT", "devstoreaccount1"),
    ];
    let mut lattice = Lattice::start::<BlobstoreAzure>(&own).await;
    put(&lattice, "wrong", &[("STORAGE_ACCESS_KEY", "d3Iwbmc=")]).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("AuthorizationFailure"), "{reason}");
    assert!(!reason.contains("d3Iwbmc="), "{reason}");
    put(&lattice, "right", &[("require", "ranges=native, durable")]).await;
    lattice.report_of(LinkState::Ready).await;
    put(&lattice, "unmet", &[("require", "move=atomic")]).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("`move=atomic`"), "{reason}");
}

#[tokio::test]
async fn what_the_link_says_wrong_is_named() {
    let own = [("STORAGE_ACCOUNT", "shop"), ("STORAGE_ACCESS_KEY", "YWI=")];
    let mut lattice = Lattice::start::<BlobstoreAzure>(&own).await;
    for (key, value, expected) in [
        ("STORAGE_ACCOUNT", "A B", "`A B`"),
        ("STORAGE_ACCESS_KEY", "s3cr3t!", "base64"),
        ("endpoint", "nowhere", "`nowhere`"),
        ("container", "Corp", "Azure wants"),
        ("alias_photos", "a", "Azure wants"),
        ("tls_ca", "no", "certificates"),
    ] {
        put(&lattice, &key.replace('_', "-"), &[(key, value)]).await;
        let reason = failure(&mut lattice).await;
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains("s3cr3t"), "{reason}");
    }
}
