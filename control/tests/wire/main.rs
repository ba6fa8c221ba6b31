//! Server and client of the control interface over a real NATS server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod auctions;
mod client;
mod events;
mod fake;
mod recording;
mod server;

use std::sync::Arc;
use std::time::Duration;

use lattice_control::{Client, ClientConfig, Server, ServerConfig, ServerHandle};
use lattice_core::{HostId, LatticeName};
use lattice_nats_box::NatsBox;

use fake::FakeHost;

/// Longer than anything here should take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

const HOST: &str = "NAJFSUSOSOQSJBI3OXWQAQX7L2I3QWKFE6RBHJFWRZTZQFB2VUI4ZD2C";

fn host() -> HostId {
    HostId::new(HOST).unwrap()
}

fn other_host() -> HostId {
    HostId::new("NBJFSUSOSOQSJBI3OXWQAQX7L2I3QWKFE6RBHJFWRZTZQFB2VUI4ZD2C").unwrap()
}

async fn nats_box() -> NatsBox {
    NatsBox::start().await.expect("nats-server")
}

async fn serve(nats: &NatsBox, host: HostId, api: &Arc<FakeHost>) -> ServerHandle {
    serve_with(nats, ServerConfig::new(LatticeName::default(), host), api).await
}

async fn serve_with(nats: &NatsBox, config: ServerConfig, api: &Arc<FakeHost>) -> ServerHandle {
    let connection = nats.client().await.unwrap();
    Server::start(connection, config, Arc::clone(api) as _)
        .await
        .unwrap()
}

/// A client that waits long for one answer, since the machine may be busy.
async fn client(nats: &NatsBox) -> Client {
    let config = ClientConfig {
        timeout: Duration::from_secs(30),
        auction_timeout: Duration::from_secs(30),
        ..ClientConfig::default()
    };
    Client::new(nats.client().await.unwrap(), config)
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: too late"))
}
