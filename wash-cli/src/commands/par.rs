//! `wash par`: provider archives.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::Subcommand;
use lattice_claims::SigningKey;
use lattice_claims::archive::{ArchiveBuilder, ArchiveError};
use lattice_claims::component::ValidTimes;
use lattice_core::reply::message_chain;
use serde_json::Value;

use super::inspect;
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};

mod create;
mod insert;

pub(crate) use create::Making;

/// Make provider archives, and look at them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an archive of the program of a provider
    Create(Box<create::Args>),
    /// Show the claims of an archive, as `wash inspect` does
    Inspect(inspect::Args),
    /// Add the program for another machine to an archive
    Insert(insert::Args),
}

pub(crate) fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Create(args) => create::run(&args, ui),
        Command::Inspect(args) => inspect::run(&args, ui),
        Command::Insert(args) => insert::run(&args, ui),
    }
}

/// Reads the program of a provider.
fn read_program(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        CliError::unread(
            format!("could not read the program `{}`", path.display()),
            &error,
        )
        .hint("build the provider first, and name its program with `--binary`")
    })
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| {
        CliError::unread(format!("could not open `{}`", path.display()), &error)
    })?;
    Ok(BufReader::new(file))
}

fn refused(what: String, error: &ArchiveError) -> CliError {
    CliError::new(Code::NotAnArtifact, what).cause(message_chain(error))
}

/// Who signs an archive, and for which provider.
struct Signers<'a> {
    issuer: &'a SigningKey,
    subject: &'a str,
    times: ValidTimes,
}

/// Writes an archive beside its place and moves it there, so that nobody reads half of one.
fn write(
    builder: ArchiveBuilder,
    path: &Path,
    gzip: bool,
    signers: &Signers<'_>,
) -> Result<Output> {
    let mut bytes = Vec::new();
    builder
        .write_for(
            &mut bytes,
            gzip,
            signers.issuer,
            signers.subject,
            signers.times,
        )
        .map_err(|error| refused(format!("could not make `{}`", path.display()), &error))?;
    crate::files::write_public(path, &bytes)
        .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))?;
    let shown = path.display().to_string();
    let data = fields([
        ("file", Value::from(shown.as_str())),
        ("issuer", signers.issuer.public_key().into()),
        ("subject", signers.subject.into()),
    ]);
    Ok(Output::new(
        format!("Successfully created archive {shown}"),
        data,
    ))
}
