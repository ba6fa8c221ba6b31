;; Calls a function whose error type has room for a call that failed.
(component
  (import "wrpc:rpc/error@0.1.0" (instance $rpc
    (export "error" (type $error (sub resource)))
    (export "[method]error.to-debug-string"
      (func (param "self" (borrow $error)) (result string)))))
  (alias export $rpc "error" (type $error))
  (import "test:remote/api" (instance $api
    (export "error" (type $own-error (eq $error)))
    (export "ask" (func (param "question" string) (result (result string (error (own $own-error))))))))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.add (global.get $next) (local.get 3)))
      (local.get $at))
    (data (i32.const 16) "why?"))
  (core instance $libc (instantiate $libc))
  (core func $ask (canon lower (func $api "ask")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $text (canon lower (func $rpc "[method]error.to-debug-string")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "api" "ask" (func $ask (param i32 i32 i32)))
    (import "api" "text" (func $text (param i32 i32)))
    (func (export "run") (result i32)
      (call $ask (i32.const 16) (i32.const 4) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (call $text (i32.load (i32.const 68)) (i32.const 68))))
      (i32.const 68)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "api" (instance (export "ask" (func $ask)) (export "text" (func $text))))))
  (func (export "run") (result string)
    (canon lift (core func $main "run") (memory (core memory $libc "memory")))))
