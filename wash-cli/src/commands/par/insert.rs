//! `wash par insert`: one more program in an archive, which is signed anew.

use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;

use lattice_claims::KeyKind;
use lattice_claims::archive::{
    ArchiveBuilder, ArchiveLimits, Keep, ProviderArchive, native_target,
};
use lattice_claims::component::ValidTimes;
use lattice_claims::epoch_seconds;

use super::{Signers, open, read_program, refused, write};
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui};

/// Add the program for another machine to an archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Archive to add to
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Machine that the program is for, such as `aarch64-linux` [default: this one]
    #[arg(short = 'a', long, value_name = "ARCH-OS")]
    arch: Option<String>,
    /// Program of the provider
    #[arg(short = 'b', long, value_name = "FILE")]
    binary: PathBuf,
    /// The same as `--directory`
    #[arg(short = 'd', hide = true, value_name = "FOLDER")]
    key_folder: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let signing = args.signing.in_folder(args.key_folder.as_deref());
    let program = read_program(&args.binary)?;
    let path = &args.archive;
    let mut file = open(path)?;
    let gzip = file
        .fill_buf()
        .map_err(|error| CliError::io(format!("could not read `{}`", path.display()), &error))?
        .starts_with(&[0x1f, 0x8b]);
    let now = epoch_seconds();
    // What is in it already is checked, so that nothing foreign is signed along with it.
    let read = ProviderArchive::read(file.by_ref(), Keep::All, ArchiveLimits::default(), now);
    let archive = read.map_err(|error| {
        refused(format!("could not read `{}`", path.display()), &error)
            .hint("make the archive again with `wash par create`")
    })?;
    let subject = archive.claims.subject.clone();
    if signing.subject.is_some() {
        let given = signing.subject("", KeyKind::Provider, ui)?.public_key();
        if given != subject {
            let text = format!("the archive is that of provider `{subject}`, not of `{given}`");
            return Err(CliError::new(Code::Usage, text)
                .hint("leave `--subject` out: the provider stays the same"));
        }
    }
    let mut builder = ArchiveBuilder::new(archive.claims.metadata.unwrap_or_default());
    for (target, library) in archive.libraries {
        builder = add(builder, &target, library)?;
    }
    let target = args.arch.clone().unwrap_or_else(native_target);
    builder = add(builder, &target, program)?;
    if let Some(world) = archive.world {
        builder = builder.world(world);
    }
    let issuer = signing.issuer(KeyKind::Account, ui)?;
    let times = ValidTimes {
        now,
        expires: archive.claims.expires,
        not_before: archive.claims.not_before,
    };
    let signers = Signers {
        issuer: &issuer,
        subject: &subject,
        times,
    };
    write(builder, path, gzip, &signers)
}

fn add(builder: ArchiveBuilder, target: &str, library: Vec<u8>) -> Result<ArchiveBuilder> {
    builder.library(target, library).map_err(|error| {
        refused(
            "could not put the program into the archive".to_owned(),
            &error,
        )
        .hint("name the machine as `x86_64-linux` or `aarch64-macos`")
    })
}
