;; Asks for the keys `k` and `x` by Spin's shape of `get-many`, and tells how many tuples come (times 100), and which
;; of the two have a value (10 and 1).
(component
  (import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
    (export "bucket" (type $bucket (sub resource)))
    (type $cases (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $cases)))
    (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))))
  (alias export $store "bucket" (type $bucket))
  (alias export $store "error" (type $error))
  (import "wasi:keyvalue/batch@0.2.0-draft2" (instance $batch
    (alias outer 1 $bucket (type $outer-bucket))
    (export "bucket" (type $bucket (eq $outer-bucket)))
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (export "get-many" (func (param "bucket" (borrow $bucket)) (param "keys" (list string))
      (result (result (list (tuple string (option (list u8)))) (error $error)))))))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 8) "bkx")
    ;; The list of the two keys.
    (data (i32.const 16) "\09\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00")
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $store "open")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $get-many (canon lower (func $batch "get-many")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $drop (canon resource.drop $bucket))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "store" "open" (func $open (param i32 i32 i32)))
    (import "store" "get-many" (func $get-many (param i32 i32 i32 i32)))
    (import "store" "drop" (func $drop (param i32)))
    (func (export "many") (result i32)
      (local $bucket i32) (local $list i32)
      (call $open (i32.const 8) (i32.const 1) (i32.const 64))
      (local.set $bucket (i32.load (i32.const 68)))
      (call $get-many (local.get $bucket) (i32.const 16) (i32.const 2) (i32.const 128))
      (call $drop (local.get $bucket))
      (if (i32.load8_u (i32.const 128)) (then unreachable))
      (local.set $list (i32.load (i32.const 132)))
      (i32.add
        (i32.mul (i32.load (i32.const 136)) (i32.const 100))
        (i32.add
          (i32.mul (i32.load8_u offset=8 (local.get $list)) (i32.const 10))
          (i32.load8_u offset=28 (local.get $list))))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "store" (instance
      (export "open" (func $open)) (export "get-many" (func $get-many)) (export "drop" (func $drop))))))
  (func (export "many") (result u32) (canon lift (core func $main "many"))))
