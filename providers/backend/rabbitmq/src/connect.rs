//! One attempt to connect.

use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use lattice_provider_sdk::BoxError;

use crate::settings::RabbitSettings;

/// How long one attempt may take, with all that the provider has on a line.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("could not connect to RabbitMQ at `{place}`")]
pub struct ConnectError {
    place: String,
    source: BoxError,
}

/// Connects as `name`, and makes what the provider has on the connection.
pub(crate) async fn open<L, F>(
    server: &RabbitSettings,
    name: &str,
    prepare: &impl Fn(Connection) -> F,
) -> Result<L, ConnectError>
where
    F: Future<Output = lapin::Result<L>>,
{
    let uri = server.uri().map_err(|error| ConnectError {
        place: String::new(),
        source: error.into(),
    })?;
    let authority = &uri.authority;
    let place = format!("{}:{}/{}", authority.host, authority.port, uri.vhost);
    let opening = async {
        let connection = connect(uri, server, name).await?;
        prepare(connection).await
    };
    let opened = match tokio::time::timeout(CONNECT_WITHIN, opening).await {
        Ok(opened) => opened.map_err(BoxError::from),
        Err(_) => Err(format!("no answer within {CONNECT_WITHIN:?}").into()),
    };
    opened.map_err(|source| ConnectError { place, source })
}

async fn connect(uri: AMQPUri, server: &RabbitSettings, name: &str) -> lapin::Result<Connection> {
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: server.tls_ca.as_ref().map(|pem| pem.expose().to_owned()),
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connect_uri_with_config(uri, properties, tls, runtime).await
}
