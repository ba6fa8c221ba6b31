//! Connections to NATS.

use std::time::Duration;

use async_nats::{Client, Event};
use lattice_nats::connection::Rotation;
use lattice_rpc::{BulkClient, BulkConnection};
use tokio::time::timeout;

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
) -> Result<(Client, Option<Rotation>), StartHostError> {
    let connection = config.connection();
    let url = connection.shown();
    let prepared = connection
        .prepare()
        .map_err(|source| StartHostError::Connection {
            purpose,
            source: Box::new(source),
        })?;
    let options = prepared
        .options()
        .name(CLIENT_NAME)
        .request_timeout(Some(request_timeout))
        .ping_interval(PING)
        .event_callback(move |event| async move { log_event(purpose, &event) });
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
pub(crate) fn for_long_streams(config: &NatsConfig, request_timeout: Duration) -> BulkConnection {
    let config = config.clone();
    BulkConnection::new(move || {
        let config = config.clone();
        async move {
            let (client, rotation) = connect("long streams", &config, request_timeout).await?;
            let kept = Box::new(rotation);
            Ok(BulkClient { client, kept })
        }
    })
}

fn log_event(purpose: &'static str, event: &Event) {
    match event {
        Event::Connected => tracing::info!(purpose, "connected to NATS"),
        Event::Disconnected => tracing::warn!(purpose, "lost NATS, coming back by itself"),
        Event::SlowConsumer(id) => {
            tracing::error!(
                purpose,
                subscription = id,
                "messages were dropped: read too slowly"
            );
        }
        other => tracing::debug!(purpose, %other, "NATS"),
    }
}
