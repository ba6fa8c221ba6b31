//! `wash host`: the host program, from the same library as `lattice-host`.

use crate::error::Result;
use crate::output::Output;

/// Run one host in the foreground
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args) -> Result<Output> {
    Ok(Output::silent())
}
