//! What a file or a guest can have the host keep.

use http_body_util::{BodyExt as _, Empty};
use lattice_runtime::{CallContext, HttpCallError};

use super::*;

/// Each of `count` texts made of its number.
fn each(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect()
}

/// Why a component with these imports is refused.
async fn unsatisfied(imports: &str) -> Vec<String> {
    let error = refused(&format!("(component {imports})")).await;
    let PrepareError::UnsatisfiedImports { imports } = error else {
        panic!("{error:?}")
    };
    imports
}

#[tokio::test]
async fn imports_with_names_that_fit_into_no_subject_are_refused_in_few_words() {
    let long = "a".repeat(90_000);
    for imports in [
        format!(r#"(import "test:a/{long}" (instance (export "f" (func))))"#),
        format!(r#"(import "test:a/b" (instance (export "{long}" (func))))"#),
        format!(r#"(import "{long}" (func))"#),
    ] {
        let told = unsatisfied(&imports).await.join("; ");
        assert!(told.contains("bytes is longer than"), "{told}");
        assert!(told.len() < 500, "{} bytes", told.len());
    }
}

#[tokio::test]
async fn more_imported_functions_than_a_host_takes_are_refused() {
    let functions = |count| each(count, |i: usize| format!(r#"(export "f{i}" (func))"#));
    let import = |count| format!(r#"(import "test:a/b" (instance {}))"#, functions(count));
    let told = unsatisfied(&import(10_001)).await;
    assert_eq!(told, ["more than 10000 functions"]);
    let invoke = FakeInvoke::unlinked();
    component(&format!("(component {})", import(1000)), invoke).await;
}

#[tokio::test]
async fn more_imported_resources_than_a_host_takes_are_refused() {
    let resources = |i: usize| format!(r#"(export "r{i}" (type (sub resource)))"#);
    let import = |count| {
        format!(
            r#"(import "test:a/b" (instance {}))"#,
            each(count, resources)
        )
    };
    let told = unsatisfied(&import(1001)).await;
    assert_eq!(told, ["more than 1000 types of resources"]);
    let invoke = FakeInvoke::unlinked();
    component(&format!("(component {})", import(1000)), invoke).await;
}

#[tokio::test]
async fn of_very_many_imports_that_nobody_provides_some_are_named() {
    let modules = each(30, |i: usize| {
        format!(r#"(import "code{i}" (core module))"#)
    });
    let told = unsatisfied(&modules).await;
    assert_eq!(told.len(), 21);
    assert_eq!(told[19], "`code19`: a core module cannot be imported");
    assert_eq!(told[20], "and 10 more");
}

#[tokio::test]
async fn imports_that_no_link_leads_to_are_told_at_the_start() {
    let env = Arc::new(FakeEnv::default());
    let imports = r#"(component
      (import "lost" (func))
      (import "loose" (instance (export "f" (func))))
      (import "test:a/b" (instance (export "f" (func)))))"#;
    let (options, invoke) = (ComponentOptions::default(), FakeInvoke::unlinked());
    prepare_in(wat(imports), options, invoke, env.clone()).await;
    let warnings = env.lines(LogSource::Runtime);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for name in ["`lost`", "`loose`"] {
        let told = |line: &String| line.contains(name) && line.contains("no link leads");
        assert!(warnings.iter().any(told), "{name}: {warnings:?}");
    }
}

/// Passes so many bytes of its memory on in a value.
const SENDER: &str = r#"(component
  (import "test:docs/docs@0.1.0" (instance $docs
    (export "put" (func (param "doc" (option (list u8)))))))
  (core module $libc (memory (export "memory") 80))
  (core instance $libc (instantiate $libc))
  (core func $put (canon lower (func $docs "put") (memory (core memory $libc "memory"))))
  (core module $main
    (import "docs" "put" (func $put (param i32 i32 i32)))
    (func (export "run") (param i32)
      (call $put (i32.const 1) (i32.const 0) (local.get 0))))
  (core instance $main (instantiate $main (with "docs" (instance (export "put" (func $put))))))
  (func (export "run") (param "bytes" u32) (canon lift (core func $main "run"))))"#;

#[tokio::test]
async fn a_guest_sends_as_many_parts_as_it_may_be_sent_and_is_told_of_more() {
    let invoke = FakeInvoke::new(|_| Ok(Bytes::new()));
    let component = component(SENDER, invoke.clone()).await;
    call(&component, "", "run", number(4_000_000))
        .await
        .unwrap();
    // The case, the length and the bytes.
    assert_eq!(invoke.calls()[0].params.len(), 1 + 4 + 4_000_000);
    let ended = call(&component, "", "run", number(5_200_000)).await;
    let Err(CallError::Trap { message, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert!(message.contains("parts"), "{message}");
}

/// Does so with more bytes than it may, for each request.
const HANDLER: &str = r#"(component
  (import "wasi:http/types@0.2.6" (instance $http
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $out))
  (import "test:docs/docs@0.1.0" (instance $docs
    (export "put" (func (param "doc" (option (list u8)))))))
  (core module $libc (memory (export "memory") 80))
  (core instance $libc (instantiate $libc))
  (core func $put (canon lower (func $docs "put") (memory (core memory $libc "memory"))))
  (core module $main
    (import "docs" "put" (func $put (param i32 i32 i32)))
    (func (export "handle") (param i32 i32)
      (call $put (i32.const 1) (i32.const 0) (i32.const 5200000))))
  (core instance $main (instantiate $main (with "docs" (instance (export "put" (func $put))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $out))
    (canon lift (core func $main "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.6" (instance $handler)))"#;

#[tokio::test]
async fn a_guest_that_handles_a_request_is_told_of_too_many_parts_as_well() {
    let invoke = FakeInvoke::new(|_| Ok(Bytes::new()));
    let component = component(HANDLER, invoke).await;
    let nothing = Empty::new().map_err(|never| match never {});
    let request = http::Request::builder()
        .uri("http://example.com/")
        .body(nothing.boxed_unsync())
        .unwrap();
    let ended = component
        .handle_http(CallContext::within(support::LONG), request)
        .await;
    let Err(HttpCallError::Call(CallError::Trap { message, .. })) = ended else {
        panic!("{ended:?}")
    };
    assert!(message.contains("parts"), "{message}");
}

/// A component that exports functions of which each is written by its number.
async fn exporting(count: usize, function: impl Fn(usize) -> String, env: &Arc<FakeEnv>) -> usize {
    let text = format!(
        r#"(component
          (type $r (resource (rep i32)))
          (core module $m (func (export "one") (result i32) (i32.const 1)))
          (core instance $i (instantiate $m))
          (export $public "r" (type $r))
          {})"#,
        each(count, function)
    );
    let (options, invoke) = (ComponentOptions::default(), FakeInvoke::unlinked());
    let component = prepare_in(wat(&text), options, invoke, env.clone()).await;
    component.exports().len()
}

fn lifted(name: &str, result: &str) -> String {
    format!(r#"(func (export "{name}") (result {result}) (canon lift (core func $i "one")))"#)
}

#[tokio::test]
async fn of_very_many_exports_that_are_not_served_some_are_named() {
    let env = Arc::new(FakeEnv::default());
    let passing = |i: usize| lifted(&format!("f{i}"), "(own $public)");
    assert_eq!(exporting(30, passing, &env).await, 0);
    let warnings = env.lines(LogSource::Runtime);
    assert_eq!(warnings.len(), 21);
    assert!(warnings[20].contains("left out 10 more"), "{warnings:?}");
}

#[tokio::test]
async fn exports_with_names_that_fit_into_no_subject_are_left_out_in_few_words() {
    let env = Arc::new(FakeEnv::default());
    let long = |i: usize| lifted(&format!("{}{i}", "a".repeat(90_000)), "u32");
    assert_eq!(exporting(2, long, &env).await, 0);
    let warnings = env.lines(LogSource::Runtime);
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|line| line.len() < 500));
}

#[tokio::test]
async fn no_more_exports_are_served_than_a_host_takes() {
    let env = Arc::new(FakeEnv::default());
    let served = exporting(10_002, |i| lifted(&format!("f{i}"), "u32"), &env).await;
    assert_eq!(served, 10_000);
    let warnings = env.lines(LogSource::Runtime);
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].contains("`f10000` is not served"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn handles_of_secrets_count_towards_what_a_call_holds() {
    for (max_buffered_bytes, answer) in [(4, &b"\x00\x041234"[..]), (3, b"\x01\x00")] {
        let mut env = FakeEnv::default();
        let secret = SecretText::String("1234".to_owned());
        env.secrets.insert("pin".to_owned(), secret);
        let options = ComponentOptions {
            max_buffered_bytes,
            ..ComponentOptions::default()
        };
        let wasm = wat(include_str!("../wat/secret.wat"));
        let component = prepare_in(wasm, options, FakeInvoke::unlinked(), Arc::new(env)).await;
        let revealed = call(&component, "", "run", text("pin")).await.unwrap();
        assert_eq!(&revealed[..], answer, "{max_buffered_bytes}");
    }
}

/// Makes a request with a method and an authority of so many bytes; 1 and 2 stand for what is refused.
const REQUEST: &str = r#"(component
  (import "wasi:http/types@0.2.6" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (type $methods (variant (case "get") (case "head") (case "post") (case "put") (case "delete")
      (case "connect") (case "options") (case "trace") (case "patch") (case "other" string)))
    (export "method" (type $method (eq $methods)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-request" (func
      (param "headers" (own $fields)) (result (own $request))))
    (export "[method]outgoing-request.set-method" (func
      (param "self" (borrow $request)) (param "method" $method) (result (result))))
    (export "[method]outgoing-request.set-authority" (func
      (param "self" (borrow $request)) (param "authority" (option string)) (result (result))))))
  (core module $memory (memory (export "memory") 1))
  (core instance $memory (instantiate $memory))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $request (canon lower (func $http "[constructor]outgoing-request")))
  (core func $method (canon lower (func $http "[method]outgoing-request.set-method")
    (memory (core memory $memory "memory"))))
  (core func $authority (canon lower (func $http "[method]outgoing-request.set-authority")
    (memory (core memory $memory "memory"))))
  (core module $m
    (import "" "memory" (memory 1))
    (import "" "fields" (func $fields (result i32)))
    (import "" "request" (func $request (param i32) (result i32)))
    (import "" "method" (func $method (param i32 i32 i32 i32) (result i32)))
    (import "" "authority" (func $authority (param i32 i32 i32 i32) (result i32)))
    (func (export "run") (param $len i32) (result i32) (local $made i32)
      (memory.fill (i32.const 0) (i32.const 97) (i32.const 65536))
      (local.set $made (call $request (call $fields)))
      (i32.add
        (call $method (local.get $made) (i32.const 9) (i32.const 0) (local.get $len))
        (i32.mul (i32.const 2)
          (call $authority (local.get $made) (i32.const 1) (i32.const 0) (local.get $len))))))
  (core instance $i (instantiate $m (with "" (instance
    (export "memory" (memory $memory "memory"))
    (export "fields" (func $fields))
    (export "request" (func $request))
    (export "method" (func $method))
    (export "authority" (func $authority))))))
  (func (export "run") (param "len" u32) (result u32) (canon lift (core func $i "run"))))"#;

#[tokio::test]
async fn texts_that_a_host_keeps_for_a_request_are_bounded() {
    let component = component(REQUEST, FakeInvoke::unlinked()).await;
    for (len, refused) in [(16 << 10, 0), ((16 << 10) + 1, 3)] {
        let told = call(&component, "", "run", number(len)).await.unwrap();
        assert_eq!(as_number(told), refused, "{len}");
    }
}
