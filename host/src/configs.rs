//! The configs that a start names, and why they cannot be had.

use lattice_core::{ConfigName, ErrorCode, InvalidId};
use lattice_store::{BundleError, ConfigBundle, ConfigStore};

/// Why the configs of a component or provider cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenConfigsError {
    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A config is not there, or the store fails.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Secrets are named and there is no backend.
    #[error("secret store not configured, could not fetch secrets: {}", names.join(", "))]
    Secrets {
        /// The secrets.
        names: Vec<String>,
    },
}

impl OpenConfigsError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::InvalidId,
            Self::Bundle(error) => error.code(),
            Self::Secrets { .. } => ErrorCode::MissingConfig,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Name(error) => Some(error.hint()),
            Self::Bundle(BundleError::Missing { .. }) => {
                Some("store the config first, with `wash config put NAME key=value`")
            }
            Self::Bundle(BundleError::Store(error)) => error.hint(),
            Self::Bundle(_) => None,
            Self::Secrets { .. } => Some("name configs only: this version has no secrets"),
        }
    }
}

/// Opens the configs that a command names; secrets cannot be had.
pub(crate) async fn open(
    store: &ConfigStore,
    names: &[String],
) -> Result<ConfigBundle, OpenConfigsError> {
    let names: Vec<ConfigName> = names
        .iter()
        .map(ConfigName::new)
        .collect::<Result<_, _>>()?;
    let secrets: Vec<String> = names
        .iter()
        .filter(|name| name.is_secret())
        .map(ToString::to_string)
        .collect();
    if !secrets.is_empty() {
        return Err(OpenConfigsError::Secrets { names: secrets });
    }
    Ok(ConfigBundle::open(store, &names).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code_and_says_what_to_do() {
        let name = ConfigName::new("x").unwrap();
        let missing = OpenConfigsError::from(BundleError::Missing { name });
        let names = vec!["SECRET_x".to_owned()];
        let secrets = OpenConfigsError::Secrets { names };
        let invalid = OpenConfigsError::from(ConfigName::new("a.b").unwrap_err());
        for (error, code, hint) in [
            (missing, ErrorCode::MissingConfig, "wash config put"),
            (secrets, ErrorCode::MissingConfig, "configs only"),
            (invalid, ErrorCode::InvalidId, "my-counter"),
        ] {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }
}
