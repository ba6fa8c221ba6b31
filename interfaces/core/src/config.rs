//! Named configs and references to secrets.

use serde::{Deserialize, Serialize};

use crate::StringMap;

/// What the name of every stored secret reference starts with.
pub const SECRET_PREFIX: &str = "SECRET_";

/// Names that start like this are secrets everywhere, underscore or not.
const SECRET_MARK: &str = "SECRET";

/// The value of `type` in a stored secret reference.
pub const SECRET_REFERENCE_TYPE: &str = "secret.wasmcloud.dev/v1alpha1";

/// The value of `type` in the policy of a stored secret reference.
const SECRET_POLICY_TYPE: &str = "properties.secret.wasmcloud.dev/v1alpha1";

/// Whether a config name stands for a secret reference.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    name.starts_with(SECRET_MARK)
}

/// Why a config body was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseConfigError {
    /// The body is not an object whose values are all strings.
    #[error("config data should be a map of string -> string")]
    NotStrings(#[source] serde_json::Error),
}

/// Reads a config body: a JSON object of strings.
///
/// # Errors
///
/// Returns [`ParseConfigError`] for anything else.
pub fn parse(body: &[u8]) -> Result<StringMap, ParseConfigError> {
    serde_json::from_slice(body).map_err(ParseConfigError::NotStrings)
}

/// Merges configs from first to last; later values win, and a key keeps the
/// place where it was first seen.
pub fn merge<'a>(configs: impl IntoIterator<Item = &'a StringMap>) -> StringMap {
    let mut merged = StringMap::new();
    for config in configs {
        merged.extend(
            config
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
    merged
}

/// A reference to a secret, stored like a config under `SECRET_{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The name of the reference.
    pub name: String,
    /// The backend that resolves it.
    pub backend: String,
    /// The key in the backend.
    pub key: String,
    /// The field of a structured secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The version wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The policy as JSON text.
    pub policy: String,
    /// Always [`SECRET_REFERENCE_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a reference says to the policy of its backend.
#[derive(Serialize)]
struct Policy<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    properties: &'a StringMap,
}

impl SecretReference {
    /// A reference to the latest version of a secret, with properties for the backend's policy.
    #[must_use]
    pub fn new(name: &str, backend: &str, key: &str, properties: &StringMap) -> Self {
        let policy = Policy {
            kind: SECRET_POLICY_TYPE,
            properties,
        };
        Self {
            name: name.to_owned(),
            backend: backend.to_owned(),
            key: key.to_owned(),
            field: None,
            version: None,
            // A map of texts can always be written.
            policy: serde_json::to_string(&policy).unwrap_or_default(),
            kind: SECRET_REFERENCE_TYPE.to_owned(),
        }
    }

    /// The reference as it is stored: like a config, all values are text.
    #[must_use]
    pub fn to_map(&self) -> StringMap {
        let fields = [
            ("name", Some(&self.name)),
            ("backend", Some(&self.backend)),
            ("key", Some(&self.key)),
            ("field", self.field.as_ref()),
            ("version", self.version.as_ref()),
            ("policy", Some(&self.policy)),
            ("type", Some(&self.kind)),
        ];
        let fields = fields.into_iter();
        fields
            .filter_map(|(field, text)| Some((field.to_owned(), text?.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_configs_win() {
        let first = parse(br#"{"a":"1","b":"2"}"#).unwrap();
        let second = parse(br#"{"b": "3", "c": "4"}"#).unwrap();
        let merged = merge([&first, &second]);
        assert_eq!(
            serde_json::to_string(&merged).unwrap(),
            r#"{"a":"1","b":"3","c":"4"}"#
        );
    }

    #[test]
    fn bodies_that_are_not_string_maps_are_refused() {
        for body in [
            &b"[]"[..],
            b"",
            b"{\"a\":1}",
            b"\"a\"",
            b"{\"a\":null}",
            b"\xff",
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!(
                error.to_string(),
                "config data should be a map of string -> string"
            );
        }
    }

    #[test]
    fn secret_names_are_told_apart() {
        assert!(is_secret_name("SECRET_db") && is_secret_name("SECRETS"));
        assert!(!is_secret_name("secret") && !is_secret_name("db"));
    }

    #[test]
    fn secret_references_leave_absent_fields_out() {
        let text = r#"{"name":"db","backend":"nats-kv","key":"db","policy":"{}","type":"secret.wasmcloud.dev/v1alpha1"}"#;
        let reference: SecretReference = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&reference).unwrap(), text);
    }

    #[test]
    fn a_new_reference_is_stored_as_on_the_page() {
        let properties = StringMap::from([("team".to_owned(), "a".to_owned())]);
        let mut reference = SecretReference::new("db", "nats-kv", "db/password", &properties);
        reference.version = Some("3".to_owned());
        let stored = reference.to_map();
        assert_eq!(
            serde_json::to_string(&stored).unwrap(),
            r#"{"name":"db","backend":"nats-kv","key":"db/password","version":"3","policy":"{\"type\":\"properties.secret.wasmcloud.dev/v1alpha1\",\"properties\":{\"team\":\"a\"}}","type":"secret.wasmcloud.dev/v1alpha1"}"#
        );
        let fields = serde_json::to_value(&stored).unwrap();
        let again: SecretReference = serde_json::from_value(fields).unwrap();
        assert_eq!(again, reference);
    }
}
