//! How the parts of a host come together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use lattice_claims::{BuiltinIssuer, CurveKey, KeyError};
use lattice_control::{ClientConfig, EventPublisher, Server, ServerConfig};
use lattice_core::event::{Event, HostStarted};
use lattice_core::provider::HostData;
use lattice_nats::connection::Rotation;
use lattice_rpc::{Gate, Peer, PeerConfig, Switchboard};
use lattice_runtime::{Runtime, RuntimeConfig, RuntimeError};
use lattice_store::{LatticeStore, StoreOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Host, StartHostError};
use crate::admin::Admin;
use crate::artifact::Images;
use crate::bus_errors::BusErrors;
use crate::bus_log::{BusLog, Users};
use crate::claims::ClaimsTable;
use crate::components::{ComponentDeps, Components, Drains, OldHosts};
use crate::config::HostConfig;
use crate::connect::{connect, for_long_streams};
use crate::control::HostApi;
use crate::events::Events;
use crate::failures::Failures;
use crate::identity::{Identity, VERSION};
use crate::inventory::Inventory;
use crate::labels::Labels;
use crate::lines::Lines;
use crate::links::LinkTable;
use crate::metrics::Metrics;
use crate::providers::{LinkStates, ProviderDeps, Providers, Spawner};
use crate::refusals::Refusals;
use crate::registries::Registries;
use crate::router::Router;
use crate::shared_code::SharedCode;
use crate::threads::{self, LongCalls};
use crate::trust::secrets::Secrets;
use crate::trust::{Policy, Trust};
use crate::vouch::Voucher;
use crate::{deaths, heartbeat, sync};

/// How long a new host waits until it is known to be there.
const TELL: Duration = Duration::from_secs(2);

/// What the parts share.
struct Common {
    config: HostConfig,
    identity: Arc<Identity>,
    ctl: Client,
    peer: Peer,
    rotations: Vec<Rotation>,
    bus_errors: Arc<BusErrors>,
    store: LatticeStore,
    labels: Arc<Labels>,
    links: Arc<LinkTable>,
    claims: Arc<ClaimsTable>,
    events: Arc<Events>,
    failures: Arc<Failures>,
    refusals: Refusals,
    voucher: Arc<Voucher>,
    trust: Arc<Trust>,
    secrets: Secrets,
    /// The NATS users of provider processes.
    users: Arc<Users>,
    /// Seals what only one provider process may read.
    xkey: Arc<CurveKey>,
}

/// Starts everything a host consists of; the control server comes last, when there is something
/// to control.
pub(super) async fn start(config: HostConfig) -> Result<Host, StartHostError> {
    let long_calls = LongCalls::start().map_err(StartHostError::Threads)?;
    let runtime_config = RuntimeConfig {
        long_work: long_calls.handle(),
        ..config.runtime.clone()
    };
    let local = Switchboard::default();
    let peer_config = PeerConfig {
        long_calls: long_calls.handle(),
        local: Some(local.clone()),
        ..PeerConfig::default()
    };
    let (common, runtime) = tokio::try_join!(common(config, peer_config), runtime(runtime_config))?;
    let shares = common.config.share_code;
    let shared_code = shares.then(|| {
        let cluster = &common.config.cluster;
        SharedCode::start(&runtime, cluster, common.store.code())
    });
    let tables = (Arc::clone(&common.links), Arc::clone(&common.claims));
    let (sync, unwritten) = sync::follow(common.store.clone(), tables.0, tables.1).await?;
    let gate = &common.config.adaptive_limit;
    let gate = gate.then(|| threads::gate(long_calls.handle(), common.config.runtime.tick));
    let (gate, watched) = gate.unzip();
    let components = Arc::new(components(&common, runtime, gate));
    let lines = common.config.socket_folder.as_deref();
    let lines = lines.and_then(|folder| Lines::open(folder, &common.identity.id, &local));
    let (providers, states) = providers(&common, local, long_calls.handle(), lines.as_ref())?;
    let inventory = Arc::new(inventory(&common, &components, &providers));
    let metrics = Metrics::new(Arc::clone(&inventory), long_calls.handle());
    let admin = admin(common.config.http_admin, metrics).await?;
    let (wish, stop) = watch::channel(None);
    let api = HostApi {
        identity: Arc::clone(&common.identity),
        labels: Arc::clone(&common.labels),
        components: Arc::clone(&components),
        providers: Arc::clone(&providers),
        links: Arc::clone(&common.links),
        claims: Arc::clone(&common.claims),
        unwritten,
        registries: Registries::default(),
        store: common.store.clone(),
        events: Arc::clone(&common.events),
        inventory: Arc::clone(&inventory),
        rpc: common.peer.nats().clone(),
        stop: wish,
    };
    let control = Server::start(common.ctl.clone(), server_config(&common), Arc::new(api)).await?;
    let deaths = deaths(&common);
    let bus_log = bus_log(&common).await?;
    tell_started(&common);
    common.events.flush(TELL).await;
    let interval = common.config.heartbeat_interval;
    Ok(Host {
        control,
        components,
        providers,
        states,
        admin,
        stop,
        drain_timeout: common.config.drain_timeout,
        heartbeat: heartbeat::start(inventory, Arc::clone(&common.events), interval),
        _sync: sync,
        _gate: watched,
        identity: common.identity,
        labels: common.labels,
        events: common.events,
        peer: common.peer,
        _rotations: common.rotations,
        _failures: common.failures,
        _shared_code: shared_code.flatten(),
        _refusals: common.refusals,
        _deaths: deaths,
        _bus_log: bus_log,
        _bus_errors: common.bus_errors,
        _lines: lines,
        _long_calls: long_calls,
    })
}

async fn common(config: HostConfig, peer_config: PeerConfig) -> Result<Common, StartHostError> {
    let lattice = config.lattice.clone();
    let identity = Identity::new(&config.key, config.friendly_name.clone(), lattice.clone())?;
    let identity = Arc::new(identity);
    let labels = Labels::new(&config.labels)?;
    let bus_errors = BusErrors::start();
    let ((ctl, ctl_rotation), (rpc, rpc_rotation)) = tokio::try_join!(
        connect("control", &config.ctl, config.rpc_timeout, &bus_errors),
        connect("calls", &config.rpc, config.rpc_timeout, &bus_errors),
    )?;
    let rotations = ctl_rotation.into_iter().chain(rpc_rotation).collect();
    let options = StoreOptions {
        js_domain: config.js_domain.clone(),
        replicas: config.store_replicas,
        ..StoreOptions::default()
    };
    let store = LatticeStore::open(ctl.clone(), &lattice, options).await?;
    let publisher = EventPublisher::new(ctl.clone(), lattice.clone(), identity.id.clone());
    let events = Arc::new(Events::start(publisher));
    let (settings, key) = (&config.secrets, &config.key);
    let secrets = Secrets::new(&ctl, store.configs(), settings, &identity, key, &events)?;
    // The log of the server says the same, and whose users they are.
    if config.bus_log.is_none() {
        bus_errors.tell_to(identity.id.clone(), Arc::clone(&events));
    }
    let links = Arc::new(LinkTable::new(lattice));
    let refusals = Refusals::start(&identity.id, &events);
    let (voucher, auth) = Voucher::start(&config, Arc::clone(&links) as _, refusals.reports())?;
    let peer_config = PeerConfig {
        auth: Some(auth),
        bulk: Some(for_long_streams(
            &config.rpc,
            config.rpc_timeout,
            &bus_errors,
        )),
        ..peer_config
    };
    let peer = Peer::new(rpc, peer_config).await?;
    let labels = Arc::new(labels);
    let trust = trust(&config, &ctl, &identity, &labels, &events).await?;
    let life = config.provider_signer.as_ref().map(|signer| signer.life);
    let users = Users::new(
        config.bus_log.as_deref(),
        &config.lattice,
        life.unwrap_or_default(),
    );
    Ok(Common {
        refusals,
        voucher: Arc::new(voucher),
        trust: Arc::new(trust),
        secrets,
        users: Arc::new(users),
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

/// Hears of providers that die, here or elsewhere.
fn deaths(common: &Common) -> AbortOnDropHandle<()> {
    let client = ClientConfig::new(common.config.lattice.clone());
    let client = lattice_control::Client::new(common.ctl.clone(), client);
    deaths::follow(client, common.peer.clone())
}

/// Reads what the NATS server refuses, where its log is to be had.
async fn bus_log(common: &Common) -> Result<Option<BusLog>, StartHostError> {
    let Some(path) = common.config.bus_log.clone() else {
        return Ok(None);
    };
    let (host, events) = (common.identity.id.clone(), Arc::clone(&common.events));
    let users = Arc::clone(&common.users);
    let log = BusLog::start(path.clone(), host, events, users).await;
    log.map(Some)
        .map_err(|source| StartHostError::BusLog { path, source })
}

/// Reserving address space and starting a thread is not for a thread that serves sockets.
async fn runtime(config: RuntimeConfig) -> Result<Runtime, StartHostError> {
    let made = tokio::task::spawn_blocking(move || Runtime::new(config)).await;
    match made {
        Ok(made) => made.map_err(StartHostError::Runtime),
        Err(ended) => Err(StartHostError::Runtime(RuntimeError::Ticker(
            std::io::Error::other(ended),
        ))),
    }
}

async fn admin(
    address: Option<SocketAddr>,
    metrics: Metrics,
) -> Result<Option<Admin>, StartHostError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let admin = Admin::start(address, move || metrics.text()).await;
    admin
        .map(Some)
        .map_err(|source| StartHostError::Admin { address, source })
}

fn images(config: &HostConfig) -> Images {
    let issuer = config.cluster.key.as_deref().map(BuiltinIssuer::of);
    let issuer = issuer.and_then(|issuer| {
        let told = |error: &KeyError| tracing::error!(%error, "cannot sign for the providers that are part of this host");
        issuer.inspect_err(told).ok()
    });
    Images {
        builtins: config.builtins.clone(),
        issuer: issuer.map(Arc::new),
        allow_files: config.allow_file_load,
        max_component_bytes: config.runtime.max_component_bytes,
        max_provider_bytes: config.providers.max_bytes,
    }
}

fn components(common: &Common, runtime: Runtime, gate: Option<Gate>) -> Components {
    let config = &common.config;
    Components::new(ComponentDeps {
        identity: Arc::clone(&common.identity),
        runtime,
        peer: common.peer.clone(),
        bus_errors: Arc::clone(&common.bus_errors),
        store: common.store.clone(),
        router: Router::new(Arc::clone(&common.links)),
        events: Arc::clone(&common.events),
        failures: Arc::clone(&common.failures),
        trust: Arc::clone(&common.trust),
        images: images(config),
        secrets: common.secrets.clone(),
        queue: config.queue,
        gate,
        call_timeout: config.call_timeout,
        max_execution_time: config.max_execution_time,
        drain_timeout: config.drain_timeout,
        drains: Drains::default(),
        old_hosts: Arc::new(old_hosts(common)),
    })
}

fn old_hosts(common: &Common) -> OldHosts {
    let config = &common.config;
    let prefix = config.ctl_topic_prefix.clone();
    OldHosts::new(common.ctl.clone(), config.lattice.clone(), prefix)
}

type ProviderParts = (Arc<Providers>, Arc<LinkStates>);

fn providers(
    common: &Common,
    local: Switchboard,
    threads: Option<Handle>,
    lines: Option<&Lines>,
) -> Result<ProviderParts, StartHostError> {
    let config = &common.config;
    let id = common.identity.id.clone();
    let reporter = common.store.reporter(id.clone());
    let states = Arc::new(LinkStates::new(id, reporter, Arc::clone(&common.events)));
    let images = images(config);
    if let Some(issuer) = &images.issuer {
        let issuer = issuer.public_key();
        tracing::info!(issuer, "signs for the providers that are part of this host");
    }
    let providers = Providers::new(ProviderDeps {
        identity: Arc::clone(&common.identity),
        nats: common.peer.nats().clone(),
        bulk: common.peer.bulk().cloned(),
        store: common.store.clone(),
        links: Arc::clone(&common.links),
        states: Arc::clone(&states),
        events: Arc::clone(&common.events),
        trust: Arc::clone(&common.trust),
        images,
        secrets: common.secrets.clone(),
        xkey: Arc::clone(&common.xkey),
        spawner: Spawner::start().map_err(StartHostError::Spawner)?,
        local,
        threads,
        voucher: Arc::clone(&common.voucher),
        refusals: common.refusals.of_providers(),
        failures: common.failures.of_providers(),
        config: config.providers,
        rpc_timeout: config.rpc_timeout,
        rpc: config.rpc.clone(),
        signer: config.provider_signer.clone(),
        users: Arc::clone(&common.users),
        host_data: HostData {
            lattice_socket: lines.map(|lines| lines.path().to_owned()),
            ..host_data(common)
        },
    });
    Ok((Arc::new(providers), states))
}

/// How long calls may take whose callers tell no deadline, where that is not the usual.
fn call_timeout_ms(config: &HostConfig) -> Option<u64> {
    let usual = HostConfig::CALL_TIMEOUT;
    let own = config.call_timeout;
    let millis = (own != usual).then_some(own.as_millis())?;
    u64::try_from(millis).ok()
}

/// What every provider process is told.
fn host_data(common: &Common) -> HostData {
    let config = &common.config;
    HostData {
        host_id: common.identity.id.as_str().to_owned(),
        lattice_call_timeout_ms: call_timeout_ms(config),
        lattice_rpc_prefix: config.lattice.as_str().to_owned(),
        link_name: HostData::default_link_name(),
        host_xkey_public_key: common.xkey.public_key(),
        lattice_strict: !config.allow_legacy_peers,
        lattice_reserved: config.reserved_subjects(),
        lattice_takes_failures: true,
        lattice_own_config: true,
        default_rpc_timeout_ms: u64::try_from(config.rpc_timeout.as_millis()).ok(),
        structured_logging: config.structured_logging,
        log_level: Some(config.log_level),
        otel_config: config.otel.clone(),
        ..HostData::default()
    }
}

fn inventory(
    common: &Common,
    components: &Arc<Components>,
    providers: &Arc<Providers>,
) -> Inventory {
    Inventory {
        identity: Arc::clone(&common.identity),
        labels: Arc::clone(&common.labels),
        components: Arc::clone(components),
        providers: Arc::clone(providers),
        links: Arc::clone(&common.links),
        ctl_url: common.config.ctl.url(),
        rpc_url: common.config.rpc.url(),
        js_domain: common.config.js_domain.clone(),
    }
}

fn server_config(common: &Common) -> ServerConfig {
    let config = &common.config;
    ServerConfig {
        topic_prefix: config.ctl_topic_prefix.clone(),
        component_auctions: config.component_auctions,
        provider_auctions: config.provider_auctions,
        ..ServerConfig::new(config.lattice.clone(), common.identity.id.clone())
    }
}

fn tell_started(common: &Common) {
    let identity = &common.identity;
    tracing::info!(
        host = identity.id.as_str(),
        name = identity.friendly_name,
        lattice = identity.lattice.as_str(),
        "host is ready"
    );
    common.events.publish(Event::HostStarted(HostStarted {
        friendly_name: identity.friendly_name.clone(),
        labels: common.labels.all(),
        uptime_seconds: 0,
        version: VERSION.to_owned(),
    }));
}
