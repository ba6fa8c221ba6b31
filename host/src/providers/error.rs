//! Why a provider does not run.

use std::io;
use std::path::PathBuf;

use lattice_claims::nats::NatsTokenError;
use lattice_core::provider::HostDataError;
use lattice_core::{ComponentId, ErrorCode, ImageRef, InvalidId};
use lattice_nats::connection::ConnectionError;
use lattice_store::StoreError;

use crate::artifact::FetchError;
use crate::configs::OpenConfigsError;
use crate::trust::{Denied, Refusal};

/// Why a provider could not be started. With every cause, this is the text of
/// `provider_start_failed`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartProviderError {
    /// A name in the command breaks a rule.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The image could not be had.
    #[error("could not fetch image `{image}`")]
    Fetch {
        /// The image.
        image: ImageRef,
        /// Why.
        source: FetchError,
    },
    /// It may not run here, or no longer.
    #[error("could not accept image `{image}`")]
    Refused {
        /// The image.
        image: String,
        /// Why.
        source: Refusal,
    },
    /// The policy service gives no leave.
    #[error("Policy denied request to start provider `{id}`")]
    Policy {
        /// The provider.
        id: ComponentId,
        /// Why.
        source: Denied,
    },
    /// It asks for credentials that reach the whole lattice, which a strict one does not give.
    #[error(
        "provider `{id}` is started with the annotation `lattice/legacy-credentials=true`, whose NATS \
         credentials reach every entity of the lattice, and the lattice is strict"
    )]
    LegacyCredentials {
        /// The provider.
        id: ComponentId,
    },
    /// A config cannot be had.
    #[error(transparent)]
    Config(#[from] OpenConfigsError),
    /// The lattice store could not be written.
    #[error("could not record the provider in the lattice")]
    Store(#[from] StoreError),
    /// What the process is told cannot be encoded.
    #[error("could not make the data for the provider process")]
    HostData(#[from] HostDataError),
    /// The process cannot be given a NATS user of its own.
    #[error("could not make NATS credentials for the provider process")]
    Credentials(#[from] NatsTokenError),
    /// The process would not get into the account of its lattice.
    #[error("could not use the NATS credentials of the host for the provider process")]
    HostCredentials(#[from] ConnectionError),
    /// The process could not be started.
    #[error("could not start `{}`", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it had told its health for the first time.
    #[error("the provider ended before it was ready: {0}")]
    Ended(String),
    /// Somebody has stopped it before it had told its health for the first time.
    #[error("the provider was stopped before it had started")]
    Stopped,
    /// The process did not take what it is told.
    #[error("the provider process did not read its data from standard input")]
    Stdin(#[source] io::Error),
}

impl StartProviderError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::InvalidId,
            Self::Fetch { source, .. } => source.code(),
            Self::Refused { source, .. } => source.code(),
            Self::Policy { source, .. } => source.code(),
            Self::LegacyCredentials { .. } => ErrorCode::Forbidden,
            Self::Config(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::HostData(_) | Self::Credentials(_) | Self::HostCredentials(_) => {
                ErrorCode::Internal
            }
            Self::Spawn { .. } => ErrorCode::ImageInvalid,
            Self::Ended(_) | Self::Stdin(_) => ErrorCode::ProviderFailed,
            Self::Stopped => ErrorCode::Conflict,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let text = match self {
            Self::Name(error) => error.hint(),
            Self::Fetch { source, .. } => source.hint(),
            Self::Refused { source, .. } => source.hint(),
            Self::Policy { source, .. } => source.hint(),
            Self::LegacyCredentials { .. } => {
                "start it without the annotation, and use a provider that takes new credentials: one \
                 of 1.x proves nothing, and is let in to no call of a strict lattice anyway"
            }
            Self::Config(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::HostCredentials(error) => error.hint(),
            Self::Spawn { .. } => "check that the program is built for the machine of the host",
            Self::Ended(_) | Self::Stdin(_) => {
                "run the program by hand to see why it ends at once; the log of the host has what \
                 it printed"
            }
            Self::Stopped => "start it again, once nobody else stops it",
            Self::HostData(_) | Self::Credentials(_) => return None,
        };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_told_from_one_that_does_not_run() {
        let image = ImageRef::new("file:///kv").unwrap();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = PathBuf::from("/kv");
        let fetch = StartProviderError::Fetch {
            image,
            source: FetchError::Read {
                path: path.clone(),
                source: missing(),
            },
        };
        assert_eq!(fetch.code(), ErrorCode::NotFound);
        // The interpreter of a script is missing, and not the script.
        let source = missing();
        let spawn = StartProviderError::Spawn { path, source };
        assert_eq!(spawn.code(), ErrorCode::ImageInvalid);
        let stdin = StartProviderError::Stdin(io::ErrorKind::BrokenPipe.into());
        assert_eq!(stdin.code(), ErrorCode::ProviderFailed);
    }
}
