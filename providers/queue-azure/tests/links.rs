//! What links say, and what becomes of them when Azure is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_keyvalue_suite::Lattice;
use lattice_services::{Kind, Service};
use queue_azure::QueueAzure;
use tokio::time::Instant;

/// A link that cannot be served has to say so by then.
const SOON: Duration = Duration::from_secs(5);

fn url(service: &Service) -> String {
    format!("http://127.0.0.1:{}", service.ports()[1])
}

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

#[tokio::test]
async fn a_link_waits_for_its_service() {
    let own = [("STORAGE_ACCOUNT", "devstoreaccount1")];
    let mut lattice = Lattice::start::<QueueAzure>(&own).await;
    let mut azurite = Service::reserve(Kind::Azurite).unwrap();
    put(&lattice, "default", &[("endpoint", &url(&azurite))]).await;
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
    put(&lattice, "right", &[("require", "delay, dead-letter")]).await;
    lattice.report_of(LinkState::Ready).await;
    put(&lattice, "wrong", &[("STORAGE_ACCESS_KEY", "d3Iwbmc=")]).await;
    let reason = failure(&mut lattice).await;
    assert!(reason.contains("AuthenticationFailed"), "{reason}");
    assert!(!reason.contains("d3Iwbmc="), "{reason}");
    for (config, expected) in [
        ([("queue", "other"), ("create", "false")], "QueueNotFound"),
        ([("queue", "jobs"), ("require", "groups")], "`groups`"),
        ([("queue", "Jobs"), ("create", "true")], "Azure wants"),
    ] {
        put(
            &lattice,
            &expected.replace('`', "").replace(' ', "-"),
            &config,
        )
        .await;
        let met = async { while !failure(&mut lattice).await.contains(expected) {} };
        let met = tokio::time::timeout(SOON, met).await;
        assert!(met.is_ok(), "{expected}");
    }
}
