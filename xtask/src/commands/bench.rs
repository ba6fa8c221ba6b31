//! `cargo xtask bench`: measures a whole lattice of release programs.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lexopt::Parser;

use super::build::{self, Profile};
use super::guests;
use crate::install::{nats, redis, wasmtime};
use crate::shell;
use crate::workspace::Workspace;

/// Where the committed figures are, below the repository.
const DOCS: &str = "docs";
const COMMITTED: &str = "docs/performance.json";
const COMMITTED_CAPABILITIES: &str = "docs/performance-capabilities.json";

/// What the host is built with for capabilities, besides what it always has.
const ALSO_INSIDE: &[&str] = &["lattice-host-program/sqldb-postgres"];

const HELP: &str = "\
Measures a lattice of release programs, which it builds first

  --wasmtime       Also `wasmtime serve`, which may have to be built
  --capabilities   Instead, the operations of each capability through a component, beside those of
                   the backend's own client; needs PostgreSQL, see `cargo xtask services`
  --full           Also what takes minutes: restarts, many components, many hosts, overload, aborts
  --only NAME,…    Only measures whose name contains this; one of those of `--full` by its whole name
  --rounds N       How many interleaved rounds to measure [5]
  --seconds S      How long each measurement of a round runs [3]
  --storm S        How long clients come and leave in abort_storm [60]; its goal is about 600
  --json FILE      Writes the results there
  --from FILE      Measures nothing and takes the results of an earlier run
  --check          Fails when a figure is more than 15 % worse than in docs/performance.json, or
                   missing although it is asked for; with `--capabilities` it compares with
                   docs/performance-capabilities.json
  --publish        Writes docs/performance.md, docs/performance.json and the charts; with
                   `--capabilities` their part of the page and docs/performance-capabilities.json.
                   A page of fewer than 5 rounds says so
";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Chosen {
    /// Also `wasmtime serve`, which may have to be built.
    wasmtime: bool,
    /// The operations of capabilities.
    capabilities: bool,
    /// Results come from a file: no program is needed.
    measured_before: bool,
    /// Arguments of the benchmark.
    arguments: Vec<OsString>,
}

/// Builds everything in release and runs the benchmark; other arguments than ours go to it.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let asked: Vec<OsString> = arguments.raw_args()?.collect();
    if asked.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(asked.into_iter());
    let mut command = shell::cargo();
    command
        .args(["run", "--release", "--quiet"])
        .args(["--package", "lattice-bench", "--"])
        .args(&chosen.arguments)
        .current_dir(workspace.root());
    if !chosen.measured_before {
        prepare(workspace, &chosen, &mut command)?;
    }
    shell::heading("benchmark");
    shell::stream(&mut command).context("the benchmark failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Takes out what this command does itself, and says where the committed figures are.
fn choose(arguments: impl Iterator<Item = OsString>) -> Chosen {
    let arguments: Vec<OsString> = arguments.collect();
    let mut chosen = Chosen {
        capabilities: arguments.iter().any(|word| word == "--capabilities"),
        ..Chosen::default()
    };
    let committed = match chosen.capabilities {
        true => COMMITTED_CAPABILITIES,
        false => COMMITTED,
    };
    for argument in arguments {
        match argument.to_str() {
            Some("--wasmtime") => chosen.wasmtime = true,
            Some("--check") => chosen
                .arguments
                .extend(["--check", committed].map(Into::into)),
            Some("--publish") => chosen.arguments.extend(["--publish", DOCS].map(Into::into)),
            text => {
                let from = |text: &str| text == "--from" || text.starts_with("--from=");
                chosen.measured_before |= text.is_some_and(from);
                chosen.arguments.push(argument);
            }
        }
    }
    chosen
}

/// Gets and builds all that runs, and tells the benchmark where it is.
fn prepare(workspace: &Workspace, chosen: &Chosen, command: &mut Command) -> Result<()> {
    command
        .env("LATTICE_NATS_SERVER", nats::ensure(workspace)?)
        .env("LATTICE_REDIS_SERVER", redis::ensure(workspace)?);
    if chosen.wasmtime {
        command.env("LATTICE_WASMTIME", wasmtime::ensure(workspace)?);
    }
    guests::compile(workspace)?;
    let features = if chosen.capabilities {
        ALSO_INSIDE
    } else {
        &[]
    };
    let programs = build::compile_with(workspace, Profile::Release, features)?;
    command.env("LATTICE_BIN_DIR", programs);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(line: &str) -> Chosen {
        choose(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn benchmark_is_told_where_the_committed_figures_are() {
        let got = chosen("--full --wasmtime --check --publish --rounds 7");
        let expected = "--full --check docs/performance.json --publish docs --rounds 7";
        let expected: Vec<OsString> = expected.split(' ').map(Into::into).collect();
        assert_eq!(got.arguments, expected);
        assert!(got.wasmtime && !got.measured_before);
    }

    #[test]
    fn capabilities_have_committed_figures_of_their_own() {
        let got = chosen("--check --capabilities");
        let expected = "--check docs/performance-capabilities.json --capabilities";
        let expected: Vec<OsString> = expected.split(' ').map(Into::into).collect();
        assert_eq!(got.arguments, expected);
        assert!(got.capabilities && !chosen("--check").capabilities);
    }

    #[test]
    fn results_of_before_need_no_programs() {
        assert!(chosen("--from run.json --publish").measured_before);
        assert!(chosen("--from=run.json").measured_before);
        assert!(!chosen("--only from").measured_before);
    }
}
