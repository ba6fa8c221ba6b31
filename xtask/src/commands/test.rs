//! `cargo xtask test`: every test of the repository, on a machine that may have nothing yet.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lexopt::Parser;

use super::guests;
use super::room;
use super::tested::Tools;
use crate::install::nextest;
use crate::shell;
use crate::workspace::Workspace;

/// What `--nightly` sets beside the profile of nextest that names the tests: how many calls they
/// make, and how long the storm of leaving clients takes. Set beforehand, they are left as they are.
const NIGHTLY: [(&str, &str); 2] = [
    ("LATTICE_SOAK_CALLS", "10000000"),
    ("LATTICE_SOAK_SECONDS", "600"),
];

/// `wash` as a release builds it: it carries a nats-server. The other tests do not notice, since one that
/// lies elsewhere goes before it.
const AS_RELEASED: [&str; 2] = ["--features", "wash/embed-nats"];

/// Which tests to run, and how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// The long form of the tests that have one, and nothing else.
    nightly: bool,
    /// Arguments of nextest.
    nextest: Vec<OsString>,
}

impl Options {
    /// Takes `--nightly` out of the arguments before `--`; the rest is nextest's.
    fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Self {
        let mut options = Self::default();
        for argument in arguments {
            let ours = argument == "--nightly" && !options.nextest.iter().any(|word| word == "--");
            if ours {
                options.nightly = true;
            } else {
                options.nextest.push(argument);
            }
        }
        options
    }

    /// Whether every test is to run, those in the documentation too.
    fn all(&self) -> bool {
        !self.nightly && self.nextest.is_empty()
    }

    fn apply(&self, nextest: &mut Command) {
        if self.nightly {
            nextest.args(["--profile", "nightly"]);
            for (name, value) in NIGHTLY {
                if env::var_os(name).is_none() {
                    nextest.env(name, value);
                }
            }
        }
        nextest.args(&self.nextest);
    }
}

/// Installs what is missing, builds everything and runs the tests.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let options = Options::from_arguments(arguments.raw_args()?);
    room::ensure(
        workspace,
        env::var_os("CARGO_INCREMENTAL").is_none_or(|it| it != "0"),
    )?;
    let tools = Tools::ensure(workspace)?;
    nextest::ensure(workspace)?;
    guests::compile(workspace)?;

    shell::heading("programs and tests (minutes the first time)");
    let mut build = shell::cargo();
    // Programs together with tests, so that both are built from one and the same set of features.
    build.args(["build", "--workspace", "--bins", "--tests"]);
    build.args(AS_RELEASED);
    tools.apply(&mut build)?;
    shell::stream(&mut build).context("programs and tests do not compile")?;

    // The summary of nextest is to come last, so a failed example in the docs is told before.
    let examples = options.all().then(|| run_doc_tests(&tools)).transpose();
    if let Err(error) = &examples {
        eprintln!("error: {error:#}");
    }
    shell::heading("tests");
    let mut tests = shell::cargo();
    tests.args(["nextest", "run", "--workspace"]);
    tests.args(AS_RELEASED);
    options.apply(&mut tests);
    tools.apply(&mut tests)?;
    let passed = tests.status().context("could not start nextest")?.success();
    Ok(if passed && examples.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_doc_tests(tools: &Tools<'_>) -> Result<()> {
    shell::heading("examples in the documentation");
    let mut command = shell::cargo();
    command.args(["test", "--quiet", "--workspace", "--doc"]);
    command.args(AS_RELEASED);
    tools.apply(&mut command)?;
    shell::stream(&mut command).context("examples in the documentation failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::from_arguments(words.iter().map(OsString::from))
    }

    fn arguments(options: &Options) -> Vec<OsString> {
        let mut command = Command::new("nextest");
        options.apply(&mut command);
        command.get_args().map(OsString::from).collect()
    }

    #[test]
    fn nightly_is_ours_and_the_rest_is_nextests() {
        let nightly = options(&["--nightly", "soak"]);
        assert_eq!(arguments(&nightly), ["--profile", "nightly", "soak"]);
        assert!(!nightly.all());
        let plain = options(&["soak", "--", "--nightly"]);
        assert_eq!(arguments(&plain), ["soak", "--", "--nightly"]);
        assert!(!plain.all());
        assert!(options(&[]).all());
    }

    #[test]
    fn nightly_makes_ten_million_calls() {
        let mut command = Command::new("nextest");
        options(&["--nightly"]).apply(&mut command);
        let calls = command
            .get_envs()
            .find(|(name, _)| *name == "LATTICE_SOAK_CALLS");
        // Set from outside, the number is left as it is.
        if env::var_os("LATTICE_SOAK_CALLS").is_none() {
            assert_eq!(
                calls,
                Some(("LATTICE_SOAK_CALLS".as_ref(), Some("10000000".as_ref())))
            );
        }
    }
}
