//! How the parts of a host come together.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{BuiltinIssuer, KeyError};
use lattice_control::{ClientConfig, Server, ServerConfig, ServerHandle};
use lattice_core::ComponentId;
use lattice_core::event::{Event, HostStarted};
use lattice_core::provider::HostData;
use lattice_rpc::{Gate, PeerConfig, Switchboard, WatchedThreads};
use lattice_runtime::{Runtime, RuntimeConfig, RuntimeError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Host, StartHostError, StopRequest};
use crate::admin::Admin;
use crate::artifact::Images;
use crate::bus_log::{BusLog, Known};
use crate::components::{ComponentDeps, Components, Drains, OldHosts};
use crate::config::HostConfig;
use crate::control::HostApi;
use crate::identity::VERSION;
use crate::inventory::Inventory;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::providers::{LinkStates, ProviderDeps, Providers, Spawner};
use crate::registries::Registries;
use crate::router::Router;
use crate::shared_code::SharedCode;
use crate::strict::StrictProof;
use crate::sync::Unwritten;
use crate::threads::{self, LongCalls};
use crate::{deaths, heartbeat, strict, sync};
use common::{Common, common};

/// How long a new host waits until it is known to be there.
const TELL: Duration = Duration::from_secs(2);

/// What runs and is called, over what the parts share.
struct Owners {
    components: Arc<Components>,
    providers: Arc<Providers>,
    states: Arc<LinkStates>,
    inventory: Arc<Inventory>,
    lines: Option<Lines>,
    gate: Option<WatchedThreads>,
}

/// What answers those who ask the host.
struct Doors {
    admin: Option<Admin>,
    control: ServerHandle,
    stop: watch::Receiver<Option<StopRequest>>,
}

/// What goes on by itself for as long as it is held.
struct Held {
    shared_code: Option<Arc<SharedCode>>,
    sync: AbortOnDropHandle<()>,
    deaths: AbortOnDropHandle<()>,
    strict: Option<AbortOnDropHandle<()>>,
    bus_log: Option<BusLog>,
    long_calls: LongCalls,
}

/// Starts everything a host consists of; the control server comes last, when there is something
/// to control.
pub(super) async fn start(config: HostConfig) -> Result<Host, StartHostError> {
    let long_calls = LongCalls::start().map_err(StartHostError::Threads)?;
    let local = Switchboard::default();
    let (common, runtime) = ground(config, &long_calls, &local).await?;
    let shared_code = shared_code(&common, &runtime);
    let (links, claims) = (Arc::clone(&common.links), Arc::clone(&common.claims));
    let (sync, unwritten) = sync::follow(common.store.clone(), links, claims).await?;
    let owners = owners(&common, runtime, &long_calls, local)?;
    let doors = doors(&common, &owners.inventory, &long_calls, unwritten).await?;
    let deaths = deaths(&common);
    let strict = strict(&common);
    let bus_log = bus_log(&common).await?;
    tell_started(&common);
    common.events.flush(TELL).await;
    let held = Held {
        shared_code,
        sync,
        deaths,
        strict,
        bus_log,
        long_calls,
    };
    Ok(host(common, owners, doors, held))
}

/// What everything else stands on: what the parts share, and what runs guests. Either takes its time.
async fn ground(
    config: HostConfig,
    long_calls: &LongCalls,
    local: &Switchboard,
) -> Result<(Common, Runtime), StartHostError> {
    let runtime_config = RuntimeConfig {
        long_work: long_calls.handle(),
        ..config.runtime.clone()
    };
    let peer_config = PeerConfig {
        long_calls: long_calls.handle(),
        local: Some(local.clone()),
        ..PeerConfig::default()
    };
    tokio::try_join!(common(config, peer_config), runtime(runtime_config))
}

/// Has the runtime share what it compiles, where that is wanted.
fn shared_code(common: &Common, runtime: &Runtime) -> Option<Arc<SharedCode>> {
    let config = &common.config;
    if !config.share_code {
        return None;
    }
    SharedCode::start(runtime, &config.cluster, common.store.code())
}

/// Makes the owners of what runs here, which runs nothing yet.
fn owners(
    common: &Common,
    runtime: Runtime,
    long_calls: &LongCalls,
    local: Switchboard,
) -> Result<Owners, StartHostError> {
    let config = &common.config;
    let is_limited = config.adaptive_limit;
    let gate = is_limited.then(|| threads::gate(long_calls.handle(), config.runtime.tick));
    let (gate, watched) = gate.unzip();
    let components = Arc::new(components(common, runtime, gate));
    let folder = config.socket_folder.as_deref();
    let lines = folder.and_then(|folder| Lines::open(folder, &common.identity.id, &local));
    let (providers, states) = providers(common, local, long_calls.handle(), lines.as_ref())?;
    Ok(Owners {
        inventory: Arc::new(inventory(common, &components, &providers)),
        components,
        providers,
        states,
        lines,
        gate: watched,
    })
}

/// Opens the ways to ask the host: for its figures, and for what it does.
async fn doors(
    common: &Common,
    inventory: &Arc<Inventory>,
    long_calls: &LongCalls,
    unwritten: Unwritten,
) -> Result<Doors, StartHostError> {
    let metrics = Metrics::new(Arc::clone(inventory), long_calls.handle());
    let admin = admin(common.config.http_admin, metrics).await?;
    let (wish, stop) = watch::channel(None);
    let api = Arc::new(api(common, inventory, unwritten, wish));
    let control = Server::start(common.ctl.clone(), server_config(common), api).await?;
    Ok(Doors {
        admin,
        control,
        stop,
    })
}

/// What control requests are answered with.
fn api(
    common: &Common,
    inventory: &Arc<Inventory>,
    unwritten: Unwritten,
    stop: watch::Sender<Option<StopRequest>>,
) -> HostApi {
    HostApi {
        identity: Arc::clone(&common.identity),
        labels: Arc::clone(&common.labels),
        components: Arc::clone(&inventory.components),
        providers: Arc::clone(&inventory.providers),
        links: Arc::clone(&common.links),
        claims: Arc::clone(&common.claims),
        unwritten,
        registries: Registries::default(),
        store: common.store.clone(),
        events: Arc::clone(&common.events),
        inventory: Arc::clone(inventory),
        rpc: common.peer.nats().clone(),
        stop,
    }
}

/// Puts a host together of what was started, and has its heart beat.
fn host(common: Common, owners: Owners, doors: Doors, held: Held) -> Host {
    let (events, interval) = (Arc::clone(&common.events), common.config.heartbeat_interval);
    Host {
        control: doors.control,
        components: owners.components,
        providers: owners.providers,
        states: owners.states,
        admin: doors.admin,
        stop: doors.stop,
        drain_timeout: common.config.drain_timeout,
        heartbeat: heartbeat::start(owners.inventory, events, interval),
        _sync: held.sync,
        _gate: owners.gate,
        identity: common.identity,
        labels: common.labels,
        events: common.events,
        peer: common.peer,
        _rotations: common.rotations,
        _failures: common.failures,
        _shared_code: held.shared_code,
        _refusals: common.refusals,
        _deaths: held.deaths,
        _strict: held.strict,
        _bus_log: held.bus_log,
        _bus_errors: common.bus_errors,
        _lines: owners.lines,
        _long_calls: held.long_calls,
    }
}

/// Hears of providers that die, here or elsewhere.
fn deaths(common: &Common) -> AbortOnDropHandle<()> {
    deaths::follow(client(common), common.peer.clone())
}

/// Hears of strict hosts, where this one is none.
fn strict(common: &Common) -> Option<AbortOnDropHandle<()>> {
    strict::follow(&common.config, client(common), Arc::clone(&common.events))
}

/// Reads what other hosts tell the lattice.
fn client(common: &Common) -> lattice_control::Client {
    let config = ClientConfig::new(common.config.lattice.clone());
    lattice_control::Client::new(common.ctl.clone(), config)
}

/// Reads what the NATS server refuses, where its log is to be had.
async fn bus_log(common: &Common) -> Result<Option<BusLog>, StartHostError> {
    let Some(path) = common.config.bus_log.clone() else {
        return Ok(None);
    };
    let (host, events) = (common.identity.id.clone(), Arc::clone(&common.events));
    let (users, links) = (Arc::clone(&common.users), Arc::clone(&common.links));
    let providers = Arc::clone(&users);
    let is_entity = move |id: &ComponentId| links.has(id) || providers.has(id);
    let known = Known::of(&common.config, is_entity);
    let log = BusLog::start(path.clone(), host, events, users, known).await;
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
        strict: !common.config.allow_legacy_peers,
        strict_proof: StrictProof::of(&common.config),
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
