//! What links say, and what becomes of them when Azure is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

#[path = "../../blobstore-s3/tests/support/mod.rs"]
mod support;

use lattice_core::link::LinkState;
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use queue_azure::QueueAzure;
use support::{QUEUES, failure, failure_like};

fn url(service: &Service) -> String {
    format!("http://127.0.0.1:{}", service.ports()[1])
}

#[tokio::test]
async fn a_link_waits_for_its_service() {
    let own = [("STORAGE_ACCOUNT", "devstoreaccount1")];
    let mut lattice = Lattice::start::<QueueAzure>(&own).await;
    let mut azurite = Service::reserve(Kind::Azurite).unwrap();
    QUEUES
        .put(&lattice, "default", &[("endpoint", &url(&azurite))])
        .await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("could not reach"), "{reason}");
    assert!(reason.contains(&azurite.ports()[1].to_string()), "{reason}");
    azurite.start_again().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    azurite.kill();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("could not reach"), "{reason}");
}

#[tokio::test]
async fn what_the_service_refuses_fails_the_link_in_its_words() {
    let azurite = Service::start(Kind::Azurite).await.unwrap();
    let url = url(&azurite);
    let own = [
        ("endpoint", url.as_str()),
        ("STORAGE_ACCOUNT", "devstoreaccount1"),
        ("queue", "jobs"),
    ];
    let mut lattice = Lattice::start::<QueueAzure>(&own).await;
    // Its queues are there a moment after its blobs.
    QUEUES
        .put(&lattice, "right", &[("require", "delay, dead-letter")])
        .await;
    lattice.report_of(LinkState::Ready).await;
    QUEUES
        .put(&lattice, "wrong", &[("STORAGE_ACCESS_KEY", "d3Iwbmc=")])
        .await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("AuthenticationFailed"), "{reason}");
    assert!(!reason.contains("d3Iwbmc="), "{reason}");
    for (config, expected) in [
        ([("queue", "other"), ("create", "false")], "QueueNotFound"),
        ([("queue", "jobs"), ("require", "groups")], "`groups`"),
        ([("queue", "Jobs"), ("create", "true")], "Azure wants"),
    ] {
        QUEUES
            .put(
                &lattice,
                &expected.replace('`', "").replace(' ', "-"),
                &config,
            )
            .await;
        failure_like(&mut lattice, expected).await;
    }
}
