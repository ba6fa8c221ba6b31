//! `wash scale`: more or fewer instances of a component, copies of a provider.

use clap::Subcommand;

use crate::error::Result;
use crate::output::{Output, Ui};

mod component;
mod plan;
mod provider;

/// Change how many instances or copies run
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set how many instances of a component may run at once
    Component(component::Args),
    /// Set on how many hosts a provider runs
    Provider(provider::Args),
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Component(args) => component::run(args, ui).await,
        Command::Provider(args) => provider::run(args, ui).await,
    }
}
