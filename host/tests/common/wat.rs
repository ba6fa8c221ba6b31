//! Small components in text form.

/// Exports `add(a, b) -> a + b + offset` at its root, the function of section 13.3 of the
/// protocol page.
pub(crate) fn adder(offset: i32) -> String {
    format!(
        r#"(component
             (core module $m
               (func (export "add") (param i32 i32) (result i32)
                 (i32.add (i32.const {offset}) (i32.add (local.get 0) (local.get 1)))))
             (core instance $i (instantiate $m))
             (func (export "add") (param "a" u32) (param "b" u32) (result u32)
               (canon lift (core func $i "add"))))"#
    )
}

/// Exports nothing and imports nothing.
pub(crate) const EMPTY: &str = "(component)";

/// Exports `trap`, which traps, `spin`, which never ends, and `add` as [`adder`].
pub(crate) const TROUBLE: &str = r#"(component
     (core module $m
       (func (export "trap") unreachable)
       (func (export "spin") (result i32) (loop (br 0)) (i32.const 0))
       (func (export "add") (param i32 i32) (result i32)
         (i32.add (local.get 0) (local.get 1))))
     (core instance $i (instantiate $m))
     (func (export "trap") (canon lift (core func $i "trap")))
     (func (export "spin") (result u32) (canon lift (core func $i "spin")))
     (func (export "add") (param "a" u32) (param "b" u32) (result u32)
       (canon lift (core func $i "add"))))"#;

/// Exports `test:add/sums.add`.
pub(crate) const SUMS: &str = r#"(component
     (core module $m
       (func (export "add") (param i32 i32) (result i32)
         (i32.add (local.get 0) (local.get 1))))
     (core instance $i (instantiate $m))
     (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
     (instance $sums (export "add" (func $add)))
     (export "test:add/sums@0.1.0" (instance $sums)))"#;

/// Imports `test:add/sums.add` and exports `twice(a) -> add(a, a)` at its root.
pub(crate) const TWICE: &str = r#"(component
     (import "test:add/sums@0.1.0" (instance $sums
       (export "add" (func (param "a" u32) (param "b" u32) (result u32)))))
     (core func $add (canon lower (func $sums "add")))
     (core module $m
       (import "sums" "add" (func $add (param i32 i32) (result i32)))
       (func (export "twice") (param i32) (result i32)
         (call $add (local.get 0) (local.get 0))))
     (core instance $i (instantiate $m (with "sums" (instance (export "add" (func $add))))))
     (func (export "twice") (param "a" u32) (result u32) (canon lift (core func $i "twice"))))"#;
