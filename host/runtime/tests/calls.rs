//! Calls that leave a component: dynamic imports, links, and the typed interfaces of the host.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::write;
use lattice_runtime::{
    CallError, Component, ComponentOptions, InvokeError, LogSource, Runtime, RuntimeConfig,
};
use support::{
    Called, FakeEnv, FakeInvoke, as_number, as_refusal, as_text, behave, call, chain, encoded,
    guest, no_link, number, prepare, prepare_in, probe, text,
};

const RELAY: &str = "test:caller/relay@0.1.0";
const KEYVALUE: &str = "test:probe/keyvalue@0.1.0";
const REACH: &str = "test:sandbox/reach@0.1.0";

async fn caller(invoke: Arc<FakeInvoke>) -> Component {
    prepare(guest("caller"), ComponentOptions::default(), invoke).await
}

/// A caller whose calls reach a probe.
async fn linked_caller() -> Component {
    caller(FakeInvoke::to(probe(ComponentOptions::default()).await)).await
}

#[tokio::test]
async fn values_of_every_type_come_back_from_another_component() {
    let component = linked_caller().await;
    let compared = call(&component, RELAY, "every-type", Bytes::new())
        .await
        .unwrap();
    assert_eq!(compared[0], 0, "{}", String::from_utf8_lossy(&compared));
    assert!(as_number(compared.slice(1..)) > 40);
}

#[tokio::test]
async fn large_bytes_pass_through_two_components() {
    let component = linked_caller().await;
    let sent = encoded(|out| write::bytes(out, &vec![7; 1 << 20]));
    let got = call(&component, RELAY, "bytes", sent.clone())
        .await
        .unwrap();
    assert!(sent == got);
}

#[tokio::test]
async fn a_call_without_link_traps_with_the_name_of_link_and_interface() {
    let component = caller(FakeInvoke::unlinked()).await;
    for function in ["text", "trap"] {
        let ended = call(&component, RELAY, function, text("x")).await;
        let Err(error @ CallError::Import(InvokeError::NoLink { .. })) = ended else {
            panic!("{ended:?}")
        };
        let expected = "link `default` not found for instance `test:probe/";
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_function_without_result_waits_for_the_callee_and_sees_its_failure() {
    let component = linked_caller().await;
    let ended = call(&component, RELAY, "trap", text("far away")).await;
    assert!(
        matches!(ended, Err(CallError::Import(InvokeError::Failed { .. }))),
        "{ended:?}"
    );
    let start = tokio::time::Instant::now();
    call(&component, RELAY, "sleep", number(200)).await.unwrap();
    assert!(start.elapsed().as_millis() >= 200);
}

#[tokio::test]
async fn an_answer_that_is_malformed_traps() {
    for answer in [
        Bytes::new(),
        Bytes::from_static(b"\xff\xff\xff\xff\x0fab"),
        Bytes::from_static(b"\x01ab"),
    ] {
        let component = caller(FakeInvoke::new(move |_| Ok(answer.clone()))).await;
        let ended = call(&component, RELAY, "text", text("x")).await;
        assert!(
            matches!(ended, Err(CallError::Import(InvokeError::Transport { .. }))),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_a_value() {
    let component = linked_caller().await;
    let refused = call(&component, RELAY, "refuse", text("not today"))
        .await
        .unwrap();
    assert_eq!(as_refusal(refused), "not today");
}

fn linked(name: &str, lookup: &str) -> Arc<FakeEnv> {
    let mut env = FakeEnv::default();
    env.links.push((name.to_owned(), lookup.to_owned()));
    Arc::new(env)
}

fn over_link(name: &str) -> Bytes {
    encoded(|out| {
        write::string(out, name);
        write::string(out, "x");
    })
}

#[tokio::test]
async fn a_chosen_link_counts_for_the_call_that_chose_it_alone() {
    let invoke = FakeInvoke::new(|called: Called| Ok(text(&called.link_name)));
    let env = linked("second", "test:probe/echo");
    let options = ComponentOptions::default();
    let component = prepare_in(guest("caller"), options, invoke, env).await;
    let chosen = call(&component, RELAY, "text-over-link", over_link("second"))
        .await
        .unwrap();
    assert_eq!(as_text(chosen.slice(1..)), "second");
    let old = call(&component, RELAY, "text-over-old-link", over_link("third"))
        .await
        .unwrap();
    assert_eq!(as_text(old), "third");
    let usual = call(&component, RELAY, "text", text("x")).await.unwrap();
    assert_eq!(as_text(usual), "default");
}

#[tokio::test]
async fn a_link_that_does_not_exist_is_refused_when_chosen() {
    let invoke = FakeInvoke::new(|called| Ok(text(&called.link_name)));
    let component = caller(invoke).await;
    let refused = call(&component, RELAY, "text-over-link", over_link("nowhere"))
        .await
        .unwrap();
    assert_eq!(
        as_refusal(refused),
        "interface `test:probe/echo` does not have an existing link with name `nowhere`"
    );
}

fn bucket_and_key(more: impl FnOnce(&mut bytes::BytesMut)) -> Bytes {
    encoded(|out| {
        write::string(out, "b");
        write::string(out, "k");
        more(out);
    })
}

#[tokio::test]
async fn keyvalue_calls_carry_the_bucket_as_text() {
    let invoke = FakeInvoke::new(|_| Ok(Bytes::from_static(b"\x00\x07")));
    let component = prepare(guest("probe"), ComponentOptions::default(), invoke.clone()).await;
    let params = bucket_and_key(|out| write::uleb(out, 300));
    let counted = call(&component, KEYVALUE, "increment", params.clone())
        .await
        .unwrap();
    assert_eq!(&counted[..], b"\x00\x07");
    let called = Called {
        lookup: "wasi:keyvalue/atomics".to_owned(),
        link_name: "default".to_owned(),
        instance: "wrpc:keyvalue/atomics@0.2.0-draft".to_owned(),
        function: "increment".to_owned(),
        params,
    };
    assert_eq!(invoke.calls(), [called]);
}

#[tokio::test]
async fn keyvalue_values_come_back() {
    let invoke = FakeInvoke::new(|called| {
        Ok(Bytes::from_static(match called.function.as_str() {
            "get" => b"\x00\x01\x02\xff\x00",
            "exists" => b"\x00\x01",
            "list-keys" => b"\x00\x02\x01a\x01b\x01\x05",
            "get-many" => b"\x00\x02\x00\x01\x01k\x01\x09",
            "set" => b"\x01\x01",
            _ => b"\x00",
        }))
    });
    let component = prepare(guest("probe"), ComponentOptions::default(), invoke).await;
    let get = |function, params| call(&component, KEYVALUE, function, params);
    assert_eq!(
        &get("get", bucket_and_key(|_| {})).await.unwrap()[..],
        b"\x00\x01\x02\xff\x00"
    );
    assert_eq!(
        &get("exists", bucket_and_key(|_| {})).await.unwrap()[..],
        b"\x00\x01"
    );
    assert_eq!(
        &get("delete", bucket_and_key(|_| {})).await.unwrap()[..],
        b"\x00"
    );
    let listed = get("list-keys", Bytes::from_static(b"\x01b\x00"))
        .await
        .unwrap();
    assert_eq!(&listed[..], b"\x00\x02\x01a\x01b\x01\x05");
    let many = get("get-many", Bytes::from_static(b"\x01b\x02\x01x\x01k"))
        .await
        .unwrap();
    assert_eq!(&many[..], b"\x00\x02\x00\x01\x01k\x01\x09");
    let refused = get("set", bucket_and_key(|out| write::bytes(out, b"v")))
        .await
        .unwrap();
    assert_eq!(as_refusal(refused), "access-denied");
}

#[tokio::test]
async fn every_keyvalue_function_turns_a_missing_link_into_a_value() {
    let component = prepare(
        guest("probe"),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
    )
    .await;
    let keys = Bytes::from_static(b"\x01b\x01\x01k");
    let pairs = Bytes::from_static(b"\x01b\x01\x01k\x01v");
    for (function, params, interface) in [
        ("get", bucket_and_key(|_| {}), "store"),
        (
            "set",
            bucket_and_key(|out| write::bytes(out, b"v")),
            "store",
        ),
        ("delete", bucket_and_key(|_| {}), "store"),
        ("exists", bucket_and_key(|_| {}), "store"),
        ("list-keys", Bytes::from_static(b"\x01b\x00"), "store"),
        (
            "increment",
            bucket_and_key(|out| write::uleb(out, 1)),
            "atomics",
        ),
        ("get-many", keys.clone(), "batch"),
        ("set-many", pairs, "batch"),
        ("delete-many", keys, "batch"),
    ] {
        let refused = call(&component, KEYVALUE, function, params).await.unwrap();
        let expected = format!("link `default` not found for instance `wasi:keyvalue/{interface}`");
        assert_eq!(as_refusal(refused), expected, "{function}");
    }
}

#[tokio::test]
async fn a_malformed_answer_of_a_provider_is_an_error_value() {
    let invoke = FakeInvoke::new(|_| Ok(Bytes::from_static(b"\x09")));
    let component = prepare(guest("probe"), ComponentOptions::default(), invoke).await;
    let refused = call(&component, KEYVALUE, "get", bucket_and_key(|_| {}))
        .await
        .unwrap();
    assert!(as_refusal(refused).contains("result tag"));
}

#[tokio::test]
async fn a_call_in_vain_ends_with_the_deadline_of_its_caller() {
    let invoke = FakeInvoke::with(|_| Box::pin(std::future::pending()));
    let component = caller(invoke).await;
    let export = support::find(&component, RELAY, "text");
    let cx = lattice_runtime::CallContext::within(std::time::Duration::from_millis(100));
    let ended = component.call(&export, cx, text("x")).await;
    assert!(
        matches!(
            ended,
            Err(CallError::Deadline | CallError::Import(InvokeError::Deadline))
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_sandbox_has_config_and_log_and_nothing_else() {
    let mut env = FakeEnv::default();
    env.config.insert("colour".to_owned(), "blue".to_owned());
    env.config.insert("a".to_owned(), "1".to_owned());
    let env = Arc::new(env);
    let invoke = FakeInvoke::new(|called| Err(no_link(&called)));
    let options = ComponentOptions::default();
    let component = prepare_in(guest("sandbox"), options, invoke, env.clone()).await;
    let reach = |function, params| call(&component, REACH, function, params);
    assert_eq!(
        &reach("environment", Bytes::new()).await.unwrap()[..],
        b"\x00"
    );
    assert_eq!(
        &reach("arguments", Bytes::new()).await.unwrap()[..],
        b"\x01\x09main.wasm"
    );
    assert_eq!(
        &reach("read-stdin", Bytes::new()).await.unwrap()[..],
        b"\x00\x00"
    );
    assert_eq!(
        &reach("config", text("colour")).await.unwrap()[..],
        b"\x00\x01\x04blue"
    );
    assert_eq!(
        &reach("config", text("none")).await.unwrap()[..],
        b"\x00\x00"
    );
    let all = reach("all-config", Bytes::new()).await.unwrap();
    assert_eq!(&all[..], b"\x00\x02\x06colour\x04blue\x01a\x011");
    assert!(!as_refusal(reach("read-file", text("/etc/passwd")).await.unwrap()).is_empty());
    assert!(!as_refusal(reach("connect", text("127.0.0.1:4222")).await.unwrap()).is_empty());
    let line = encoded(|out| {
        write::string(out, "here");
        write::string(out, "there");
    });
    reach("log", line).await.unwrap();
    let lines = env.lines(LogSource::Logging);
    assert_eq!(lines.len(), 6);
    assert_eq!(
        (&*lines[0], &*lines[5]),
        ("Trace here there", "Critical here there")
    );
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_tampered_file_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let config = RuntimeConfig {
            cache_dir: Some(dir.path().to_owned()),
            max_instances: 2,
            ..RuntimeConfig::default()
        };
        Runtime::new(config).unwrap()
    };
    let files = || {
        let entries = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        entries
            .filter(|path| path.extension().is_some_and(|ext| ext == "cwasm"))
            .collect::<Vec<_>>()
    };
    for round in 0..3 {
        let component = start()
            .prepare(
                guest("probe"),
                ComponentOptions::default(),
                FakeInvoke::unlinked(),
                Arc::<FakeEnv>::default(),
            )
            .await
            .unwrap();
        behave(&component, "now", Bytes::new()).await.unwrap();
        let [file] = &files()[..] else {
            panic!("{:?}", files())
        };
        if round == 1 {
            let mut bytes = std::fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }
    }
}
