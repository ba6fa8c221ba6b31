//! The connections to one server.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod,
    TimeoutType,
};
use lattice_backend_http::TlsError;
use lattice_provider_sdk::{InvalidSetting, LinkError, chain};
use tokio::time::Instant;
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::Connection;
use crate::doubt::Doubt;
use crate::error::PostgresError;
use crate::settings::PostgresSettings;

/// How long the server may take to show that it is there.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// A certificate or key is.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server is not there, or refuses.
    #[error(transparent)]
    Server(#[from] PostgresError),
}

impl From<OpenError> for LinkError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Setting(error) => error.into(),
            OpenError::Tls(error) => Self::invalid(chain(&error)),
            OpenError::Server(error) => error.into(),
        }
    }
}

/// What a new connection is told about limits, but for those of which the `url` says something. They
/// are set by statements: poolers and proxies refuse a login that brings them.
fn limits(settings: &PostgresSettings, said: Option<&str>) -> String {
    let reading = settings.reading_limit;
    [
        (
            "statement_timeout",
            settings.statement_limit.map(|limit| limit + reading),
        ),
        ("idle_in_transaction_session_timeout", settings.idle_limit),
        ("lock_timeout", settings.lock_limit),
    ]
    .into_iter()
    .filter(|(name, _)| !said.is_some_and(|said| said.contains(name)))
    .filter_map(|(name, limit)| Some(format!("SET {name} = {}; ", limit?.as_millis())))
    .collect()
}

/// Has every new connection begin with some statements.
fn begin_with(statements: String) -> Hook {
    Hook::async_fn(move |client, _| {
        let statements = statements.clone();
        Box::pin(async move {
            let set = client.batch_execute(&statements).await;
            set.map_err(HookError::Backend)
        })
    })
}

/// Whether and how connections are encrypted.
#[derive(Clone)]
pub(crate) enum Tls {
    Off,
    On(MakeRustlsConnect),
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::On(_) => "On",
        })
    }
}

impl Tls {
    pub(crate) async fn cancel(&self, token: &CancelToken) -> Result<(), Error> {
        match self {
            Self::Off => token.cancel_query(NoTls).await,
            Self::On(tls) => token.cancel_query(tls.clone()).await,
        }
    }

    fn manager(&self, config: Config) -> Manager {
        // A closed connection is noticed without asking the server.
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        match self {
            Self::Off => Manager::from_config(config, NoTls, recycling),
            Self::On(tls) => Manager::from_config(config, tls.clone(), recycling),
        }
    }

    /// A connection of its own, with the task that runs it.
    async fn connect(&self, config: &Config) -> Result<(Client, Running), Error> {
        match self {
            Self::Off => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, Running::of(connection)))
            }
            Self::On(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok((client, Running::of(connection)))
            }
        }
    }
}

/// The task of a connection, ended with its owner.
struct Running(tokio::task::JoinHandle<()>);

impl Running {
    fn of<C: Future<Output = Result<(), Error>> + Send + 'static>(connection: C) -> Self {
        Self(tokio::spawn(async {
            // Whoever uses the connection hears of it.
            let _ended = connection.await;
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What connections know of their server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) statement_limit: Option<Duration>,
    pub(crate) tls: Tls,
    pub(crate) doubt: Arc<Doubt>,
}

fn pool(
    manager: Manager,
    settings: &PostgresSettings,
    limits: String,
    doubt: Arc<Doubt>,
) -> Result<Pool, InvalidSetting> {
    let mut pool = Pool::builder(manager)
        .max_size(settings.pool_size)
        .wait_timeout(Some(settings.pool_wait))
        .create_timeout(Some(settings.connect_limit))
        .recycle_timeout(Some(CHECK_LIMIT))
        // The one that was used last is the one that its server still has at hand.
        .queue_mode(QueueMode::Lifo)
        .pre_recycle(doubt.settle())
        .runtime(deadpool_postgres::Runtime::Tokio1);
    if !limits.is_empty() {
        pool = pool.post_create(begin_with(limits));
    }
    pool.build().map_err(|error| InvalidSetting::Value {
        key: "pool_size".to_owned(),
        value: error.to_string(),
        expected: "a pool that can be made".to_owned(),
    })
}

/// The connections to one server. They are made when they are needed.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    config: Config,
    server: Arc<Server>,
    size: usize,
    wait: Duration,
    connect_limit: Duration,
}

impl Postgres {
    /// Makes a pool and its first connection, so that a wrong login is seen.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let postgres = Self::new(settings)?;
        let until = Instant::now() + settings.connect_limit + CHECK_LIMIT;
        postgres.get(until).await?;
        Ok(postgres)
    }

    /// Makes a pool without a connection.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn new(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let mut config = settings.config()?;
        let limit = settings.statement_limit;
        let limits = limits(settings, config.get_options());
        let tls = match &settings.tls {
            None => Tls::Off,
            Some(tls) => Tls::On(MakeRustlsConnect::new(tls.client()?)),
        };
        let mode = match tls {
            Tls::Off => tokio_postgres::config::SslMode::Disable,
            Tls::On(_) => tokio_postgres::config::SslMode::Require,
        };
        config.ssl_mode(mode);
        let doubt = Arc::new(Doubt::default());
        let manager = tls.manager(config.clone());
        let pool = pool(manager, settings, limits, Arc::clone(&doubt))?;
        Ok(Self {
            pool,
            config,
            server: Arc::new(Server {
                address: settings.address(),
                statement_limit: limit,
                tls,
                doubt,
            }),
            size: settings.pool_size,
            wait: settings.pool_wait,
            connect_limit: settings.connect_limit,
        })
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// A connection, until `until` at the latest.
    ///
    /// # Errors
    ///
    /// [`PostgresError::Busy`] when all are in use for too long, [`PostgresError::Connect`] and
    /// [`PostgresError::Silent`] when there is none and a new one cannot be made.
    pub async fn get(&self, until: Instant) -> Result<Connection, PostgresError> {
        let begun = Instant::now();
        let object = match tokio::time::timeout_at(until, self.pool.get()).await {
            Ok(Ok(object)) => object,
            Ok(Err(error)) => return Err(self.no_connection(error)),
            // Which of the limits it would have been, had there been time for it.
            Err(_) => return Err(self.not_in_time(until - begun)),
        };
        Ok(Connection::new(object, Arc::clone(&self.server)))
    }

    /// Asks the server whether it is there, on a connection of the pool or, when all are in use,
    /// on one of its own.
    ///
    /// # Errors
    ///
    /// [`PostgresError`].
    pub async fn check(&self) -> Result<(), PostgresError> {
        let until = Instant::now() + CHECK_LIMIT;
        if self.is_full() {
            return self.check_apart(until).await;
        }
        let connection = self.get(until).await?;
        connection
            .within(until, connection.client().simple_query(""))
            .await?;
        Ok(())
    }

    async fn check_apart(&self, until: Instant) -> Result<(), PostgresError> {
        let connect = self.server.tls.connect(&self.config);
        match tokio::time::timeout_at(until, connect).await {
            Ok(Ok(_connected)) => Ok(()),
            Ok(Err(source)) => Err(self.not_connected(source)),
            Err(_) => Err(self.silent(CHECK_LIMIT)),
        }
    }

    fn is_full(&self) -> bool {
        let status = self.pool.status();
        status.available == 0 && status.size >= status.max_size
    }

    fn not_in_time(&self, limit: Duration) -> PostgresError {
        match self.is_full() {
            true => self.busy(limit),
            false => self.silent(limit),
        }
    }

    fn busy(&self, limit: Duration) -> PostgresError {
        PostgresError::Busy {
            address: self.server.address.clone(),
            size: self.size,
            limit,
        }
    }

    fn silent(&self, limit: Duration) -> PostgresError {
        PostgresError::Silent {
            address: self.server.address.clone(),
            limit,
        }
    }

    fn not_connected(&self, source: Error) -> PostgresError {
        PostgresError::Connect {
            address: self.server.address.clone(),
            source,
        }
    }

    fn no_connection(&self, error: PoolError) -> PostgresError {
        match error {
            PoolError::Backend(source) | PoolError::PostCreateHook(HookError::Backend(source)) => {
                self.not_connected(source)
            }
            PoolError::Timeout(TimeoutType::Wait) => self.busy(self.wait),
            PoolError::Timeout(_) => self.silent(self.connect_limit),
            // The pool is never closed, its hook fails as its server does, and its runtime is named.
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                self.silent(Duration::ZERO)
            }
        }
    }
}
