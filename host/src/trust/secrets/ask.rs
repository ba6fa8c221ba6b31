//! One round of asking: from names to values.

use futures::future::try_join_all;
use lattice_core::config::{SECRET_PREFIX, SecretReference};
use lattice_core::provider::{SecretMap, SecretValue};
use lattice_core::secrets::{SecretApplication, SecretContext, SecretRequest};
use lattice_core::{BackendName, ConfigName, StringMap};
use lattice_secrets::SecretsClient;

use super::error::SecretsError;
use super::{Entity, Secrets, hide_memory};

/// A reference that was read: under which name the secret is used, and what it refers to.
pub(super) type Found = (ConfigName, Option<StringMap>);

impl Secrets {
    /// What has to hold before anything is asked.
    pub(super) fn precondition(
        &self,
        names: &[ConfigName],
        entity: &Entity,
    ) -> Result<(), SecretsError> {
        let names = || names.to_vec();
        if self.inner.client.is_none() {
            return Err(SecretsError::NotConfigured { names: names() });
        }
        if entity.token.is_none() {
            return Err(SecretsError::Unsigned { names: names() });
        }
        Ok(())
    }

    /// Asks for all secrets at once; later names win over earlier ones.
    pub(super) async fn resolve(
        &self,
        references: Vec<Found>,
        entity: &Entity,
    ) -> Result<SecretMap, SecretsError> {
        let names: Vec<_> = references.iter().map(|(name, _)| name.clone()).collect();
        let Some(client) = &self.inner.client else {
            return Err(SecretsError::NotConfigured { names });
        };
        let Some(token) = &entity.token else {
            return Err(SecretsError::Unsigned { names });
        };
        let context = |policy: String| SecretContext {
            entity_jwt: token.expose().to_owned(),
            host_jwt: self.inner.host_token.expose().to_owned(),
            application: SecretApplication {
                name: entity.application.clone(),
                policy,
            },
        };
        let asked = references.into_iter().map(async |(name, reference)| {
            let reference = read(&name, reference)?;
            let used_as = used_as(&name, &reference);
            let value = one(client, name, reference, &context).await?;
            Ok::<_, SecretsError>((used_as, value))
        });
        let secrets = try_join_all(asked).await?.into_iter().collect();
        hide_memory();
        Ok(secrets)
    }
}

async fn one(
    client: &SecretsClient,
    name: ConfigName,
    reference: SecretReference,
    context: &impl Fn(String) -> SecretContext,
) -> Result<SecretValue, SecretsError> {
    let backend = match BackendName::new(&reference.backend) {
        Ok(backend) => backend,
        Err(source) => return Err(SecretsError::Backend { name, source }),
    };
    let request = SecretRequest {
        key: reference.key,
        field: reference.field,
        version: reference.version,
        context: context(reference.policy),
    };
    match client.get(&backend, &request).await {
        Ok(secret) => match secret.into_value() {
            Some(value) => Ok(value),
            None => Err(SecretsError::NoValue { name, backend }),
        },
        Err(source) => Err(SecretsError::Ask {
            name,
            backend,
            source,
        }),
    }
}

/// Reads a stored reference.
fn read(name: &ConfigName, stored: Option<StringMap>) -> Result<SecretReference, SecretsError> {
    let Some(stored) = stored else {
        return Err(SecretsError::Missing { name: name.clone() });
    };
    let fields = stored
        .into_iter()
        .map(|(key, text)| (key, serde_json::Value::String(text)));
    let object = serde_json::Value::Object(fields.collect());
    serde_json::from_value(object).map_err(|error| SecretsError::Malformed {
        name: name.clone(),
        reason: error.to_string(),
    })
}

/// What the secret is called by who uses it: the name in the reference.
fn used_as(name: &ConfigName, reference: &SecretReference) -> String {
    if !reference.name.is_empty() {
        return reference.name.clone();
    }
    let stored = name.as_str();
    stored
        .strip_prefix(SECRET_PREFIX)
        .unwrap_or(stored)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(fields: &[(&str, &str)]) -> Option<StringMap> {
        let fields = fields.iter();
        Some(
            fields
                .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }

    fn name() -> ConfigName {
        ConfigName::new("SECRET_app-db").unwrap()
    }

    #[test]
    fn a_reference_is_read_and_its_own_name_counts() {
        let fields = stored(&[
            ("name", "password"),
            ("backend", "nats-kv"),
            ("key", "db"),
            ("policy", "{}"),
            ("type", "secret"),
        ]);
        let reference = read(&name(), fields).unwrap();
        assert_eq!(used_as(&name(), &reference), "password");
        let nameless = SecretReference {
            name: String::new(),
            ..reference
        };
        assert_eq!(used_as(&name(), &nameless), "app-db");
    }

    #[test]
    fn what_is_no_reference_is_told_from_a_missing_one() {
        let error = read(&name(), stored(&[("a", "b")])).unwrap_err();
        assert!(matches!(error, SecretsError::Malformed { .. }), "{error}");
        let error = read(&name(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret reference SECRET_app-db not found in config store"
        );
    }
}
