//! A connection to a server that comes back by itself.

use std::time::Duration;

use lattice_provider_sdk::LinkError;
use lattice_provider_sdk::keyvalue::KeyValueError;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError,
    ServerErrorKind, cmd,
};
use tokio::time::Instant;

use crate::settings::ServerSettings;

/// The first pause between attempts to connect again.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// How often a connection that does not answer is given up for a new one, at most.
const GIVE_UP_PAUSE: Duration = Duration::from_secs(1);

/// One server.
pub(crate) struct Connection {
    client: Client,
    config: ConnectionManagerConfig,
    /// Host and port, without the login.
    address: String,
    limit: Duration,
    current: Mutex<Current>,
}

struct Current {
    manager: ConnectionManager,
    since: Instant,
}

impl std::fmt::Debug for Connection {
    // The client would show the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The address is none.
    #[error("the `URL` is not the address of a Redis server")]
    Url(#[source] RedisError),
    /// It is not there or refuses.
    #[error("could not connect to Redis at `{address}`")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: RedisError,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The server says no, or is not there.
    #[error("Redis at `{address}`: {source}")]
    Redis {
        /// Where.
        address: String,
        /// Why.
        source: RedisError,
    },
    /// Nothing is heard of it.
    #[error("Redis at `{address}` did not answer within {limit:?}")]
    Silent {
        /// Where.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
}

impl AskError {
    /// Whether the server does not know who asks.
    pub(crate) fn is_login(&self) -> bool {
        let Self::Redis { source, .. } = self else {
            return false;
        };
        source.code() != Some("NOPERM") && self.is_refusal()
    }

    /// Whether the server does not remember the script that was named.
    pub(crate) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Redis { source, .. }
            if source.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// Whether the server answered that this is not allowed.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Redis { source, .. } = self else {
            return false;
        };
        source.kind() == ErrorKind::AuthenticationFailed
            || matches!(source.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
    }
}

impl From<AskError> for KeyValueError {
    fn from(error: AskError) -> Self {
        if error.is_refusal() {
            // The component hears no reason, so it is told here.
            tracing::warn!(%error, "access denied");
            return Self::AccessDenied;
        }
        Self::other(error.to_string())
    }
}

impl Connection {
    /// Connects and logs in. One attempt: who asks tries again.
    pub(crate) async fn open(settings: &ServerSettings) -> Result<Self, ConnectError> {
        let client = Client::open(settings.url.expose()).map_err(ConnectError::Url)?;
        let address = client.get_connection_info().addr().to_string();
        greet(&client, settings)
            .await
            .map_err(|source| ConnectError::Connect {
                address: address.clone(),
                source,
            })?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(settings.retries)
            .set_min_delay(FIRST_DELAY.min(settings.longest_delay))
            .set_max_delay(settings.longest_delay)
            .set_connection_timeout(Some(settings.connection_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
        let manager = manager.map_err(ConnectError::Url)?;
        Ok(Self {
            client,
            config,
            address,
            limit: settings.connection_timeout + settings.response_timeout,
            current: Mutex::new(Current {
                manager,
                since: Instant::now(),
            }),
        })
    }

    /// How long something may take that has to connect first.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Makes connections of other kinds.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server answers.
    pub(crate) async fn ping(&self) -> Result<(), LinkError> {
        match self.ask::<()>(&cmd("PING")).await {
            Err(error) if !error.is_refusal() || error.is_login() => {
                Err(LinkError::unavailable(error.to_string()))
            }
            // Who may not say hello is answered all the same.
            _ => Ok(()),
        }
    }

    /// Sends a command and waits for what the server answers.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, AskError> {
        let mut manager = self.current.lock().manager.clone();
        self.heard(command.query_async(&mut manager)).await
    }

    /// Sends several commands at once and waits for what the server answers.
    pub(crate) async fn ask_all<T: FromRedisValue>(&self, all: &Pipeline) -> Result<T, AskError> {
        let mut manager = self.current.lock().manager.clone();
        self.heard(all.query_async(&mut manager)).await
    }

    async fn heard<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, AskError> {
        match tokio::time::timeout(self.limit, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => {
                self.check(&source);
                Err(AskError::Redis {
                    address: self.address.clone(),
                    source,
                })
            }
            Err(_) => Err(AskError::Silent {
                address: self.address.clone(),
                limit: self.limit,
            }),
        }
    }

    /// Gives the connection up when the manager would hold on to it: it takes a login or database
    /// that was once refused as refused for good, a server that is silent as a slow one, and one that
    /// takes no writes any more as the one that is meant, though its address may lead to another by now.
    fn check(&self, error: &RedisError) {
        let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        if !was_refused(error) && !error.is_timeout() && !is_replica {
            return;
        }
        let mut current = self.current.lock();
        if current.since.elapsed() < GIVE_UP_PAUSE {
            return;
        }
        let fresh =
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        if let Ok(manager) = fresh {
            current.manager = manager;
            current.since = Instant::now();
        }
    }
}

/// Whether the error was made while connecting, by the client out of what the server said. Those
/// of commands have the server's words as their source.
fn was_refused(error: &RedisError) -> bool {
    !error.is_io_error() && std::error::Error::source(error).is_none()
}

/// Finds out whether the server lets us in.
async fn greet(client: &Client, settings: &ServerSettings) -> Result<(), RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connection_timeout))
        .set_response_timeout(Some(settings.response_timeout));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await?;
    let greeting: Result<(), _> = redis::cmd("PING").query_async(&mut connection).await;
    match greeting {
        // Who may not say hello is logged in all the same.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(()),
        other => other,
    }
}
