//! The commands, one file each.

mod bench;
mod build;
mod conformance;
mod guests;
mod lint;
mod room;
mod services;
mod setup;
mod test;
mod tested;
mod tidy;
mod up;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser};

use crate::workspace::Workspace;

const USAGE: &str = "\
Project automation.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  setup    Install what building, running and testing need and this machine does not have [nats, guests, redis, services, nextest]
  guests   Compile the guest components into target/components
  build    Compile wash, the host and the providers [--release]
  up       Start a lattice in the background with the counter example on it [--release, --isolated, --no-build]
  test     Run every test of this repository [--nightly, arguments of `cargo nextest run`]
  conformance
           Run the suite of each capability over every backend [--capability C, --backend B, --form F, --json FILE]
  services Install, start, show and end what providers are tested with: install, up, status, down [NAME]
  bench    Measure a lattice of release programs [--full, --wasmtime, --json FILE, --only NAME, --rounds N]
           and compare with docs/performance.json [--check] or write docs/performance.* [--publish]
  lint     Check format and lints
  tidy     Check the habits of this repository that no compiler checks
";

/// Runs the command that the arguments name.
pub(crate) fn run(mut arguments: Parser) -> Result<ExitCode> {
    let name = match arguments.next()? {
        Some(Arg::Value(name)) => name.to_string_lossy().into_owned(),
        Some(Arg::Long("help") | Arg::Short('h')) | None => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    let workspace = Workspace::locate()?;
    match name.as_str() {
        "setup" => setup::run(&workspace, arguments),
        "guests" => guests::run(&workspace, arguments),
        "build" => build::run(&workspace, arguments),
        "up" => up::run(&workspace, arguments),
        "test" => test::run(&workspace, arguments),
        "conformance" => conformance::run(&workspace, arguments),
        "services" => services::run(&workspace, arguments),
        "bench" => bench::run(&workspace, arguments),
        "lint" => lint::run(&workspace, arguments),
        "tidy" => tidy::run(&workspace, arguments),
        other => bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}
