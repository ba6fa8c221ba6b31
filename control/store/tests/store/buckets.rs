//! Opening and creating buckets.

use lattice_core::LatticeName;
use lattice_nats::NewBucket;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_store::{LatticeStore, StoreError, StoreOptions};

use crate::{config, config_name, link, raw, started, store};

#[tokio::test]
async fn missing_buckets_get_the_defaults_of_the_server() {
    let (nats, _store) = started().await;
    for bucket in ["LATTICEDATA_default", "CONFIGDATA_default"] {
        let bucket = raw(&nats, bucket).await;
        let settings = &bucket.stream.cached_info().config;
        assert_eq!(settings.num_replicas, 1);
        assert_eq!(settings.max_messages_per_subject, 1);
        assert!(settings.max_age.is_zero());
    }
}

#[tokio::test]
async fn buckets_that_are_there_are_used_as_they_are() {
    let nats = NatsBox::start().await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let new = NewBucket {
        name: "LATTICEDATA_default".into(),
        history: 7,
        ..NewBucket::default()
    };
    lattice_nats::create_bucket(&js, new).await.unwrap();
    let store = store(&nats).await;
    store.links().put(&link("a", "b", "default")).await.unwrap();
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    assert_eq!(
        bucket.stream.cached_info().config.max_messages_per_subject,
        7
    );
}

#[tokio::test]
async fn more_replicas_than_the_server_can_keep_are_an_error_with_a_hint() {
    let nats = NatsBox::start().await.unwrap();
    let options = StoreOptions {
        replicas: 3,
        ..StoreOptions::default()
    };
    let client = nats.client().await.unwrap();
    let error = LatticeStore::open(client, &LatticeName::default(), options)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("LATTICEDATA_default"));
    assert!(error.hint().unwrap().contains("replicas"));
}

#[tokio::test]
async fn a_domain_is_respected() {
    let options = NatsBoxOptions {
        js_domain: Some("edge".into()),
        ..Default::default()
    };
    let nats = NatsBox::start_with(options).await.unwrap();
    let domain = |name: &str| StoreOptions {
        js_domain: Some(name.to_owned()),
        ..StoreOptions::default()
    };
    let lattice = LatticeName::default();
    let client = nats.client().await.unwrap();
    let store = LatticeStore::open(client.clone(), &lattice, domain("edge"))
        .await
        .unwrap();
    store.links().put(&link("a", "b", "default")).await.unwrap();
    store
        .configs()
        .put(&config_name("c"), &config("v"))
        .await
        .unwrap();
    assert_eq!(
        store.configs().get(&config_name("c")).await.unwrap(),
        Some(config("v"))
    );
    assert_eq!(store.links().snapshot().await.unwrap().specs.len(), 1);
    let error = LatticeStore::open(client, &lattice, domain("elsewhere"))
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().contains("domain"), "{error:?}");
}

#[tokio::test]
async fn lattices_do_not_see_each_other() {
    let (nats, store) = started().await;
    let lattice = LatticeName::new("other").unwrap();
    let client = nats.client().await.unwrap();
    let other = LatticeStore::open(client, &lattice, StoreOptions::default())
        .await
        .unwrap();
    store
        .configs()
        .put(&config_name("c"), &config("v"))
        .await
        .unwrap();
    assert_eq!(other.configs().get(&config_name("c")).await.unwrap(), None);
}

#[tokio::test]
async fn a_bucket_that_vanishes_is_made_anew_by_the_next_write() {
    let (nats, store) = started().await;
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.delete_key_value("CONFIGDATA_default").await.unwrap();
    js.delete_key_value("LATTICEDATA_default").await.unwrap();
    store
        .configs()
        .put(&config_name("c"), &config("v"))
        .await
        .unwrap();
    store.links().put(&link("a", "b", "default")).await.unwrap();
    assert_eq!(
        store.configs().get(&config_name("c")).await.unwrap(),
        Some(config("v"))
    );
}
