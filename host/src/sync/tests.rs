//! Tests of what becomes of a lost store.

use super::*;

use lattice_core::{LatticeName, Link};
use lattice_nats_box::NatsBox;
use lattice_store::StoreOptions;

const SOON: Duration = Duration::from_secs(60);

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

fn link(name: &str) -> Link {
    serde_json::from_value(serde_json::json!({
        "source_id": "a", "target": "kv", "name": name, "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"],
    }))
    .unwrap()
}

fn spec(names: &[&str]) -> ComponentSpec {
    ComponentSpec {
        url: String::new(),
        links: names.iter().map(|name| link(name)).collect(),
    }
}

async fn place() -> (NatsBox, LatticeStore, Follower) {
    let nats = NatsBox::start().await.unwrap();
    let lattice = LatticeName::default();
    let client = nats.client().await.unwrap();
    let store = LatticeStore::open(client, &lattice, StoreOptions::default());
    let store = store.await.unwrap();
    let follower = Follower {
        restorer: Restorer::start(store.clone()),
        links: Arc::new(LinkTable::new(lattice)),
        claims: Arc::default(),
    };
    (nats, store, follower)
}

#[tokio::test]
async fn a_link_in_a_new_store_takes_no_other_of_its_source_away() {
    let (_nats, store, follower) = place().await;
    let source = id("a");
    follower.links.put(&source, spec(&["one", "two"]));
    // Somebody was faster than this host.
    store.links().put(&link("three")).await.unwrap();
    let mut snapshot = LatticeSnapshot {
        fresh: true,
        lost_lately: true,
        ..LatticeSnapshot::default()
    };
    snapshot.specs.insert(source.clone(), spec(&["three"]));
    follower.resync(snapshot);
    let all = spec(&["three", "one", "two"]).links;
    assert_eq!(follower.links.spec(&source).unwrap().links, all);
    let written = async {
        while store.links().spec(&source).await.unwrap().unwrap().links != all {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, written).await.unwrap();
}

#[test]
fn what_a_new_store_has_of_a_source_is_not_written_back() {
    let known = spec(&["one"]);
    assert!(lacks(&spec(&["two"]), &known));
    assert!(!lacks(&spec(&["two", "one"]), &known));
}

#[tokio::test]
async fn a_store_that_was_lost_long_ago_says_which_links_of_a_source_there_are() {
    let (_nats, _store, follower) = place().await;
    for source in ["a", "b"] {
        follower.links.put(&id(source), spec(&["one", "two"]));
    }
    let mut snapshot = LatticeSnapshot {
        fresh: true,
        ..LatticeSnapshot::default()
    };
    snapshot.specs.insert(id("a"), spec(&["two"]));
    let lost = follower.lost(&snapshot);
    assert_eq!(lost, [(id("b"), spec(&["one", "two"]))]);
    follower.resync(snapshot);
    assert_eq!(follower.links.spec(&id("a")), Some(spec(&["two"])));
}

#[tokio::test]
async fn what_was_deleted_in_a_new_store_before_this_host_looked_is_gone() {
    let (_nats, _store, follower) = place().await;
    for source in ["a", "b"] {
        follower.links.put(&id(source), spec(&["one"]));
    }
    let snapshot = LatticeSnapshot {
        fresh: true,
        deleted: [id("a")].into(),
        ..LatticeSnapshot::default()
    };
    assert_eq!(follower.lost(&snapshot), [(id("b"), spec(&["one"]))]);
    follower.resync(snapshot);
    assert_eq!(follower.links.spec(&id("a")), None);
    assert_eq!(follower.links.spec(&id("b")), Some(spec(&["one"])));
}

#[tokio::test]
async fn a_link_that_is_deleted_before_it_is_written_back_leads_nowhere_whatever_record_comes() {
    let (mut nats, _store, follower) = place().await;
    // So that nothing is written back.
    nats.stop();
    let source = id("a");
    follower.links.put(&source, spec(&["one", "two"]));
    follower.resync(LatticeSnapshot {
        fresh: true,
        ..LatticeSnapshot::default()
    });
    assert_eq!(follower.links.spec(&source), Some(spec(&["one", "two"])));
    let unwritten = follower.restorer.unwritten();
    unwritten.take_from(&follower.links, &source, |link| link.name == "one");
    assert_eq!(follower.links.spec(&source), Some(spec(&["two"])));
    assert_eq!(
        follower.links.gone(|link| link.name == "one"),
        [link("one")]
    );
    // Somebody puts another link of the source meanwhile.
    follower.apply(LatticeChange::SpecPut {
        id: source.clone(),
        spec: spec(&["three"]),
    });
    assert_eq!(follower.links.spec(&source), Some(spec(&["three", "two"])));
    // What the store has and has said is left to the store.
    unwritten.take_from(&follower.links, &source, |link| link.name == "three");
    assert_eq!(follower.links.spec(&source), Some(spec(&["three", "two"])));
}

#[tokio::test]
async fn what_an_older_copy_of_the_store_says_was_deleted_is_written_back() {
    let (_nats, store, follower) = place().await;
    let source = id("a");
    store.links().put(&link("one")).await.unwrap();
    store.links().delete_spec(&source).await.unwrap();
    // It was put again after that, and the store has lost it.
    follower.links.put(&source, spec(&["one"]));
    follower.resync(LatticeSnapshot {
        fresh: true,
        outdated: 10,
        ..LatticeSnapshot::default()
    });
    assert_eq!(follower.links.spec(&source), Some(spec(&["one"])));
    let written = async {
        while store.links().spec(&source).await.unwrap() != Some(spec(&["one"])) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, written).await.unwrap();
}

#[tokio::test]
async fn a_link_that_is_taken_away_is_not_written_back_either() {
    let (mut nats, _store, follower) = place().await;
    // So that nothing is written back.
    nats.stop();
    let source = id("a");
    follower.links.put(&source, spec(&["one", "two"]));
    let before = *follower.links.changes().borrow();
    follower.resync(LatticeSnapshot {
        fresh: true,
        ..LatticeSnapshot::default()
    });
    let unwritten = follower.restorer.unwritten();
    let take = |version| {
        let is_meant = |link: &Link| link.name == "one";
        unwritten.take_unchanged(&follower.links, &source, version, is_meant)
    };
    assert!(!take(before), "it may have been put since");
    assert_eq!(follower.links.spec(&source), Some(spec(&["one", "two"])));
    let now = *follower.links.changes().borrow();
    assert!(take(now));
    assert_eq!(follower.links.spec(&source), Some(spec(&["two"])));
    let mut told = spec(&["three"]);
    follower.restorer.complete(&source, &mut told);
    assert_eq!(told, spec(&["three", "two"]));
}
