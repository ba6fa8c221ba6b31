//! Watches over specs and claims: changes, outages, lost buckets.

use lattice_store::{LatticeChange, LatticeSnapshot, LatticeWatch};

use crate::{link, raw, soon, started};

async fn next(watch: &mut LatticeWatch) -> LatticeChange {
    soon("a change", watch.next()).await
}

async fn resync(watch: &mut LatticeWatch) -> LatticeSnapshot {
    match next(watch).await {
        LatticeChange::Resync(snapshot) => snapshot,
        other => panic!("expected a resync, got {other:?}"),
    }
}

#[tokio::test]
async fn a_watch_starts_with_what_is_there_and_goes_on_with_changes() {
    let (nats, store) = started().await;
    store
        .links()
        .put(&link("old", "b", "default"))
        .await
        .unwrap();
    let mut watch = store.watch();
    let snapshot = resync(&mut watch).await;
    assert_eq!(snapshot.specs["old"].links, [link("old", "b", "default")]);
    assert!(!snapshot.fresh);
    let other = crate::store(&nats).await;
    other
        .links()
        .put(&link("new", "b", "default"))
        .await
        .unwrap();
    let LatticeChange::SpecPut { id, spec } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!((id.as_str(), spec.links.len()), ("new", 1));
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    bucket.delete("COMPONENT_new").await.unwrap();
    let LatticeChange::SpecDeleted { id } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(id, "new");
    bucket.purge("COMPONENT_old").await.unwrap();
    let LatticeChange::SpecDeleted { id } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(id, "old");
    let claims = r#"{"issuer":"A","name":"n","revision":"1","subject":"V1","version":"1"}"#;
    bucket.put("CLAIMS_V1", claims.into()).await.unwrap();
    let LatticeChange::ClaimsPut { subject, .. } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(subject, "V1");
    bucket.delete("CLAIMS_V1").await.unwrap();
    let LatticeChange::ClaimsDeleted { subject } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(subject, "V1");
}

#[tokio::test]
async fn an_empty_bucket_gives_an_empty_resync_at_once() {
    let (_nats, store) = started().await;
    let mut watch = store.watch();
    let snapshot = resync(&mut watch).await;
    assert!(snapshot.specs.is_empty() && snapshot.claims.is_empty());
}

#[tokio::test]
async fn a_watch_starts_with_all_there_is_while_others_never_stop_writing() {
    const SPECS: usize = 200;
    let (nats, store) = started().await;
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    let spec = r#"{"url":"","links":[]}"#;
    for n in 0..SPECS {
        let key = format!("COMPONENT_s{n}");
        bucket.put(key, spec.into()).await.unwrap();
    }
    let mut writers = tokio::task::JoinSet::new();
    for first in 0..8 {
        let bucket = bucket.clone();
        writers.spawn(async move {
            for n in (0..SPECS).cycle().skip(first * SPECS / 8) {
                let key = format!("COMPONENT_s{n}");
                bucket.put(key, spec.into()).await.unwrap();
            }
        });
    }
    for _ in 0..20 {
        let snapshot = resync(&mut store.watch()).await;
        assert_eq!(snapshot.specs.len(), SPECS);
    }
}

#[tokio::test]
async fn deleted_records_are_not_part_of_a_resync() {
    let (_nats, store) = started().await;
    store
        .links()
        .put(&link("kept", "b", "default"))
        .await
        .unwrap();
    for n in 0..20 {
        let source = format!("gone{n}");
        store
            .links()
            .put(&link(&source, "b", "default"))
            .await
            .unwrap();
        store
            .links()
            .delete_spec(&source.parse().unwrap())
            .await
            .unwrap();
    }
    let snapshot = resync(&mut store.watch()).await;
    assert_eq!(snapshot.specs.len(), 1);
    assert!(snapshot.specs.contains_key("kept"));
    assert_eq!(snapshot.deleted.len(), 20);
    assert!(snapshot.deleted.contains("gone0"));
}

#[tokio::test]
async fn a_deletion_during_an_outage_is_noticed_by_the_resync() {
    let (mut nats, store) = started().await;
    store.links().put(&link("a", "b", "default")).await.unwrap();
    store.links().put(&link("c", "d", "default")).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(resync(&mut watch).await.specs.len(), 2);
    nats.restart().await.unwrap();
    crate::store(&nats)
        .await
        .links()
        .delete_spec(&"a".parse().unwrap())
        .await
        .unwrap();
    // The deletion itself may be seen too, when the consumer comes back before it.
    let snapshot = loop {
        match next(&mut watch).await {
            LatticeChange::Resync(snapshot) if snapshot.specs.len() == 1 => break snapshot,
            _ => {}
        }
    };
    assert!(snapshot.specs.contains_key("c") && !snapshot.fresh);
    store.links().put(&link("e", "f", "default")).await.unwrap();
    let LatticeChange::SpecPut { id, .. } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(id, "e");
}

#[tokio::test]
async fn a_wiped_server_gives_a_fresh_bucket_and_the_watch_goes_on() {
    let (mut nats, store) = started().await;
    store.links().put(&link("a", "b", "default")).await.unwrap();
    let mut watch = store.watch();
    assert!(!resync(&mut watch).await.fresh);
    nats.restart_wiped().await.unwrap();
    let snapshot = resync(&mut watch).await;
    assert!(snapshot.fresh && snapshot.lost_lately && snapshot.specs.is_empty());
    store.links().put(&link("a", "b", "default")).await.unwrap();
    let LatticeChange::SpecPut { id, .. } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!(id, "a");
}

#[tokio::test]
async fn a_bucket_replaced_under_a_live_connection_is_noticed() {
    let (nats, store) = started().await;
    for n in 0..5 {
        store
            .links()
            .put(&link(&format!("s{n}"), "b", "default"))
            .await
            .unwrap();
    }
    let mut watch = store.watch();
    assert_eq!(resync(&mut watch).await.specs.len(), 5);
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.delete_key_value("LATTICEDATA_default").await.unwrap();
    let other = crate::store(&nats).await;
    other
        .links()
        .put(&link("new", "b", "default"))
        .await
        .unwrap();
    let snapshot = loop {
        match next(&mut watch).await {
            LatticeChange::Resync(snapshot) => break snapshot,
            LatticeChange::SpecPut { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    };
    assert!(snapshot.fresh && snapshot.lost_lately);
    assert!(snapshot.specs.contains_key("new") && snapshot.specs.len() == 1);
}

#[tokio::test]
async fn a_watch_that_is_dropped_leaves_no_subscriber() {
    use futures::TryStreamExt;
    let (nats, store) = started().await;
    let mut watch = store.watch();
    resync(&mut watch).await;
    drop(watch);
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    soon("no subscriber", async {
        loop {
            let consumers: Vec<_> = bucket.stream.consumers().try_collect().await.unwrap();
            if consumers.iter().all(|consumer| !consumer.push_bound) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}
