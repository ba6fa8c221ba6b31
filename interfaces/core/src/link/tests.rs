//! Links: their names, what they are for, and their JSON.

use super::*;
use proptest::prelude::*;

fn link(target: &str, interfaces: &[&str]) -> Link {
    Link {
        source_id: "counter".into(),
        target: target.into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: interfaces.iter().map(|s| (*s).to_owned()).collect(),
        source_config: vec![],
        target_config: vec!["redis".into()],
        locality: Locality::default(),
        rules: LinkRules::default(),
        status: vec![],
    }
}

#[test]
fn links_to_other_targets_conflict_only_on_a_shared_interface() {
    let first = link("kv", &["store", "atomics"]);
    assert!(link("other", &["store"]).conflicts_with(&first));
    assert!(!link("other", &["batch"]).conflicts_with(&first));
    assert!(!link("kv", &["store"]).conflicts_with(&first));
    assert!(link("kv", &["batch"]).replaces(&first));
    let mut named = link("other", &["store"]);
    named.name = "second".into();
    assert!(!named.conflicts_with(&first));
}

#[test]
fn interfaces_of_old_peers_are_taken_as_they_are_and_found_without_their_version() {
    let old = link("kv", &["store@0.2.0-draft", "atomics"]);
    assert!(old.check().is_ok());
    let lookups: Vec<_> = old.lookups().collect();
    assert_eq!(lookups, ["wasi:keyvalue/store", "wasi:keyvalue/atomics"]);
    assert!(old.leads_to("wrpc:keyvalue/store@0.2.0-draft"));
    assert!(carries(&old.interfaces, "store") && !carries(&old.interfaces, "batch"));
    for same in ["store", "store@0.2.0", "atomics@1.0.0"] {
        assert!(link("other", &[same]).conflicts_with(&old), "{same}");
    }
    let long = "x".repeat(257);
    for bad in ["", "a b", "a\nb", &long] {
        let error = link("kv", &[bad]).check().unwrap_err();
        assert_eq!(error.kind, "interface name", "{bad}");
    }
}

#[test]
fn a_name_and_configs_left_out_have_defaults() {
    let text = r#"{"source_id":"a","target":"b","wit_namespace":"wasi","wit_package":"http","interfaces":[]}"#;
    let link: Link = serde_json::from_str(text).unwrap();
    assert_eq!(link.name, "default");
    assert!(link.source_config.is_empty() && link.target_config.is_empty());
}

#[test]
fn the_target_is_told_that_there_are_rules_and_not_which() {
    let resolve = |link: &Link| ResolvedLink::new(link, StringMap::new(), StringMap::new());
    let mut link = link("kv", &["store"]);
    let plain = serde_json::to_string(&resolve(&link)).unwrap();
    assert!(!plain.contains("ruled"), "{plain}");
    link.rules.prefix = vec!["orders/".into()];
    let first = resolve(&link);
    assert!(first.ruled && first.rules.is_empty());
    link.rules.read_only = true;
    assert_eq!(resolve(&link), first);
}

#[test]
fn status_is_left_out_while_empty() {
    let mut link = link("kv", &["store"]);
    assert!(!serde_json::to_string(&link).unwrap().contains("status"));
    link.status.push(LinkStatus {
        endpoint: "kv".into(),
        host_id: "N".into(),
        state: LinkState::Failed,
        reason: Some("no such address".into()),
    });
    let text = serde_json::to_string(&link).unwrap();
    assert!(text.ends_with(
        r#""status":[{"endpoint":"kv","host_id":"N","state":"failed","reason":"no such address"}]}"#
    ));
    assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link);
}

#[test]
fn check_names_the_bad_part() {
    let mut bad = link("kv", &["store"]);
    bad.target_config = vec!["a.b".into()];
    assert_eq!(bad.check().unwrap_err().kind, "config name");
    let mut bad = link("k v", &["store"]);
    assert_eq!(bad.check().unwrap_err().text, "k v");
    bad.target = "kv".into();
    assert_eq!(
        bad.check().unwrap().to_string(),
        "counter -> wasi:keyvalue (default)"
    );
}

#[test]
fn interfaces_parse_with_and_without_version() {
    let full: InterfaceRef = "wasi:keyvalue/store@0.2.0-draft".parse().unwrap();
    assert_eq!(full.lookup(), "wasi:keyvalue/store");
    assert_eq!(full.version.as_deref(), Some("0.2.0-draft"));
    assert_eq!(
        lookup_name("wasi:keyvalue/store@0.2.0-draft"),
        "wasi:keyvalue/store"
    );
    for bad in [
        "",
        "store",
        "wasi:keyvalue",
        "wasi/keyvalue:store",
        "a:b/c@",
        "a:b/c@1 2",
    ] {
        assert!(bad.parse::<InterfaceRef>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn interfaces_format_and_parse_back(
        parts in prop::array::uniform3("[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5}){0,2}"),
        version in prop::option::of("[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(-[a-z]{1,5}(\\.[0-9])?)?"),
    ) {
        let [namespace, package, name] = parts.map(|p| WitName::new(p).unwrap());
        let made = InterfaceRef { namespace, package, name, version };
        prop_assert_eq!(made.to_string().parse::<InterfaceRef>().unwrap(), made);
    }

    #[test]
    fn no_text_makes_the_interface_parser_panic(text in any::<String>()) {
        let _ = text.parse::<InterfaceRef>();
    }
}
