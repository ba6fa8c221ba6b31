//! The keyvalue-redis provider as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    lattice_provider_sdk::process::main::<keyvalue_redis::KeyValueRedis>(env!("CARGO_PKG_VERSION"))
}
