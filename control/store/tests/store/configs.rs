//! Configs, watches over them and bundles.

use std::time::Duration;

use lattice_core::{LatticeName, StringMap, config};
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port};
use lattice_store::{BundleError, ConfigBundle, LatticeStore, StoreOptions};

use crate::{config as one_key, config_name, raw, soon, started};

#[tokio::test]
async fn a_config_is_put_read_and_deleted() {
    let (nats, store) = started().await;
    let (configs, name) = (store.configs(), config_name("http"));
    assert_eq!(configs.get(&name).await.unwrap(), None);
    configs.delete(&name).await.unwrap();
    let value = config::parse(br#"{"z": "1", "a": "2"}"#).unwrap();
    configs.put(&name, &value).await.unwrap();
    assert_eq!(configs.get(&name).await.unwrap(), Some(value));
    let raw = raw(&nats, "CONFIGDATA_default").await;
    let stored = raw.get("http").await.unwrap().unwrap();
    assert_eq!(&*stored, br#"{"z":"1","a":"2"}"#);
    configs
        .put(&config_name("SECRET_x"), &one_key("v"))
        .await
        .unwrap();
    let names = configs.names().await.unwrap();
    assert_eq!(names, [config_name("SECRET_x"), config_name("http")]);
    configs.delete(&name).await.unwrap();
    assert_eq!(configs.get(&name).await.unwrap(), None);
    assert_eq!(configs.names().await.unwrap(), [config_name("SECRET_x")]);
}

#[tokio::test]
async fn a_watched_config_follows_the_store() {
    let (nats, store) = started().await;
    let other = crate::store(&nats).await;
    let name = config_name("http");
    store.configs().put(&name, &one_key("1")).await.unwrap();
    let mut watch = store.configs().watch(&name).await.unwrap();
    assert_eq!(watch.current().as_deref(), Some(&one_key("1")));
    other.configs().put(&name, &one_key("2")).await.unwrap();
    assert_eq!(
        soon("put", watch.changed()).await.as_deref(),
        Some(&one_key("2"))
    );
    other.configs().delete(&name).await.unwrap();
    assert_eq!(soon("purge", watch.changed()).await, None);
    other.configs().put(&name, &one_key("3")).await.unwrap();
    assert_eq!(
        soon("put again", watch.changed()).await.as_deref(),
        Some(&one_key("3"))
    );
    raw(&nats, "CONFIGDATA_default")
        .await
        .delete("http")
        .await
        .unwrap();
    assert_eq!(soon("delete", watch.changed()).await, None);
}

/// Three servers that form a cluster, of which the leader of a bucket alone may be asked for a record.
async fn cluster() -> [NatsBox; 3] {
    let ports = [(); 3].map(|()| free_port().unwrap());
    let routes = ports.map(|port| format!("\"nats-route://127.0.0.1:{port}\""));
    let routes = routes.join(", ");
    let start = async |name: &str, port: u16| {
        let extra_config = format!(
            "server_name: {name}
            cluster {{ name: box, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}
            authorization {{
                default_permissions: {{ publish: {{ deny: [\"$JS.API.DIRECT.GET.>\"] }} }}
                users: [{{ user: a, password: a }}]
            }}
            no_auth_user: a"
        );
        let options = NatsBoxOptions {
            extra_config,
            ..NatsBoxOptions::default()
        };
        NatsBox::start_with(options).await.unwrap()
    };
    let servers = tokio::join!(
        start("one", ports[0]),
        start("two", ports[1]),
        start("three", ports[2])
    );
    servers.into()
}

/// Tries until it succeeds: a cluster takes its time to choose who leads.
async fn at_last<T, E>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let tried = async {
        loop {
            if let Ok(done) = attempt().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon(what, tried).await
}

#[tokio::test]
async fn where_there_are_copies_a_watch_begins_with_what_the_leader_has() {
    let servers = cluster().await;
    let client = servers[0].client().await.unwrap();
    let options = || StoreOptions {
        replicas: 3,
        ..StoreOptions::default()
    };
    let store = at_last("a store", async || {
        LatticeStore::open(client.clone(), &LatticeName::default(), options()).await
    });
    let store = store.await;
    let (configs, name) = (store.configs(), config_name("http"));
    let put = at_last("a config", async || configs.put(&name, &one_key("1")).await);
    put.await;
    let watch = at_last("a watch", async || configs.watch(&name).await).await;
    assert_eq!(watch.current().as_deref(), Some(&one_key("1")));
}

#[tokio::test]
async fn watches_end_with_their_last_reader() {
    let (nats, store) = started().await;
    let name = config_name("http");
    let first = store.configs().watch(&name).await.unwrap();
    let second = store.configs().watch(&name).await.unwrap();
    assert_eq!(store.configs().watched_names(), 1);
    drop(first);
    assert_eq!(store.configs().watched_names(), 1);
    drop(second);
    assert_eq!(store.configs().watched_names(), 0);
    // NATS sees it too: the consumer has lost its only subscriber.
    let bucket = raw(&nats, "CONFIGDATA_default").await;
    soon("consumer without interest", async {
        use futures::TryStreamExt;
        loop {
            let consumers: Vec<_> = bucket.stream.consumers().try_collect().await.unwrap();
            if consumers.iter().all(|consumer| !consumer.push_bound) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut again = store.configs().watch(&name).await.unwrap();
    store.configs().put(&name, &one_key("1")).await.unwrap();
    assert_eq!(
        soon("put", again.changed()).await.as_deref(),
        Some(&one_key("1"))
    );
}

#[tokio::test]
async fn a_bundle_merges_in_order_and_follows_every_part() {
    let (_nats, store) = started().await;
    let configs = store.configs();
    let map = |text: &str| config::parse(text.as_bytes()).unwrap();
    configs
        .put(&config_name("a"), &map(r#"{"x":"a","y":"a"}"#))
        .await
        .unwrap();
    configs
        .put(&config_name("b"), &map(r#"{"y":"b"}"#))
        .await
        .unwrap();
    let names = [config_name("a"), config_name("b")];
    let mut bundle = ConfigBundle::open(configs, &names).await.unwrap();
    assert_eq!(*bundle.merged(), map(r#"{"x":"a","y":"b"}"#));
    // Hidden by the second part, so it does not count as a change.
    configs
        .put(&config_name("a"), &map(r#"{"x":"a","y":"c"}"#))
        .await
        .unwrap();
    configs
        .put(&config_name("b"), &map(r#"{"y":"d"}"#))
        .await
        .unwrap();
    assert_eq!(
        *soon("change", bundle.changed()).await,
        map(r#"{"x":"a","y":"d"}"#)
    );
    configs.delete(&config_name("b")).await.unwrap();
    assert_eq!(
        *soon("deletion", bundle.changed()).await,
        map(r#"{"x":"a","y":"c"}"#)
    );
    drop(bundle);
    assert_eq!(configs.watched_names(), 0);
}

#[tokio::test]
async fn a_bundle_names_the_config_that_is_missing() {
    let (_nats, store) = started().await;
    let error = ConfigBundle::open(store.configs(), &[config_name("nope")])
        .await
        .unwrap_err();
    assert!(matches!(error, BundleError::Missing { .. }));
    assert_eq!(error.to_string(), "Config nope does not exist");
    assert_eq!(store.configs().watched_names(), 0);
    let empty = ConfigBundle::open(store.configs(), &[]).await.unwrap();
    assert_eq!(*empty.merged(), StringMap::new());
}

#[tokio::test]
async fn a_change_during_an_outage_is_seen_afterwards_and_a_lost_bucket_changes_nothing() {
    let (mut nats, store) = started().await;
    let name = config_name("http");
    store.configs().put(&name, &one_key("1")).await.unwrap();
    let mut watch = store.configs().watch(&name).await.unwrap();
    nats.restart().await.unwrap();
    let other = crate::store(&nats).await;
    other.configs().put(&name, &one_key("2")).await.unwrap();
    assert_eq!(
        soon("change", watch.changed()).await.as_deref(),
        Some(&one_key("2"))
    );
    nats.restart_wiped().await.unwrap();
    // The value of the lost bucket stays until somebody puts another one.
    let other = crate::store(&nats).await;
    other
        .configs()
        .put(&config_name("else"), &one_key("x"))
        .await
        .unwrap();
    other.configs().put(&name, &one_key("3")).await.unwrap();
    assert_eq!(
        soon("change", watch.changed()).await.as_deref(),
        Some(&one_key("3"))
    );
}

#[tokio::test]
async fn configs_in_use_are_written_back_when_their_bucket_was_lost() {
    let (mut nats, store) = started().await;
    let (used, secret) = (config_name("http"), config_name("SECRET_db"));
    let (unused, deleted) = (config_name("unused"), config_name("deleted"));
    for name in [&used, &secret, &unused, &deleted] {
        store.configs().put(name, &one_key("1")).await.unwrap();
    }
    let watched = store.configs().watch(&used).await.unwrap();
    let _secret = store.configs().watch(&secret).await.unwrap();
    let mut gone = store.configs().watch(&deleted).await.unwrap();
    store.configs().delete(&deleted).await.unwrap();
    assert_eq!(soon("the deletion", gone.changed()).await, None);
    nats.restart_wiped().await.unwrap();
    let other = crate::store(&nats).await;
    for name in [&used, &secret] {
        soon("the config is back", async {
            while other.configs().get(name).await.ok().flatten() != Some(one_key("1")) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    assert_eq!(
        other.configs().names().await.unwrap(),
        [secret.clone(), used.clone()],
        "nobody knows the one that was not in use, and the other was deleted"
    );
    // What is deleted from now on stays so.
    other.configs().delete(&used).await.unwrap();
    nats.restart().await.unwrap();
    let other = crate::store(&nats).await;
    soon("the deletion is seen", async {
        while watched.current().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(other.configs().get(&used).await.unwrap(), None);
}
