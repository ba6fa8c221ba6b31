//! Connections to NATS.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Event};
use lattice_nats::connection::Rotation;
use lattice_rpc::{BulkClient, BulkConnection};
use tokio::time::timeout;

use crate::bus_errors::BusErrors;
use crate::config::NatsConfig;
use crate::host::StartHostError;

/// The name of both connections, as 1.x hosts give it.
const CLIENT_NAME: &str = "wasmbus";
/// How long the first connection may take. A wrong address is told in good time.
const FIRST: Duration = Duration::from_secs(8);
/// How often the server is asked whether it is still there, to notice a dead line.
const PING: Duration = Duration::from_secs(20);

/// Connects for `purpose`. Once it stands, the connection comes back by itself for ever, and is
/// made again when its files change, as long as the second part is held.
pub(crate) async fn connect(
    purpose: &'static str,
    config: &NatsConfig,
    request_timeout: Duration,
    errors: &Arc<BusErrors>,
) -> Result<(Client, Option<Rotation>), StartHostError> {
    let connection = config.connection();
    let url = connection.shown();
    let prepared = connection
        .prepare()
        .map_err(|source| StartHostError::Connection {
            purpose,
            source: Box::new(source),
        })?;
    // What holds the client would else be held by it.
    let errors = Arc::downgrade(errors);
    let options = prepared
        .options()
        .name(CLIENT_NAME)
        .request_timeout(Some(request_timeout))
        .ping_interval(PING)
        .event_callback(move |event| {
            let errors = Weak::clone(&errors);
            async move { take_in(purpose, &event, &errors) }
        });
    match timeout(FIRST, options.connect(prepared.servers())).await {
        Ok(Ok(client)) => {
            let rotation = prepared.rotation(&client);
            Ok((client, rotation))
        }
        Ok(Err(source)) => Err(StartHostError::Connect {
            purpose,
            url,
            source,
        }),
        Err(_) => Err(StartHostError::ConnectTimeout {
            purpose,
            url,
            within: FIRST,
        }),
    }
}

/// Connects once more, as [`connect`] has, when there are long streams.
pub(crate) fn for_long_streams(
    config: &NatsConfig,
    request_timeout: Duration,
    errors: &Arc<BusErrors>,
) -> BulkConnection {
    let (config, errors) = (config.clone(), Arc::clone(errors));
    BulkConnection::new(move || {
        let (config, errors) = (config.clone(), Arc::clone(&errors));
        async move {
            let connected = connect("long streams", &config, request_timeout, &errors).await;
            let (client, rotation) = connected?;
            let kept = Box::new(rotation);
            Ok(BulkClient { client, kept })
        }
    })
}

fn take_in(purpose: &'static str, event: &Event, errors: &Weak<BusErrors>) {
    match (event, errors.upgrade()) {
        (Event::Connected, _) => tracing::info!(purpose, "connected to NATS"),
        (Event::Disconnected, _) => {
            tracing::warn!(purpose, "lost NATS, coming back by itself");
        }
        (Event::SlowConsumer(subscription), Some(errors)) => errors.dropped(purpose, *subscription),
        (Event::ServerError(error), Some(errors)) => errors.hear(purpose, error),
        (other, _) => tracing::debug!(purpose, %other, "NATS"),
    }
}
