//! A link as one provider sees it.

use std::fmt;

use lattice_core::provider::{SecretMap, SecretText, SecretValue};
use lattice_core::{ComponentId, LinkName, LinkRules, Locality, ResolvedLink, StringMap, WitName};
use nkeys::XKey;

use crate::error::{LinkError, RunError};
use crate::hide::hide_memory;

/// Which end of a link the provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkRole {
    /// The provider calls the component.
    Source,
    /// The component calls the provider.
    Target,
}

impl fmt::Display for LinkRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// What makes a link of one provider one of its kind.
///
/// The interfaces are not part of it: the lattice holds at most one link of the same ends, package
/// and name, and replaces its list of interfaces in place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkKey {
    /// Which end the provider is.
    pub role: LinkRole,
    /// The entity at the other end.
    pub peer: ComponentId,
    /// The namespace of the WIT package.
    pub namespace: WitName,
    /// The WIT package without its version.
    pub package: WitName,
    /// The link name.
    pub name: LinkName,
}

impl LinkKey {
    /// Whether the link is for the package, such as `wasi:keyvalue`.
    pub(crate) fn is_for(&self, package: &str) -> bool {
        let parts = package.split_once(':');
        parts == Some((self.namespace.as_str(), self.package.as_str()))
    }
}

/// A link with everything this provider needs to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLink {
    /// Which end the provider is.
    pub role: LinkRole,
    /// The entity at the other end.
    pub peer: ComponentId,
    /// The link name.
    pub name: LinkName,
    /// The namespace of the WIT package, such as `wasi`.
    pub namespace: WitName,
    /// The WIT package without its version, such as `keyvalue`.
    pub package: WitName,
    /// The interfaces of the package that the link carries.
    pub interfaces: Vec<String>,
    /// The configs of the provider's end, merged.
    pub config: StringMap,
    /// The secrets of the provider's end, opened.
    pub secrets: SecretMap,
    /// The configs of the other end, merged.
    pub peer_config: StringMap,
    /// Which roads the calls of its source may take; see [`Session::call_through`].
    ///
    /// [`Session::call_through`]: crate::Session::call_through
    pub locality: Locality,
    /// What its calls may do, as far as the provider sees to it as well as the host of the caller.
    pub rules: LinkRules,
    /// Whether that host keeps any rules. What a call through another link means of this one would go
    /// past them.
    pub ruled: bool,
}

impl ProviderLink {
    /// The identity of the link.
    #[must_use]
    pub fn key(&self) -> LinkKey {
        LinkKey {
            role: self.role,
            peer: self.peer.clone(),
            namespace: self.namespace.clone(),
            package: self.package.clone(),
            name: self.name.clone(),
        }
    }

    /// The value called `name` in any case of its letters: the secret of that name, or else the
    /// config value. Empty texts count as absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.secret(name)
            .or_else(|| find(&self.config, name))
            .filter(|text| !text.is_empty())
    }

    /// The secret text called `name` in any case of its letters.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        find_secret(&self.secrets, name)
    }

    /// Whether the link carries the interface, whatever its version.
    #[must_use]
    pub fn carries(&self, interface: &str) -> bool {
        lattice_core::link::carries(&self.interfaces, interface)
    }

    /// Whether the link is for the package, such as `wasi` and `keyvalue`.
    #[must_use]
    pub fn is_for(&self, namespace: &str, package: &str) -> bool {
        self.namespace.as_str() == namespace && self.package.as_str() == package
    }
}

impl fmt::Display for ProviderLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.role {
            LinkRole::Source => "to",
            LinkRole::Target => "from",
        };
        write!(
            f,
            "link `{}` {arrow} `{}` for {}:{}",
            self.name, self.peer, self.namespace, self.package
        )
    }
}

/// The value called `name` in any case of its letters.
pub(crate) fn find<'a>(values: &'a StringMap, name: &str) -> Option<&'a str> {
    values
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The secret text called `name` in any case of its letters; bytes count when they are text.
pub(crate) fn find_secret<'a>(secrets: &'a SecretMap, name: &str) -> Option<&'a str> {
    let (_, value) = secrets
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    text_of(value)
}

/// A secret as text, if it is one.
pub(crate) fn text_of(value: &SecretValue) -> Option<&str> {
    match value {
        SecretValue::String(text) => Some(text),
        SecretValue::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
    }
}

/// The keys that sealed secrets are opened with.
#[derive(Debug)]
pub(crate) struct Unsealer {
    own: XKey,
    host: XKey,
}

impl Unsealer {
    /// Reads the two keys of the host data; `None` when the host gave none.
    pub(crate) fn new(own_seed: &SecretText, host_public: &str) -> Result<Option<Self>, RunError> {
        if own_seed.is_empty() || host_public.is_empty() {
            return Ok(None);
        }
        let own = XKey::from_seed(own_seed.expose()).map_err(|source| RunError::Key {
            key: "seed of the provider's curve key",
            source,
        })?;
        let host = XKey::from_public_key(host_public).map_err(|source| RunError::Key {
            key: "host's public curve key",
            source,
        })?;
        Ok(Some(Self { own, host }))
    }

    /// The public key at which the process is told about links.
    pub(crate) fn public_key(&self) -> String {
        self.own.public_key()
    }

    /// Opens what the host has sealed for this process.
    pub(crate) fn open_bytes(&self, sealed: &[u8]) -> Result<Vec<u8>, nkeys::error::Error> {
        self.own.open(sealed, &self.host)
    }

    /// Opens secrets that the host has sealed for this process.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<SecretMap, LinkError> {
        hide_memory();
        let json = self
            .own
            .open(sealed, &self.host)
            .map_err(|e| LinkError::invalid_because("could not open the secrets", e))?;
        // The cause would repeat part of the secret.
        serde_json::from_slice(&json)
            .map_err(|_| LinkError::invalid("the secrets are not a map of secret values"))
    }
}

/// What a link message means to the provider `own`.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) key: LinkKey,
    /// The link, or why it cannot be used although it can be named.
    pub(crate) link: Result<ProviderLink, LinkError>,
}

/// Reads a link message; an error means that the link cannot even be named.
pub(crate) fn read(
    own: &ComponentId,
    unsealer: Option<&Unsealer>,
    link: ResolvedLink,
) -> Result<Arrived, LinkError> {
    let role = if link.source_id == own.as_str() {
        LinkRole::Source
    } else if link.target == own.as_str() {
        LinkRole::Target
    } else {
        return Err(LinkError::invalid(format!(
            "`{own}` is neither source nor target of the link from `{}` to `{}`",
            link.source_id, link.target
        )));
    };
    let (peer, sealed, config, peer_config) = match role {
        LinkRole::Source => (
            &link.target,
            &link.source_secrets,
            link.source_config,
            link.target_config,
        ),
        LinkRole::Target => (
            &link.source_id,
            &link.target_secrets,
            link.target_config,
            link.source_config,
        ),
    };
    let bad_name = |e| LinkError::invalid_because("the link has a name that is not allowed", e);
    let key = LinkKey {
        role,
        peer: ComponentId::new(peer).map_err(bad_name)?,
        namespace: WitName::new(&link.wit_namespace).map_err(bad_name)?,
        package: WitName::new(&link.wit_package).map_err(bad_name)?,
        name: LinkName::new(&link.name).map_err(bad_name)?,
    };
    let secrets = match (sealed, unsealer) {
        (None, _) => Ok(SecretMap::new()),
        (Some(sealed), Some(unsealer)) => unsealer.open(sealed),
        (Some(_), None) => Err(LinkError::invalid(
            "the link has sealed secrets, but the host gave the provider no key to open them",
        )),
    };
    let link = secrets.map(|secrets| ProviderLink {
        role,
        peer: key.peer.clone(),
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        package: key.package.clone(),
        interfaces: link.interfaces,
        config,
        secrets,
        peer_config,
        locality: link.locality,
        rules: link.rules,
        ruled: link.ruled,
    });
    Ok(Arrived { key, link })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A link that says nothing but whose it is.
    pub(crate) fn bare(
        role: LinkRole,
        package: (&str, &str),
        peer: &str,
        name: &str,
    ) -> ProviderLink {
        ProviderLink {
            role,
            peer: ComponentId::new(peer).unwrap(),
            name: LinkName::new(name).unwrap(),
            namespace: WitName::new(package.0).unwrap(),
            package: WitName::new(package.1).unwrap(),
            interfaces: Vec::new(),
            config: StringMap::new(),
            secrets: SecretMap::new(),
            peer_config: StringMap::new(),
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        }
    }

    fn resolved(source: &str, target: &str) -> ResolvedLink {
        ResolvedLink {
            source_id: source.into(),
            target: target.into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: vec!["store".into()],
            source_config: [("Side".to_owned(), "source".to_owned())].into(),
            target_config: [("Side".to_owned(), "target".to_owned())].into(),
            source_secrets: None,
            target_secrets: None,
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        }
    }

    fn own() -> ComponentId {
        ComponentId::new("kv").unwrap()
    }

    #[test]
    fn each_end_gets_its_own_config() {
        let arrived = read(&own(), None, resolved("counter", "kv")).unwrap();
        let link = arrived.link.unwrap();
        assert_eq!(link.role, LinkRole::Target);
        assert_eq!(link.peer.as_str(), "counter");
        assert_eq!(link.value("sIDE"), Some("target"));
        let arrived = read(&own(), None, resolved("kv", "counter")).unwrap();
        assert_eq!(arrived.link.unwrap().value("side"), Some("source"));
        assert_eq!(arrived.key.role, LinkRole::Source);
    }

    #[test]
    fn the_locality_is_part_of_the_link() {
        let near = read(&own(), None, resolved("kv", "counter")).unwrap();
        let spread = ResolvedLink {
            locality: Locality::Spread,
            ..resolved("kv", "counter")
        };
        let spread = read(&own(), None, spread).unwrap();
        assert_eq!(near.key, spread.key);
        assert_eq!(spread.link.as_ref().unwrap().locality, Locality::Spread);
        assert_ne!(near.link.unwrap(), spread.link.unwrap());
    }

    #[test]
    fn that_there_are_rules_is_told_without_them() {
        let mut link = serde_json::to_value(resolved("counter", "kv")).unwrap();
        assert_eq!(link.get("ruled"), None);
        let read_it = |link| {
            let resolved: ResolvedLink = serde_json::from_value(link).unwrap();
            read(&own(), None, resolved).unwrap().link.unwrap()
        };
        assert!(!read_it(link.clone()).ruled);
        link["ruled"] = true.into();
        assert!(read_it(link).ruled);
    }

    #[test]
    fn links_of_others_are_refused() {
        assert!(read(&own(), None, resolved("a", "b")).is_err());
        assert!(read(&own(), None, resolved("a b", "kv")).is_err());
    }

    #[test]
    fn sealed_secrets_are_opened_and_go_before_config() {
        let (host, provider) = (XKey::new(), XKey::new());
        let seed = SecretText::new(provider.seed().unwrap());
        let unsealer = Unsealer::new(&seed, &host.public_key()).unwrap().unwrap();
        let json = br#"{"side":{"kind":"String","value":"secret"}}"#;
        let mut link = resolved("counter", "kv");
        link.target_secrets = Some(host.seal(json, &provider).unwrap());
        let opened = read(&own(), Some(&unsealer), link.clone()).unwrap();
        assert_eq!(opened.link.unwrap().value("SIDE"), Some("secret"));
        assert!(!format!("{unsealer:?}").contains(seed.expose()));
        assert!(read(&own(), None, link.clone()).unwrap().link.is_err());
        link.target_secrets = Some(vec![1, 2, 3]);
        assert!(read(&own(), Some(&unsealer), link).unwrap().link.is_err());
    }

    #[test]
    fn empty_values_count_as_absent() {
        let mut link = resolved("counter", "kv");
        link.target_config.insert("bucket".into(), String::new());
        let link = read(&own(), None, link).unwrap().link.unwrap();
        assert_eq!(link.value("bucket"), None);
    }
}
