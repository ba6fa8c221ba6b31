//! `cargo xtask conformance`: the suite of each capability over every backend and form of its provider.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lexopt::Parser;

use super::{guests, tested};
use crate::shell;
use crate::workspace::Workspace;

const HELP: &str = "\
Runs the suite of each capability over every backend, as a real service, and every form of its provider

  --capability C   Only this one: key-value, key-value-2, blobs, messages, messages-wasi, messages-0.3, queue, sql, sql-postgres, lock, lock-wasi, http-in, http-out, config, logging, schedule
  --backend B      Only this one, such as redis
  --form F         Only this one: in-host, process, remote
  --fault F        What befalls the backend: none, killed, slow (may be given more than once; default none)
  --case TEXT      Only cases whose names contain this
  --from FILE      Runs nothing and takes what earlier runs have written; may be repeated
  --json FILE      Writes the results there
  --publish PAGE   Writes the table into a page, such as docs/capabilities.md
";

/// Installs and builds what the suites need and runs them; the arguments go to them.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let asked: Vec<_> = arguments.raw_args()?.collect();
    if asked.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let tools = tested::Tools::ensure(workspace)?;
    guests::compile(workspace)?;
    shell::heading("programs (minutes the first time)");
    let mut build = shell::cargo();
    // As tests are built, so that one set of features serves both.
    build.args(["build", "--workspace", "--bins", "--tests"]);
    tools.apply(&mut build)?;
    shell::stream(&mut build).context("the programs do not compile")?;
    let mut suites = Command::new(workspace.target().join("debug/lattice-conformance"));
    suites.args(&asked);
    tools.apply(&mut suites)?;
    let status = suites.status().context("could not start the suites")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
