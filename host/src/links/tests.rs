//! Tests of the link table.

use std::pin::pin;

use lattice_core::{Road, Why};
use lattice_store::LatticeSnapshot;

use super::diff::LinkDiff;
use super::*;

/// Single changes, for tests.
impl LinkTable {
    pub(crate) fn put(&self, id: &ComponentId, spec: ComponentSpec) -> LinkDiff {
        self.change(|| vec![(id.clone(), Some(spec))])
    }

    fn remove(&self, id: &ComponentId) -> LinkDiff {
        self.change(|| vec![(id.clone(), None)])
    }

    fn resync(&self, snapshot: &mut LatticeSnapshot) -> LinkDiff {
        self.change(|| self.as_in(snapshot))
    }

    fn take_away(&self, id: &ComponentId, is_meant: impl Fn(&Link) -> bool) -> LinkDiff {
        self.change(|| self.without(id, is_meant))
    }
}

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

fn link(source: &str, target: &str, name: &str, interfaces: &[&str]) -> Link {
    Link {
        source_id: source.into(),
        target: target.into(),
        name: name.into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: interfaces.iter().map(|text| (*text).to_owned()).collect(),
        source_config: vec![],
        target_config: vec![],
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        status: vec![],
    }
}

fn spec(links: &[Link]) -> ComponentSpec {
    ComponentSpec {
        url: String::new(),
        links: links.to_vec(),
    }
}

fn table() -> LinkTable {
    LinkTable::new(LatticeName::default())
}

fn target(table: &LinkTable, name: &str, lookup: &str) -> Option<String> {
    let route = table.resolve(&id("a"), name, lookup)?;
    Some(route.target.as_str().to_owned())
}

#[test]
fn links_are_found_by_source_name_and_interface() {
    let table = table();
    let links = [
        link("a", "kv", "default", &["store"]),
        link("a", "other", "second", &["store"]),
    ];
    table.put(&id("a"), spec(&links));
    assert_eq!(
        target(&table, "default", "wasi:keyvalue/store").unwrap(),
        "kv"
    );
    assert_eq!(
        target(&table, "second", "wasi:keyvalue/store").unwrap(),
        "other"
    );
    assert_eq!(target(&table, "default", "wasi:keyvalue/atomics"), None);
    assert_eq!(target(&table, "third", "wasi:keyvalue/store"), None);
    assert!(
        table
            .resolve(&id("b"), "default", "wasi:keyvalue/store")
            .is_none()
    );
}

#[test]
fn links_whose_names_have_blanks_as_1_9_stores_them_are_found() {
    let table = table();
    table.put(
        &id("a"),
        spec(&[link("a", "kv", "backup store", &["store"])]),
    );
    assert_eq!(target(&table, "backup store", STORE).unwrap(), "kv");
}

#[test]
fn links_that_went_are_remembered_once_each_and_the_latest_ones() {
    let table = table();
    let named = |name: usize| link("a", "kv", &name.to_string(), &["store"]);
    let gone = |name: usize| table.gone(|link| link.name == name.to_string());
    for _ in 0..2 {
        table.put(&id("a"), spec(&[named(0)]));
        assert_eq!(table.put(&id("a"), spec(&[])).removed, [named(0)]);
    }
    assert_eq!(gone(0), [named(0)]);
    table.put(&id("a"), spec(&[named(0), named(1)]));
    table.remove(&id("a"));
    assert_eq!((gone(0), gone(1)), (vec![named(0)], vec![named(1)]));
    let links: Vec<_> = (1..=deleted_links::MOST).map(named).collect();
    table.put(&id("a"), spec(&links));
    table.remove(&id("a"));
    assert_eq!((gone(0), gone(1)), (vec![], vec![named(1)]));
}

#[test]
fn interfaces_with_a_version_as_1_9_stores_them_are_found() {
    let table = table();
    let old = link("a", "kv", "default", &["store@0.2.0-draft"]);
    table.put(&id("a"), spec(std::slice::from_ref(&old)));
    assert_eq!(target(&table, "default", STORE).unwrap(), "kv");
    assert_eq!(table.all().0, [old]);
}

const STORE: &str = "wasi:keyvalue/store";

#[tokio::test(start_paused = true)]
async fn a_call_waits_while_its_link_moves_and_no_longer() {
    let table = table();
    let to = |target: &str| spec(&[link("a", target, "default", &["store"])]);
    let (source, started) = (id("a"), Instant::now());
    let later = |millis| started + std::time::Duration::from_millis(millis);
    table.put(&source, to("kv"));
    table.put(&source, spec(&[]));
    assert!(table.leads_somewhere(&source, "default", STORE));
    let call = table.resolve_soon(&source, "default", STORE, later(5000));
    let put = async {
        tokio::time::sleep_until(later(300)).await;
        table.put(&source, to("other"));
    };
    let (found, ()) = tokio::join!(call, put);
    assert_eq!(found.unwrap().target.as_str(), "other");

    table.remove(&source);
    let call = table.resolve_soon(&source, "default", STORE, later(400));
    assert!(call.await.is_none(), "the deadline of the call comes first");
    assert_eq!(Instant::now(), later(400));
    let call = table.resolve_soon(&source, "default", STORE, later(5000));
    assert!(call.await.is_none());
    assert_eq!(Instant::now(), later(1300));
    assert!(!table.leads_somewhere(&source, "default", STORE));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_link_fails_at_once() {
    let table = table();
    table.put(&id("a"), spec(&[link("a", "kv", "default", &["store"])]));
    let before = Instant::now();
    let by = before + std::time::Duration::from_secs(5);
    let source = id("a");
    let call = table.resolve_soon(&source, "default", "wasi:keyvalue/atomics", by);
    assert!(call.await.is_none());
    assert_eq!(Instant::now(), before);
}

#[test]
fn a_deleted_link_is_not_resolved_and_a_call_under_way_keeps_its_target() {
    let table = table();
    table.put(&id("a"), spec(&[link("a", "kv", "default", &["store"])]));
    let route = table
        .resolve(&id("a"), "default", "wasi:keyvalue/store")
        .unwrap();
    let diff = table.put(&id("a"), spec(&[]));
    assert_eq!((diff.removed.len(), diff.added.len()), (1, 0));
    assert_eq!(target(&table, "default", "wasi:keyvalue/store"), None);
    assert_eq!(route.target, "kv");
}

#[test]
fn calls_tell_the_package_of_their_link_where_its_name_is_not_enough() {
    let table = table();
    let of = |namespace: &str, package: &str, target: &str| Link {
        wit_namespace: namespace.into(),
        wit_package: package.into(),
        ..link("a", target, "default", &["store"])
    };
    let told = |lookup: &str| {
        let route = table.resolve(&id("a"), "default", lookup).unwrap();
        route.package.as_deref().map(str::to_owned)
    };
    let alone = [
        of("wasi", "keyvalue", "kv"),
        of("wasi", "blobstore", "blobs"),
        of("lattice", "provider", "kv"),
    ];
    table.put(&id("a"), spec(&alone));
    assert_eq!(told(STORE), None);
    assert_eq!(told("lattice:provider/store"), None);
    let two = [of("wasi", "keyvalue", "kv"), of("wrpc", "keyvalue", "kv")];
    table.put(&id("a"), spec(&two));
    assert_eq!(told(STORE).as_deref(), Some("wasi:keyvalue"));
    assert_eq!(
        told("wrpc:keyvalue/store").as_deref(),
        Some("wrpc:keyvalue")
    );
}

#[test]
fn calls_are_described_once() {
    let route = Route::new(
        &LatticeName::default(),
        &id("a"),
        &link("a", "kv", "default", &["store"]),
        id("kv"),
        None,
        &Kept::default(),
    );
    let now = tokio::time::Instant::now();
    let subject = |instance: &str, function: &str| {
        let call = route.call(instance, function, now);
        call.subject().to_string()
    };
    for _ in 0..2 {
        assert_eq!(
            subject("wrpc:keyvalue/store@0.2.0-draft", "get"),
            "default.kv.wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get"
        );
        assert_eq!(subject("", "add"), "default.kv.wrpc.0.0.1.add");
    }
    assert_eq!(route.calls.read().len(), 2);
    for number in 0..2 * MAX_CALLS {
        subject("x:y/z", &format!("f{number}"));
    }
    assert_eq!(route.calls.read().len(), MAX_CALLS);
    let later = now + std::time::Duration::from_secs(1);
    assert_eq!(route.call("", "add", later).deadline(), later);
}

#[test]
fn a_changed_config_list_is_a_removal_and_an_addition() {
    let table = table();
    let old = link("a", "kv", "default", &["store"]);
    let mut new = old.clone();
    new.target_config = vec!["redis".into()];
    table.put(&id("a"), spec(std::slice::from_ref(&old)));
    let diff = table.put(&id("a"), spec(std::slice::from_ref(&new)));
    assert_eq!(
        diff,
        LinkDiff {
            removed: vec![old],
            added: vec![new.clone()]
        }
    );
    assert_eq!(table.put(&id("a"), spec(&[new])), LinkDiff::default());
}

#[test]
fn a_resync_removes_what_is_gone_and_keeps_what_cannot_be_read() {
    let table = table();
    for name in ["a", "b", "c"] {
        table.put(&id(name), spec(&[link(name, "kv", "default", &["store"])]));
    }
    let mut snapshot = LatticeSnapshot::default();
    snapshot
        .specs
        .insert(id("a"), spec(&[link("a", "kv", "default", &["store"])]));
    snapshot.unreadable.insert(id("b"));
    let diff = table.resync(&mut snapshot);
    assert_eq!((diff.removed.len(), diff.added.len()), (1, 0));
    assert_eq!(diff.removed[0].source_id, "c");
    assert_eq!(table.all().0.len(), 2);
}

#[test]
fn a_lost_store_takes_nothing_away() {
    let table = table();
    table.put(&id("a"), spec(&[link("a", "kv", "default", &["store"])]));
    let mut snapshot = LatticeSnapshot {
        fresh: true,
        ..LatticeSnapshot::default()
    };
    assert_eq!(table.resync(&mut snapshot), LinkDiff::default());
    assert_eq!(
        target(&table, "default", "wasi:keyvalue/store").unwrap(),
        "kv"
    );
}

#[test]
fn a_link_that_is_taken_away_leads_nowhere_and_can_be_told_of_again() {
    let table = table();
    let [one, two] = ["one", "two"].map(|name| link("a", "kv", name, &["store"]));
    table.put(&id("a"), spec(&[one.clone(), two.clone()]));
    let diff = table.take_away(&id("a"), |link| link.name == "one");
    assert_eq!(diff.removed, std::slice::from_ref(&one));
    assert_eq!(table.all().0, [two]);
    assert_eq!(table.gone(|link| link.name == "one"), [one]);
    let diff = table.take_away(&id("b"), |_| true);
    assert_eq!(diff, LinkDiff::default());
}

#[test]
fn links_are_selected_by_either_end() {
    let table = table();
    table.put(&id("a"), spec(&[link("a", "kv", "default", &["store"])]));
    table.put(&id("b"), spec(&[link("b", "a", "default", &["store"])]));
    assert_eq!(table.of(&id("a")).len(), 2);
    assert_eq!(table.of(&id("kv")).len(), 1);
    assert!(table.of(&id("nobody")).is_empty());
}

#[test]
fn broken_records_of_old_peers_are_listed_but_lead_nowhere() {
    let table = table();
    table.put(&id("a"), spec(&[link("a", "k v", "default", &["store"])]));
    assert_eq!(table.all().0.len(), 1);
    assert_eq!(target(&table, "default", "wasi:keyvalue/store"), None);
}

#[tokio::test(start_paused = true)]
async fn one_can_wait_until_a_link_is_known() {
    let (table, a) = (table(), id("a"));
    let mut waiting = pin!(table.until(|links| !links.is_empty(), &a));
    assert!(futures::poll!(&mut waiting).is_pending());
    table.put(&a, spec(&[link("a", "kv", "default", &["store"])]));
    waiting.await;
}

#[test]
fn another_locality_is_a_change_that_reaches_the_route() {
    let table = table();
    let near = link("a", "kv", "default", &["store"]);
    table.put(&id("a"), spec(std::slice::from_ref(&near)));
    let route = || {
        let found = table.resolve(&id("a"), "default", "wasi:keyvalue/store");
        found.unwrap()
    };
    assert_eq!(route().locality, Locality::PreferLocal);
    assert!(route().may_pass_values());
    let spread = Link {
        locality: Locality::Spread,
        ..near.clone()
    };
    let diff = table.put(&id("a"), spec(std::slice::from_ref(&spread)));
    assert_eq!((diff.removed, diff.added), (vec![near], vec![spread]));
    assert_eq!(route().locality, Locality::Spread);
    assert!(!route().may_pass_values());
}

#[test]
fn a_link_has_the_version_of_its_last_change() {
    let table = table();
    let version = |links: &[Link]| {
        table.put(&id("a"), spec(links));
        let route = table.resolve(&id("a"), "default", STORE);
        route.map_or(0, |route| route.version)
    };
    let one = link("a", "kv", "default", &["store"]);
    let other = link("a", "kv", "other", &["store"]);
    let first = version(std::slice::from_ref(&one));
    assert_eq!(version(&[other, one.clone()]), first);
    let mut changed = one.clone();
    changed.target_config = vec!["more".to_owned()];
    let second = version(&[changed]);
    assert!(second > first);
    assert_eq!(version(&[]), 0);
    assert!(version(&[one]) > second);
}

#[test]
fn calls_are_counted_for_as_long_as_their_link_is_the_same() {
    let table = table();
    let kept = link("a", "kv", "default", &["store"]);
    table.put(&id("a"), spec(std::slice::from_ref(&kept)));
    table.put(&id("b"), spec(&[link("b", "kv", "default", &["store"])]));
    assert_eq!(table.roads(), []);
    let count = || {
        let route = table.resolve(&id("a"), "default", "wasi:keyvalue/store");
        route.unwrap().roads.count(Road::Bus, Why::NoServerHere);
    };
    count();
    let more = Link {
        interfaces: vec!["store".into(), "atomics".into()],
        ..kept.clone()
    };
    table.put(
        &id("a"),
        spec(&[more.clone(), link("a", "kv2", "second", &["store"])]),
    );
    count();
    let roads = table.roads();
    assert_eq!(roads.len(), 1);
    assert!(roads[0].is_about(&kept));
    assert_eq!(roads[0].roads.to_string(), "bus 2 (no-server-here)");
    let near = Link {
        locality: Locality::LocalOnly,
        ..more
    };
    table.put(&id("a"), spec(&[near]));
    assert_eq!(table.roads(), []);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_not_full_again_when_another_rule_changes() {
    let table = table();
    let ruled = |rules: serde_json::Value| {
        let rules = serde_json::from_value(rules).unwrap();
        let link = Link {
            rules,
            ..link("a", "kv", "default", &["store"])
        };
        table.put(&id("a"), spec(&[link]));
    };
    let mut get = bytes::BytesMut::new();
    for text in ["", "a1"] {
        lattice_codec::write::string(&mut get, text);
    }
    let get = get.freeze();
    let asked = || {
        let route = table.resolve(&id("a"), "default", "wasi:keyvalue/store");
        let gate = route.unwrap().gate.clone().unwrap();
        gate.check("wrpc:keyvalue/store@0.2.0-draft", "get", &get)
    };
    ruled(serde_json::json!({"rate": "2/h", "prefix": ["a"]}));
    assert!(asked().is_ok());
    ruled(serde_json::json!({"rate": "2/h", "prefix": ["a", "b"]}));
    assert!(asked().is_ok() && asked().is_err());
    ruled(serde_json::json!({"rate": "2/h", "allow": ["get"]}));
    assert!(asked().is_err());
    // Another rate begins anew.
    ruled(serde_json::json!({"rate": "3/h"}));
    assert!(asked().is_ok());
}

#[test]
fn a_record_of_many_links_is_taken_over_soon_and_what_is_too_much_is_refused_by_name() {
    let table = table();
    let named = |target: &str| -> Vec<Link> {
        let named = |name: usize| link("a", target, &name.to_string(), &["store"]);
        (0..12_000).map(named).collect()
    };
    let mut links = named("kv");
    let before = Instant::now();
    assert_eq!(table.put(&id("a"), spec(&links)).added.len(), 12_000);
    links[7].target_config = vec!["redis".into()];
    let diff = table.put(&id("a"), spec(&links));
    assert_eq!((diff.removed.len(), diff.added.len()), (1, 1));
    table.put(&id("a"), spec(&named("other")));
    // Half a minute and more, when each was compared with each.
    let took = before.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");

    assert_eq!(target(&table, "8191", STORE).as_deref(), Some("other"));
    assert_eq!(target(&table, "8192", STORE), None);
    assert_eq!(table.of(&id("other")).len(), 8192);
    let (all, refused) = table.all();
    assert_eq!((all.len(), refused.len()), (12_000, 12_000 - 8192));
    let (place, why) = &refused[0];
    assert_eq!(all[*place].name, "8192");
    assert!(why.contains("12000 links"), "{why}");
}
