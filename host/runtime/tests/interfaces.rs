//! Interfaces that the test guests do not use, with components written as text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "interfaces/bounds.rs"]
mod bounds;
#[path = "interfaces/sizes.rs"]
mod sizes;

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::write;
use lattice_runtime::{
    CallError, Component, ComponentOptions, ExportKind, InvokeError, LogSource, PrepareError,
    SecretText,
};
use support::{
    Called, FakeEnv, FakeInvoke, as_number, as_refusal, as_text, call, encoded, find, no_link,
    number, prepare, prepare_in, runtime, text, wat,
};

async fn component(source: &str, invoke: Arc<FakeInvoke>) -> Component {
    prepare(wat(source), ComponentOptions::default(), invoke).await
}

async fn refused(source: &str) -> PrepareError {
    let prepared = runtime()
        .prepare(
            wat(source),
            ComponentOptions::default(),
            FakeInvoke::unlinked(),
            Arc::<FakeEnv>::default(),
        )
        .await;
    prepared.expect_err("the component is refused")
}

const ARITHMETIC: &str = r#"(component
  (core module $m
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func $deep (export "deep") (param i32) (result i32)
      (i32.add (call $deep (local.get 0)) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $i "add")))
  (func (export "deep") (param "a" u32) (result u32) (canon lift (core func $i "deep"))))"#;

#[tokio::test]
async fn a_function_at_the_root_is_called_as_in_the_recorded_frames() {
    let component = component(ARITHMETIC, FakeInvoke::unlinked()).await;
    let export = find(&component, "", "add");
    assert_eq!(
        (export.instance(), export.kind()),
        (None, ExportKind::Function)
    );
    let params = Bytes::from_static(&[0x05, 0x90, 0x4e]);
    assert_eq!(export.params_complete(&params.slice(..2)), Ok(None));
    assert_eq!(export.params_complete(&params), Ok(Some(3)));
    let sum = call(&component, "", "add", params).await.unwrap();
    assert_eq!(&sum[..], [0x95, 0x4e]);
}

#[tokio::test]
async fn a_stack_of_the_engine_overflows_as_such() {
    let component = component(ARITHMETIC, FakeInvoke::unlinked()).await;
    let ended = call(&component, "", "deep", Bytes::from_static(&[0])).await;
    assert!(matches!(ended, Err(CallError::StackOverflow)), "{ended:?}");
}

#[tokio::test]
async fn resources_of_a_callee_are_opaque_handles() {
    let invoke = FakeInvoke::new(|called: Called| {
        Ok(match called.function.as_str() {
            // The callee's handle is whatever it likes, here the name.
            "thing" => called.params,
            "merge" => Bytes::from_static(b"\x03abc"),
            _ => Bytes::from_static(b"\x2a"),
        })
    });
    let component = component(include_str!("wat/things.wat"), invoke.clone()).await;
    let size = call(&component, "", "run", Bytes::new()).await.unwrap();
    assert_eq!(as_number(size), 42);
    let calls = invoke.calls();
    let sent: Vec<_> = calls
        .iter()
        .map(|c| (c.function.as_str(), &c.params[..]))
        .collect();
    assert_eq!(
        sent,
        [
            ("thing", &b"\x02ab"[..]),
            ("thing", b"\x01c"),
            ("merge", b"\x02ab\x01c"),
            ("thing.size", b"\x03abc"),
        ]
    );
    let first = &calls[0];
    assert_eq!(
        (&*first.lookup, &*first.instance),
        ("test:things/api", "test:things/api@1.0.0")
    );
}

#[tokio::test]
async fn an_rpc_error_has_a_place_for_calls_that_failed() {
    let source = include_str!("wat/ask.wat");
    let answered = component(source, FakeInvoke::new(|_| Ok(text("because")))).await;
    let answer = call(&answered, "", "run", Bytes::new()).await.unwrap();
    assert_eq!(as_text(answer), "because");
    let unlinked = component(source, FakeInvoke::new(|called| Err(no_link(&called)))).await;
    let answer = call(&unlinked, "", "run", Bytes::new()).await.unwrap();
    assert_eq!(
        as_text(answer),
        "link `default` not found for instance `test:remote/api`"
    );
    let malformed = component(source, FakeInvoke::new(|_| Ok(Bytes::from_static(&[9])))).await;
    let answer = as_text(call(&malformed, "", "run", Bytes::new()).await.unwrap());
    assert!(answer.contains("malformed"), "{answer}");
}

#[tokio::test]
async fn imports_that_no_link_can_provide_are_all_named() {
    let error = refused(
        r#"(component
          (import "wasi:io/streams@0.2.6" (instance $streams
            (export "input-stream" (type (sub resource)))))
          (alias export $streams "input-stream" (type $input))
          (import "test:a/b" (instance
            (export "input-stream" (type $own-input (eq $input)))
            (export "send" (func (param "data" (own $input))))
            (export "fine" (func (param "data" u32)))))
          (import "wasi:http/types@0.3.0" (instance (export "f" (func))))
          (import "code" (core module)))"#,
    )
    .await;
    let PrepareError::UnsatisfiedImports { imports } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        imports,
        [
            "`test:a/b.send`: it passes a `input-stream`, which cannot leave the host",
            "`wasi:http/types@0.3.0`: this host implements version 0.2 of it",
            "`code`: a core module cannot be imported",
        ]
    );
}

#[tokio::test]
async fn a_known_function_with_another_type_is_refused() {
    let error = refused(
        r#"(component (import "wasi:logging/logging" (instance
          (export "log" (func (param "message" string))))))"#,
    )
    .await;
    assert!(matches!(error, PrepareError::Link(_)), "{error:?}");
}

#[tokio::test]
async fn a_component_of_the_asynchronous_abi_is_refused_by_name() {
    let error = refused(
        r#"(component
          (core module $m
            (func (export "run") (result i32) i32.const 0)
            (func (export "go-on") (param i32 i32 i32) (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (func (export "run") async
            (canon lift (core func $i "run") async (callback (core func $i "go-on")))))"#,
    )
    .await;
    let PrepareError::Compile(cause) = error else {
        panic!("{error:?}")
    };
    let cause = format!("{cause:#}");
    assert!(cause.contains("component model async feature"), "{cause}");
}

#[tokio::test]
async fn what_one_call_logs_is_bounded() {
    let env = Arc::new(FakeEnv::default());
    // 200 messages of 100,000 bytes each.
    let component = prepare_in(
        wat(r#"(component
          (import "wasi:logging/logging" (instance $logging
            (type $levels (enum "trace" "debug" "info" "warn" "error" "critical"))
            (export "level" (type $level (eq $levels)))
            (export "log" (func
              (param "level" $level) (param "context" string) (param "message" string)))))
          (core module $memory (memory (export "memory") 2))
          (core instance $memory (instantiate $memory))
          (core func $log (canon lower (func $logging "log") (memory (core memory $memory "memory"))))
          (core module $m
            (import "" "log" (func $log (param i32 i32 i32 i32 i32)))
            (func (export "run") (local $n i32)
              (loop $again
                (call $log
                  (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 100000))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 200))))))
          (core instance $i (instantiate $m (with "" (instance (export "log" (func $log))))))
          (func (export "run") (canon lift (core func $i "run"))))"#),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
        env.clone(),
    )
    .await;
    call(&component, "", "run", Bytes::new()).await.unwrap();
    // 16 KiB of each, and 1 MiB in all.
    assert_eq!(env.lines(LogSource::Logging).len(), 64);
}

#[tokio::test]
async fn what_a_guest_has_the_host_keep_is_bounded() {
    for (count, fits) in [(4000, true), (4200, false)] {
        let text = r#"(component
          (import "wasi:http/types@0.2.6" (instance $http
            (export "fields" (type $fields (sub resource)))
            (export "[constructor]fields" (func (result (own $fields))))))
          (core func $make (canon lower (func $http "[constructor]fields")))
          (core module $m
            (import "" "make" (func $make (result i32)))
            (func (export "run") (local $n i32)
              (loop $again
                (drop (call $make))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const COUNT))))))
          (core instance $i (instantiate $m (with "" (instance (export "make" (func $make))))))
          (func (export "run") (canon lift (core func $i "run"))))"#;
        let env = Arc::new(FakeEnv::default());
        let component = prepare_in(
            wat(&text.replace("COUNT", &count.to_string())),
            ComponentOptions::default(),
            FakeInvoke::unlinked(),
            env,
        )
        .await;
        let ended = call(&component, "", "run", Bytes::new()).await;
        assert_eq!(ended.is_ok(), fits, "{count}: {ended:?}");
    }
}

#[tokio::test]
async fn an_exported_resource_is_left_out_with_a_warning() {
    let env = Arc::new(FakeEnv::default());
    let component = prepare_in(
        wat(r#"(component
          (type $r (resource (rep i32)))
          (core func $new (canon resource.new $r))
          (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (func (export "make") (result i32) (call $new (i32.const 1)))
            (func (export "one") (result i32) (i32.const 1)))
          (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
          (export $public "r" (type $r))
          (func (export "make") (result (own $public)) (canon lift (core func $i "make")))
          (func (export "one") (result u32) (canon lift (core func $i "one"))))"#),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
        env.clone(),
    )
    .await;
    assert_eq!(component.exports().len(), 1);
    let one = call(&component, "", "one", Bytes::new()).await.unwrap();
    assert_eq!(as_number(one), 1);
    let warnings = env.lines(LogSource::Runtime);
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("`make` is not served")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_watcher_gets_the_bucket_by_its_text() {
    watches(include_str!("wat/watcher.wat")).await;
}

/// What travels is the same for both versions.
#[tokio::test]
async fn a_watcher_of_the_second_version_does_too() {
    watches(&include_str!("wat/watcher.wat").replace("@0.2.0-draft", "@0.2.0-draft2")).await;
}

async fn watches(wat: &str) {
    let invoke = FakeInvoke::new(|_| Ok(Bytes::from_static(b"\x00\x01")));
    let component = component(wat, invoke.clone()).await;
    let instance = "wrpc:keyvalue/watcher@0.2.0-draft";
    assert_eq!(
        find(&component, instance, "on-set").kind(),
        ExportKind::KeyvalueWatcher
    );
    let params = Bytes::from_static(b"\x04cart\x01k\x02\x00\xff");
    let done = call(&component, instance, "on-set", params).await.unwrap();
    assert!(done.is_empty());
    let calls = invoke.calls();
    assert_eq!(
        (&*calls[0].function, &calls[0].params[..]),
        ("exists", &b"\x04cart\x01k"[..])
    );
    let ended = call(
        &component,
        instance,
        "on-delete",
        Bytes::from_static(b"\x01b\x01k"),
    )
    .await;
    assert!(matches!(ended, Err(CallError::Trap { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_message_is_handled_and_passed_on() {
    let message = Bytes::from_static(b"\x04news\x03\x00\x01\x02\x01\x05reply");
    let invoke = FakeInvoke::new(|called: Called| match called.params.len() {
        0..10 => Err(no_link(&called)),
        _ => Ok(Bytes::from_static(b"\x00")),
    });
    let component = component(include_str!("wat/messages.wat"), invoke.clone()).await;
    let instance = "wasmcloud:messaging/handler@0.2.0";
    assert_eq!(
        find(&component, instance, "handle-message").kind(),
        ExportKind::Messaging
    );
    let done = call(&component, instance, "handle-message", message.clone())
        .await
        .unwrap();
    assert_eq!(&done[..], [0]);
    assert_eq!(invoke.calls()[0].params, message);
    assert_eq!(invoke.calls()[0].lookup, "wasmcloud:messaging/consumer");
    let short = Bytes::from_static(b"\x01n\x00\x00");
    let failed = call(&component, instance, "handle-message", short)
        .await
        .unwrap();
    assert!(as_refusal(failed).starts_with("link `default` not found"));
}

#[tokio::test]
async fn a_secret_is_revealed_or_said_to_be_unknown() {
    let mut env = FakeEnv::default();
    env.secrets
        .insert("pin".to_owned(), SecretText::String("1234".to_owned()));
    let component = prepare_in(
        wat(include_str!("wat/secret.wat")),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
        Arc::new(env),
    )
    .await;
    let revealed = call(&component, "", "run", text("pin")).await.unwrap();
    assert_eq!(&revealed[..], b"\x00\x041234");
    let unknown = call(&component, "", "run", text("other")).await.unwrap();
    assert_eq!(&unknown[..], b"\x02\x00");
}

/// Answers as a provider of the blobstore in one version.
fn blobstore(
    version: &'static str,
    read: &'static [u8],
    written: &'static [u8],
) -> Arc<FakeInvoke> {
    FakeInvoke::new(move |called: Called| {
        if !called.instance.ends_with(version) {
            return Err(InvokeError::NotServed {
                target: "blobs".to_owned(),
                function: called.function,
            });
        }
        Ok(Bytes::from_static(match called.function.as_str() {
            "container-exists" => b"\x00\x01",
            "get-container-data" => read,
            _ => written,
        }))
    })
}

#[tokio::test]
async fn objects_are_read_from_providers_of_both_versions() {
    let source = include_str!("wat/blobs.wat");
    for (version, read) in [
        ("0.2.0", &b"\x00\x03abc\x01\x00"[..]),
        ("0.1.0", b"\x00\x03abc"),
    ] {
        let invoke = blobstore(version, read, b"");
        let component = component(source, invoke.clone()).await;
        let data = call(&component, "", "read", Bytes::new()).await.unwrap();
        assert_eq!(&data[..], b"\x00\x03abc");
        let calls = invoke.calls();
        let last = calls.last().unwrap();
        assert_eq!(last.lookup, "wasi:blobstore/container");
        assert!(
            last.params.starts_with(b"\x03box\x03obj\x00"),
            "{:?}",
            last.params
        );
        // The version that served the container is used for its objects at once.
        let tried = calls
            .iter()
            .filter(|call| call.function == "get-container-data")
            .count();
        assert_eq!(tried, 1);
    }
}

#[tokio::test]
async fn what_a_blobstore_reports_after_the_data_is_an_error() {
    let invoke = blobstore("0.2.0", b"\x00\x03abc\x01\x01\x04disk", b"");
    let component = component(include_str!("wat/blobs.wat"), invoke).await;
    let failed = call(&component, "", "read", Bytes::new()).await.unwrap();
    assert_eq!(as_refusal(failed), "disk");
}

#[tokio::test]
async fn objects_are_written_to_providers_of_both_versions() {
    let source = include_str!("wat/blobs.wat");
    for (version, written) in [("0.2.0", &b"\x00\x01\x00"[..]), ("0.1.0", b"\x00")] {
        let invoke = blobstore(version, b"", written);
        let component = component(source, invoke.clone()).await;
        let data = encoded(|out| write::bytes(out, b"hello"));
        let done = call(&component, "", "write", data).await.unwrap();
        assert_eq!(&done[..], [0]);
        let sent = invoke.calls().last().unwrap().params.clone();
        assert_eq!(&sent[..], b"\x03box\x03obj\x00\x05hello\x00");
    }
    let refusing = blobstore("0.2.0", b"", b"\x00\x01\x01\x04full");
    let component = component(source, refusing).await;
    let data = encoded(|out| write::bytes(out, b"hello"));
    let failed = call(&component, "", "write", data).await.unwrap();
    assert_eq!(as_refusal(failed), "full");
}

#[tokio::test]
async fn a_core_module_that_says_its_interfaces_becomes_a_component() {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve
        .push_str(
            "test.wit",
            "package test:core; world sum { export add: func(a: u32, b: u32) -> u32; }",
        )
        .unwrap();
    let world = resolve.select_world(&[package], Some("sum")).unwrap();
    let mut module = wat::parse_str(
        r#"(module
          (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "add") (param i32 i32) (result i32)
            (i32.add (local.get 0) (local.get 1))))"#,
    )
    .unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    let component = prepare(
        module.into(),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
    )
    .await;
    let sum = call(&component, "", "add", Bytes::from_static(&[2, 3]))
        .await
        .unwrap();
    assert_eq!(&sum[..], [5]);
}
