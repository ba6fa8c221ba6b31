//! The store against a real NATS server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod buckets;
mod code;
mod configs;
mod links;
mod status;
mod watch;

use std::time::Duration;

use lattice_core::{ConfigName, LatticeName, Link, StringMap};
use lattice_nats_box::NatsBox;
use lattice_store::{LatticeStore, StoreOptions};

/// Longer than anything here should take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn store(nats: &NatsBox) -> LatticeStore {
    let client = nats.client().await.unwrap();
    LatticeStore::open(client, &LatticeName::default(), StoreOptions::default())
        .await
        .unwrap()
}

async fn started() -> (NatsBox, LatticeStore) {
    let nats = NatsBox::start().await.expect("nats-server");
    let store = store(&nats).await;
    (nats, store)
}

fn link(source: &str, target: &str, name: &str) -> Link {
    Link {
        source_id: source.into(),
        target: target.into(),
        name: name.into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["store".into()],
        source_config: vec![],
        target_config: vec![],
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        status: vec![],
    }
}

fn config_name(name: &str) -> ConfigName {
    ConfigName::new(name).unwrap()
}

fn config(value: &str) -> StringMap {
    StringMap::from_iter([("key".to_owned(), value.to_owned())])
}

/// Waits for a future with the deadline of the tests.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: too late"))
}

/// The raw bucket, to look at records and to write what the store would not.
async fn raw(nats: &NatsBox, bucket: &str) -> async_nats::jetstream::kv::Store {
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.get_key_value(bucket).await.unwrap()
}
