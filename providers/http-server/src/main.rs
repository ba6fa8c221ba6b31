//! The http-server provider as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    lattice_provider_sdk::process::main::<http_server::HttpServer>(env!("CARGO_PKG_VERSION"))
}
