//! Tests of the rules.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Link;

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn rules(value: Value) -> LinkRules {
    LinkRules::from(value)
}

fn check(interface: &str, value: Value) -> Result<(), RuleError> {
    let (package, interfaces) = interface.split_once('/').unwrap();
    let (namespace, package) = package.split_once(':').unwrap();
    let interfaces: Vec<String> = interfaces.split(',').map(str::to_owned).collect();
    rules(value).check(namespace, package, &interfaces)
}

#[test]
fn each_rule_has_one_form() {
    let json = json!({
        "allow": ["get", "list-keys"], "read_only": true, "within": ["shop"],
        "prefix": ["orders/"], "subject": ["a.>"], "to": ["GET https://a"], "rate": "100/s",
    });
    let read = rules(json.clone());
    assert!(read.unknown.is_empty());
    assert!(Rule::ALL.into_iter().all(|rule| read.has(rule)));
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    assert_eq!(
        read.to_string(),
        "allow get,list-keys; read-only; within shop; prefix orders/; subject a.>; \
         to GET https://a; rate 100/s"
    );
    assert_eq!(rules(json!({"prefix": "a/"})).prefix, ["a/"]);
    for nothing in [json!(null), json!({}), json!({"read_only": false})] {
        assert!(rules(nothing).is_empty());
    }
}

#[test]
fn what_cannot_be_read_is_kept_and_never_lost() {
    for json in [
        json!({"colour": "red", "allow": ["get"]}),
        json!({"rate": {"burst": 3}}),
        json!({"rate": "0/s"}),
        json!({"allow": []}),
        json!({"allow": ["get", 3]}),
        json!({"read_only": "yes"}),
        json!({"prefix": null}),
    ] {
        let read = rules(json.clone());
        assert_eq!(read.unknown.len(), 1, "{json}");
        assert!(!read.is_empty());
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
        let refused = check("wasi:keyvalue/store", json).unwrap_err();
        assert!(matches!(refused, RuleError::Unknown { .. }), "{refused}");
    }
    assert_eq!(rules(json!(["get"])).unknown["rules"], json!(["get"]));
}

#[test]
fn what_is_nested_deeper_than_any_rule_shuts_the_link_and_can_be_read_again() {
    for name in ["prefix", "of_tomorrow"] {
        let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
        let read = rules(Value::Object(Map::from_iter([(name.to_owned(), deep)])));
        assert!(read.prefix.is_empty() && read.unknown.len() == 1, "{read}");
        let again = rules(serde_json::to_value(&read).unwrap());
        assert_eq!(again, read);
        // As in an answer, which is some levels deeper.
        let answer = (0..64).fold(json!(read), |inner, _| json!([inner]));
        serde_json::from_str::<Value>(&answer.to_string()).unwrap();
    }
}

#[test]
fn a_link_keeps_its_rules_and_one_without_has_none() {
    let plain = json!({
        "source_id": "a", "target": "b", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
        "target_config": [],
    });
    let link: Link = serde_json::from_value(plain.clone()).unwrap();
    assert!(link.rules.is_empty());
    assert_eq!(serde_json::to_value(&link).unwrap(), plain);
    let mut ruled = plain;
    ruled["rules"] = json!({"of_tomorrow": [1, 2], "prefix": ["a/"]});
    let link: Link = serde_json::from_value(ruled.clone()).unwrap();
    assert_eq!(link.rules.prefix, ["a/"]);
    assert_eq!(serde_json::to_value(&link).unwrap(), ruled);
}

#[test]
fn the_version_of_an_interface_makes_no_difference_to_its_rules() {
    let read_only = json!({"read_only": true, "allow": ["get"]});
    assert_eq!(check("wasi:keyvalue/store@0.2.0-draft", read_only), Ok(()));
    let refused = check(
        "wasi:keyvalue/store@0.2.0-draft",
        json!({"to": ["https://a"]}),
    );
    let text = refused.unwrap_err().to_string();
    assert!(
        text.ends_with("no meaning for `wasi:keyvalue/store`"),
        "{text}"
    );
    let called_by_provider = check("wasi:http/incoming-handler@0.2.0", json!({"rate": "1/s"}));
    assert!(matches!(
        called_by_provider,
        Err(RuleError::FromProvider { .. })
    ));
}

#[test]
fn rules_without_a_meaning_are_refused_by_name() {
    for (interface, value, told) in [
        (
            "my:own/thing",
            json!({"prefix": ["a"]}),
            "`prefix` has no meaning for `my:own/thing`",
        ),
        (
            "my:own/thing",
            json!({"read_only": true}),
            "`read-only` has no meaning",
        ),
        (
            "wasi:http/outgoing-handler",
            json!({"allow": ["handle"]}),
            "`allow` has no meaning",
        ),
        (
            "wasi:http/outgoing-handler",
            json!({"prefix": ["/v1"]}),
            "`prefix` has no meaning",
        ),
        (
            "wasi:keyvalue/store",
            json!({"to": ["https://a"]}),
            "`to` has no meaning",
        ),
        (
            "wasi:keyvalue/atomics",
            json!({"subject": ["a"]}),
            "`subject` has no meaning",
        ),
        (
            "wasmcloud:messaging/consumer",
            json!({"read_only": true}),
            "`read-only`",
        ),
        (
            "lattice:queue/producer",
            json!({"read_only": true}),
            "`read-only` has no meaning",
        ),
        (
            "wasmcloud:postgres/query",
            json!({"within": ["x"]}),
            "`within` has no meaning",
        ),
        (
            "wasi:http/incoming-handler",
            json!({"rate": "1/s"}),
            "a provider makes",
        ),
        (
            "lattice:queue/handler",
            json!({"allow": ["handle"]}),
            "a provider makes",
        ),
        (
            "wasi:keyvalue/store",
            json!({"allow": ["get", "grab"]}),
            "`grab`, which no interface",
        ),
        (
            "wasi:keyvalue/store",
            json!({"allow": ["increment"]}),
            "`increment`, which no interface",
        ),
        (
            "wasmcloud:messaging/request-reply",
            json!({"allow": ["reply"]}),
            "`reply`, which no interface",
        ),
        (
            "my:own/types",
            json!({"to": ["https://a"]}),
            "`to` has no meaning for `my:own/types`",
        ),
    ] {
        let refused = check(interface, value).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
        assert!(!refused.hint().is_empty());
    }
}

#[test]
fn rules_with_a_meaning_are_taken() {
    for (interface, value) in [
        (
            "wasi:keyvalue/store,batch,atomics",
            json!({"allow": ["get", "get-many", "increment"], "prefix": ["a"], "within": [""]}),
        ),
        (
            "wasi:keyvalue/store,batch,atomics",
            json!({"read_only": true, "rate": "5/h"}),
        ),
        (
            "wasi:blobstore/blobstore,container,types",
            json!({"allow": ["get-data", "write-container-data"], "prefix": ["a"], "within": ["c-*"]}),
        ),
        (
            "wasmcloud:messaging/consumer",
            json!({"subject": ["a.*.>"], "allow": ["send"]}),
        ),
        (
            "lattice:queue/producer,consumer",
            json!({"read_only": true, "within": ["jobs"]}),
        ),
        (
            "lattice:sql/sql",
            json!({"read_only": true, "allow": ["query"]}),
        ),
        (
            "lattice:lock/lock",
            json!({"prefix": ["a/"], "within": ["x"]}),
        ),
        ("lattice:schedule/scheduler", json!({"prefix": ["a/"]})),
        (
            "wasi:http/outgoing-handler",
            json!({"to": ["https://*.a"], "read_only": true}),
        ),
        (
            "my:own/thing",
            json!({"allow": ["whatever"], "rate": "1/m"}),
        ),
        (
            "my:own/types",
            json!({"allow": ["whatever"], "rate": "1/m"}),
        ),
        ("wasi:http/incoming-handler", json!({})),
    ] {
        check(interface, value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
    }
}

#[test]
fn items_that_are_no_good_are_named() {
    let long = "x".repeat(513);
    let many: Vec<String> = (0..65).map(|n| format!("k{n}")).collect();
    for (value, told) in [
        (
            json!({"prefix": [""]}),
            "`prefix` has the item ``, which is empty",
        ),
        (json!({"prefix": [long]}), "is too long"),
        (json!({"prefix": many}), "lists 65 items"),
        (json!({"within": ["a*b"]}), "elsewhere than at its end"),
        (
            json!({"prefix": ["a\n"]}),
            "`a\\n`, which has a control character",
        ),
    ] {
        let refused = check("wasi:keyvalue/store", value).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
    for pattern in [
        "a..b", ">.a", "a b", "", "a.b*", "a.>x", "a.", "a/>/b", "a/b*", ">/",
    ] {
        let refused = check(
            "wasmcloud:messaging/consumer",
            json!({"subject": [pattern]}),
        );
        assert!(matches!(refused, Err(RuleError::Item { .. })), "{pattern}");
    }
    for pattern in ["sensors/>", "/a/*/b", "a.b", "*", ">", "a/"] {
        let taken = check(
            "wasmcloud:messaging/consumer",
            json!({"subject": [pattern]}),
        );
        assert!(taken.is_ok(), "{pattern}");
    }
    let refused = check("wasi:http/outgoing-handler", json!({"to": ["a/b"]})).unwrap_err();
    assert!(matches!(refused, RuleError::Grant(_)));
}

#[test]
fn names_prefixes_and_subjects_are_matched() {
    assert!(matches_name(&list(&["shop", "t-*"]), "t-7"));
    assert!(!matches_name(&list(&["shop", "t-*"]), "shops"));
    assert!(matches_name(&list(&[""]), "") && !matches_name(&list(&[""]), "a"));
    let orders = list(&["orders/"]);
    assert!(matches_prefix(&orders, "orders/1"));
    for key in [
        "order",
        "orders",
        "x/orders/",
        "orders/../secrets",
        "orders/a\\..\\b",
        "",
    ] {
        assert!(!matches_prefix(&orders, key), "{key}");
    }
    assert!(matches_prefix(&orders, "orders/a..b"));
    let subjects = list(&["orders.*", "a.>", "exact"]);
    for subject in ["orders.1", "a.b", "a.b.c", "exact"] {
        assert!(matches_subject(&subjects, subject), "{subject}");
    }
    for subject in [
        "orders",
        "orders.1.2",
        "a",
        "exact.x",
        "a.>",
        "a.*",
        "orders.>",
        "a.b c",
        "a..b",
        "a.b.",
        "",
        "a.b\r\nPUB x",
    ] {
        assert!(!matches_subject(&subjects, subject), "{subject:?}");
    }
}

#[test]
fn words_of_subjects_end_at_slashes_too() {
    let doors = list(&["*", "admin/*/open", "sensors/>", "a.*"]);
    for subject in [
        "door",
        "admin/front/open",
        "sensors/1",
        "sensors/1/2.3",
        "a.b",
    ] {
        assert!(matches_subject(&doors, subject), "{subject}");
    }
    for subject in [
        "admin/door",
        "admin.front.open",
        "admin/a/b/open",
        "a.b/c",
        "a/b",
        "/door",
    ] {
        assert!(!matches_subject(&doors, subject), "{subject}");
    }
}

#[test]
fn a_word_of_any_kind_is_no_address_for_answers() {
    let address = "reply::billing.orders";
    for pattern in ["*", "*.orders", "*.*"] {
        assert!(!matches_subject(&list(&[pattern]), address), "{pattern}");
        assert!(matches_subject(&list(&["*", "*.orders"]), "shop.orders"));
    }
    for pattern in [">", address] {
        assert!(matches_subject(&list(&[pattern]), address), "{pattern}");
    }
    // Kafka sends these to the topics `hr` and `shop.x`.
    for (pattern, subject) in [
        ("*.orders", "hr#.orders"),
        ("*.orders", "hr?.orders"),
        ("*.>", "hr#.orders"),
        ("shop.*.orders", "shop.x#y.orders"),
    ] {
        let taken = matches_subject(&list(&[pattern]), subject);
        assert!(!taken, "{pattern} {subject}");
    }
    for subject in ["shop.x#y", "shop.x?7"] {
        assert!(matches_subject(&list(&["shop.*"]), subject), "{subject}");
    }
}

#[test]
fn rates_are_read_in_one_form() {
    for text in ["1/s", "100/s", "30/m", "1000000/h"] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "1",
        "/s",
        "0/s",
        "1/d",
        "-1/s",
        "+1/s",
        "1000001/s",
        "1 / s",
        "1.5/s",
    ] {
        let refused = text.parse::<Rate>().unwrap_err();
        assert!(refused.to_string().contains("such as `100/s`"), "{refused}");
    }
}

fn any_rules() -> impl Strategy<Value = LinkRules> {
    let items = || prop::collection::vec("[a-z./*-]{1,8}", 0..3);
    let unknown =
        prop::collection::btree_map("x[a-z]{1,4}", any::<u8>().prop_map(Value::from), 0..2);
    let rate = prop::option::of((1_u32..=1_000_000).prop_map(|count| Rate {
        count,
        per: Per::Minute,
    }));
    (
        items(),
        any::<bool>(),
        items(),
        items(),
        items(),
        items(),
        rate,
        unknown,
    )
        .prop_map(
            |(allow, read_only, within, prefix, subject, to, rate, unknown)| LinkRules {
                allow,
                read_only,
                within,
                prefix,
                subject,
                to,
                rate,
                unknown,
            },
        )
}

/// JSON of some depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        let key = "allow|read_only|within|prefix|subject|to|rate|other";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn rules_are_written_and_read_back(rules in any_rules()) {
        let value = serde_json::to_value(&rules).unwrap();
        prop_assert_eq!(serde_json::from_value::<LinkRules>(value).unwrap(), rules);
    }

    #[test]
    fn whatever_stands_there_is_read_and_what_is_no_rule_shuts_the_link(json in any_json()) {
        let read = LinkRules::from(json.clone());
        let again = LinkRules::from(Value::from(read.clone()));
        prop_assert_eq!(&again, &read);
        if let Value::Object(map) = &json {
            let known = Rule::ALL.into_iter().filter(|rule| read.has(*rule)).count();
            let off = usize::from(map.get("read_only") == Some(&Value::Bool(false)));
            prop_assert_eq!(known + read.unknown.len() + off, map.len());
        }
    }

    #[test]
    fn a_pattern_without_wildcards_covers_itself_alone(
        one in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}",
        other in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}",
    ) {
        let patterns = vec![one.clone()];
        prop_assert_eq!(matches_subject(&patterns, &other), one == other);
    }

    #[test]
    fn what_a_prefix_lets_through_begins_with_it(prefix in "[a-b/.]{1,4}", key in "[a-b/.]{0,6}") {
        if matches_prefix(std::slice::from_ref(&prefix), &key) {
            prop_assert!(key.starts_with(&prefix));
        }
    }
}
