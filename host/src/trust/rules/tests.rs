//! Tests of the gate: each rule, as calls stand on the wire.

use bytes::BytesMut;
use lattice_codec::{Reader, write};
use serde_json::{Value, json};

use super::*;

mod messages;
mod names;
mod rates;

const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";
const BLOBS: &str = "wrpc:blobstore/blobstore@0.2.0";
const MESSAGES: &str = "wasmcloud:messaging/consumer@0.2.0";

fn gate(interface: &str, rules: Value) -> Arc<LinkGuard> {
    let (package, interfaces) = interface.split_once('/').unwrap();
    let (namespace, package) = package.split_once(':').unwrap();
    let link = json!({
        "source_id": "cart", "target": "kv", "wit_namespace": namespace, "wit_package": package,
        "interfaces": interfaces.split(',').collect::<Vec<_>>(), "rules": rules,
    });
    LinkGuard::of(&serde_json::from_value(link).unwrap(), None).unwrap()
}

/// Texts as parameters, and whatever follows them.
fn texts(texts: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    texts.iter().for_each(|text| write::string(&mut out, text));
    out.extend_from_slice(&[7, 7]);
    out.freeze()
}

fn list(texts: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    write::uleb(&mut out, texts.len() as u64);
    texts.iter().for_each(|text| write::string(&mut out, text));
    out.freeze()
}

fn joined(parts: &[Bytes]) -> Bytes {
    parts.concat().into()
}

/// The rule that refuses a call; none for one that passes.
fn refusing(gate: &LinkGuard, instance: &str, function: &str, params: &Bytes) -> Option<String> {
    match gate.check(instance, function, params) {
        Ok(()) => None,
        Err(InvokeError::Denied { rule, link, .. }) => {
            assert!(link.starts_with("cart -> "), "{link}");
            Some(rule)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_link_without_rules_has_no_gate() {
    let link = json!({
        "source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store"],
    });
    assert!(LinkGuard::of(&serde_json::from_value(link).unwrap(), None).is_none());
}

#[test]
fn each_rule_refuses_what_it_is_about() {
    let key = texts(&["shop", "orders/1"]);
    let other = texts(&["shop", "users/1"]);
    let elsewhere = texts(&["bank", "orders/1"]);
    let keyvalue = "wasi:keyvalue/store,batch,atomics";
    let prefix = gate(keyvalue, json!({"prefix": ["orders/"]}));
    let within = gate(keyvalue, json!({"within": ["shop"]}));
    let allow = gate(keyvalue, json!({"allow": ["get", "list-keys"]}));
    let reads = gate(keyvalue, json!({"read_only": true}));
    let many = joined(&[texts(&["shop"]).slice(..5), list(&["orders/1", "users/1"])]);
    let entries = |key: &str| {
        let mut out = BytesMut::from(&texts(&["shop"])[..5]);
        write::uleb(&mut out, 2);
        for key in ["orders/1", key] {
            write::string(&mut out, key);
            write::bytes(&mut out, b"value");
        }
        out.freeze()
    };
    for (gate, instance, function, params, refused) in [
        (&prefix, STORE, "get", &key, None),
        (&prefix, STORE, "get", &other, Some("prefix")),
        (&prefix, STORE, "set", &other, Some("prefix")),
        (&prefix, STORE, "list-keys", &key, None),
        (&prefix, BATCH, "get-many", &many, Some("prefix")),
        (&prefix, BATCH, "delete-many", &many, Some("prefix")),
        (
            &prefix,
            BATCH,
            "set-many",
            &entries("users/1"),
            Some("prefix"),
        ),
        (&prefix, BATCH, "set-many", &entries("orders/2"), None),
        (&within, STORE, "get", &other, None),
        (&within, STORE, "get", &elsewhere, Some("within")),
        (&within, STORE, "list-keys", &elsewhere, Some("within")),
        (&allow, STORE, "get", &elsewhere, None),
        (&allow, STORE, "exists", &key, Some("allow")),
        (&allow, BATCH, "get-many", &many, Some("allow")),
        (&reads, STORE, "exists", &key, None),
        (&reads, BATCH, "get-many", &many, None),
        (&reads, STORE, "set", &key, Some("read-only")),
        (&reads, BATCH, "set-many", &entries("a"), Some("read-only")),
        (
            &reads,
            "wrpc:keyvalue/atomics@0.2.0-draft",
            "increment",
            &key,
            Some("read-only"),
        ),
        (&reads, "lattice:keyvalue/store@0.1.0", "read", &key, None),
        (
            &reads,
            "lattice:keyvalue/atomics@0.1.0",
            "swap",
            &key,
            Some("read-only"),
        ),
    ] {
        let found = refusing(gate, instance, function, params);
        assert_eq!(
            found.as_deref(),
            refused,
            "{instance} {function} {params:?}"
        );
    }
}

#[test]
fn a_denial_says_what_would_let_the_call_through() {
    let keyvalue = "wasi:keyvalue/store";
    let told = |rules: Value, function: &str| {
        let refused = gate(keyvalue, rules).check(STORE, function, &texts(&["shop", "k\n1"]));
        refused.unwrap_err().to_string()
    };
    assert_eq!(
        told(json!({"prefix": ["orders/"]}), "get"),
        "the rule `prefix` of the link `cart -> wasi:keyvalue (default)` refuses \
         `wrpc:keyvalue/store@0.2.0-draft.get`: `k\\n1` is not covered; `--prefix 'k\\n1'` would let \
         it through"
    );
    assert!(told(json!({"allow": ["get"]}), "set").ends_with("`--allow set` would let it through"));
    assert!(told(json!({"within": ["x"]}), "set").contains("`--within 'shop'`"));
    assert!(told(json!({"read_only": true}), "set").contains("without `--read-only`"));
    let gate = gate(keyvalue, json!({"prefix": ["orders/"]}));
    let long = "l".repeat(300);
    let refused = gate.check(STORE, "get", &texts(&["shop", &long]));
    let named = format!("`--prefix '{}'` would", &long[..SHOWN]);
    let told = refused.unwrap_err().to_string();
    assert!(told.contains(&named), "{told}");
}

#[test]
fn what_this_host_does_not_understand_is_refused() {
    let key = texts(&["shop", "orders/1"]);
    for (rules, rule) in [
        (json!({"of_tomorrow": 1}), "of_tomorrow"),
        (json!({"allow": ["get"], "rate": "quick"}), "rate"),
        (json!({"subject": ["a"]}), "subject"),
        (json!({"allow": ["grab"]}), "allow"),
    ] {
        let gate = gate("wasi:keyvalue/store", rules);
        assert_eq!(refusing(&gate, STORE, "get", &key).as_deref(), Some(rule));
        let http = gate.check_http(&Method::GET, &Uri::from_static("https://a/"));
        assert!(matches!(http, Err(InvokeError::Denied { .. })));
    }
    // Another version, another function, parameters that are none.
    let gate = gate("wasi:keyvalue/store", json!({"prefix": ["orders/"]}));
    let refused = |instance, function, params| refusing(&gate, instance, function, params);
    assert_eq!(
        refused("wrpc:keyvalue/store@0.3.0", "get", &key).as_deref(),
        Some("prefix")
    );
    assert_eq!(refused(STORE, "rename", &key).as_deref(), Some("prefix"));
    let cut = Bytes::from_static(&[4, b's']);
    assert_eq!(refused(STORE, "get", &cut).as_deref(), Some("prefix"));
}

#[test]
fn functions_of_an_interface_of_ones_own_are_allowed_by_name() {
    let gate = gate("my:own/thing", json!({"allow": ["look"]}));
    let params = Bytes::from_static(b"anything");
    assert_eq!(refusing(&gate, "my:own/thing@1.0.0", "look", &params), None);
    let touched = refusing(&gate, "my:own/thing@1.0.0", "touch", &params);
    assert_eq!(touched.as_deref(), Some("allow"));
}

#[test]
fn objects_are_looked_at_at_both_ends() {
    let blobs = "wasi:blobstore/blobstore,container,types";
    let gate = gate(blobs, json!({"within": ["a", "b"], "prefix": ["x/"]}));
    for (function, params, refused) in [
        ("copy-object", texts(&["a", "x/1", "b", "x/2"]), None),
        (
            "copy-object",
            texts(&["a", "x/1", "c", "x/2"]),
            Some("within"),
        ),
        (
            "copy-object",
            texts(&["a", "y/1", "b", "x/2"]),
            Some("prefix"),
        ),
        (
            "move-object",
            texts(&["c", "x/1", "b", "x/2"]),
            Some("within"),
        ),
        ("get-container-data", texts(&["a", "x/1"]), None),
        (
            "write-container-data",
            texts(&["a", "x/../y"]),
            Some("prefix"),
        ),
        ("clear-container", texts(&["a"]), Some("prefix")),
        ("delete-container", texts(&["a"]), Some("prefix")),
        ("list-container-objects", texts(&["a"]), None),
        ("list-container-objects", texts(&["c"]), Some("within")),
    ] {
        let found = refusing(&gate, BLOBS, function, &params);
        assert_eq!(found.as_deref(), refused, "{function}");
    }
    let allow = self::gate(blobs, json!({"allow": ["get-data", "get-container"]}));
    for (function, refused) in [
        ("get-container-data", None),
        ("container-exists", None),
        ("has-object", Some("allow")),
    ] {
        let found = refusing(&allow, BLOBS, function, &texts(&["a", "x"]));
        assert_eq!(found.as_deref(), refused, "{function}");
    }
}

#[test]
fn queues_locks_jobs_and_statements_are_known() {
    let sql = |statement: &str| {
        let mut out = BytesMut::new();
        write::string(&mut out, "shop");
        write::option(&mut out, Some("tx"), write::string);
        write::string(&mut out, statement);
        out.freeze()
    };
    for (interface, rules, instance, function, params, refused) in [
        (
            "lattice:sql/sql",
            json!({"read_only": true}),
            "lattice:sql/sql@0.1.0",
            "query",
            sql("SELECT 1"),
            None,
        ),
        (
            "lattice:sql/sql",
            json!({"read_only": true}),
            "lattice:sql/sql@0.1.0",
            "query",
            sql("DELETE FROM t RETURNING *"),
            Some("read-only"),
        ),
        (
            "lattice:sql/sql",
            json!({"read_only": true}),
            "lattice:sql/sql@0.1.0",
            "execute",
            sql("SELECT 1"),
            Some("read-only"),
        ),
        (
            "lattice:sql/sql",
            // A link of before the rule was refused here is shut.
            json!({"within": ["shop"]}),
            "lattice:sql/sql@0.1.0",
            "begin",
            sql(""),
            Some("within"),
        ),
        (
            "wasmcloud:postgres/query,prepared",
            json!({"read_only": true}),
            "wasmcloud:postgres/query@0.1.1-draft",
            "query",
            texts(&["TRUNCATE t"]),
            Some("read-only"),
        ),
        (
            "lattice:queue/producer,consumer",
            json!({"within": ["jobs"]}),
            "lattice:queue/producer@0.1.0",
            "send",
            texts(&["other"]),
            Some("within"),
        ),
        (
            "lattice:queue/producer,consumer",
            json!({"read_only": true}),
            "lattice:queue/consumer@0.1.0",
            "receive",
            texts(&["jobs"]),
            Some("read-only"),
        ),
        (
            "lattice:lock/lock",
            json!({"prefix": ["a/"]}),
            "lattice:lock/lock@0.1.0",
            "acquire",
            texts(&["", "b/1"]),
            Some("prefix"),
        ),
        (
            "lattice:lock/lock",
            json!({"prefix": ["a/"]}),
            "lattice:lock/lock@0.1.0",
            "release",
            texts(&["", "token"]),
            None,
        ),
        (
            "lattice:schedule/scheduler",
            json!({"prefix": ["a/"]}),
            "lattice:schedule/scheduler@0.1.0",
            "put-job",
            texts(&["b"]),
            Some("prefix"),
        ),
    ] {
        let gate = gate(interface, rules);
        let found = refusing(&gate, instance, function, &params);
        assert_eq!(found.as_deref(), refused, "{instance} {function}");
    }
}

#[test]
fn requests_go_where_grants_say() {
    let http = "wasi:http/outgoing-handler";
    let to = gate(
        http,
        json!({"to": ["GET https://api.example.com/v1", "*.b"]}),
    );
    let asks = |gate: &LinkGuard, method: Method, uri: &'static str| match gate
        .check_http(&method, &Uri::from_static(uri))
    {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    };
    assert_eq!(asks(&to, Method::GET, "https://api.example.com/v1/x"), None);
    assert_eq!(asks(&to, Method::POST, "http://a.b/"), None);
    let refused = asks(&to, Method::POST, "https://api.example.com/v1/secret").unwrap();
    assert!(
        refused.contains("`--to 'POST https://api.example.com'` would let"),
        "{refused}"
    );
    assert!(!refused.contains("secret"), "{refused}");
    let reads = gate(http, json!({"read_only": true}));
    assert_eq!(asks(&reads, Method::HEAD, "http://a/"), None);
    assert!(
        asks(&reads, Method::DELETE, "http://a/")
            .unwrap()
            .contains("`read-only`")
    );
}

#[test]
fn what_is_no_request_does_not_pass_a_link_that_says_where_requests_go() {
    let to = gate(
        "wasi:http/outgoing-handler,types",
        json!({"to": ["https://a"]}),
    );
    let params = Bytes::from_static(b"anything");
    let refused = |instance| refusing(&to, instance, "handle", &params);
    for instance in ["wrpc:http/outgoing-handler@0.1.0", "wasi:http/types@9.0.0"] {
        assert_eq!(refused(instance).as_deref(), Some("to"), "{instance}");
    }
}

#[test]
fn listed_keys_and_jobs_are_those_with_the_prefix() {
    let gate = gate("wasi:keyvalue/store", json!({"prefix": ["a/"]}));
    let page = joined(&[
        Bytes::from_static(&[0]),
        list(&["a/1", "b/1", "a/2"]),
        Bytes::from_static(&[1, 42]),
    ]);
    let expected = joined(&[
        Bytes::from_static(&[0]),
        list(&["a/1", "a/2"]),
        Bytes::from_static(&[1, 42]),
    ]);
    assert_eq!(
        gate.narrow(STORE, "list-keys", page.clone()).unwrap(),
        expected
    );
    assert_eq!(gate.narrow(STORE, "get", page.clone()).unwrap(), page);
    let error = Bytes::from_static(&[1, 1]);
    assert_eq!(
        gate.narrow(STORE, "list-keys", error.clone()).unwrap(),
        error
    );
    assert!(gate.narrow(STORE, "list-keys", page.slice(..4)).is_err());

    let jobs = self::gate("lattice:schedule/scheduler", json!({"prefix": ["a/"]}));
    let job = |name: &str, trigger: u8| {
        let mut out = BytesMut::new();
        write::string(&mut out, name);
        write::uleb(&mut out, trigger.into());
        match trigger {
            0 => write::string(&mut out, "* * * * *"),
            _ => write::uleb(&mut out, 1_000_000),
        }
        write::option(&mut out, Some("UTC"), write::string);
        write::bytes(&mut out, b"payload");
        out.freeze()
    };
    let answer = |jobs: &[Bytes]| {
        let mut out = BytesMut::from(&[0][..]);
        write::uleb(&mut out, jobs.len() as u64);
        jobs.iter().for_each(|job| out.extend_from_slice(job));
        out.freeze()
    };
    let all = answer(&[job("b/1", 0), job("a/1", 0), job("b/2", 1), job("a/2", 2)]);
    let narrowed = jobs
        .narrow("lattice:schedule/scheduler@0.1.0", "list-jobs", all)
        .unwrap();
    assert_eq!(narrowed, answer(&[job("a/1", 0), job("a/2", 2)]));
}

proptest::proptest! {
    #[test]
    fn no_parameters_and_no_answers_make_it_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
    ) {
        let bytes = Bytes::from(bytes);
        let gate = gate("wasi:keyvalue/store,batch", json!({"prefix": ["a"], "within": ["b"]}));
        for function in ["get", "list-keys", "set-many", "get-many"] {
            let _ = gate.check(STORE, function, &bytes);
            let _ = gate.check(BATCH, function, &bytes);
            let _ = gate.narrow(STORE, function, bytes.clone());
        }
        let _ = answers::jobs(&["a".to_owned()], bytes);
    }
}
