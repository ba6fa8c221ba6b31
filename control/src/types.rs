//! Requests and answers of the control interface in their exact JSON.
//!
//! Ids are plain text, because old clients leave some of them out; parse them where they are
//! used. Types that events and stored records share are in `lattice-core`.

use indexmap::IndexMap;
use lattice_core::config::is_secret_name;
use lattice_core::id::DEFAULT_NAME;
use lattice_core::provider::SecretText;
use lattice_core::{InvalidId, Link, LinkKey, StringMap};
use serde::{Deserialize, Deserializer, Serialize};

fn default_name() -> String {
    DEFAULT_NAME.to_owned()
}

/// Reads `null` like a field that was left out.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Starts, scales or stops a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleComponentCommand {
    /// Where the component is read from.
    #[serde(default)]
    pub component_ref: String,
    /// The component.
    pub component_id: String,
    /// Notes of whoever asks. Hosts read [`ANNOTATION_REUSE`] among them.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "StringMap::is_empty"
    )]
    pub annotations: StringMap,
    /// How many instances may run at once; 0 stops the component.
    #[serde(default)]
    pub count: u32,
    /// Limits for its instances, see [`LIMIT_MEMORY`] and [`LIMIT_EXECUTION_TIME`].
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "StringMap::is_empty"
    )]
    pub component_limits: StringMap,
    /// The host.
    #[serde(default)]
    pub host_id: String,
    /// Names of configs and secrets, later ones winning.
    #[serde(default)]
    pub config: Vec<String>,
    /// Whether another image than the running one replaces it.
    #[serde(default)]
    pub allow_update: bool,
}

/// The key of a memory limit, in bytes.
pub const LIMIT_MEMORY: &str = "max_memory_limit";
/// The key of a limit for the time of one call, in seconds.
pub const LIMIT_EXECUTION_TIME: &str = "max_execution_time";

/// The annotation that lets instances of a component serve one call after the other: how many
/// calls each may serve, or `true` for what the host takes for a good number, or `false`. Unless
/// it is there, each call has an instance of its own.
pub const ANNOTATION_REUSE: &str = "lattice/reuse-instances";

/// Replaces the image of a running component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateComponentCommand {
    /// The component.
    #[serde(default)]
    pub component_id: String,
    /// Notes of whoever asks.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "StringMap::is_empty"
    )]
    pub annotations: StringMap,
    /// The host.
    #[serde(default)]
    pub host_id: String,
    /// Where the new image is read from.
    #[serde(default)]
    pub new_component_ref: String,
}

/// What a host says to an [`UpdateComponentCommand`] when the component runs the new image already and
/// nothing is to be done. Those of 1.9 say the same words, and nothing else tells it from an update that
/// follows.
#[must_use]
pub fn already_updated(id: &str, image: &str) -> String {
    format!("component {id} already updated to {image}")
}

/// Starts a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProviderCommand {
    /// The provider.
    pub provider_id: String,
    /// Where it is read from.
    #[serde(default)]
    pub provider_ref: String,
    /// The host.
    #[serde(default)]
    pub host_id: String,
    /// Names of configs and secrets, later ones winning.
    #[serde(default)]
    pub config: Vec<String>,
    /// Notes of whoever asks.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "StringMap::is_empty"
    )]
    pub annotations: StringMap,
}

/// Stops a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopProviderCommand {
    /// The host.
    #[serde(default)]
    pub host_id: String,
    /// The provider.
    #[serde(default, alias = "provider_ref")]
    pub provider_id: String,
}

/// Stops a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopHostCommand {
    /// The host, or empty.
    #[serde(default)]
    pub host_id: String,
    /// How long the host may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Asks who could run a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentAuctionRequest {
    /// Where the component would be read from.
    #[serde(default)]
    pub component_ref: String,
    /// The component.
    pub component_id: String,
    /// Labels a host must have.
    pub constraints: StringMap,
}

/// A host's bid for a component.
///
/// Hosts of the 1.9 generation put the reference into `component_id`, so do not rely on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentAuctionAck {
    /// The reference asked for.
    #[serde(default)]
    pub component_ref: String,
    /// The component asked for.
    #[serde(default)]
    pub component_id: String,
    /// The host that bids.
    pub host_id: String,
    /// The labels asked for.
    #[serde(default)]
    pub constraints: StringMap,
}

/// Asks who could run a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAuctionRequest {
    /// Where the provider would be read from.
    pub provider_ref: String,
    /// The provider.
    pub provider_id: String,
    /// Labels a host must have.
    pub constraints: StringMap,
}

/// A host's bid for a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAuctionAck {
    /// The host that bids.
    pub host_id: String,
    /// The reference asked for.
    #[serde(default)]
    pub provider_ref: String,
    /// The provider asked for.
    #[serde(default)]
    pub provider_id: String,
    /// The labels asked for.
    #[serde(default)]
    pub constraints: StringMap,
}

/// A label to set on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLabel {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A label to delete from a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLabelIdentifier {
    /// Its name.
    pub key: String,
}

/// Deletes a link. Its names are compared as they are: those that 1.9 has stored may break a rule of
/// ours, and are to be deleted all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLinkRequest {
    /// The source.
    pub source_id: String,
    /// The link name.
    #[serde(default = "default_name")]
    pub name: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package.
    pub wit_package: String,
}

impl DeleteLinkRequest {
    /// The request for a link.
    #[must_use]
    pub fn new(link: &LinkKey) -> Self {
        Self {
            source_id: link.source.to_string(),
            name: link.name.to_string(),
            wit_namespace: link.namespace.to_string(),
            wit_package: link.package.to_string(),
        }
    }

    /// The request for a link as it is stored, whatever its names are.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        Self {
            source_id: link.source_id.clone(),
            name: link.name.clone(),
            wit_namespace: link.wit_namespace.clone(),
            wit_package: link.wit_package.clone(),
        }
    }

    /// Whether it is for this link.
    #[must_use]
    pub fn means(&self, link: &Link) -> bool {
        self.source_id == link.source_id
            && self.name == link.name
            && self.wit_namespace == link.wit_namespace
            && self.wit_package == link.wit_package
    }

    /// The identity of the link.
    ///
    /// # Errors
    ///
    /// Returns the first name that breaks a rule.
    pub fn key(&self) -> Result<LinkKey, InvalidId> {
        LinkKey::new(
            &self.source_id,
            &self.wit_namespace,
            &self.wit_package,
            &self.name,
        )
    }
}

/// How to log in to a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryCredential {
    /// A password, together with a user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretText>,
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
    /// A user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The kind of registry.
    #[serde(rename = "registryType", default = "default_registry_type")]
    pub registry_type: String,
}

/// The only kind of registry there is today.
const REGISTRY_TYPE: &str = "oci";

fn default_registry_type() -> String {
    REGISTRY_TYPE.to_owned()
}

impl Default for RegistryCredential {
    fn default() -> Self {
        Self {
            password: None,
            token: None,
            username: None,
            registry_type: default_registry_type(),
        }
    }
}

/// Credentials by registry.
pub type RegistryCredentials = IndexMap<String, RegistryCredential>;

/// One element of the answer to `claims.get`: a flat map, see
/// [`lattice_core::record::StoredClaims::to_claims_map`].
pub type ClaimsMap = StringMap;

/// Splits the names of a command into those of configs and those of secrets, both in order.
#[must_use]
pub fn split_secrets(names: &[String]) -> (Vec<&str>, Vec<&str>) {
    names
        .iter()
        .map(String::as_str)
        .partition(|name| !is_secret_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_left_out_or_null_have_defaults() {
        let command: ScaleComponentCommand =
            serde_json::from_str(r#"{"component_id":"a","annotations":null}"#).unwrap();
        let expected = ScaleComponentCommand {
            component_id: "a".into(),
            ..Default::default()
        };
        assert_eq!(command, expected);
        assert_eq!(
            serde_json::to_string(&command).unwrap(),
            r#"{"component_ref":"","component_id":"a","count":0,"host_id":"","config":[],"allow_update":false}"#
        );
        assert!(serde_json::from_str::<ScaleComponentCommand>("{}").is_err());
        assert!(serde_json::from_str::<UpdateComponentCommand>("{}").is_ok());
        assert!(serde_json::from_str::<StopHostCommand>("{}").is_ok());
    }

    #[test]
    fn that_nothing_is_to_be_updated_is_said_as_1x_says_it() {
        let said = "component cart already updated to file:///new.wasm";
        assert_eq!(already_updated("cart", "file:///new.wasm"), said);
    }

    #[test]
    fn a_provider_may_be_named_by_its_old_field() {
        let command: StopProviderCommand =
            serde_json::from_str(r#"{"provider_ref":"kv"}"#).unwrap();
        assert_eq!(command.provider_id, "kv");
    }

    #[test]
    fn credentials_do_not_show_in_logs() {
        let text = r#"{"password":"geheim","username":"me","registryType":"oci"}"#;
        let credential: RegistryCredential = serde_json::from_str(text).unwrap();
        assert!(!format!("{credential:?}").contains("geheim"));
        assert_eq!(serde_json::to_string(&credential).unwrap(), text);
        let bare: RegistryCredential = serde_json::from_str("{}").unwrap();
        assert_eq!(bare, RegistryCredential::default());
    }

    #[test]
    fn configs_and_secrets_are_split_in_order() {
        let names = ["a", "SECRET_x", "b"].map(str::to_owned);
        assert_eq!(split_secrets(&names), (vec!["a", "b"], vec!["SECRET_x"]));
    }
}
