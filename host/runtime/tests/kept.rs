//! What guests, and those whom they call, make the host keep is bounded.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::write;
use lattice_runtime::{Component, ComponentOptions};
use support::{Called, FakeInvoke, as_number, call, chain, encoded, number, prepare, wat};

/// The longest text of a handle.
const LONGEST: u64 = 16 << 10;

async fn component(source: &str, invoke: Arc<FakeInvoke>) -> Component {
    prepare(wat(source), ComponentOptions::default(), invoke).await
}

/// Opens a bucket whose name has so many bytes, and tells whether that was refused.
const OPENS: &str = r#"(component
  (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
    (export "bucket" (type $bucket (sub resource)))
    (type $cases (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $cases)))
    (export "open" (func
      (param "identifier" string) (result (result (own $bucket) (error $error)))))))
  (core module $libc
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 70000)))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $store "open")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "store" "open" (func $open (param i32 i32 i32)))
    (func (export "open") (param i32) (result i32)
      (call $open (i32.const 1024) (local.get 0) (i32.const 64))
      (i32.load8_u (i32.const 64))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "store" (instance (export "open" (func $open))))))
  (func (export "open") (param "bytes" u32) (result u32) (canon lift (core func $main "open"))))"#;

#[tokio::test]
async fn a_bucket_whose_name_is_too_long_is_refused() {
    let component = component(OPENS, FakeInvoke::unlinked()).await;
    for (bytes, refused) in [(LONGEST, 0), (LONGEST + 1, 1)] {
        let opened = call(&component, "", "open", number(bytes)).await.unwrap();
        assert_eq!(as_number(opened), refused, "{bytes}");
    }
}

/// Chooses a link for so many interfaces, with so many bytes of its name and of each interface's.
const CHOOSES: &str = r#"(component
  (import "wasmcloud:bus/lattice@1.0.0" (instance $bus
    (export "call-target-interface" (type $target (sub resource)))
    (export "[constructor]call-target-interface" (func
      (param "namespace" string) (param "package" string) (param "interface" string)
      (result (own $target))))
    (export "set-link-name" (func
      (param "name" string) (param "interfaces" (list (own $target)))))))
  (core module $libc (memory (export "memory") 2))
  (core instance $libc (instantiate $libc))
  (core func $target (canon lower (func $bus "[constructor]call-target-interface")
    (memory (core memory $libc "memory"))))
  (core func $choose (canon lower (func $bus "set-link-name")
    (memory (core memory $libc "memory"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "bus" "target" (func $target (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "bus" "choose" (func $choose (param i32 i32 i32 i32)))
    (func (export "choose") (param $count i32) (param $name i32) (param $interface i32)
      (local $n i32)
      (loop $again
        ;; Two letters that are others each time.
        (i32.store8 (i32.const 1024)
          (i32.add (i32.const 48) (i32.and (local.get $n) (i32.const 63))))
        (i32.store8 (i32.const 1025)
          (i32.add (i32.const 48) (i32.shr_u (local.get $n) (i32.const 6))))
        (i32.store (i32.const 64) (call $target
          (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1)
          (i32.const 1024) (local.get $interface)))
        (call $choose (i32.const 2048) (local.get $name) (i32.const 64) (i32.const 1))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (local.get $count))))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "bus" (instance
      (export "target" (func $target))
      (export "choose" (func $choose))))))
  (func (export "choose") (param "count" u32) (param "name" u32) (param "interface" u32)
    (canon lift (core func $main "choose"))))"#;

#[tokio::test]
async fn a_call_chooses_links_for_a_bounded_number_of_interfaces_of_bounded_names() {
    let component = component(CHOOSES, FakeInvoke::unlinked()).await;
    // An interface's name is `n:p/` before its last part here.
    for (count, name, interface, fits) in [
        (1024, 1, 2, true),
        (1025, 1, 2, false),
        (1, LONGEST, 2, true),
        (1, LONGEST + 1, 2, false),
        (1, 1, LONGEST - 4, true),
        (1, 1, LONGEST - 3, false),
    ] {
        let params = encoded(|out| {
            write::uleb(out, count);
            write::uleb(out, name);
            write::uleb(out, interface);
        });
        let ended = call(&component, "", "choose", params).await;
        assert_eq!(ended.is_ok(), fits, "{count} {name} {interface}: {ended:?}");
    }
}

#[tokio::test]
async fn a_handle_of_a_callee_has_a_bounded_number_of_bytes() {
    for (bytes, fits) in [(4096, true), (4097, false)] {
        let invoke = FakeInvoke::new(move |called: Called| {
            Ok(match called.function.as_str() {
                "thing" => called.params,
                "merge" => encoded(|out| write::bytes(out, &vec![7; bytes])),
                _ => Bytes::from_static(b"\x2a"),
            })
        });
        let component = component(include_str!("wat/things.wat"), invoke).await;
        match call(&component, "", "run", Bytes::new()).await {
            Ok(size) => assert!(fits && as_number(size) == 42, "{bytes}"),
            Err(error) => {
                let why = chain(&error);
                assert!(!fits && why.contains("4097 bytes"), "{bytes}: {why}");
            }
        }
    }
}
