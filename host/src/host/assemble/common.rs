//! What the parts of a host share: its connections, the store, the tables, who it is and what it trusts.

use std::sync::Arc;

use async_nats::Client;
use lattice_claims::{CurveKey, TokenError};
use lattice_control::EventPublisher;
use lattice_core::InvalidId;
use lattice_nats::connection::Rotation;
use lattice_rpc::{Auth, ConnectError, Peer, PeerConfig};
use lattice_store::{LatticeStore, StoreError, StoreOptions};

use crate::bus_errors::BusErrors;
use crate::bus_log::Users;
use crate::claims::ClaimsTable;
use crate::config::HostConfig;
use crate::connect::{connect, for_long_streams};
use crate::events::Events;
use crate::failures::Failures;
use crate::host::StartHostError;
use crate::identity::Identity;
use crate::labels::Labels;
use crate::links::LinkTable;
use crate::refusals::Refusals;
use crate::trust::secrets::Secrets;
use crate::trust::{Policy, Trust};
use crate::vouch::Voucher;

/// What the parts share.
pub(super) struct Common {
    pub(super) config: HostConfig,
    pub(super) identity: Arc<Identity>,
    pub(super) ctl: Client,
    pub(super) peer: Peer,
    pub(super) rotations: Vec<Rotation>,
    pub(super) bus_errors: Arc<BusErrors>,
    pub(super) store: LatticeStore,
    pub(super) labels: Arc<Labels>,
    pub(super) links: Arc<LinkTable>,
    pub(super) claims: Arc<ClaimsTable>,
    pub(super) events: Arc<Events>,
    pub(super) failures: Arc<Failures>,
    pub(super) refusals: Refusals,
    pub(super) voucher: Arc<Voucher>,
    pub(super) trust: Arc<Trust>,
    pub(super) secrets: Secrets,
    /// The NATS users of provider processes.
    pub(super) users: Arc<Users>,
    /// Seals what only one provider process may read.
    pub(super) xkey: Arc<CurveKey>,
}

/// Connects, opens the store, and makes what the parts share.
pub(super) async fn common(
    config: HostConfig,
    peer_config: PeerConfig,
) -> Result<Common, StartHostError> {
    let identity = Arc::new(identity(&config)?);
    let labels = Arc::new(Labels::new(&config.labels)?);
    let bus_errors = BusErrors::start();
    let (ctl, rpc, rotations) = connections(&config, &bus_errors).await?;
    let store = store(&config, &ctl).await?;
    let events = Arc::new(events(&identity, &ctl));
    let secrets = secrets(&config, &ctl, &store, &identity, &events)?;
    // The log of the server says the same, and whose users they are.
    if config.bus_log.is_none() {
        bus_errors.tell_to(identity.id.clone(), Arc::clone(&events));
    }
    let links = Arc::new(LinkTable::new(config.lattice.clone()));
    let refusals = Refusals::start(&identity.id, &events);
    let (voucher, auth) = Voucher::start(&config, Arc::clone(&links) as _, refusals.reports())?;
    if let Some(board) = &peer_config.local {
        board.tell_by(&auth);
    }
    let peer = peer(&config, rpc, auth, peer_config, &bus_errors).await?;
    let trust = trust(&config, &ctl, &identity, &labels, &events).await?;
    Ok(Common {
        refusals,
        voucher: Arc::new(voucher),
        trust: Arc::new(trust),
        secrets,
        users: Arc::new(users(&config)),
        xkey: Arc::new(CurveKey::generate()),
        labels,
        links,
        claims: Arc::default(),
        failures: Arc::new(Failures::start(identity.id.clone(), Arc::clone(&events))),
        config,
        identity,
        ctl,
        peer,
        rotations,
        bus_errors,
        store,
        events,
    })
}

fn identity(config: &HostConfig) -> Result<Identity, InvalidId> {
    let (name, lattice) = (config.friendly_name.clone(), config.lattice.clone());
    Identity::new(&config.key, name, lattice)
}

/// The connections for control and for calls, and what makes them again when their files change.
async fn connections(
    config: &HostConfig,
    bus_errors: &Arc<BusErrors>,
) -> Result<(Client, Client, Vec<Rotation>), StartHostError> {
    let ((ctl, ctl_rotation), (rpc, rpc_rotation)) = tokio::try_join!(
        connect("control", &config.ctl, config.rpc_timeout, bus_errors),
        connect("calls", &config.rpc, config.rpc_timeout, bus_errors),
    )?;
    let rotations = ctl_rotation.into_iter().chain(rpc_rotation).collect();
    Ok((ctl, rpc, rotations))
}

async fn store(config: &HostConfig, ctl: &Client) -> Result<LatticeStore, StoreError> {
    let options = StoreOptions {
        js_domain: config.js_domain.clone(),
        replicas: config.store_replicas,
        ..StoreOptions::default()
    };
    LatticeStore::open(ctl.clone(), &config.lattice, options).await
}

fn events(identity: &Identity, ctl: &Client) -> Events {
    let (lattice, host) = (identity.lattice.clone(), identity.id.clone());
    Events::start(EventPublisher::new(ctl.clone(), lattice, host))
}

fn secrets(
    config: &HostConfig,
    ctl: &Client,
    store: &LatticeStore,
    identity: &Identity,
    events: &Arc<Events>,
) -> Result<Secrets, TokenError> {
    let (settings, key) = (&config.secrets, &config.key);
    Secrets::new(ctl, store.configs(), settings, identity, key, events)
}

/// What makes and serves calls, with a connection of its own for long streams.
async fn peer(
    config: &HostConfig,
    rpc: Client,
    auth: Auth,
    peer_config: PeerConfig,
    bus_errors: &Arc<BusErrors>,
) -> Result<Peer, ConnectError> {
    let bulk = for_long_streams(&config.rpc, config.rpc_timeout, bus_errors);
    let peer_config = PeerConfig {
        auth: Some(auth),
        bulk: Some(bulk),
        ..peer_config
    };
    Peer::new(rpc, peer_config).await
}

fn users(config: &HostConfig) -> Users {
    let life = config.provider_signer.as_ref().map(|signer| signer.life);
    let log = config.bus_log.as_deref();
    Users::new(log, &config.lattice, life.unwrap_or_default())
}

/// The rules for what runs here, with the policy service that is asked as well.
async fn trust(
    config: &HostConfig,
    ctl: &Client,
    identity: &Arc<Identity>,
    labels: &Arc<Labels>,
    events: &Arc<Events>,
) -> Result<Trust, StartHostError> {
    let policy = match config.policy.clone() {
        None => None,
        Some(policy) => {
            let (identity, labels) = (Arc::clone(identity), Arc::clone(labels));
            let events = Arc::clone(events);
            Some(Policy::start(policy, ctl.clone(), identity, labels, events).await?)
        }
    };
    Ok(Trust::new(config.trust.clone(), policy))
}
