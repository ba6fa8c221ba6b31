;; Uses resources that a remote callee owns.
(component
  (import "test:things/api@1.0.0" (instance $api
    (export "thing" (type $thing (sub resource)))
    (export "[constructor]thing" (func (param "name" string) (result (own $thing))))
    (export "[method]thing.size" (func (param "self" (borrow $thing)) (result u32)))
    (export "merge" (func (param "a" (own $thing)) (param "b" (own $thing)) (result (own $thing))))))
  (alias export $api "thing" (type $thing))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 16) "abc"))
  (core instance $libc (instantiate $libc))
  (core func $new (canon lower (func $api "[constructor]thing") (memory (core memory $libc "memory"))))
  (core func $size (canon lower (func $api "[method]thing.size")))
  (core func $merge (canon lower (func $api "merge")))
  (core func $drop (canon resource.drop $thing))
  (core module $main
    (import "api" "new" (func $new (param i32 i32) (result i32)))
    (import "api" "size" (func $size (param i32) (result i32)))
    (import "api" "merge" (func $merge (param i32 i32) (result i32)))
    (import "api" "drop" (func $drop (param i32)))
    (func (export "run") (result i32)
      (local $both i32) (local $size i32)
      (local.set $both (call $merge
        (call $new (i32.const 16) (i32.const 2))
        (call $new (i32.const 18) (i32.const 1))))
      (local.set $size (call $size (local.get $both)))
      (call $drop (local.get $both))
      (local.get $size)))
  (core instance $main (instantiate $main (with "api" (instance
    (export "new" (func $new))
    (export "size" (func $size))
    (export "merge" (func $merge))
    (export "drop" (func $drop))))))
  (func (export "run") (result u32) (canon lift (core func $main "run"))))
