//! Why an image could not be had.

use std::io;
use std::path::PathBuf;

use lattice_claims::TokenError;
use lattice_claims::archive::ArchiveError;
use lattice_core::ErrorCode;
use lattice_core::reference::ParseReferenceError;

use super::{MAX_READS, READ_SOON};
use crate::trust::Refusal;

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FetchError {
    /// The reference cannot be understood.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// The host may not read files.
    #[error("unable to start {what} from file, file loading is disabled")]
    FilesDisabled {
        /// A component or a provider.
        what: &'static str,
    },
    /// Registries are not read by this version.
    #[error("`{reference}` is in a registry, and this version reads images from files only")]
    Registry {
        /// The reference.
        reference: String,
    },
    /// No component is part of the host.
    #[error("there is no built-in component named `{name}`: only providers are built in")]
    BuiltinComponent {
        /// The name asked for.
        name: String,
    },
    /// No provider of this name is part of the host.
    #[error("there is no built-in provider named `{name}`; this host has {known}")]
    NoBuiltin {
        /// The name asked for.
        name: String,
        /// The names that there are, joined by commas.
        known: String,
    },
    /// The file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is no file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than the host accepts.
    #[error("`{}` has {size} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is no provider.
    #[error("`{}` is neither a provider archive nor a program", path.display())]
    NotAProvider {
        /// The file.
        path: PathBuf,
    },
    /// The file is a program that may not be run.
    #[error("`{}` may not be executed", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The archive is not accepted.
    #[error("could not use the archive `{}`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// It may not run here.
    #[error("could not accept `{image}`")]
    Refused {
        /// The image.
        image: String,
        /// Why.
        source: Refusal,
    },
    /// Others are read, and none of that ends.
    #[error("{MAX_READS} images are being read, and none was ready within {READ_SOON:?}")]
    Stuck,
    /// The host cannot say who a part of itself is.
    #[error("could not sign for the built-in provider `{name}`")]
    Vouch {
        /// Its name.
        name: String,
        /// Why.
        source: TokenError,
    },
    /// The program in the archive cannot be unpacked.
    #[error("could not unpack the program of the provider")]
    Unpack(#[source] io::Error),
}

impl FetchError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Reference(_) => ErrorCode::InvalidReference,
            Self::FilesDisabled { .. } => ErrorCode::Forbidden,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorCode::NotFound
            }
            Self::NoBuiltin { .. } => ErrorCode::NotFound,
            Self::Registry { .. } | Self::BuiltinComponent { .. } | Self::Read { .. } => {
                ErrorCode::ImageUnavailable
            }
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::Archive { source, .. } if is_about_claims(source) => ErrorCode::ClaimsInvalid,
            Self::Refused { source, .. } => source.code(),
            Self::NotAFile { .. }
            | Self::NotAProvider { .. }
            | Self::NotExecutable { .. }
            | Self::Archive { .. } => ErrorCode::ImageInvalid,
            Self::Stuck => ErrorCode::Busy,
            Self::Vouch { .. } | Self::Unpack(_) => ErrorCode::Internal,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Reference(error) => error.hint(),
            Self::FilesDisabled { .. } => "start the host with `--allow-file-load`",
            Self::Registry { .. } => {
                "download the image and name the file, as `file:///absolute/path`"
            }
            Self::BuiltinComponent { .. } => "name the component as `file:///absolute/path`",
            Self::NoBuiltin { .. } => {
                "use one of these names, or name the program as `file:///absolute/path`"
            }
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    "the host looks for the file on its own machine: check the path, and run \
                     `wash build` first if the component has not been built"
                }
                io::ErrorKind::PermissionDenied => "let the user of the host read the file",
                _ => "check the file and the disk of the host",
            },
            Self::NotAFile { .. } => "name the file itself, such as one that `wash build` made",
            Self::TooLarge { .. } => {
                "build it for release, or start the host with a higher \
                 `--max-component-size-bytes` or `--max-provider-size-bytes`"
            }
            Self::NotAProvider { .. } => "name a program or a `.par.gz` archive with one",
            Self::NotExecutable { .. } => "run `chmod +x` on it",
            Self::Archive { source, .. } if is_about_claims(source) => {
                "`wash inspect FILE` shows the claims; make the archive again with `wash par create`"
            }
            Self::Refused { source, .. } => source.hint(),
            Self::Archive { .. } => {
                "use an archive that is complete, signed, and holds a program for this machine"
            }
            Self::Stuck => "check the disks and mounts of the host that images are read from",
            Self::Vouch { .. } => "check the cluster seed of the host",
            Self::Unpack(_) => "check that the host can write to its folder for temporary files",
        }
    }
}

/// Whether the token of an archive does not hold, or does not fit what is in it.
fn is_about_claims(error: &ArchiveError) -> bool {
    matches!(
        error,
        ArchiveError::Token(_)
            | ArchiveError::NoClaims
            | ArchiveError::NoHash { .. }
            | ArchiveError::HashMismatch { .. }
    )
}
