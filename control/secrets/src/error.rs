//! Why a backend could not be asked, or could not begin.

use std::time::Duration;

use lattice_claims::{KeyError, SealError};
use lattice_core::secrets::GetSecretError;
use lattice_core::{BackendName, ErrorCode};
use lattice_nats::OpenBucketError;

use crate::vault::VaultError;

/// Why a backend gave no answer that can be used. Holds nothing of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens on the backend's subjects.
    #[error("no secrets backend `{backend}` answers on `{subject}`")]
    NoBackend {
        /// The backend.
        backend: BackendName,
        /// Where it was asked.
        subject: String,
    },
    /// It took too long.
    #[error("the secrets backend `{backend}` has not answered within {within:?}")]
    Timeout {
        /// The backend.
        backend: BackendName,
        /// How long it was waited for.
        within: Duration,
    },
    /// NATS did not take the request.
    #[error("could not ask the secrets backend `{backend}`: {reason}")]
    Transport {
        /// The backend.
        backend: BackendName,
        /// What the connection says.
        reason: String,
    },
    /// A key that the backend names is none.
    #[error("the secrets backend `{backend}` names a key that is no public curve key")]
    Key {
        /// The backend.
        backend: BackendName,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The request could not be sealed.
    #[error("could not seal the request to the secrets backend `{backend}`")]
    Seal {
        /// The backend.
        backend: BackendName,
        /// Why.
        source: SealError,
    },
    /// The answer was not sealed for the one who asked.
    #[error("the answer of the secrets backend `{backend}` could not be opened")]
    Open {
        /// The backend.
        backend: BackendName,
        /// Why.
        source: SealError,
    },
    /// There is a secret in plain words, which the backend does not send.
    #[error("the secrets backend `{backend}` answered with a secret that is not sealed")]
    Unsealed {
        /// The backend.
        backend: BackendName,
    },
    /// The answer does not come from who has the key that the backend is known by.
    #[error(
        "the answer of the secrets backend `{backend}` is not proven by the key that it is known by"
    )]
    Unproven {
        /// The backend.
        backend: BackendName,
    },
    /// The answer is something else. What it is instead may be part of a value.
    #[error(
        "the secrets backend `{backend}` answered with something else than a secret or an error"
    )]
    Reply {
        /// The backend.
        backend: BackendName,
    },
    /// The backend agreed to take secrets away, and is one that does not.
    #[error(
        "the secrets backend `{backend}` is one of 1.x, which agrees and removes nothing: what `{entity}` \
         might have it still may"
    )]
    NotRemoved {
        /// The backend.
        backend: BackendName,
        /// Who was no longer to have them.
        entity: String,
    },
    /// The backend made the mapping, and does not look at who signs for the entity.
    #[error(
        "the secrets backend `{backend}` made the mapping, but is one of 1.x, which does not look at who \
         signs: `{entity}` may have the secrets signed by anybody, not `{issuer}` alone"
    )]
    IssuerIgnored {
        /// The backend.
        backend: BackendName,
        /// Who may have the secrets.
        entity: String,
        /// Who was to sign for it.
        issuer: String,
    },
    /// The backend refused.
    #[error("the secrets backend `{backend}` refused `{key}`")]
    Refused {
        /// The backend.
        backend: BackendName,
        /// What it was asked about.
        key: String,
        /// Its reason.
        source: GetSecretError,
    },
}

impl AskError {
    /// The code under which the error crosses the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoBackend { .. } | Self::Transport { .. } => ErrorCode::Unreachable,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Seal { .. } => ErrorCode::Internal,
            Self::Key { .. }
            | Self::Open { .. }
            | Self::Reply { .. }
            | Self::Unsealed { .. }
            | Self::NotRemoved { .. }
            | Self::IssuerIgnored { .. }
            | Self::Unproven { .. } => ErrorCode::SecretUnavailable,
            Self::Refused { source, .. } => match source {
                GetSecretError::SecretNotFound => ErrorCode::NotFound,
                GetSecretError::Unauthorized | GetSecretError::PolicyError(_) => {
                    ErrorCode::Forbidden
                }
                GetSecretError::InvalidEntityJWT(_) | GetSecretError::InvalidHostJWT(_) => {
                    ErrorCode::ClaimsInvalid
                }
                _ => ErrorCode::SecretUnavailable,
            },
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoBackend { .. } => {
                "start the backend that the reference names, such as `wash secrets-backend serve`, \
                 and check that `--secrets-topic` of the host is what the backend listens on"
            }
            Self::Timeout { .. } => "check that the backend and what is behind it run",
            Self::Transport { .. } => {
                "check that the host may publish to the subjects of secrets in NATS"
            }
            Self::Key { .. } | Self::Open { .. } | Self::Reply { .. } | Self::Unsealed { .. } => {
                "check that nothing but the backend listens on its subjects, and its version"
            }
            Self::Unproven { .. } => {
                "check that nothing but the backend listens on its subjects, and that the key named \
                 by `--secrets-backend-key` is that of its `--transit-xkey-file`; backends of 1.x \
                 prove nothing"
            }
            Self::NotRemoved { .. } => {
                "take the keys out of the list that stands under the public key in the bucket \
                 `SECRETS_NAME_state` (NAME is the backend's), or serve the secrets with `wash \
                 secrets-backend serve`"
            }
            Self::IssuerIgnored { .. } => {
                "serve the secrets with `wash secrets-backend serve`, which looks at who signs; to undo the \
                 mapping, take the keys out of the list that stands under the public key in the bucket \
                 `SECRETS_NAME_state` (NAME is the backend's)"
            }
            Self::Seal { .. } => "look at the log of the host",
            Self::Refused { source, .. } => hint_for(source),
        }
    }

    /// Whether asking again may help, with nobody changing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { source, .. } => !is_final(source),
            Self::Seal { .. } | Self::NotRemoved { .. } | Self::IssuerIgnored { .. } => false,
            _ => true,
        }
    }

    /// Whether the backend says that the token of the entity does not hold.
    #[must_use]
    pub fn is_about_the_entity(&self) -> bool {
        let Self::Refused { source, .. } = self else {
            return false;
        };
        matches!(source, GetSecretError::InvalidEntityJWT(_))
    }

    /// Whether the backend did not open the request, or its answer does not open: its key may be
    /// another one than before.
    pub(crate) fn is_about_keys(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Key { .. } => true,
            Self::Refused { source, .. } => matches!(
                source,
                GetSecretError::InvalidXKey | GetSecretError::DecryptionError
            ),
            _ => false,
        }
    }
}

/// Whether a refusal stays until somebody changes something.
fn is_final(error: &GetSecretError) -> bool {
    !matches!(
        error,
        GetSecretError::UpstreamError(_)
            | GetSecretError::EncryptionError
            | GetSecretError::DecryptionError
            | GetSecretError::InvalidXKey
            | GetSecretError::Other(_)
    )
}

fn hint_for(error: &GetSecretError) -> &'static str {
    match error {
        GetSecretError::SecretNotFound => {
            "put the value into the backend, such as with `wash secrets-backend put KEY`, or \
             correct key and version of the reference"
        }
        GetSecretError::Unauthorized => {
            "let the component or provider have it, such as with `wash secrets-backend add-mapping \
             PUBLIC_KEY KEY`; `wash inspect FILE` shows the public key"
        }
        GetSecretError::InvalidEntityJWT(_) => "sign the component or provider again",
        GetSecretError::InvalidHostJWT(_) => "check the clocks of host and backend",
        GetSecretError::PolicyError(_) => "check the policy in the reference and in the backend",
        GetSecretError::UpstreamError(_) => "check what is behind the backend",
        GetSecretError::InvalidRequest => {
            "correct key and version of the reference (a version of the reference backend is a \
             number), and check that host and backend speak the same version of the protocol"
        }
        GetSecretError::DecryptionError => {
            "check that a key named by `--secrets-backend-key` is that of the backend's \
             `--transit-xkey-file`, and that host and backend speak the same version of the protocol"
        }
        _ => "check that host and backend speak the same version of the protocol",
    }
}

/// Why the reference backend could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A bucket is not there and could not be made.
    #[error(transparent)]
    Bucket(#[from] OpenBucketError),
    /// What is stored already does not open.
    #[error("the values that are stored already do not open with this key")]
    Vault(#[from] VaultError),
    /// NATS refused the subscription.
    #[error("could not subscribe to `{subject}`: {reason}")]
    Subscribe {
        /// The subject.
        subject: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_code_and_a_hint_and_says_whether_it_may_pass() {
        let text = || "x".to_owned();
        for (source, code, passes) in [
            (GetSecretError::SecretNotFound, ErrorCode::NotFound, false),
            (GetSecretError::Unauthorized, ErrorCode::Forbidden, false),
            (
                GetSecretError::PolicyError(text()),
                ErrorCode::Forbidden,
                false,
            ),
            (
                GetSecretError::InvalidEntityJWT(text()),
                ErrorCode::ClaimsInvalid,
                false,
            ),
            (
                GetSecretError::UpstreamError(text()),
                ErrorCode::SecretUnavailable,
                true,
            ),
            (
                GetSecretError::DecryptionError,
                ErrorCode::SecretUnavailable,
                true,
            ),
            (
                GetSecretError::InvalidPayload,
                ErrorCode::SecretUnavailable,
                false,
            ),
            (
                GetSecretError::InvalidRequest,
                ErrorCode::SecretUnavailable,
                false,
            ),
        ] {
            let error = AskError::Refused {
                backend: BackendName::new("b").unwrap(),
                key: text(),
                source,
            };
            assert_eq!(error.code(), code, "{error:?}");
            assert_eq!(error.may_pass(), passes, "{error:?}");
            assert!(!error.hint().is_empty());
        }
    }
}
