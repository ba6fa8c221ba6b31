//! Why secrets cannot be had.

use std::sync::Arc;

use lattice_core::{BackendName, ConfigName, ErrorCode, InvalidId};
use lattice_runtime::SecretError;
use lattice_secrets::AskError;
use lattice_store::StoreError;

/// Why a secret that a start or a link names cannot be had. Holds nothing of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SecretsError {
    /// The host has no topic to ask on. Clients of the 1.9 generation know the text.
    #[error(
        "secret store not configured, could not fetch secrets: {}",
        listed(names)
    )]
    NotConfigured {
        /// The secrets.
        names: Vec<ConfigName>,
    },
    /// Nothing says who asks.
    #[error(
        "only what is signed can have secrets, and no token in the file vouches for it: {}",
        listed(names)
    )]
    Unsigned {
        /// The secrets.
        names: Vec<ConfigName>,
    },
    /// The reference is not there. Clients of the 1.9 generation know the text.
    #[error("Secret reference {name} not found in config store")]
    Missing {
        /// Its name.
        name: ConfigName,
    },
    /// What is stored under the name is no reference.
    #[error("config {name} is no reference to a secret: {reason}")]
    Malformed {
        /// Its name.
        name: ConfigName,
        /// What is wrong with it.
        reason: String,
    },
    /// The reference names a backend that cannot be one.
    #[error("reference {name} names a backend that cannot be one")]
    Backend {
        /// Its name.
        name: ConfigName,
        /// The rule that is broken.
        source: InvalidId,
    },
    /// The config store does not answer.
    #[error("could not read reference {name}")]
    Store {
        /// Its name.
        name: ConfigName,
        /// Why.
        source: StoreError,
    },
    /// The backend does not give it.
    #[error("could not get secret {name} from backend `{backend}`")]
    Ask {
        /// Its name.
        name: ConfigName,
        /// The backend.
        backend: BackendName,
        /// Why.
        source: AskError,
    },
    /// The backend gave neither a text nor bytes.
    #[error("secret {name} in backend `{backend}` has no value")]
    NoValue {
        /// Its name.
        name: ConfigName,
        /// The backend.
        backend: BackendName,
    },
    /// Backends took too long.
    #[error("the secrets are not there yet: {}", listed(names))]
    Late {
        /// The secrets.
        names: Vec<ConfigName>,
    },
}

fn listed(names: &[ConfigName]) -> String {
    let names: Vec<_> = names.iter().map(ConfigName::as_str).collect();
    names.join(", ")
}

impl SecretsError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NotConfigured { .. } | Self::Missing { .. } => ErrorCode::MissingConfig,
            Self::Unsigned { .. } => ErrorCode::ClaimsInvalid,
            Self::Malformed { .. } => ErrorCode::BadRequest,
            Self::Backend { .. } => ErrorCode::InvalidId,
            Self::Store { source, .. } => source.code(),
            Self::Ask { source, .. } => source.code(),
            Self::NoValue { .. } => ErrorCode::SecretUnavailable,
            Self::Late { .. } => ErrorCode::Timeout,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let text = match self {
            Self::NotConfigured { .. } => "start the host with `--secrets-topic`",
            Self::Unsigned { .. } => {
                "sign the component with `wash claims sign`, or put the provider into a signed \
                 archive with `wash par create`; for a provider that is part of the host (`builtin://`) start the \
                 hosts with one cluster key (`--cluster-seed`), which signs for it"
            }
            Self::Missing { .. } => "put it first: `wash secrets put NAME BACKEND KEY`",
            Self::Malformed { .. } => {
                "put it again with `wash secrets put NAME BACKEND KEY`, which writes all of it"
            }
            Self::Backend { source, .. } => source.hint(),
            Self::Store { source, .. } => return source.hint(),
            Self::Ask { source, .. } => source.hint(),
            Self::NoValue { .. } => "put a value into the backend",
            Self::Late { .. } => "check that the backends and what is behind them run",
        };
        Some(text)
    }

    /// Whether trying again may help, with nobody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Late { .. } => true,
            Self::Ask { source, .. } => source.may_pass(),
            _ => false,
        }
    }

    /// Whether it is about the token of who asks.
    pub(crate) fn is_about_the_entity(&self) -> bool {
        match self {
            Self::Ask { source, .. } => source.is_about_the_entity(),
            _ => false,
        }
    }

    /// What a component is told that asks for one of its secrets.
    pub(crate) fn for_guest(self: &Arc<Self>) -> SecretError {
        let text = lattice_core::reply::message_chain(self.as_ref());
        match &**self {
            Self::Missing { .. } => SecretError::NotFound,
            error if error.may_pass() => SecretError::Io(text),
            _ => SecretError::Upstream(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<ConfigName> {
        vec![ConfigName::new("SECRET_db").unwrap()]
    }

    #[test]
    fn each_failure_has_its_code_and_a_hint() {
        let name = || ConfigName::new("SECRET_db").unwrap();
        let unconfigured = SecretsError::NotConfigured { names: names() };
        assert_eq!(
            unconfigured.to_string(),
            "secret store not configured, could not fetch secrets: SECRET_db"
        );
        for (error, code, passes) in [
            (unconfigured, ErrorCode::MissingConfig, false),
            (
                SecretsError::Unsigned { names: names() },
                ErrorCode::ClaimsInvalid,
                false,
            ),
            (
                SecretsError::Missing { name: name() },
                ErrorCode::MissingConfig,
                false,
            ),
            (
                SecretsError::Late { names: names() },
                ErrorCode::Timeout,
                true,
            ),
        ] {
            assert_eq!(error.code(), code, "{error}");
            assert_eq!(error.may_pass(), passes, "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn a_guest_hears_of_a_missing_secret_in_its_own_way() {
        let missing = Arc::new(SecretsError::Missing {
            name: names().remove(0),
        });
        assert_eq!(missing.for_guest(), SecretError::NotFound);
        let late = Arc::new(SecretsError::Late { names: names() });
        assert!(matches!(late.for_guest(), SecretError::Io(_)));
    }
}
