//! Subjects of the control interface.

use std::fmt;
use std::sync::Arc;

use crate::id::{ConfigName, HostId, IdRule, InvalidId, LatticeName, MAX_NAME_BYTES};

/// The subject prefix that hosts and clients use unless told otherwise.
pub const DEFAULT_CONTROL_PREFIX: &str = "wasmbus.ctl";

/// The version token of the control interface.
const VERSION: &str = "v1";

/// What stands before the version token: one or more subject tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicPrefix(Arc<str>);

impl TopicPrefix {
    /// Checks a prefix.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidId`] when it is not a dotted row of plain tokens.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let plain = |token: &str| {
            !token.is_empty()
                && token
                    .chars()
                    .all(|c| !c.is_whitespace() && !c.is_control() && !"*>".contains(c))
        };
        let rule = if text.is_empty() {
            IdRule::Empty
        } else if text.len() > MAX_NAME_BYTES {
            IdRule::TooLong {
                max: MAX_NAME_BYTES,
            }
        } else if !text.split('.').all(plain) {
            IdRule::Form {
                expected: "a row of subject tokens joined by dots, without wildcards",
            }
        } else {
            return Ok(Self(Arc::from(text)));
        };
        Err(InvalidId {
            kind: "subject prefix",
            text: text.to_owned(),
            rule,
        })
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TopicPrefix {
    fn default() -> Self {
        Self(Arc::from(DEFAULT_CONTROL_PREFIX))
    }
}

impl std::str::FromStr for TopicPrefix {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl fmt::Display for TopicPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One operation of the control interface and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlOp {
    /// Asks who could run a component.
    ComponentAuction,
    /// Asks who could run a provider.
    ProviderAuction,
    /// Starts, scales or stops a component.
    ComponentScale(HostId),
    /// Replaces the image of a component.
    ComponentUpdate(HostId),
    /// Starts a provider.
    ProviderStart(HostId),
    /// Stops a provider.
    ProviderStop(HostId),
    /// Asks for the inventory.
    HostGet(HostId),
    /// Asks every host to answer.
    HostPing,
    /// Stops a host.
    HostStop(HostId),
    /// Sets a label.
    LabelPut(HostId),
    /// Deletes a label.
    LabelDelete(HostId),
    /// Asks for all claims.
    ClaimsGet,
    /// Asks for all links.
    LinkGet,
    /// Stores a link.
    LinkPut,
    /// Deletes a link.
    LinkDelete,
    /// Asks for a config.
    ConfigGet(ConfigName),
    /// Stores a config.
    ConfigPut(ConfigName),
    /// Deletes a config.
    ConfigDelete(ConfigName),
    /// Sets registry credentials.
    RegistryPut,
}

impl ControlOp {
    /// The two tokens every subject of the operation has.
    #[must_use]
    pub fn noun_and_verb(&self) -> (&'static str, &'static str) {
        match self {
            Self::ComponentAuction => ("component", "auction"),
            Self::ProviderAuction => ("provider", "auction"),
            Self::ComponentScale(_) => ("component", "scale"),
            Self::ComponentUpdate(_) => ("component", "update"),
            Self::ProviderStart(_) => ("provider", "start"),
            Self::ProviderStop(_) => ("provider", "stop"),
            Self::HostGet(_) => ("host", "get"),
            Self::HostPing => ("host", "ping"),
            Self::HostStop(_) => ("host", "stop"),
            Self::LabelPut(_) => ("label", "put"),
            Self::LabelDelete(_) => ("label", "del"),
            Self::ClaimsGet => ("claims", "get"),
            Self::LinkGet => ("link", "get"),
            Self::LinkPut => ("link", "put"),
            Self::LinkDelete => ("link", "del"),
            Self::ConfigGet(_) => ("config", "get"),
            Self::ConfigPut(_) => ("config", "put"),
            Self::ConfigDelete(_) => ("config", "del"),
            Self::RegistryPut => ("registry", "put"),
        }
    }

    /// The last token, if the operation is for one host or one config.
    #[must_use]
    pub fn tail(&self) -> Option<&str> {
        match self {
            Self::ComponentScale(host)
            | Self::ComponentUpdate(host)
            | Self::ProviderStart(host)
            | Self::ProviderStop(host)
            | Self::HostGet(host)
            | Self::HostStop(host)
            | Self::LabelPut(host)
            | Self::LabelDelete(host) => Some(host.as_str()),
            Self::ConfigGet(name) | Self::ConfigPut(name) | Self::ConfigDelete(name) => {
                Some(name.as_str())
            }
            _ => None,
        }
    }

    fn from_tokens(tokens: &[&str]) -> Option<Result<Self, InvalidId>> {
        let host = |make: fn(HostId) -> Self, id: &str| Some(HostId::new(id).map(make));
        let config =
            |make: fn(ConfigName) -> Self, name: &str| Some(ConfigName::new(name).map(make));
        match tokens {
            ["component", "auction"] => Some(Ok(Self::ComponentAuction)),
            ["provider", "auction"] => Some(Ok(Self::ProviderAuction)),
            ["host", "ping"] => Some(Ok(Self::HostPing)),
            ["claims", "get"] => Some(Ok(Self::ClaimsGet)),
            ["link", "get"] => Some(Ok(Self::LinkGet)),
            ["link", "put"] => Some(Ok(Self::LinkPut)),
            ["link", "del"] => Some(Ok(Self::LinkDelete)),
            ["registry", "put"] => Some(Ok(Self::RegistryPut)),
            ["component", "scale", id] => host(Self::ComponentScale, id),
            ["component", "update", id] => host(Self::ComponentUpdate, id),
            ["provider", "start", id] => host(Self::ProviderStart, id),
            ["provider", "stop", id] => host(Self::ProviderStop, id),
            ["host", "get", id] => host(Self::HostGet, id),
            ["host", "stop", id] => host(Self::HostStop, id),
            ["label", "put", id] => host(Self::LabelPut, id),
            ["label", "del", id] => host(Self::LabelDelete, id),
            ["config", "get", name] => config(Self::ConfigGet, name),
            ["config", "put", name] => config(Self::ConfigPut, name),
            ["config", "del", name] => config(Self::ConfigDelete, name),
            _ => None,
        }
    }
}

/// Why a subject is no operation of this lattice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedSubject {
    /// The tokens name no operation. The text is the one old hosts answer.
    #[error("unsupported subject")]
    NoSuchOperation,
    /// The last token is not a host id or a config name.
    #[error("unsupported subject")]
    Tail(#[source] InvalidId),
}

/// A subscription of the control server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The subject with wildcards.
    pub subject: String,
    /// The queue group, if one host answers for all.
    pub queue: Option<String>,
}

/// Subjects of the control interface of one lattice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSubjects {
    base: Arc<str>,
}

impl ControlSubjects {
    /// The subjects under `prefix` for `lattice`.
    #[must_use]
    pub fn new(prefix: &TopicPrefix, lattice: &LatticeName) -> Self {
        Self {
            base: format!("{prefix}.{VERSION}.{lattice}").into(),
        }
    }

    /// The subject of an operation.
    #[must_use]
    pub fn subject(&self, op: &ControlOp) -> String {
        let (noun, verb) = op.noun_and_verb();
        match op.tail() {
            Some(tail) => format!("{}.{noun}.{verb}.{tail}", self.base),
            None => format!("{}.{noun}.{verb}", self.base),
        }
    }

    /// The operation a subject names.
    ///
    /// # Errors
    ///
    /// Returns [`UnsupportedSubject`] for everything else, also for subjects of
    /// other lattices.
    pub fn parse(&self, subject: &str) -> Result<ControlOp, UnsupportedSubject> {
        let tail = subject
            .strip_prefix(&*self.base)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or(UnsupportedSubject::NoSuchOperation)?;
        // One token more than any operation has, so that longer ones fail.
        let tokens: Vec<&str> = tail.splitn(4, '.').collect();
        match ControlOp::from_tokens(&tokens) {
            Some(Ok(op)) => Ok(op),
            Some(Err(invalid)) => Err(UnsupportedSubject::Tail(invalid)),
            None => Err(UnsupportedSubject::NoSuchOperation),
        }
    }

    /// What a host subscribes to.
    #[must_use]
    pub fn filters(
        &self,
        host: &HostId,
        component_auctions: bool,
        provider_auctions: bool,
    ) -> Vec<Filter> {
        let base = &self.base;
        let plain = |subject: String| Filter {
            subject,
            queue: None,
        };
        let grouped = |tail: &str, noun: &str| Filter {
            subject: format!("{base}.{tail}"),
            queue: Some(format!("{base}.{noun}")),
        };
        let mut filters = vec![
            plain(format!("{base}.registry.put")),
            plain(format!("{base}.host.ping")),
            grouped("link.*", "link"),
            grouped("claims.get", "claims"),
            grouped("config.>", "config"),
        ];
        for noun in ["component", "provider", "label", "host"] {
            filters.push(plain(format!("{base}.{noun}.*.{host}")));
        }
        if component_auctions {
            filters.push(plain(format!("{base}.component.auction")));
        }
        if provider_auctions {
            filters.push(plain(format!("{base}.provider.auction")));
        }
        filters
    }
}
