//! A container in a JetStream domain, at a leaf whose own domain may have a container of that name as well.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../blobstore-fs/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use async_nats::jetstream;
use blobstore_nats::BlobstoreNats;
use lattice_nats_box::{Middleman, NatsBox, NatsBoxOptions, free_port};
use support::{Lattice, until};

/// A hub, the line to it, and a leaf.
async fn hub_and_leaf() -> (NatsBox, Middleman, NatsBox) {
    let port = free_port().unwrap();
    let hub = NatsBoxOptions {
        js_domain: Some("hub".to_owned()),
        extra_config: format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}\n"),
        ..NatsBoxOptions::default()
    };
    let hub = NatsBox::start_with(hub).await.unwrap();
    let line = Middleman::before(port).await.unwrap();
    let url = line.instead_of(&format!("nats-leaf://127.0.0.1:{port}"));
    let leaf = NatsBoxOptions {
        js_domain: Some("leaf".to_owned()),
        extra_config: format!("leafnodes {{ remotes: [ {{ url: {url:?} }} ] }}\n"),
        ..NatsBoxOptions::default()
    };
    let leaf = NatsBox::start_with(leaf).await.unwrap();
    let there = jetstream::with_domain(leaf.client().await.unwrap(), "hub");
    until(async || there.query_account().await.is_ok()).await;
    (hub, line, leaf)
}

#[tokio::test]
async fn what_the_container_of_another_domain_takes_is_not_said_to_be_written() {
    let (_hub, line, leaf) = hub_and_leaf().await;
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let uri = ("cluster_uri", leaf.url.as_str());
    let far = lattice.link("far", &[uri, ("js_domain", "hub")]).await;
    far.create("c").await.unwrap();
    // The leaf may not know yet who listens at the hub.
    until(async || far.set("c", "o", b"a").await.is_ok()).await;
    let near = lattice.link("near", &[uri]).await;
    near.create("c").await.unwrap();
    // The leaf is the first to answer.
    line.delay(Duration::from_millis(100));
    let error = far.set("c", "o", b"b").await.unwrap_err();
    for part in ["`leaf`", "`hub`", "another name"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(far.get("c", "o").await.unwrap(), b"a");
}
