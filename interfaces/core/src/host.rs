//! What a host says about itself: ping answers and inventories.

use serde::{Deserialize, Serialize};

use crate::StringMap;
use crate::road::RoadReport;

/// The answer of one host to `host.ping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The NATS URL the host uses for calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_host: Option<String>,
    /// The NATS URL the host uses for control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctl_host: Option<String>,
    /// The name made up at start, such as `damp-voice-5151`.
    pub friendly_name: String,
    /// The host id.
    pub id: String,
    /// The JetStream domain in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub js_domain: Option<String>,
    /// Facts about the host.
    pub labels: StringMap,
    /// The lattice it belongs to.
    pub lattice: String,
    /// The uptime in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_human: Option<String>,
    /// The uptime in seconds.
    pub uptime_seconds: u64,
    /// The version of the host program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether every call has to prove who makes it (`--allow-legacy-peers=false`). Left out where it is
    /// false; hosts of 1.9 never have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// What one host runs now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInventory {
    /// The running components.
    #[serde(alias = "actors")]
    pub components: Vec<ComponentDescription>,
    /// The running providers.
    pub providers: Vec<ProviderDescription>,
    /// The host id.
    pub host_id: String,
    /// The name made up at start.
    pub friendly_name: String,
    /// Facts about the host.
    pub labels: StringMap,
    /// The version of the host program.
    #[serde(default)]
    pub version: String,
    /// The uptime in words.
    #[serde(default)]
    pub uptime_human: String,
    /// The uptime in seconds.
    #[serde(default)]
    pub uptime_seconds: u64,
    /// The roads that the calls of links with their source here have taken. Left out where there
    /// were none, in heartbeats, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roads: Vec<RoadReport>,
    /// Whether every call has to prove who makes it (`--allow-legacy-peers=false`). Left out where it is
    /// false; hosts of 1.9 never have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// In heartbeats of a strict host with a cluster seed: a token, signed by its cluster, which shows that it is
    /// strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_proof: Option<String>,
}

/// What stands in the version of our hosts, after that of the 1.9 host whose interface they keep.
const OURS: &str = "+lattice-";

/// Whether a host that tells this version is one of ours. What hosts of 1.9 know nothing of, such
/// as calls that are handed on, is not to be expected of others.
#[must_use]
pub fn is_ours(version: &str) -> bool {
    version.contains(OURS)
}

/// One running component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentDescription {
    /// The component id.
    pub id: String,
    /// The image it was started from, as the command gave it.
    pub image_ref: String,
    /// The name in its claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Notes of whoever started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<StringMap>,
    /// The revision in its claims, or 0.
    #[serde(default)]
    pub revision: i32,
    /// How many instances may run at once.
    #[serde(default)]
    pub max_instances: u32,
    /// Limits of its own; `null` on the wire when it has none.
    #[serde(default)]
    pub limits: Option<StringMap>,
    /// The version in its claims. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When its claims expire, in epoch seconds. Left out when they do not, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Names of the configs and secrets that it was given, later ones winning. Left out where there are
    /// none, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<String>,
}

/// One running provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderDescription {
    /// The provider id.
    pub id: String,
    /// The image it was started from, without its scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// The name in its claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The revision in its claims, or 0.
    #[serde(default)]
    pub revision: i32,
    /// Notes of whoever started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<StringMap>,
    /// What keeps the provider from its work, such as a process that ends again and again. Left
    /// out while all is well, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The version in its claims. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When its claims expire, in epoch seconds. Left out when they do not, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether its process is of the 1.9 generation, which says nothing about its links. Left out where
    /// it is not, as long as that is not known, and by 1.9 hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

/// Labels whose keys start like this are set by the host itself.
pub const HOST_LABEL_PREFIX: &str = "hostcore.";

/// Whether a label is one that only the host itself sets.
#[must_use]
pub fn is_host_label(key: &str) -> bool {
    let head = key.as_bytes().get(..HOST_LABEL_PREFIX.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(HOST_LABEL_PREFIX.as_bytes()))
}

/// The longest key of a label, in bytes.
pub const MAX_LABEL_KEY: usize = 253;

/// Why a text cannot be the key of a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLabelKey {
    /// There is none, or only blanks.
    #[error("the key of a label is empty")]
    Empty,
    /// It could not be shown, and hardly be typed again to delete it.
    #[error("the key of label {key:?} holds control characters")]
    Control {
        /// The key.
        key: String,
    },
    /// It is longer than any name.
    #[error("the key of a label has {len} bytes, more than the {MAX_LABEL_KEY} it may have")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl InvalidLabelKey {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "name the label with a short word, such as `zone` or `acme.com/tier`"
    }
}

/// Checks the key of a label that is to be set.
///
/// # Errors
///
/// [`InvalidLabelKey`] names the rule that it breaks.
pub fn check_label_key(key: &str) -> Result<(), InvalidLabelKey> {
    if key.trim().is_empty() {
        return Err(InvalidLabelKey::Empty);
    }
    if key.len() > MAX_LABEL_KEY {
        return Err(InvalidLabelKey::TooLong { len: key.len() });
    }
    if key.contains(char::is_control) {
        return Err(InvalidLabelKey::Control {
            key: key.to_owned(),
        });
    }
    Ok(())
}

/// The labels that say what machine the host runs on.
#[must_use]
pub fn machine_labels() -> StringMap {
    let facts = [
        ("hostcore.arch", std::env::consts::ARCH),
        ("hostcore.os", std::env::consts::OS),
        ("hostcore.osfamily", std::env::consts::FAMILY),
    ];
    facts
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_labels_are_known_in_any_case() {
        assert!(is_host_label("hostcore.arch") && is_host_label("HostCore.x"));
        assert!(
            !is_host_label("zone") && !is_host_label("hostcore") && !is_host_label("höstcore.x")
        );
        assert!(machine_labels().keys().all(|key| is_host_label(key)));
    }

    #[test]
    fn hosts_of_1_9_are_told_by_their_version() {
        assert!(is_ours("1.9.2+lattice-0.1.0"));
        assert!(!is_ours("1.9.2") && !is_ours("") && !is_ours("1.9.2+build-5"));
    }

    #[test]
    fn keys_of_labels_can_be_named_again() {
        for key in ["zone", "acme.com/tier", "with blank", "größe", "a=b"] {
            assert_eq!(check_label_key(key), Ok(()), "{key}");
        }
        for (key, expected) in [
            ("", "the key of a label is empty"),
            (" \t", "the key of a label is empty"),
            (
                "a\nb",
                r#"the key of label "a\nb" holds control characters"#,
            ),
            (
                &"x".repeat(254),
                "the key of a label has 254 bytes, more than the 253 it may have",
            ),
        ] {
            assert_eq!(check_label_key(key).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn inventories_of_older_hosts_are_read() {
        let text = r#"{"actors":[{"id":"a","image_ref":"x"}],"providers":[],"host_id":"N","friendly_name":"f","labels":{}}"#;
        let inventory: HostInventory = serde_json::from_str(text).unwrap();
        assert_eq!(inventory.components[0].id, "a");
        assert!(inventory.components[0].config.is_empty());
        assert!(inventory.roads.is_empty());
        let written = serde_json::to_string(&inventory).unwrap();
        assert!(!written.contains("roads") && !written.contains("strict"));
    }
}
