//! What links say, and what becomes of them when Azure is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

#[path = "../../blobstore-s3/tests/support/mod.rs"]
mod support;

use blobstore_azure::BlobstoreAzure;
use http::Method;
use lattice_azure::{Azure, AzureOptions, AzureRequest};
use lattice_backend_http::{HttpBackend, HttpOptions, Retry};
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use support::{BLOBS, failure, failure_like};

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
    BLOBS.put(&lattice, "default", &config).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("could not reach"), "{reason}");
    assert!(reason.contains(&azurite.port().to_string()), "{reason}");
    azurite.start_again().await.unwrap();
    failure_like(&mut lattice, "`corp-own` of the link is not there").await;
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
    BLOBS
        .put(&lattice, "wrong", &[("STORAGE_ACCESS_KEY", "d3Iwbmc=")])
        .await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("AuthorizationFailure"), "{reason}");
    assert!(!reason.contains("d3Iwbmc="), "{reason}");
    BLOBS
        .put(&lattice, "right", &[("require", "ranges=native, durable")])
        .await;
    lattice.report_of(LinkState::Ready).await;
    BLOBS
        .put(&lattice, "unmet", &[("require", "move=atomic")])
        .await;
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
        BLOBS
            .put(&lattice, &key.replace('_', "-"), &[(key, value)])
            .await;
        let reason = failure(&mut lattice).await;
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains("s3cr3t"), "{reason}");
    }
}
