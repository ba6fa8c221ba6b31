//! The life of a provider.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;
use lattice_core::provider::{HostData, SHUTDOWN_REPLY};
use lattice_rpc::{BulkConnection, Peer, PeerConfig, Switchboard, keep_connected};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::describe;
use crate::error::RunError;
use crate::failures::Failures;
use crate::identity::Identity;
use crate::link::Unsealer;
use crate::links::Links;
use crate::manage::{
    Ended, Manager, Subscriptions, pass_config, pass_secrets, publish, publish_reports,
};
use crate::nats::{self, Renewing};
use crate::provider::Provider;
use crate::renewal::Renewal;
use crate::session::Session;

/// How long what is under way may take to finish when the provider ends.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last traces may take: hosts give a provider 300 ms in all to end, and a collector
/// that is there takes a few.
const LAST_TRACES: Duration = Duration::from_millis(100);
/// How long the last answers may take on their way to the host, in the time that it gives.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// How long NATS may take to confirm a subscription or to take the last messages.
const NATS_LIMIT: Duration = Duration::from_secs(10);

/// Connects to the lattice that the host data names and runs a provider on it, until `stop` is
/// cancelled or its host ends it with a shutdown message.
///
/// Where the host data names a socket, the components of that host and this provider call one
/// another over it; over NATS while there is no connection.
///
/// # Errors
///
/// [`RunError`] when the provider cannot start, or when its connection ends for good.
pub async fn run<P: Provider>(data: HostData, stop: CancellationToken) -> Result<(), RunError> {
    let joined = nats::join(&data).await?;
    let (nats, renewing) = (joined.client.clone(), joined.renewing.clone());
    let config = PeerConfig {
        bulk: Some(joined.for_long_streams()),
        ..PeerConfig::default()
    };
    let Some(path) = &data.lattice_socket else {
        return run_peers::<P>(nats, config, data, renewing, stop).await;
    };
    let (board, end) = (Switchboard::default(), CancellationToken::new());
    if let Some(identity) = &data.lattice_identity {
        board.show(identity.ticket.clone());
    }
    let line = tokio::spawn(keep_connected(path.into(), board.clone(), end.clone()));
    let mut line = AbortOnDropHandle::new(line);
    let config = PeerConfig {
        local: Some(board),
        ..config
    };
    let ended = run_peers::<P>(nats, config, data, renewing, stop).await;
    // The last answers of the provider leave by the line, too.
    end.cancel();
    if timeout(LAST_ANSWERS, &mut line).await.is_err() {
        tracing::warn!("ended with answers that the host did not take");
    }
    ended
}

/// As [`run`], on a connection that exists. It is flushed at the end but stays open.
///
/// # Errors
///
/// As [`run`].
pub async fn run_on<P: Provider>(
    nats: Client,
    data: HostData,
    stop: CancellationToken,
) -> Result<(), RunError> {
    run_peers::<P>(nats, PeerConfig::default(), data, None, stop).await
}

/// As [`run_on`], where what is on `local` is reached without NATS: inside the process of a host,
/// its components. Long streams to others go over `bulk`, if there is such a connection.
///
/// # Errors
///
/// As [`run`].
pub async fn run_inside<P: Provider>(
    nats: Client,
    bulk: Option<BulkConnection>,
    local: Switchboard,
    data: HostData,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let config = PeerConfig {
        bulk,
        local: Some(local),
        ..PeerConfig::default()
    };
    run_peers::<P>(nats, config, data, None, stop).await
}

async fn run_peers<P: Provider>(
    nats: Client,
    config: PeerConfig,
    data: HostData,
    renewing: Option<Renewing>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let (identity, failures) = (Identity::of(&data)?, Failures::of(&data)?);
    let config = PeerConfig {
        auth: identity.as_ref().map(Identity::auth),
        failed: failures.as_ref().map(Failures::calls),
        ..config
    };
    let peer = Peer::new(nats.clone(), config).await?;
    let _owner = Owner(peer.clone());
    let mut helpers = JoinSet::new();
    if let Some(identity) = identity {
        helpers.spawn(identity.keep(nats.clone()));
    }
    if let Some(failures) = failures {
        helpers.spawn(failures.tell(nats.clone()));
    }
    let done = run_peer::<P>(peer.clone(), data, renewing, stop).await;
    drop(helpers);
    peer.close().await;
    if tokio::time::timeout(NATS_LIMIT, nats.flush())
        .await
        .is_err()
    {
        tracing::warn!("NATS did not take the last messages in time");
    }
    done
}

/// Ends the peer of a provider that panics or is aborted.
struct Owner(Peer);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn run_peer<P: Provider>(
    peer: Peer,
    data: HostData,
    renewing: Option<Renewing>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let initial = data.link_definitions.clone();
    let session = Session::new(data, peer)?;
    let unsealer = session.unsealer()?;
    let renewal = match renewing.zip(session.unsealer()?) {
        Some((renewing, own)) => Some(Renewal::new(&session, own, renewing).await?),
        None => None,
    };
    let subscriptions = Subscriptions::new(&session, unsealer.as_ref()).await?;
    let provider = started::<P>(&session).await?;
    let mut helpers = JoinSet::new();
    if let Some(renewal) = renewal {
        helpers.spawn(renewal.run());
    }
    let manager = managed(session, provider, unsealer, &mut helpers);
    for link in initial {
        // What is wrong with a link is logged and reported where it is found.
        drop(manager.links.put(link));
    }
    let session = &manager.session;
    tracing::info!(provider = P::NAME, id = %session.id(), lattice = %session.lattice(), "started");
    let ended = manager.run(subscriptions, &stop).await;
    let done = finish(manager, ended).await;
    helpers.shutdown().await;
    done
}

/// Starts the provider itself, up to where it is known to be reached.
async fn started<P: Provider>(session: &Session) -> Result<Arc<P>, RunError> {
    let failed = |source| RunError::Start {
        provider: P::NAME,
        source,
    };
    let provider = P::start(session.clone()).await.map_err(failed)?;
    let described = describe::serve::<P>(session).await;
    described.map_err(|source| failed(source.into()))?;
    // Covers the management subjects and the functions alike: once the server has confirmed,
    // no link and no call can be missed.
    session.peer().confirm(NATS_LIMIT).await?;
    Ok(provider)
}

/// What manages a provider that has started, with `helpers` to pass on what it is told.
fn managed<P: Provider>(
    session: Session,
    provider: Arc<P>,
    unsealer: Option<Unsealer>,
    helpers: &mut JoinSet<()>,
) -> Manager<P> {
    let (links, reports) = Links::new(session.clone(), Arc::clone(&provider), unsealer);
    let links = Arc::new(links);
    helpers.spawn(publish_reports(session.clone(), reports));
    let (config, configs) = watch::channel((*session.config()).clone());
    helpers.spawn(pass_config(
        Arc::clone(&provider),
        Arc::clone(&links),
        configs,
    ));
    let (secrets, changes) = watch::channel(0);
    helpers.spawn(pass_secrets(
        Arc::clone(&provider),
        Arc::clone(&links),
        changes,
    ));
    Manager {
        session,
        provider,
        links,
        tasks: TaskTracker::new(),
        config,
        secrets,
    }
}

/// Stops taking calls, lets what is under way finish, and says good-bye.
async fn finish<P: Provider>(manager: Manager<P>, ended: Ended) -> Result<(), RunError> {
    let until = Instant::now() + GRACE;
    tracing::info!(provider = P::NAME, ?ended, "shutting down");
    manager.links.stop().await;
    let shutdown = tokio::time::timeout_at(until, manager.provider.shutdown(until));
    let (_, finished) = tokio::join!(manager.session.serving().drain(until), shutdown);
    if finished.is_err() {
        tracing::warn!("the provider did not finish its work within {GRACE:?}");
    }
    manager.tasks.close();
    let last = Instant::now() + Duration::from_millis(100);
    if tokio::time::timeout_at(last, manager.tasks.wait())
        .await
        .is_err()
    {
        tracing::debug!("left management requests unanswered");
    }
    // Whoever hears the goodbye may end this process: the last answers go out before it, and the
    // last traces.
    manager.session.peer().close().await;
    lattice_telemetry::flush(LAST_TRACES).await;
    match ended {
        Ended::Asked(reply) => {
            say_goodbye(manager.session.peer().nats(), reply).await;
            Ok(())
        }
        Ended::Stopped => Ok(()),
        Ended::Disconnected => Err(RunError::Disconnected),
    }
}

async fn say_goodbye(nats: &Client, reply: Option<Subject>) {
    if let Some(reply) = reply {
        publish(nats, reply, Bytes::from_static(SHUTDOWN_REPLY.as_bytes())).await;
    }
}
