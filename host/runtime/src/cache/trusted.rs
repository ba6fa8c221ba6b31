//! The one place where bytes become machine code without being compiled.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads compiled code. The caller has checked that this host made the bytes.
#[expect(
    unsafe_code,
    reason = "loading compiled code trusts its bytes; see the SAFETY comment"
)]
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires that the bytes come from `Component::serialize` of a
    // compatible engine. They do: their MAC was verified with a key that only this host's user
    // can read, they were verified in memory and are not read again from the file, and the key
    // of the entry covers the engine's compatibility hash. The engine checks its version and
    // settings once more.
    unsafe { Component::deserialize(engine, code) }
}
