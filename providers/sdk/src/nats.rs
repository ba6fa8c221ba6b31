//! Connections to NATS, for the lattice itself and for providers whose backend is NATS.

mod backend;
pub mod ledger;
mod link;
mod refusals;

use std::mem::discriminant;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use lattice_core::provider::{BusTls, HostData, SecretText};
use lattice_nats::connection::{
    ClientCert, Connection, ConnectionError, Creds, Login, Prepared, Renewable, Tls, TlsError,
    addresses,
};

use lattice_rpc::{BulkClient, BulkConnection};

use crate::complaint;
use crate::error::{BoxError, RunError};
use refusals::Refusals;

pub use backend::{BackendSettings, NatsBackend};
pub use lattice_nats::connection::Rotation;
pub use ledger::Ledger;
pub use link::LinkServer;
pub use refusals::{SubscriptionWatch, subscriptions_known};

/// How often an idle connection is checked; a server that is silently gone is noticed after two.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How often a connection to the NATS server behind a link is checked: when it has been silent for
/// three of these it is taken for lost, and the link fails.
pub const BACKEND_PING_INTERVAL: Duration = Duration::from_secs(1);

/// Where a NATS server is and who connects to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NatsSettings {
    /// One address, or several separated by commas.
    pub url: String,
    /// The user token, or empty.
    pub jwt: SecretText,
    /// The user seed, or empty. Without a token it is an nkey login.
    pub seed: SecretText,
    /// The token that everybody shares who may connect, or empty.
    pub token: SecretText,
    /// A credentials file, read at every connect; it goes before the others.
    pub creds_file: Option<PathBuf>,
    /// The account that this file has to be of; that which it is of at first when left out.
    pub account: Option<String>,
    /// A file with further certificates to trust; its use requires TLS.
    pub ca_file: Option<PathBuf>,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// What the subjects of answers begin with, where that is not `_INBOX`.
    pub inbox: Option<String>,
    /// Whether these credentials reach nothing but the links of the provider.
    pub scoped: bool,
}

impl NatsSettings {
    /// The connection of the lattice that the host data names.
    #[must_use]
    pub fn of_lattice(data: &HostData) -> Self {
        let bus = data.lattice_bus.clone().unwrap_or_default();
        let servers: Vec<_> = bus.servers.iter().map(SecretText::expose).collect();
        Self {
            url: match servers.is_empty() {
                true => data.rpc_url().to_owned(),
                false => servers.join(","),
            },
            jwt: data.lattice_rpc_user_jwt.clone(),
            seed: data.lattice_rpc_user_seed.clone(),
            token: bus.token,
            creds_file: bus.creds_file.map(PathBuf::from),
            account: bus.account,
            ca_file: None,
            tls: tls(bus.tls),
            inbox: bus.inbox,
            scoped: bus.scoped,
        }
    }

    fn connection(&self) -> Result<Connection, ConnectionError> {
        let login = match &self.creds_file {
            Some(path) => Login::CredsFile(path.clone()),
            None if !self.token.is_empty() => Login::Token(self.token.clone()),
            None => Login::of(&self.jwt, &self.seed)?,
        };
        let mut tls = self.tls.clone();
        if let Some(file) = &self.ca_file {
            tls.ca_files = vec![file.clone()];
            tls.required = true;
        }
        Ok(Connection {
            servers: addresses(&self.url),
            login,
            account: self.account.clone(),
            tls,
            inbox: self.inbox.clone(),
        })
    }
}

fn tls(told: BusTls) -> Tls {
    let client = told.cert.zip(told.key);
    Tls {
        required: told.required,
        first: told.first,
        ca_files: told.ca_files.into_iter().map(PathBuf::from).collect(),
        client: client.map(|(cert, key)| ClientCert {
            cert: cert.into(),
            key: key.into(),
        }),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The credentials, or what else the connection needs, cannot be used.
    #[error("the NATS credentials are not usable")]
    Credentials(#[source] BoxError),
    /// The server is not there or refuses.
    #[error("could not connect to NATS at `{url}`")]
    Connect {
        /// The address.
        url: String,
        /// Why.
        source: async_nats::ConnectError,
    },
    /// The certificates to trust could not be kept.
    #[error("could not write `tls_ca` to a file")]
    Authority(#[source] TlsError),
    /// The provider's own credentials are for its links and nothing else.
    #[error(
        "the lattice's NATS cannot be the backend: this process has credentials of its own, which \
         reach nothing but its links; give the link a user that may use NATS (`client_jwt` and \
         `client_seed`, or `client_creds_file`)"
    )]
    Scoped,
}

impl From<NatsError> for RunError {
    fn from(error: NatsError) -> Self {
        match error {
            NatsError::Credentials(source) => Self::Credentials(source),
            NatsError::Connect { url, source } => Self::Connect { url, source },
            NatsError::Authority(source) => Self::Credentials(Box::new(source)),
            NatsError::Scoped => Self::Credentials(Box::new(NatsError::Scoped)),
        }
    }
}

impl From<ConnectionError> for NatsError {
    fn from(error: ConnectionError) -> Self {
        Self::Credentials(Box::new(error))
    }
}

/// A connection, and what keeps it up to date.
#[derive(Debug)]
pub struct Connected {
    /// The client.
    pub client: async_nats::Client,
    /// Connects again when files of the connection change, as long as it is held; `None` where
    /// there are no files.
    pub rotation: Option<Rotation>,
}

/// The connection of a process to its lattice.
pub(crate) struct Joined {
    pub(crate) client: async_nats::Client,
    /// Where new credentials go, for a process with its own.
    pub(crate) renewing: Option<Renewing>,
    pub(crate) _rotation: Option<Rotation>,
    connection: Connection,
    name: String,
}

impl Joined {
    /// Connects once more in the same way, with the credentials of that time, when there are long
    /// streams.
    pub(crate) fn for_long_streams(&self) -> BulkConnection {
        let (connection, name) = (self.connection.clone(), self.name.clone());
        BulkConnection::new(move || {
            let (connection, name) = (connection.clone(), name.clone());
            async move {
                let Connected { client, rotation } =
                    open(&connection, &name, |options| options).await?;
                let kept = Box::new(rotation);
                Ok(BulkClient { client, kept })
            }
        })
    }
}

/// How a process with credentials of its own connects, as often as they are replaced.
#[derive(Debug, Clone)]
pub(crate) struct Renewing {
    pub(crate) renewable: Renewable,
    prepared: Prepared,
    name: String,
}

impl Renewing {
    /// Another connection with the latest credentials.
    pub(crate) async fn connect(&self) -> Result<async_nats::Client, async_nats::ConnectError> {
        let options = self.prepared.options().name(&self.name);
        options.connect(self.prepared.servers()).await
    }
}

/// Connects to the lattice that the host data names.
pub(crate) async fn join(data: &HostData) -> Result<Joined, NatsError> {
    let settings = NatsSettings::of_lattice(data);
    let mut connection = settings.connection()?;
    let mut renewing = None;
    if settings.scoped {
        let renewable = Renewable::new(Creds {
            jwt: settings.jwt.clone(),
            seed: settings.seed.clone(),
        });
        connection.login = Login::Renewed(renewable.clone());
        renewing = Some(Renewing {
            renewable,
            prepared: connection.prepare()?,
            name: data.provider_key.clone(),
        });
    }
    let connected = open(&connection, &data.provider_key, |options| options).await?;
    Ok(Joined {
        client: connected.client,
        renewing,
        _rotation: connected.rotation,
        name: data.provider_key.clone(),
        connection,
    })
}

/// Connects as `name`. A connection that is lost later is made again, for as long as it takes.
///
/// # Errors
///
/// [`NatsError`] when the first attempt fails, and for the credentials of a process that reach
/// nothing but its links.
pub async fn connect(settings: &NatsSettings, name: &str) -> Result<Connected, NatsError> {
    connect_with(settings, name, |options| options).await
}

/// As [`connect`], with options that `adjust` has changed.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_with(
    settings: &NatsSettings,
    name: &str,
    adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<Connected, NatsError> {
    if settings.scoped {
        return Err(NatsError::Scoped);
    }
    open(&settings.connection()?, name, adjust).await
}

async fn open(
    connection: &Connection,
    name: &str,
    adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<Connected, NatsError> {
    let prepared: Prepared = connection.prepare()?;
    let shown = connection.shown();
    let label: Arc<str> = Arc::from(shown.as_str());
    let options = prepared.options().name(name).ping_interval(PING_INTERVAL);
    let refusals = Arc::<Refusals>::default();
    let heard = Arc::clone(&refusals);
    let options = adjust(options).event_callback(move |event| {
        heard.hear(&event);
        let url = Arc::clone(&label);
        async move { log(&url, &event) }
    });
    let client = options
        .connect(prepared.servers())
        .await
        .map_err(|source| NatsError::Connect { url: shown, source })?;
    refusals.belong_to(&client);
    Ok(Connected {
        rotation: prepared.rotation(&client),
        client,
    })
}

fn log(url: &str, event: &Event) {
    match event {
        Event::Connected => tracing::debug!(url, "connected to NATS"),
        Event::Disconnected => tracing::warn!(url, "lost the connection to NATS, connecting again"),
        Event::SlowConsumer(_) | Event::ClientError(_) | Event::ServerError(_) => {
            if let Some((event, untold)) = news(url, event) {
                tracing::warn!(url, event, untold, "NATS reports a problem");
            }
        }
        _ => tracing::debug!(url, %event, "NATS connection"),
    }
}

/// What is told of a problem, and how many of its kind were not. Whoever publishes can bring about as many
/// as they like.
fn news(url: &str, event: &Event) -> Option<(String, u64)> {
    let untold = complaint::turn(&(url, discriminant(event)))?;
    Some((complaint::clipped(event), untold))
}

#[cfg(test)]
mod tests {
    use async_nats::ServerError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_anybody_can_cause_fills_no_log() {
        let refused = |subject: &str| {
            let said = format!(r#"Permissions Violation for Publish to "{subject}""#);
            Event::ServerError(ServerError::Other(said))
        };
        let told = |event: Event| news("nats://full:4222", &event);
        let (text, _) = told(refused(&"a".repeat(60_000))).unwrap();
        assert!(text.len() < 1000);
        // Each kind on its own.
        assert!(told(Event::SlowConsumer(1)).is_some());
        for number in 0..1000 {
            let subject = format!("a.{number}");
            assert!(told(refused(&subject)).is_none());
            assert!(told(Event::SlowConsumer(number)).is_none());
        }
    }
}
