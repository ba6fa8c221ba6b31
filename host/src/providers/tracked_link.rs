//! One link of a provider: what belongs to it, and what the process was last told of it.

use std::sync::Arc;

use futures::future::BoxFuture;
use lattice_core::provider::SecretMap;
use lattice_core::reply::message_chain;
use lattice_core::{ComponentId, ConfigName, Link, ResolvedLink, StringMap, config};
use lattice_store::ConfigWatch;

use super::credentials::NO_ROOM;
use super::seal::Sealer;
use crate::trust::secrets::{SecretBundle, SecretState};

/// A link of the provider, and what the process was last told of it.
#[derive(Debug)]
pub(crate) struct TrackedLink {
    pub(crate) link: Link,
    pub(crate) source: Watched,
    pub(crate) target: Watched,
    /// The secrets of the provider's own end, which nobody else is told.
    pub(crate) secrets: SecretBundle,
    pub(crate) told: Option<Told>,
    /// Whether the process was told to do without it after that.
    pub(crate) is_withdrawn: bool,
    /// Whether the lattice was told that the link cannot be told.
    pub(crate) is_refused: bool,
    /// Whether the credentials of the process reach too many links already.
    pub(crate) has_no_room: bool,
}

/// Why a provider is not told of a link with rules that starts at it.
const RULED: &str = "the link has rules, which are kept for links whose source is a component";

/// The configs of one end of a link, or why they cannot be had.
pub(crate) type Watched = Result<Vec<ConfigWatch>, String>;

/// A link as a process is told it; the secrets are sealed on their way, each time anew.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    link: ResolvedLink,
    secrets: Arc<SecretMap>,
}

/// Why a link cannot be told.
#[derive(Debug)]
pub(crate) enum Untold {
    /// Its secrets are being asked for.
    Pending,
    /// Its configs cannot be had.
    Configs(String),
    /// Its secrets cannot be had, or no longer; or it has rules that nobody would keep.
    Refused(String),
}

impl TrackedLink {
    /// Whether the watched configs and secrets are those that the link names now.
    pub(crate) fn is_usable_for(&self, link: &Link) -> bool {
        let readable = self.source.is_ok() && self.target.is_ok();
        readable
            && self.link.source_config == link.source_config
            && self.link.target_config == link.target_config
    }

    /// The link with its configs merged and its secrets, or why it cannot be told to `own`.
    pub(crate) fn resolve(&self, own: &ComponentId) -> Result<Told, Untold> {
        // The host sees the calls of components only.
        if self.link.source_id == own.as_str() && !self.link.rules.is_empty() {
            return Err(Untold::Refused(RULED.to_owned()));
        }
        if self.has_no_room {
            return Err(Untold::Refused(NO_ROOM.to_owned()));
        }
        let known = self.told.is_some();
        let source = merge(&self.source, known).map_err(Untold::Configs)?;
        let target = merge(&self.target, known).map_err(Untold::Configs)?;
        let secrets = match self.secrets.current() {
            SecretState::Pending => return Err(Untold::Pending),
            SecretState::Ready(secrets) => secrets,
            SecretState::Failed(error) => {
                return Err(Untold::Refused(message_chain(error.as_ref())));
            }
        };
        Ok(Told {
            link: ResolvedLink::new(&self.link, source, target),
            secrets,
        })
    }

    /// One future for each thing whose change may change what is told.
    pub(crate) fn changes(&mut self) -> Vec<BoxFuture<'_, ()>> {
        let ends = [&mut self.source, &mut self.target].into_iter();
        let configs = ends.filter_map(|watched| watched.as_mut().ok()).flatten();
        let mut changes: Vec<BoxFuture<'_, ()>> = configs
            .map(|watch| -> BoxFuture<'_, ()> {
                Box::pin(async {
                    watch.changed().await;
                })
            })
            .collect();
        if !self.secrets.is_empty() {
            changes.push(Box::pin(self.secrets.changed()));
        }
        changes
    }
}

impl Told {
    /// The message to the process `own`.
    pub(crate) fn message(&self, own: &ComponentId, sealer: &Sealer) -> Option<ResolvedLink> {
        let mut message = self.link.clone();
        match sealer.seal(&self.secrets) {
            Ok(sealed) if message.source_id == own.as_str() => message.source_secrets = sealed,
            Ok(sealed) => message.target_secrets = sealed,
            Err(error) => {
                let provider = own.as_str();
                tracing::error!(provider, %error, "could not seal the secrets of a link");
                return None;
            }
        }
        Some(message)
    }
}

/// The secrets that a link names at the end of `own`.
pub(crate) fn own_secrets(own: &ComponentId, link: &Link) -> Vec<ConfigName> {
    let names = match link.source_id == own.as_str() {
        true => &link.source_config,
        false => &link.target_config,
    };
    let names = names.iter().filter_map(|name| ConfigName::new(name).ok());
    names.filter(ConfigName::is_secret).collect()
}

/// Merges the configs of one end. A config that is deleted after the link was told keeps its last
/// values, as in 1.x: it may hold what the link is limited to, such as `allow` of the HTTP client.
/// One that was never there is an error.
fn merge(watched: &Watched, known: bool) -> Result<StringMap, String> {
    let watches = watched.as_ref().map_err(String::clone)?;
    let mut configs = Vec::with_capacity(watches.len());
    for watch in watches {
        let config = match known {
            true => watch.current_or_last(),
            false => watch.current(),
        };
        match config {
            Some(config) => configs.push(config),
            None => return Err(format!("Config {} does not exist", watch.name())),
        }
    }
    Ok(config::merge(configs.iter().map(AsRef::as_ref)))
}

/// What it takes to tell that a link is gone.
pub(crate) fn bare_link((key, target): &(lattice_core::LinkKey, String)) -> Link {
    Link {
        source_id: key.source.as_str().to_owned(),
        target: target.clone(),
        name: key.name.as_str().to_owned(),
        wit_namespace: key.namespace.as_str().to_owned(),
        wit_package: key.package.as_str().to_owned(),
        interfaces: Vec::new(),
        source_config: Vec::new(),
        target_config: Vec::new(),
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        status: Vec::new(),
    }
}
