//! Why a provider does not start, run, serve, or take a link.

use std::error::Error;
use std::io;
use std::time::Duration;

use lattice_core::InvalidId;
pub use lattice_core::reply::message_chain as chain;
use lattice_rpc::{CallError, ConnectError, KeyError};

use crate::link::{LinkRole, ProviderLink};
use crate::provider::Provider;

/// The cause of an error whose type does not matter to the caller.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a provider does not serve a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The link itself cannot be served; it is not tried again until it changes.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
        /// Why.
        source: Option<BoxError>,
    },
    /// Something the link needs is not there; it is tried again.
    #[error("{what}")]
    Unavailable {
        /// What failed.
        what: String,
        /// Why.
        source: Option<BoxError>,
    },
}

impl LinkError {
    /// The link cannot be served as it is.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            source: None,
        }
    }

    /// The link cannot be served as it is, with the cause.
    pub fn invalid_because(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Invalid {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    /// Something is missing that may come.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: None,
        }
    }

    /// Something is missing that may come, with the cause.
    pub fn unavailable_because(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    pub(crate) fn wrong_role<P: Provider>(link: &ProviderLink, role: LinkRole) -> Self {
        Self::invalid(format!(
            "`{}` cannot be the {role} of a link for {}:{}",
            P::NAME,
            link.namespace,
            link.package
        ))
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        Self::unavailable(format!(
            "the provider did not take the link within {limit:?}"
        ))
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        chain(self)
    }
}

/// Why a call through generated bindings failed, as the transport says it.
#[must_use]
pub fn call_error(error: anyhow::Error) -> CallError {
    let known = error.chain().find_map(|cause| {
        let carried = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        cause.downcast_ref::<CallError>().or_else(carried)
    });
    match known {
        Some(known) => known.clone(),
        None => CallError::Protocol(format!("{error:#}")),
    }
}

/// Why a provider did not start.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StartError {
    what: String,
    source: Option<BoxError>,
}

impl StartError {
    /// Says what failed.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            source: None,
        }
    }

    /// Says what failed, with the cause.
    pub fn because(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        let source = self.source.as_ref()?;
        source.downcast_ref::<ServeError>()?.hint()
    }
}

impl From<ServeError> for StartError {
    fn from(error: ServeError) -> Self {
        Self::because("could not serve the provider's functions", error)
    }
}

/// Why a function could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// NATS refused the subscription.
    #[error(transparent)]
    Subscribe(#[from] ConnectError),
    /// The generated bindings failed.
    #[error("could not serve the bindings")]
    Bindings(#[source] BoxError),
    /// The bindings that were to be driven are not those that were served.
    #[error("`{instance}.{function}` is not among the bindings that were served")]
    Unknown {
        /// The interface.
        instance: String,
        /// The function.
        function: String,
    },
    /// A text that calls are to be checked by is no WIT package.
    #[error("a text that calls are to be checked by is no WIT package")]
    Wit(#[source] BoxError),
    /// A function that is served is in no text that calls are to be checked by.
    #[error("`{instance}.{function}` is in none of the WIT texts that calls are to be checked by")]
    NotInWit {
        /// The interface.
        instance: String,
        /// The function.
        function: String,
    },
    /// A function has a type that does not travel between components and providers.
    #[error("`{instance}.{function}` has a `{kind}`, which does not travel")]
    Type {
        /// The interface.
        instance: String,
        /// The function.
        function: String,
        /// What WIT calls the type.
        kind: &'static str,
    },
    /// A function answers with flags that generated code writes in more bytes than its callers read.
    #[error(
        "`{instance}.{function}` answers with the flags `{flags}`, whose {names} names the bindings \
         write in more bytes than callers read"
    )]
    Flags {
        /// The interface.
        instance: String,
        /// The function.
        function: String,
        /// What the type is called.
        flags: String,
        /// How many names it has.
        names: usize,
    },
}

impl ServeError {
    /// What a person may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Wit(_) => {
                Some("each text is a package of its own, and comes after those that it uses")
            }
            Self::NotInWit { .. } => Some(
                "give the text of each package that is served; what a world itself declares cannot \
                 be linked: declare it in an interface",
            ),
            Self::Flags { .. } => {
                Some("use up to 16 names, or 25 to 32; names that mean nothing fill them up")
            }
            _ => None,
        }
    }
}

/// Why a provider ended other than by being stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host data names something that is no id.
    #[error("the host data is not usable")]
    HostData(#[from] InvalidId),
    /// The seed of the provider's curve key, or the host's key, is none.
    #[error("the {key} in the host data is not a curve key")]
    Key {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        source: nkeys::error::Error,
    },
    /// What the provider is to prove who it is with is not usable.
    #[error("the identity in the host data is not usable")]
    Identity(#[from] KeyError),
    /// The NATS credentials are not usable.
    #[error("the NATS credentials in the host data are not usable")]
    Credentials(#[source] BoxError),
    /// There is no connection to the lattice.
    #[error("could not connect to NATS at `{url}`")]
    Connect {
        /// The address.
        url: String,
        /// Why.
        source: async_nats::ConnectError,
    },
    /// A subscription was refused.
    #[error("could not subscribe on the lattice")]
    Subscribe(#[from] ConnectError),
    /// The provider itself did not start.
    #[error("`{provider}` did not start")]
    Start {
        /// The provider.
        provider: &'static str,
        /// Why.
        source: StartError,
    },
    /// The connection to the lattice ended for good.
    #[error("the connection to the lattice ended")]
    Disconnected,
}

impl RunError {
    /// What a person may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { .. } => {
                Some("is a nats-server running there, and do the host's `--rpc-*` flags name it?")
            }
            Self::HostData(_) | Self::Key { .. } | Self::Identity(_) => Some(
                "host data is written by a host; start the provider with `wash start provider`",
            ),
            Self::Start { source, .. } => source.hint(),
            _ => None,
        }
    }
}
