//! Links: directed, named connections from a source entity to a target.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::StringMap;
use crate::id::{
    ComponentId, ConfigName, DEFAULT_NAME, InterfaceName, InvalidId, LinkName, WitName,
};
use crate::locality::Locality;
use crate::rules::{LinkRules, RuleError};

fn default_name() -> String {
    DEFAULT_NAME.to_owned()
}

/// A link as it is stored and sent.
///
/// Ids are plain text because records of old peers may hold anything; call
/// [`Link::check`] where a link enters, and [`Link::key`] to look it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The entity that imports the interfaces.
    pub source_id: String,
    /// The entity that answers the calls.
    pub target: String,
    /// Selects among links of one source for the same interface.
    #[serde(default = "default_name")]
    pub name: String,
    /// The namespace of the WIT package, such as `wasi`.
    pub wit_namespace: String,
    /// The WIT package without its version, such as `keyvalue`.
    pub wit_package: String,
    /// The interfaces of the package that the link carries, as they were given: with a version
    /// too, which makes no difference.
    pub interfaces: Vec<String>,
    /// Names of configs and secrets for the source, later ones winning.
    #[serde(default)]
    pub source_config: Vec<String>,
    /// Names of configs and secrets for the target, later ones winning.
    #[serde(default)]
    pub target_config: Vec<String>,
    /// Which roads its calls may take; an addition that old peers ignore.
    #[serde(default, skip_serializing_if = "Locality::is_default")]
    pub locality: Locality,
    /// What its calls may do; an addition that old peers ignore.
    #[serde(default, skip_serializing_if = "LinkRules::is_empty")]
    pub rules: LinkRules,
    /// What the providers at its ends made of the link; only in replies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<LinkStatus>,
}

impl Link {
    /// Checks every name in the link.
    ///
    /// # Errors
    ///
    /// Returns the first name that breaks a rule.
    pub fn check(&self) -> Result<LinkKey, InvalidId> {
        ComponentId::new(&self.target)?;
        for interface in &self.interfaces {
            InterfaceName::new(interface)?;
        }
        for name in self.source_config.iter().chain(&self.target_config) {
            ConfigName::new(name)?;
        }
        self.key()
    }

    /// Checks that the host of a caller can keep each rule of the link.
    ///
    /// # Errors
    ///
    /// Names the first rule that it cannot.
    pub fn check_rules(&self) -> Result<(), RuleError> {
        let (namespace, package) = (&self.wit_namespace, &self.wit_package);
        self.rules.check(namespace, package, &self.interfaces)
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

    /// Whether `other` names the same source, target, package and link name,
    /// so that putting one replaces the other.
    #[must_use]
    pub fn replaces(&self, other: &Link) -> bool {
        self.same_package(other) && self.target == other.target
    }

    /// Whether the two links send one interface to different targets.
    #[must_use]
    pub fn conflicts_with(&self, other: &Link) -> bool {
        self.same_package(other)
            && self.target != other.target
            && self
                .interfaces
                .iter()
                .any(|name| carries(&other.interfaces, lookup_name(name)))
    }

    fn same_package(&self, other: &Link) -> bool {
        self.source_id == other.source_id
            && self.name == other.name
            && self.wit_namespace == other.wit_namespace
            && self.wit_package == other.wit_package
    }

    /// The lookup names of its interfaces, such as `wasi:keyvalue/store`.
    pub fn lookups(&self) -> impl Iterator<Item = String> + '_ {
        self.interfaces.iter().map(|name| {
            let name = lookup_name(name);
            format!("{}:{}/{name}", self.wit_namespace, self.wit_package)
        })
    }

    /// Whether the link is one for calls of an interface of the wire, such as
    /// `wrpc:keyvalue/store@0.2.0-draft`. Its version makes no difference.
    #[must_use]
    pub fn leads_to(&self, called: &str) -> bool {
        self.lookups()
            .any(|lookup| crate::rules::leads_to(&lookup, called))
    }

    /// Names of every config and secret that either end uses.
    pub fn config_names(&self) -> impl Iterator<Item = &str> {
        self.source_config
            .iter()
            .chain(&self.target_config)
            .map(String::as_str)
    }
}

/// How far one end of a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// The provider has not answered yet.
    Pending,
    /// The provider accepted the link.
    Ready,
    /// The provider refused the link; the reason says why.
    Failed,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        })
    }
}

/// What the provider at one end, on one host, made of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The id of the provider at this end.
    pub endpoint: String,
    /// The host that runs it.
    pub host_id: String,
    /// How far it has come.
    pub state: LinkState,
    /// Why the link failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A link with its configs merged, as providers receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedLink {
    /// The entity that imports the interfaces.
    pub source_id: String,
    /// The entity that answers the calls.
    pub target: String,
    /// The link name.
    #[serde(default = "default_name")]
    pub name: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package without its version.
    pub wit_package: String,
    /// The interfaces of the package that the link carries.
    pub interfaces: Vec<String>,
    /// The merged configs of the source's side.
    #[serde(default)]
    pub source_config: StringMap,
    /// The merged configs of the target's side.
    #[serde(default)]
    pub target_config: StringMap,
    /// Sealed secrets, only in the copy for the source provider.
    #[serde(default)]
    pub source_secrets: Option<Vec<u8>>,
    /// Sealed secrets, only in the copy for the target provider.
    #[serde(default)]
    pub target_secrets: Option<Vec<u8>>,
    /// Which roads its calls may take; an addition that old peers ignore.
    #[serde(default, skip_serializing_if = "Locality::is_default")]
    pub locality: Locality,
    /// What its calls may do; an addition that old peers ignore.
    #[serde(default, skip_serializing_if = "LinkRules::is_empty")]
    pub rules: LinkRules,
    /// Whether the host of the source keeps any rules, also those that its target is not told; an
    /// addition that old peers ignore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ruled: bool,
}

impl ResolvedLink {
    /// The link with the given merged configs and without secrets.
    #[must_use]
    pub fn new(link: &Link, source_config: StringMap, target_config: StringMap) -> Self {
        Self {
            source_id: link.source_id.clone(),
            target: link.target.clone(),
            name: link.name.clone(),
            wit_namespace: link.wit_namespace.clone(),
            wit_package: link.wit_package.clone(),
            interfaces: link.interfaces.clone(),
            source_config,
            target_config,
            source_secrets: None,
            target_secrets: None,
            locality: link.locality,
            rules: link.rules.for_target(),
            ruled: !link.rules.is_empty(),
        }
    }

    /// The message that tells a provider that the link is gone.
    #[must_use]
    pub fn removal(link: &Link) -> Self {
        Self::new(link, StringMap::new(), StringMap::new())
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

/// What makes a link one of its kind: source, package and link name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// The source entity.
    pub source: ComponentId,
    /// The namespace of the WIT package.
    pub namespace: WitName,
    /// The WIT package without its version.
    pub package: WitName,
    /// The link name.
    pub name: LinkName,
}

impl LinkKey {
    /// Checks the four parts.
    ///
    /// # Errors
    ///
    /// Returns the first part that breaks a rule.
    pub fn new(
        source: &str,
        namespace: &str,
        package: &str,
        name: &str,
    ) -> Result<Self, InvalidId> {
        Ok(Self {
            source: ComponentId::new(source)?,
            namespace: WitName::new(namespace)?,
            package: WitName::new(package)?,
            name: LinkName::new(name)?,
        })
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {}:{} ({})",
            self.source, self.namespace, self.package, self.name
        )
    }
}

/// A WIT interface, `namespace:package/name`, with its version if it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceRef {
    /// The namespace, such as `wasi`.
    pub namespace: WitName,
    /// The package, such as `keyvalue`.
    pub package: WitName,
    /// The interface, such as `store`.
    pub name: WitName,
    /// The version text, such as `0.2.0-draft`.
    pub version: Option<String>,
}

/// The longest version text of an interface, in bytes.
const MAX_VERSION_BYTES: usize = 128;

impl InterfaceRef {
    /// The name links are found by: the interface without its version.
    #[must_use]
    pub fn lookup(&self) -> String {
        format!("{}:{}/{}", self.namespace, self.package, self.name)
    }
}

/// Cuts the version off the name of an instance or interface, which gives the name links are found
/// by.
#[must_use]
pub fn lookup_name(instance: &str) -> &str {
    instance.split_once('@').map_or(instance, |(name, _)| name)
}

/// Whether one of the interfaces that a link names is `wanted`, whatever its version.
#[must_use]
pub fn carries(interfaces: &[String], wanted: &str) -> bool {
    interfaces.iter().any(|name| lookup_name(name) == wanted)
}

impl fmt::Display for InterfaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.namespace, self.package, self.name)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseInterfaceError {
    /// The text lacks the `:` or the `/`.
    #[error("`{text}` is not an interface of the form `namespace:package/name@version`")]
    Form {
        /// The text as it was given, cut when long.
        text: String,
    },
    /// One of the names is not a WIT name.
    #[error(transparent)]
    Name(#[from] InvalidId),
}

impl FromStr for InterfaceRef {
    type Err = ParseInterfaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseInterfaceError::Form {
            text: text.chars().take(80).collect(),
        };
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let version_ok = |v: &&str| {
            !v.is_empty()
                && v.len() <= MAX_VERSION_BYTES
                && v.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
        };
        if version.is_some_and(|v| !version_ok(&v)) {
            return Err(form());
        }
        let (namespace, rest) = path.split_once(':').ok_or_else(form)?;
        let (package, name) = rest.split_once('/').ok_or_else(form)?;
        Ok(Self {
            namespace: WitName::new(namespace)?,
            package: WitName::new(package)?,
            name: WitName::new(name)?,
            version: version.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests;
