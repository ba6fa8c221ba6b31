//! `cargo xtask build`: compiles the programs of a lattice.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::{Arg, Parser};

use crate::shell;
use crate::workspace::Workspace;

/// The programs of a lattice: package and program. Every other provider is built by its own name, or is
/// inside the host.
const PROGRAMS: [(&str, &str); 7] = [
    ("wash", "wash"),
    ("lattice-host-program", "lattice-host"),
    ("http-client", "http-client-provider"),
    ("http-server", "http-server-provider"),
    ("keyvalue-memory", "keyvalue-memory-provider"),
    ("keyvalue-nats", "keyvalue-nats-provider"),
    ("keyvalue-redis", "keyvalue-redis-provider"),
];

/// How much time the compiler takes for speed of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

impl Profile {
    /// Folder of this profile's programs.
    pub(crate) fn folder(self, workspace: &Workspace) -> PathBuf {
        workspace.target().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// Parses the arguments and compiles.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let mut profile = Profile::Dev;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("release") => profile = Profile::Release,
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = compile(workspace, profile)?;
    shell::heading(&format!("programs in {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// Compiles the programs and returns their folder.
pub(crate) fn compile(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    compile_with(workspace, profile, &[])
}

/// The same with more features, `package/feature`.
pub(crate) fn compile_with(
    workspace: &Workspace,
    profile: Profile,
    features: &[&str],
) -> Result<PathBuf> {
    shell::heading("programs: wash, host and providers (minutes the first time)");
    let mut command = shell::cargo();
    command.arg("build").current_dir(workspace.root());
    for (package, program) in PROGRAMS {
        command.args(["--package", package, "--bin", program]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    for feature in features {
        command.args(["--features", feature]);
    }
    shell::stream(&mut command).context("the programs do not compile")?;
    Ok(profile.folder(workspace))
}
