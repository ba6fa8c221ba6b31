;; Is told of changes in a store, and asks the store for the key.
(component
  (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
    (export "bucket" (type $bucket (sub resource)))
    (type $cases (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $cases)))
    (export "[method]bucket.exists" (func
      (param "self" (borrow $bucket)) (param "key" string)
      (result (result bool (error $error)))))))
  (alias export $store "bucket" (type $bucket))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.add (global.get $next) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (core func $exists (canon lower (func $store "[method]bucket.exists")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $drop (canon resource.drop $bucket))
  (core module $main
    (import "store" "exists" (func $exists (param i32 i32 i32 i32)))
    (import "store" "drop" (func $drop (param i32)))
    (func (export "on-set") (param $bucket i32) (param $key i32) (param $len i32) (param i32 i32)
      (call $exists (local.get $bucket) (local.get $key) (local.get $len) (i32.const 64))
      (call $drop (local.get $bucket)))
    (func (export "on-delete") (param $bucket i32) (param i32 i32)
      (call $drop (local.get $bucket))
      unreachable))
  (core instance $main (instantiate $main (with "store" (instance
    (export "exists" (func $exists)) (export "drop" (func $drop))))))
  (func $on-set (param "bucket" (own $bucket)) (param "key" string) (param "value" (list u8))
    (canon lift (core func $main "on-set")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (func $on-delete (param "bucket" (own $bucket)) (param "key" string)
    (canon lift (core func $main "on-delete")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (instance $watcher
    (export "on-set" (func $on-set))
    (export "on-delete" (func $on-delete)))
  (export "wasi:keyvalue/watcher@0.2.0-draft" (instance $watcher)))
