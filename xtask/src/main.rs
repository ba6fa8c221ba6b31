//! Project automation: `cargo xtask COMMAND` sets up, builds, runs, tests and checks this repository.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool talks to its user on stdout"
)]
#![expect(
    clippy::disallowed_types,
    reason = "waits for processes, in real time and without tokio"
)]

mod commands;
mod install;
mod shell;
mod versions;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(lexopt::Parser::from_env()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
