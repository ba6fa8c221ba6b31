//! Commands of 1.x that this version does not have: each says what to use in its place.

use std::ffi::OsString;

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};

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

/// The caches of 1.x.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Cache {
    All,
    Oci,
    Lib,
    Dev,
    Downloads,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The cache to clear
    #[arg(hide = true, value_name = "CACHE")]
    _cache: Cache,
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
    /// Accepted for 1.x scripts: there are no caches
    #[command(hide = true)]
    Drain(DrainArgs),
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

/// What is told of a command that there is none of.
struct Told {
    name: &'static str,
    why: &'static str,
    instead: &'static str,
}

const APP: Told = Told {
    name: "app",
    why: "applications are not managed yet",
    instead: "start the parts with `wash start` and connect them with `wash link put`",
};
const DEV: Told = Told {
    name: "dev",
    why: "nothing is built and started again by itself yet",
    instead: "run `wash build` and `wash up -d build/NAME.wasm`; after each change `wash build` \
              and `wash update component`",
};
const UI: Told = Told {
    name: "ui",
    why: "there is no page for the browser yet",
    instead: "use `wash status`, `wash get inventory --watch` and `wash get links`",
};
const NEW: Told = Told {
    name: "new",
    why: "there are no templates yet",
    instead: "begin with a copy of a project, or with `cargo new --lib` and \
              `crate-type = [\"cdylib\"]`; `wash build` builds it",
};
const PUSH: Told = Told {
    name: "push",
    why: "this version puts nothing into registries",
    instead: "use `wkg oci push` or `oras push`, or start the file itself with `wash start`",
};
const PULL: Told = Told {
    name: "pull",
    why: "this version takes nothing out of registries",
    instead: "use `wkg oci pull` or `oras pull`, and `wash start` the file; hosts start from files \
              only",
};
const WIT: Told = Told {
    name: "wit",
    why: "WIT packages are not fetched, built or published by this version",
    instead: "use `wkg wit`; `wash inspect FILE --wit` shows the world of a file",
};
const PLUGIN: Told = Told {
    name: "plugin",
    why: "wash takes no plugins",
    instead: "run the program of the plugin by itself",
};
const SPY: Told = Told {
    name: "spy",
    why: "calls are not shown yet",
    instead: "use `nats sub 'LATTICE.ID.wrpc.>'` for calls that go over NATS, and the logs that \
              `wash status` names",
};
const CAPTURE: Told = Told {
    name: "capture",
    why: "calls are not kept yet",
    instead: "use `nats sub 'LATTICE.*.wrpc.>'` for calls that go over NATS",
};

impl Command {
    /// Nothing for what is done by doing nothing.
    fn told(&self) -> Option<&'static Told> {
        let told = match self {
            Self::App(_) => &APP,
            Self::Dev(_) => &DEV,
            Self::Ui(_) => &UI,
            Self::New(_) => &NEW,
            Self::Push(_) => &PUSH,
            Self::Pull(_) => &PULL,
            Self::Wit(_) => &WIT,
            Self::Drain(_) => return None,
            Self::Plugin(_) => &PLUGIN,
            Self::Spy(_) => &SPY,
            Self::Capture(_) => &CAPTURE,
        };
        Some(told)
    }
}

pub(crate) fn run(command: &Command, ui: &Ui) -> Result<Output> {
    let Some(Told { name, why, instead }) = command.told() else {
        return Ok(drained(ui));
    };
    let text = format!("`wash {name}` of 1.x is not part of this version");
    Err(CliError::new(Code::NotSupported, text)
        .cause(*why)
        .hint(*instead))
}

/// `wash drain`: what scripts want of it is so already.
fn drained(ui: &Ui) -> Output {
    ui.notice(
        "wash downloads nothing, so that it has no caches; hosts keep compiled code in \
         `lattice/compiled` of the cache folder of the user (~/.cache), which may be deleted",
    );
    let text = "There are no caches to clear";
    Output::new(text, fields([("drained", json!([]))]))
}
