//! `cargo xtask test`: every test of the repository, on a machine that may have nothing yet.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lexopt::Parser;

use super::guests;
use crate::install::{nats, nextest, redis};
use crate::shell;
use crate::workspace::Workspace;

/// Names the nats-server under test; set beforehand, it is left as it is, to test with another one.
const NATS_SERVER: &str = "LATTICE_NATS_SERVER";

/// Names the redis-server under test, in the same way.
const REDIS_SERVER: &str = "LATTICE_REDIS_SERVER";

/// Installs what is missing, builds everything and runs the tests; arguments go to nextest.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let chosen: Vec<OsString> = arguments.raw_args()?.collect();
    let nats_server = nats::ensure(workspace)?;
    let redis_server = redis::ensure(workspace)?;
    nextest::ensure(workspace)?;
    guests::compile(workspace)?;
    let prepare = |command: &mut Command| -> Result<()> {
        command
            .current_dir(workspace.root())
            .env("PATH", workspace.path_with_tools()?);
        for (name, program) in [(NATS_SERVER, &nats_server), (REDIS_SERVER, &redis_server)] {
            if env::var_os(name).is_none() {
                command.env(name, program);
            }
        }
        Ok(())
    };

    shell::heading("programs and tests (minutes the first time)");
    let mut build = shell::cargo();
    // Programs together with tests, so that both are built from one and the same set of features.
    build.args(["build", "--workspace", "--bins", "--tests"]);
    prepare(&mut build)?;
    shell::stream(&mut build).context("programs and tests do not compile")?;

    // The summary of nextest is to come last, so a failed example in the docs is told before.
    let examples = chosen
        .is_empty()
        .then(|| run_doc_tests(&prepare))
        .transpose();
    if let Err(error) = &examples {
        eprintln!("error: {error:#}");
    }
    shell::heading("tests");
    let mut tests = shell::cargo();
    tests.args(["nextest", "run", "--workspace"]).args(chosen);
    prepare(&mut tests)?;
    let passed = tests.status().context("could not start nextest")?.success();
    Ok(if passed && examples.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_doc_tests(prepare: &impl Fn(&mut Command) -> Result<()>) -> Result<()> {
    shell::heading("examples in the documentation");
    let mut command = shell::cargo();
    command.args(["test", "--quiet", "--workspace", "--doc"]);
    prepare(&mut command)?;
    shell::stream(&mut command).context("examples in the documentation failed")
}
