//! `wash par create`: the program of a provider with a token.

use std::path::{Path, PathBuf};

use lattice_claims::archive::{ArchiveBuilder, native_target};
use lattice_claims::{KeyKind, ProviderMetadata};
use wit_parser::Resolve;

use super::{Signers, read_program, refused, write};
use crate::commands::claims::TimeArgs;
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui};

/// Make an archive of the program of a provider
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Program of the provider
    #[arg(short = 'b', long, value_name = "FILE")]
    binary: PathBuf,
    /// Machine that the program is for, such as `x86_64-linux` [default: this one]
    #[arg(short = 'a', long, value_name = "ARCH-OS")]
    arch: Option<String>,
    /// Name of the provider
    #[arg(short = 'n', long)]
    name: String,
    /// Who made it
    #[arg(short = 'v', long)]
    vendor: String,
    /// Revision, a number that grows
    #[arg(short = 'r', long, value_name = "NUMBER")]
    revision: Option<i32>,
    /// Version, for people
    #[arg(long)]
    version: Option<String>,
    /// File with a JSON schema of the provider's config
    #[arg(short = 'j', long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Folder with the WIT of the provider
    #[arg(long, value_name = "FOLDER")]
    wit_directory: Option<PathBuf>,
    /// File to write [default: the name of the program with `.par` or `.par.gz`]
    #[arg(long, value_name = "FILE")]
    destination: Option<PathBuf>,
    /// Compress the archive
    #[arg(long)]
    compress: bool,
    /// Days after which the token expires [default: never]
    #[arg(long, value_name = "DAYS")]
    expires: Option<u64>,
    /// Days before which the token does not hold [default: from now on]
    #[arg(long = "nbf", value_name = "DAYS")]
    not_before: Option<u64>,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let program = read_program(&args.binary)?;
    let metadata = ProviderMetadata {
        name: Some(args.name.clone()),
        vendor: args.vendor.clone(),
        revision: args.revision,
        version: args.version.clone(),
        config_schema: args.schema.as_deref().map(schema).transpose()?,
        ..ProviderMetadata::default()
    };
    let target = args.arch.clone().unwrap_or_else(native_target);
    let mut builder = ArchiveBuilder::new(metadata)
        .library(&target, program)
        .map_err(|error| {
            refused(
                "could not put the program into an archive".to_owned(),
                &error,
            )
            .hint("name the machine as `x86_64-linux` or `aarch64-macos`")
        })?;
    if let Some(folder) = &args.wit_directory {
        builder = builder.world(world(folder)?);
    }
    let times = TimeArgs {
        expires: args.expires,
        not_before: args.not_before,
    };
    let times = times.times()?;
    let stem = args
        .binary
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    let issuer = args.signing.issuer(KeyKind::Account, ui)?;
    let subject = args.signing.subject(&stem, KeyKind::Provider, ui)?;
    let end = if args.compress { "par.gz" } else { "par" };
    let destination = match &args.destination {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{stem}.{end}")),
    };
    let signers = Signers {
        issuer: &issuer,
        subject: &subject.public_key(),
        times,
    };
    write(builder, &destination, args.compress, &signers)
}

fn schema(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read(path)
        .map_err(|error| CliError::io(format!("could not read `{}`", path.display()), &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        CliError::new(
            Code::InvalidInput,
            format!("`{}` is not JSON", path.display()),
        )
        .caused_by(&error)
    })
}

/// Encodes the WIT of a folder.
fn world(folder: &Path) -> Result<Vec<u8>> {
    let encoded = || {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(folder)?;
        wit_component::encode(&resolve, package, false)
    };
    encoded().map_err(|error| {
        let text = format!("`{}` holds no WIT that can be read", folder.display());
        CliError::new(Code::InvalidInput, text).cause(format!("{error:#}"))
    })
}
