//! The one place where bytes become machine code without being compiled.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads compiled code. The caller has checked who made the bytes: this host's user, or a holder
/// of a cluster key that this host was told to trust.
#[expect(
    unsafe_code,
    reason = "loading compiled code trusts its bytes; see the SAFETY comment"
)]
pub(crate) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires that the bytes come from `Component::serialize` of a
    // compatible engine. They do: either their MAC was verified with a key that only this host's
    // user can read, or their signature with a key whose holder the operator trusts to run code
    // in this process. They were verified in memory and are not read again, and the key of the
    // entry, which MAC and signature cover, covers the engine's compatibility hash. The engine
    // checks its version and settings once more.
    unsafe { Component::deserialize(engine, code) }
}
