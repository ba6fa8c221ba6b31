//! What links say, and what becomes of them when SQS is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

#[path = "../../blobstore-s3/tests/support/moto.rs"]
mod moto;
#[path = "../../blobstore-s3/tests/support/mod.rs"]
mod support;

use lattice_core::link::LinkState;
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use moto::key_of_strict_service;
use queue_sqs::QueueSqs;
use support::{QUEUES, failure, failure_like};

#[tokio::test]
async fn a_link_waits_for_its_service() {
    let mut lattice = Lattice::start::<QueueSqs>(&[("access_key_id", "id")]).await;
    let mut moto = Service::reserve(Kind::Moto).unwrap();
    let url = moto.url();
    let config = [("endpoint", url.as_str()), ("secret_access_key", "s3cr3t")];
    QUEUES.put(&lattice, "default", &config).await;
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
    let keys = key_of_strict_service(&url, "sqs").await;
    let mut lattice = Lattice::start::<QueueSqs>(&[("endpoint", &url)]).await;
    let id = keys.id.as_str();
    let wrong = [("access_key_id", id), ("secret_access_key", "wr0ng")];
    QUEUES.put(&lattice, "wrong", &wrong).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("SignatureDoesNotMatch"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let right = [
        ("access_key_id", id),
        ("secret_access_key", keys.secret.expose()),
    ];
    QUEUES.put(&lattice, "right", &right).await;
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
        QUEUES
            .put(&lattice, &key.replace('_', "-"), &[(key, value)])
            .await;
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
    QUEUES.put(&lattice, "strict", &[("create", "false")]).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("GetQueueUrl"), "{reason}");
    QUEUES
        .put(
            &lattice,
            "met",
            &[("require", "delay, max-message-bytes>=258048")],
        )
        .await;
    lattice.report_of(LinkState::Ready).await;
    QUEUES
        .put(&lattice, "unmet", &[("require", "groups")])
        .await;
    failure_like(&mut lattice, "`groups`").await;
    QUEUES
        .put(
            &lattice,
            "fifo",
            &[("require", "groups, dedup"), ("fifo", "true")],
        )
        .await;
    lattice.report_of(LinkState::Ready).await;
}
