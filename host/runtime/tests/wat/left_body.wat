;; Answers with WRITTEN bytes under the length LENGTH, sent by the function HOW of streams, and leaves
;; the body without an end.
(module
  (import "wasi:http/types@0.2.6" "[static]fields.from-list"
    (func $fields (param i32 i32 i32)))
  (import "wasi:http/types@0.2.6" "[constructor]outgoing-response"
    (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.6" "[method]outgoing-response.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.6" "[method]outgoing-body.write" (func $write (param i32 i32)))
  (import "wasi:http/types@0.2.6" "[static]response-outparam.set"
    (func $answer (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.6" "[method]output-stream.HOW"
    (func $send (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.6" "[resource-drop]output-stream" (func $drop (param i32)))
  (memory (export "memory") 17)
  ;; The list of the one field.
  (data (i32.const 16) "\40\00\00\00\0e\00\00\00\50\00\00\00\DIGITS\00\00\00")
  (data (i32.const 64) "content-length")
  (data (i32.const 80) "LENGTH")
  (data (i32.const 96) "hello")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "wasi:http/incoming-handler@0.2.6#handle") (param $request i32) (param $out i32)
    (local $made i32)
    (call $fields (i32.const 16) (i32.const 1) (i32.const 128))
    (local.set $made (call $response (i32.load (i32.const 132))))
    (call $body (local.get $made) (i32.const 136))
    (call $write (i32.load (i32.const 140)) (i32.const 144))
    (call $answer (local.get $out) (i32.const 0) (local.get $made) (i32.const 0) (i64.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $send (i32.load (i32.const 148)) (i32.const 96) (i32.const WRITTEN) (i32.const 152))
    (call $drop (i32.load (i32.const 148)))))
