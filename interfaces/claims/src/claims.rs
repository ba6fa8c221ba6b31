//! What tokens say, by kind of subject.

use indexmap::IndexMap;
use lattice_core::StringMap;
use serde::{Deserialize, Serialize};

/// The revision of the claims format that is written.
pub const CLAIMS_REVISION: i32 = 3;

/// The claims of a token; `T` is what they say about the subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims<T> {
    /// When the token expires, in epoch seconds.
    #[serde(rename = "exp", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// A unique id.
    #[serde(rename = "jti", default)]
    pub id: String,
    /// When the token was signed, in epoch seconds.
    #[serde(rename = "iat", default)]
    pub issued_at: u64,
    /// The public key of the signer.
    #[serde(rename = "iss", default)]
    pub issuer: String,
    /// The public key of the subject.
    #[serde(rename = "sub", default)]
    pub subject: String,
    /// When the token becomes valid, in epoch seconds.
    #[serde(rename = "nbf", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// What is said about the subject.
    #[serde(
        rename = "wascap",
        default = "none",
        skip_serializing_if = "Option::is_none"
    )]
    pub metadata: Option<T>,
    /// The revision of the format.
    #[serde(
        rename = "wascap_revision",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub revision: Option<i32>,
}

/// `Option::default` would ask for `T: Default`.
fn none<T>() -> Option<T> {
    None
}

impl<T> Claims<T> {
    /// Claims about `subject` as of `now`, with a fresh id; signing names the issuer.
    #[must_use]
    pub fn new(subject: String, metadata: T, now: u64) -> Self {
        Self {
            expires: None,
            id: nuid::next().to_string(),
            issued_at: now,
            issuer: String::new(),
            subject,
            not_before: None,
            metadata: Some(metadata),
            revision: Some(CLAIMS_REVISION),
        }
    }
}

/// Claims about a component.
pub type ComponentClaims = Claims<ComponentMetadata>;

impl Claims<ComponentMetadata> {
    /// Whether the claims hold a hash that is compared with the file. Those of older formats hold
    /// one that was made in another way: whoever has such a token can put it into any file.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.revision.unwrap_or_default() >= CLAIMS_REVISION
    }
}

/// Claims about a provider.
pub type ProviderClaims = Claims<ProviderMetadata>;
/// Claims about an account.
pub type AccountClaims = Claims<SignerMetadata>;
/// Claims about an operator or a cluster.
pub type OperatorClaims = Claims<SignerMetadata>;
/// Claims about a host.
pub type HostClaims = Claims<HostMetadata>;

/// What claims say about a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentMetadata {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hash of the wasm without its tokens.
    #[serde(rename = "hash", default)]
    pub module_hash: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The revision.
    #[serde(rename = "rev", default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// The version.
    #[serde(rename = "ver", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A short name to call it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_alias: Option<String>,
    /// Whether it is a provider in the form of a component.
    #[serde(rename = "prov", default)]
    pub provider: bool,
}

/// What claims say about a provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProviderMetadata {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub vendor: String,
    /// The revision.
    #[serde(rename = "rev", default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// The version.
    #[serde(rename = "ver", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The hash of every entry of its archive.
    #[serde(default)]
    pub target_hashes: IndexMap<String, String>,
    /// A schema of its config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
}

/// What claims say about an account, an operator or a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerMetadata {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Further keys that may sign for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_signers: Option<Vec<String>>,
}

/// What claims say about a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMetadata {
    /// The friendly name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<StringMap>,
}

/// Normalises a call alias: lower case, only ASCII, and `_` for a blank, a
/// dash or a dot.
#[must_use]
pub fn normalise_call_alias(alias: &str) -> String {
    alias
        .chars()
        .filter(char::is_ascii)
        .map(|c| {
            if matches!(c, ' ' | '-' | '.') {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_left_out_and_the_order_is_kept() {
        let mut claims = ComponentClaims::new("MABC".into(), ComponentMetadata::default(), 7);
        claims.id = "id".into();
        claims.issuer = "AABC".into();
        let text = serde_json::to_string(&claims).unwrap();
        assert_eq!(
            text,
            r#"{"jti":"id","iat":7,"iss":"AABC","sub":"MABC","wascap":{"hash":"","prov":false},"wascap_revision":3}"#
        );
        assert_eq!(
            serde_json::from_str::<ComponentClaims>(&text).unwrap(),
            claims
        );
    }

    #[test]
    fn ids_are_unique() {
        let id = || HostClaims::new(String::new(), HostMetadata::default(), 0).id;
        assert_ne!(id(), id());
    }

    #[test]
    fn call_aliases_are_normalised() {
        assert_eq!(normalise_call_alias("My Cart-v1.2 Ü"), "my_cart_v1_2_");
    }
}
