//! `wash policy`: a small policy service, with its rules in a file.

use clap::Subcommand;

use crate::error::Result;
use crate::output::{Output, Ui};

mod file;
mod memory;
mod pattern;
mod rules;
mod serve;
mod test;

/// Decide what may run in a lattice, and what may be called
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer the hosts of a lattice by the rules in a file
    Serve(Box<serve::Args>),
    /// Show what the rules in a file say to a request
    Test(test::Args),
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Serve(args) => serve::run(*args, ui).await,
        Command::Test(args) => test::run(&args),
    }
}
