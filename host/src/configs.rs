//! The configs and secrets that a start names, and why they cannot be had.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::{ConfigName, ErrorCode, InvalidId};
use lattice_store::{BundleError, ConfigBundle, ConfigStore};
use tokio::time::Instant;

use crate::trust::secrets::{Entity, SecretBundle, Secrets, SecretsError};

/// How long a start waits for secrets whose backends fail in a way that may pass.
const SECRETS_WITHIN: Duration = Duration::from_secs(8);

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
    /// A secret cannot be had.
    #[error(transparent)]
    Secrets(#[from] Arc<SecretsError>),
}

impl OpenConfigsError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::InvalidId,
            Self::Bundle(error) => error.code(),
            Self::Secrets(error) => error.code(),
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
            Self::Secrets(error) => error.hint(),
        }
    }
}

/// What a start names, open: both follow their sources.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) config: ConfigBundle,
    pub(crate) secrets: SecretBundle,
}

/// Opens the configs that a command names, and gets the secrets for `entity`.
pub(crate) async fn open(
    store: &ConfigStore,
    secrets: &Secrets,
    names: &[String],
    entity: Entity,
) -> Result<Named, OpenConfigsError> {
    let (configs, references) = split(names)?;
    // Both are asked for at the same time.
    let mut secrets = SecretBundle::follow(secrets, references, entity);
    let config = ConfigBundle::open(store, &configs).await?;
    secrets.ready(Instant::now() + SECRETS_WITHIN).await?;
    Ok(Named { config, secrets })
}

/// Gets the secrets among the names anew, for an entity that has become another.
pub(crate) async fn secrets_for(
    secrets: &Secrets,
    names: &[String],
    entity: Entity,
) -> Result<SecretBundle, OpenConfigsError> {
    let (_, references) = split(names)?;
    let mut secrets = SecretBundle::follow(secrets, references, entity);
    secrets.ready(Instant::now() + SECRETS_WITHIN).await?;
    Ok(secrets)
}

/// Names of configs, and those of secrets.
pub(crate) fn split(names: &[String]) -> Result<(Vec<ConfigName>, Vec<ConfigName>), InvalidId> {
    let names: Vec<ConfigName> = names
        .iter()
        .map(ConfigName::new)
        .collect::<Result<_, _>>()?;
    let (secrets, configs) = names.into_iter().partition(ConfigName::is_secret);
    Ok((configs, secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code_and_says_what_to_do() {
        let name = ConfigName::new("x").unwrap();
        let missing = OpenConfigsError::from(BundleError::Missing { name });
        let names = vec![ConfigName::new("SECRET_x").unwrap()];
        let secrets = Arc::new(SecretsError::NotConfigured { names });
        let secrets = OpenConfigsError::from(secrets);
        let invalid = OpenConfigsError::from(ConfigName::new("a.b").unwrap_err());
        for (error, code, hint) in [
            (missing, ErrorCode::MissingConfig, "wash config put"),
            (secrets, ErrorCode::MissingConfig, "--secrets-topic"),
            (invalid, ErrorCode::InvalidId, "my-counter"),
        ] {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }

    #[test]
    fn secrets_are_told_from_configs_in_order() {
        let names = ["a", "SECRET_b", "c", "SECRET_d"].map(str::to_owned);
        let (configs, secrets) = split(&names).unwrap();
        assert_eq!(configs, ["a", "c"]);
        assert_eq!(secrets, ["SECRET_b", "SECRET_d"]);
        assert!(split(&["a.b".to_owned()]).is_err());
    }
}
