//! What links say, and what becomes of them when S3 is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

#[path = "support/moto.rs"]
mod moto;
mod support;

use blobstore_s3::BlobstoreS3;
use bytes::Bytes;
use http::Request;
use lattice_backend_http::aws::AwsKeys;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use moto::{client, key_of_strict_service};
use support::{BLOBS, failure, failure_like};

async fn create_bucket(url: &str, name: &str) {
    let (client, url) = client(url, "s3", AwsKeys::new("any", "any"));
    let request = Request::put(format!("{url}{name}"));
    let answer = client.ask(request.body(Bytes::new()).unwrap()).await;
    assert!(answer.unwrap().status().is_success());
}

#[tokio::test]
async fn a_link_waits_for_its_service_and_its_bucket() {
    let mut lattice = Lattice::start::<BlobstoreS3>(&[("access_key_id", "id")]).await;
    let mut moto = Service::reserve(Kind::Moto).unwrap();
    let url = moto.url();
    let config = [
        ("endpoint", url.as_str()),
        ("secret_access_key", "s3cr3t"),
        ("bucket", "corp-own"),
    ];
    BLOBS.put(&lattice, "default", &config).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("could not reach"), "{reason}");
    assert!(reason.contains(&moto.port().to_string()), "{reason}");
    moto.start_again().await.unwrap();
    let missing = "`corp-own` of the link is not there";
    let reason = failure_like(&mut lattice, missing).await;
    assert!(!reason.contains("s3cr3t"));
    create_bucket(&url, "corp-own").await;
    lattice.report_of(LinkState::Ready).await;
    moto.kill();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("could not reach"), "{reason}");
}

#[tokio::test]
async fn keys_that_are_refused_fail_the_link_in_the_words_of_the_service() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    let url = moto.url();
    let keys = key_of_strict_service(&url, "s3").await;
    let mut lattice = Lattice::start::<BlobstoreS3>(&[("endpoint", &url)]).await;
    let id = keys.id.as_str();
    let wrong = [("access_key_id", id), ("secret_access_key", "wr0ng")];
    BLOBS.put(&lattice, "wrong", &wrong).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("SignatureDoesNotMatch"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let unknown = [("access_key_id", "nobody"), ("secret_access_key", "x")];
    BLOBS.put(&lattice, "unknown", &unknown).await;
    failure_like(&mut lattice, "InvalidAccessKeyId").await;
    let right = [
        ("access_key_id", id),
        ("secret_access_key", keys.secret.expose()),
    ];
    BLOBS.put(&lattice, "right", &right).await;
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn keys_may_stand_in_a_profile_of_the_tools_of_aws() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    let url = moto.url();
    let keys = key_of_strict_service(&url, "s3").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n\
         [shop]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        keys.id,
        keys.secret.expose()
    );
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let provider = [("endpoint", &*url), ("AWS_SHARED_CREDENTIALS_FILE", path)];
    let mut lattice = Lattice::start::<BlobstoreS3>(&provider).await;
    BLOBS.put(&lattice, "usual", &[]).await;
    failure_like(&mut lattice, "InvalidAccessKeyId").await;
    BLOBS
        .put(&lattice, "missing", &[("AWS_PROFILE", "none")])
        .await;
    failure_like(&mut lattice, "`AWS_PROFILE` is `none`").await;
    BLOBS
        .put(&lattice, "shop", &[("AWS_PROFILE", "shop")])
        .await;
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn what_the_link_says_wrong_is_named() {
    let mut lattice = Lattice::start::<BlobstoreS3>(&[]).await;
    for (key, value, expected) in [
        ("endpoint", "nowhere", "`endpoint`"),
        ("bucket", "Corp", "S3 wants"),
        ("alias_photos", "a", "S3 wants"),
        ("config_json", "[]", "`config_json`"),
        ("tls_ca", "no", "certificates"),
    ] {
        BLOBS
            .put(&lattice, &key.replace('_', "-"), &[(key, value)])
            .await;
        let reason = failure(&mut lattice).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_requirement_that_s3_does_not_meet_is_refused_by_name() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    let url = moto.url();
    let own = [
        ("endpoint", url.as_str()),
        ("access_key_id", "id"),
        ("secret_access_key", "x"),
    ];
    let mut lattice = Lattice::start::<BlobstoreS3>(&own).await;
    BLOBS
        .put(&lattice, "met", &[("require", "ranges=native, durable")])
        .await;
    lattice.report_of(LinkState::Ready).await;
    BLOBS
        .put(&lattice, "unmet", &[("require", "move=atomic")])
        .await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("`move=atomic`"), "{reason}");
}
