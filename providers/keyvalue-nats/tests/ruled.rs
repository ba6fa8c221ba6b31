//! Links with rules that have failed, and what their component tries by its other links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

use async_nats::jetstream;
use keyvalue_nats::KeyValueNats;
use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, LinkRules, Locality, ResolvedLink, StringMap};
use lattice_keyvalue_suite::Lattice;
use lattice_nats::NewBucket;
use lattice_provider_sdk::keyvalue::KeyValueError;

/// Puts a link, of which nobody waits for the state.
async fn put_ruled(lattice: &Lattice, ruled: bool, config: &[(&str, &str)]) {
    let provider = ComponentId::new("kv").unwrap();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let link = ResolvedLink {
        source_id: "cart".into(),
        target: provider.to_string(),
        name: "orders".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["store".into()],
        source_config: StringMap::new(),
        target_config: config.iter().map(owned).collect(),
        source_secrets: None,
        target_secrets: None,
        locality: Locality::default(),
        rules: LinkRules::default(),
        ruled,
    };
    let payload = serde_json::to_vec(&link).unwrap();
    let subject = ProviderSubjects::new(&LatticeName::default(), &provider).link_put();
    let nats = lattice.nats.client().await.unwrap();
    nats.publish(subject, payload.into()).await.unwrap();
    nats.flush().await.unwrap();
}

#[tokio::test]
async fn a_link_with_rules_is_not_got_round_while_it_has_failed() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let orders = NewBucket {
        name: "shop-orders".into(),
        ..NewBucket::default()
    };
    lattice_nats::create_bucket(&context, orders).await.unwrap();
    let others = ("create_other_buckets", "true");
    let create = ("enable_bucket_auto_create", "true");
    let usual = lattice.link("cart", "default", &[create, others]).await;
    // Known by its text, and by its server alone.
    let [name, odd] = ["localhost", "127.1"].map(|host| format!("{host}:{}", lattice.nats.port));
    let by_name = [("cluster_uri", &*name), ("bucket", "b"), create, others];
    let by_name = lattice.link("cart", "by-name", &by_name).await;
    let odd = [("cluster_uri", &*odd), ("bucket", "b"), create, others];
    let odd = lattice.link("cart", "odd", &odd).await;
    let denied = Err(KeyValueError::AccessDenied);
    for (bucket, wrong) in [
        // It is made otherwise than the link says, is missing, or the link says nonsense.
        ("shop-orders", ("ttl_seconds", "60")),
        ("late", ("none", "")),
        ("shop-orders", ("js_domain", "a.*")),
    ] {
        put_ruled(&lattice, true, &[("bucket", bucket), wrong]).await;
        lattice.report_of(LinkState::Failed).await;
        for kv in [&usual, &by_name, &odd] {
            assert_eq!(kv.set("orders", "a", "y").await, denied, "{wrong:?}");
            assert_eq!(kv.set(bucket, "a", "y").await, denied, "{wrong:?}");
        }
    }
    // Without rules it is as free as any other.
    put_ruled(&lattice, false, &[("bucket", "shop-orders")]).await;
    lattice.report_of(LinkState::Ready).await;
    for kv in [&usual, &by_name, &odd] {
        assert_eq!(kv.set("shop-orders", "a", "y").await, Ok(()));
        assert_eq!(kv.set("orders", "a", "y").await, Ok(()));
    }
}
