//! Commands of 1.x that this version does not have: each says what to use in its place.

use std::ffi::OsString;

use clap::Subcommand;

use crate::error::{CliError, Code, Result};
use crate::output::Output;

/// Whatever a script gives them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        hide = true,
        value_name = "ARGUMENTS"
    )]
    _rest: Vec<OsString>,
}

/// Commands that are taken and refused, so that scripts learn more than that the word is unknown.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Not there yet: applications
    #[command(hide = true)]
    App(Args),
    /// Not there yet: build and run again on each change
    #[command(hide = true)]
    Dev(Args),
    /// Not there yet: a page in the browser
    #[command(hide = true)]
    Ui(Args),
    /// Not there yet: projects from templates
    #[command(hide = true)]
    New(Args),
    /// Not there yet: into a registry
    #[command(hide = true)]
    Push(Args),
    /// Not there yet: out of a registry
    #[command(hide = true)]
    Pull(Args),
    /// Not there yet: WIT packages
    #[command(hide = true)]
    Wit(Args),
    /// Not needed: caches
    #[command(hide = true)]
    Drain(Args),
    /// Not there yet: plugins of wash
    #[command(hide = true)]
    Plugin(Args),
    /// Not there yet: calls as they pass
    #[command(hide = true)]
    Spy(Args),
    /// Not there yet: calls for later
    #[command(hide = true)]
    Capture(Args),
}

impl Command {
    /// The command, why there is none, and what to use.
    fn told(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::App(_) => (
                "app",
                "applications are not managed yet",
                "start the parts with `wash start` and connect them with `wash link put`",
            ),
            Self::Dev(_) => (
                "dev",
                "nothing is built and started again by itself yet",
                "run `wash build` and `wash up -d build/NAME.wasm`; after each change `wash build` \
                 and `wash update component`",
            ),
            Self::Ui(_) => (
                "ui",
                "there is no page for the browser yet",
                "use `wash status`, `wash get inventory --watch` and `wash get links`",
            ),
            Self::New(_) => (
                "new",
                "there are no templates yet",
                "begin with a copy of a project, or with `cargo new --lib` and \
                 `crate-type = [\"cdylib\"]`; `wash build` builds it",
            ),
            Self::Push(_) => (
                "push",
                "this version puts nothing into registries",
                "use `wkg oci push` or `oras push`, or start the file itself with `wash start`",
            ),
            Self::Pull(_) => (
                "pull",
                "this version takes nothing out of registries",
                "use `wkg oci pull` or `oras pull`; hosts fetch what `wash start` names themselves",
            ),
            Self::Wit(_) => (
                "wit",
                "WIT packages are not fetched, built or published by this version",
                "use `wkg wit`; `wash inspect FILE --wit` shows the world of a file",
            ),
            Self::Drain(_) => (
                "drain",
                "wash downloads nothing, so that it has no caches",
                "hosts keep compiled code in `lattice/compiled` of the cache folder of the user \
                 (~/.cache), which may be deleted",
            ),
            Self::Plugin(_) => (
                "plugin",
                "wash takes no plugins",
                "run the program of the plugin by itself",
            ),
            Self::Spy(_) => (
                "spy",
                "calls are not shown yet",
                "use `nats sub 'LATTICE.ID.wrpc.>'` for calls that go over NATS, and the logs that \
                 `wash status` names",
            ),
            Self::Capture(_) => (
                "capture",
                "calls are not kept yet",
                "use `nats sub 'LATTICE.*.wrpc.>'` for calls that go over NATS",
            ),
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<Output> {
    let (name, why, instead) = command.told();
    let text = format!("`wash {name}` of 1.x is not part of this version");
    Err(CliError::new(Code::NotSupported, text)
        .cause(why)
        .hint(instead))
}
