//! `wash start`: components and providers.

use clap::Subcommand;

use crate::error::Result;
use crate::output::{Output, Ui};

pub(crate) mod component;
mod place;
pub(crate) mod provider;

/// Start a component or a provider
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a component
    Component(component::Args),
    /// Start a provider
    Provider(provider::Args),
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Component(args) => component::run(args, ui).await,
        Command::Provider(args) => provider::run(args, ui).await,
    }
}

pub(crate) use place::{Auction, component_host};
