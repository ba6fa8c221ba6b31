//! Links of providers whose backends speak HTTP, for the tests of all of them.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_keyvalue_suite::Lattice;
use tokio::time::Instant;

/// A link that cannot be served has to say so by then.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// What links of one kind are for.
pub(crate) struct Links {
    package: (&'static str, &'static str),
    interfaces: &'static [&'static str],
}

/// Links to blobs.
pub(crate) const BLOBS: Links = Links {
    package: ("wasi", "blobstore"),
    interfaces: &["blobstore"],
};

/// Links to queues.
pub(crate) const QUEUES: Links = Links {
    package: ("lattice", "queue"),
    interfaces: &["producer", "consumer"],
};

impl Links {
    /// Puts a link; whether it works is left to the report.
    pub(crate) async fn put(&self, lattice: &Lattice, name: &str, config: &[(&str, &str)]) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let link = ResolvedLink {
            source_id: "worker".into(),
            target: "kv".into(),
            name: name.into(),
            wit_namespace: self.package.0.into(),
            wit_package: self.package.1.into(),
            interfaces: self.interfaces.iter().map(|name| (*name).into()).collect(),
            source_config: StringMap::new(),
            target_config: config.iter().map(owned).collect(),
            source_secrets: None,
            target_secrets: None,
            locality: Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        };
        let id = ComponentId::new("kv").unwrap();
        let subject = ProviderSubjects::new(&LatticeName::default(), &id).link_put();
        let nats = lattice.nats.client().await.unwrap();
        let payload = serde_json::to_vec(&link).unwrap();
        nats.publish(subject, payload.into()).await.unwrap();
        nats.flush().await.unwrap();
    }
}

/// Waits until a link has failed, and says why.
pub(crate) async fn failure(lattice: &mut Lattice) -> String {
    let begun = Instant::now();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(begun.elapsed() < SOON, "{reason}");
    reason
}

/// Waits until a link has failed for a reason like this one.
pub(crate) async fn failure_like(lattice: &mut Lattice, part: &str) -> String {
    let found = async {
        loop {
            let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
            if reason.contains(part) {
                return reason;
            }
        }
    };
    let found = tokio::time::timeout(SOON * 6, found).await;
    found.unwrap_or_else(|_| panic!("no link has failed for {part:?}"))
}
