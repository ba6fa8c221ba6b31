//! What stands behind an interface, and how the catalog writes it down.

use lattice_services::Kind;
use serde_json::{Value, json};

use crate::ground::{Form, Ground};

/// What stands behind an interface.
#[derive(Debug)]
pub struct Backend {
    /// What it is called in reports.
    pub name: &'static str,
    /// The crate of the provider; empty for what the host does itself.
    pub provider: &'static str,
    /// Where it is.
    pub place: Place,
    /// Why it keeps nothing over its end, where it does not.
    pub forgets: Option<&'static str>,
    /// The target config of the component's link.
    pub config: fn(&Ground) -> Value,
    /// The source config of the provider's link to the component; none where it does not call.
    pub source_config: Option<fn(&Ground) -> Value>,
    /// Settings that the suite has to know.
    pub settings: fn(&Ground) -> Vec<(String, String)>,
    /// Arguments of the hosts.
    pub host: &'static [&'static str],
    /// Whether the lattice's NATS is of version 2.9, which the provider has to make do with.
    pub is_old: bool,
}

/// Where a backend is: what goes down when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a service of its own.
    Service(Kind),
    /// In one whose clients go where it tells them, not where their link says. Its stand-in forgets
    /// its topics and how far readers were, as no real one does, and is frozen in place of killed.
    Told(Kind),
    /// In the lattice's NATS, or in another that a link names by this key.
    Nats(&'static str),
    /// In the lattice's NATS.
    Lattice,
    /// In the provider, with its files or its memory.
    Provider,
    /// With those whom the provider meets outside, who are the driver's.
    Outside,
}

impl Place {
    /// The service that has to be there besides the lattice's NATS.
    #[must_use]
    pub fn service(self) -> Option<Kind> {
        match self {
            Self::Service(kind) | Self::Told(kind) => Some(kind),
            Self::Nats(_) | Self::Lattice | Self::Provider | Self::Outside => None,
        }
    }

    /// Whether calls of the lattice get lost with it.
    #[must_use]
    pub fn is_lattice(self) -> bool {
        matches!(self, Self::Nats(_) | Self::Lattice)
    }
}

impl Backend {
    /// Where it can run.
    #[must_use]
    pub fn forms(&self) -> &'static [Form] {
        if self.provider.is_empty() {
            &[Form::InHost]
        } else {
            &Form::ALL
        }
    }

    /// One that is in its provider, without config.
    pub(super) const fn plain(name: &'static str, provider: &'static str) -> Self {
        Self {
            name,
            provider,
            place: Place::Provider,
            forgets: None,
            config: nothing,
            source_config: None,
            settings: no_settings,
            host: &[],
            is_old: false,
        }
    }

    /// The same on a lattice with an old NATS.
    pub(super) const fn on_old_nats(self, name: &'static str) -> Self {
        Self {
            name,
            is_old: true,
            ..self
        }
    }

    /// One with a service that links name.
    pub(super) const fn of(
        name: &'static str,
        provider: &'static str,
        service: Kind,
        config: fn(&Ground) -> Value,
    ) -> Self {
        Self {
            place: Place::Service(service),
            config,
            ..Self::plain(name, provider)
        }
    }

    /// One in the lattice's NATS, or in another that the link names by `key`.
    pub(super) const fn nats(
        name: &'static str,
        provider: &'static str,
        key: &'static str,
    ) -> Self {
        Self {
            place: Place::Nats(key),
            ..Self::plain(name, provider)
        }
    }

    /// One in the lattice's NATS.
    pub(super) const fn lattice(name: &'static str, provider: &'static str) -> Self {
        Self {
            place: Place::Lattice,
            ..Self::plain(name, provider)
        }
    }

    /// One that keeps nothing over its end.
    pub(super) const fn forgetting(self, why: &'static str) -> Self {
        Self {
            forgets: Some(why),
            ..self
        }
    }

    /// The same with another config.
    pub(super) const fn with(self, config: fn(&Ground) -> Value) -> Self {
        Self { config, ..self }
    }
}

fn nothing(_: &Ground) -> Value {
    json!({})
}

fn no_settings(_: &Ground) -> Vec<(String, String)> {
    Vec::new()
}

/// The address of the service.
pub(super) fn url(ground: &Ground) -> Value {
    json!({ "url": ground.url() })
}

/// What `more` says besides.
#[must_use]
pub fn and(mut config: Value, more: Value) -> Value {
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    config
}
