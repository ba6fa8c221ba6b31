//! `cargo xtask up`: from a fresh clone to a lattice that answers, with the counter example on it.
//!
//! Everything goes through `wash`, the way a user would do it. Run again, it starts what is
//! missing, puts back links that lead nowhere, and leaves the rest as it is.

mod counter;
mod links;
mod wash;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use lexopt::{Arg, Parser};

use super::build::{self, Profile};
use super::guests;
use crate::install::nats;
use crate::shell;
use crate::workspace::Workspace;
use wash::Wash;

/// Parses the arguments and starts the lattice.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let options = Options::parse(&mut arguments)?;
    nats::ensure(workspace)?;
    if options.build {
        guests::compile(workspace)?;
        build::compile(workspace, options.profile)?;
    }
    let programs = options.profile.folder(workspace);

    shell::heading("lattice");
    let files = Files {
        counter: workspace.components().join("http-keyvalue-counter.wasm"),
    };
    let wash = Wash::up(programs.join("wash"), workspace, options.isolated)?;
    let url = counter::deploy(&wash, &files)?;
    counter::wait_until_it_answers(&url)?;
    print!("{}", next_steps(workspace, &wash, &files, &url));
    Ok(ExitCode::SUCCESS)
}

struct Options {
    profile: Profile,
    build: bool,
    /// Whether providers are processes of their own.
    isolated: bool,
}

impl Options {
    fn parse(arguments: &mut Parser) -> Result<Self> {
        let mut options = Self {
            profile: Profile::Dev,
            build: true,
            isolated: false,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("release") => options.profile = Profile::Release,
                Arg::Long("isolated") => options.isolated = true,
                // For what is built already, such as by the tests.
                Arg::Long("no-build") => options.build = false,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

/// What the lattice of `up` and the commands to try are made of.
struct Files {
    counter: PathBuf,
}

/// What to try next, to be pasted.
fn next_steps(workspace: &Workspace, wash: &Wash, files: &Files, url: &counter::Url) -> String {
    let programs = wash.folder().display();
    let tools = workspace.tools_bin();
    let tools = tools.display();
    let counter = files.counter.display();
    format!(
        "
The counter answers. Try:

  curl {url}/hello

To use wash in this shell:

  export PATH=\"{programs}:{tools}:$PATH\"

Look around:

  wash get hosts; wash get inventory; wash get links

Give the running counter another store, a Redis:

  cargo xtask setup redis
  redis-server --port 6379 --save '' --daemonize yes
  wash config put redis url=redis://127.0.0.1:6379
  wash start provider builtin://keyvalue-redis kv2
  wash link del counter wasi keyvalue
  wash link put counter kv2 wasi keyvalue --interface store --interface atomics --target-config redis

More of it, and the end:

  wash scale component \"{counter}\" counter --max-instances 50
  wash stop component counter
  wash down
"
    )
}
