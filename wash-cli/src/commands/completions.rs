//! `wash completions`: completion scripts, on stdout or into a folder, as in 1.x.

use std::path::PathBuf;

use clap::ValueEnum;
use clap_complete::{Shell as Generator, generate};
use serde_json::Value;

use crate::error::{CliError, Result};
use crate::output::{Output, Ui, fields};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the script into this folder instead of printing it
    #[arg(short = 'd', long = "dir")]
    dir: Option<PathBuf>,
    /// The shell
    shell: Shell,
}

/// The shells there are scripts for; `power-shell` is its name in 1.x.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Zsh,
    Bash,
    Fish,
    #[value(name = "power-shell", alias = "powershell")]
    Power,
}

impl Shell {
    fn generator(self) -> Generator {
        match self {
            Self::Zsh => Generator::Zsh,
            Self::Bash => Generator::Bash,
            Self::Fish => Generator::Fish,
            Self::Power => Generator::PowerShell,
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Zsh => "_wash",
            Self::Bash => "wash.bash",
            Self::Fish => "wash.fish",
            Self::Power => "_wash.ps1",
        }
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let mut script = Vec::new();
    generate(
        args.shell.generator(),
        &mut crate::command(),
        "wash",
        &mut script,
    );
    let Some(dir) = folder(args, ui)? else {
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        let data = fields([("completions", Value::from(script.as_str()))]);
        return Ok(Output::new(script, data));
    };
    std::fs::create_dir_all(&dir).map_err(|error| {
        let text = format!("could not create the folder `{}`", dir.display());
        CliError::io(text, &error).hint("name a folder you may write to with `--dir`")
    })?;
    let path = dir.join(args.shell.file_name());
    std::fs::write(&path, script)
        .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))?;
    let shown = path.display().to_string();
    let text = format!("Wrote the completion script to {shown}");
    Ok(Output::new(text, fields([("path", Value::from(shown))])))
}

/// The folder to write into, if it is not to be printed.
fn folder(args: &Args, ui: &Ui) -> Result<Option<PathBuf>> {
    match &args.dir {
        None if ui.is_compat() => {
            let here = std::env::current_dir();
            here.map(Some)
                .map_err(|error| CliError::io("could not find the current folder", &error))
        }
        dir => Ok(dir.clone()),
    }
}
