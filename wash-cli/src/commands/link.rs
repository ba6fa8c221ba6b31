//! `wash link`: connections between components and providers.

use clap::Subcommand;

use super::get::links;
use crate::error::Result;
use crate::output::{Output, Ui};

mod del;
mod put;
mod rules;
mod target;

/// Connect components and providers
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a link
    Put(Box<put::Args>),
    /// Delete a link
    #[command(alias = "delete")]
    Del(del::Args),
    /// Show the links
    #[command(visible_alias = "get")]
    Query(links::Args),
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Put(args) => put::run(*args, ui).await,
        Command::Del(args) => del::run(args, ui).await,
        Command::Query(args) => links::run(args, ui).await,
    }
}

pub(crate) use put::refused;
