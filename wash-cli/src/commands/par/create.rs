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
    #[arg(short = 'j', long, env = "WASH_JSON_SCHEMA", value_name = "FILE")]
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
    /// The same as `--directory`
    #[arg(short = 'd', hide = true, value_name = "FOLDER")]
    key_folder: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let signing = args.signing.in_folder(args.key_folder.as_deref());
    let metadata = ProviderMetadata {
        name: Some(args.name.clone()),
        vendor: args.vendor.clone(),
        revision: args.revision,
        version: args.version.clone(),
        config_schema: args.schema.as_deref().map(schema).transpose()?,
        ..ProviderMetadata::default()
    };
    let end = if args.compress { "par.gz" } else { "par" };
    let usual = || PathBuf::from(format!("{}.{end}", stem(&args.binary)));
    let destination = args.destination.clone().unwrap_or_else(usual);
    let making = Making {
        program: &args.binary,
        target: args.arch.clone().unwrap_or_else(native_target),
        metadata,
        wit: args.wit_directory.as_deref(),
        destination: &destination,
        compress: args.compress,
        times: TimeArgs {
            expires: args.expires,
            not_before: args.not_before,
        },
        keys: &signing,
    };
    making.make(ui)
}

/// An archive that is to be made.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    pub(crate) program: &'a Path,
    /// The machine that the program is for.
    pub(crate) target: String,
    pub(crate) metadata: ProviderMetadata,
    /// Folder with the WIT of the provider.
    pub(crate) wit: Option<&'a Path>,
    pub(crate) destination: &'a Path,
    pub(crate) compress: bool,
    pub(crate) times: TimeArgs,
    pub(crate) keys: &'a SigningArgs,
}

impl Making<'_> {
    pub(crate) fn make(self, ui: &Ui) -> Result<Output> {
        let program = read_program(self.program)?;
        let mut builder = ArchiveBuilder::new(self.metadata)
            .library(&self.target, program)
            .map_err(|error| {
                refused(
                    "could not put the program into an archive".to_owned(),
                    &error,
                )
                .hint("name the machine as `x86_64-linux` or `aarch64-macos`")
            })?;
        if let Some(folder) = self.wit {
            builder = builder.world(world(folder)?);
        }
        let times = self.times.times()?;
        let issuer = self.keys.issuer(KeyKind::Account, ui)?;
        let name = stem(self.program);
        let subject = self.keys.subject(&name, KeyKind::Provider, ui)?;
        let signers = Signers {
            issuer: &issuer,
            subject: &subject.public_key(),
            times,
        };
        write(builder, self.destination, self.compress, &signers)
    }
}

fn stem(program: &Path) -> String {
    let stem = program.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
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
