//! Connections to NATS, for the lattice itself and for providers whose backend is NATS.

mod backend;
pub mod ledger;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerAddr};
use lattice_core::provider::{HostData, SecretText};
use nkeys::KeyPair;

use crate::error::{BoxError, RunError};

pub use backend::{BackendSettings, NatsBackend};
pub use ledger::Ledger;

/// How long one attempt to connect may take: a link has to say within five seconds why it failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
    /// A file with further certificates to trust; its use requires TLS.
    pub ca_file: Option<PathBuf>,
}

impl NatsSettings {
    /// The connection of the lattice that the host data names.
    #[must_use]
    pub fn of_lattice(data: &HostData) -> Self {
        Self {
            url: data.rpc_url().to_owned(),
            jwt: data.lattice_rpc_user_jwt.clone(),
            seed: data.lattice_rpc_user_seed.clone(),
            ca_file: None,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The credentials cannot be used.
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
    Authority(#[source] std::io::Error),
}

impl From<NatsError> for RunError {
    fn from(error: NatsError) -> Self {
        match error {
            NatsError::Credentials(source) => Self::Credentials(source),
            NatsError::Connect { url, source } => Self::Connect { url, source },
            NatsError::Authority(source) => Self::Credentials(Box::new(source)),
        }
    }
}

/// Connects as `name`. A connection that is lost later is made again, for as long as it takes.
///
/// # Errors
///
/// [`NatsError`] when the first attempt fails.
pub async fn connect(settings: &NatsSettings, name: &str) -> Result<async_nats::Client, NatsError> {
    connect_with(settings, name, |options| options).await
}

/// As [`connect`], with options that `adjust` has changed.
///
/// # Errors
///
/// [`NatsError`] when the first attempt fails.
pub async fn connect_with(
    settings: &NatsSettings,
    name: &str,
    adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<async_nats::Client, NatsError> {
    let options = login(&settings.url, credentials(settings)?);
    let options = options
        .name(name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .max_reconnects(None);
    let mut options = adjust(options);
    if let Some(file) = &settings.ca_file {
        options = options
            .add_root_certificates(file.clone())
            .require_tls(true);
    }
    let label: Arc<str> = Arc::from(without_login(&settings.url));
    options = options.event_callback(move |event| {
        let url = Arc::clone(&label);
        async move { log(&url, &event) }
    });
    let addresses: Vec<&str> = settings.url.split(',').map(str::trim).collect();
    options
        .connect(addresses)
        .await
        .map_err(|source| NatsError::Connect {
            url: without_login(&settings.url),
            source,
        })
}

fn credentials(settings: &NatsSettings) -> Result<ConnectOptions, NatsError> {
    let options = ConnectOptions::new();
    if settings.seed.is_empty() {
        if settings.jwt.is_empty() {
            return Ok(options);
        }
        let why = "there is a user token but no seed";
        return Err(NatsError::Credentials(why.into()));
    }
    let keys = KeyPair::from_seed(settings.seed.expose())
        .map_err(|e| NatsError::Credentials(Box::new(e)))?;
    if settings.jwt.is_empty() {
        return Ok(options.nkey(settings.seed.expose().to_owned()));
    }
    let keys = Arc::new(keys);
    let jwt = settings.jwt.expose().to_owned();
    Ok(options.jwt(jwt, move |nonce| {
        let keys = Arc::clone(&keys);
        async move { keys.sign(&nonce).map_err(async_nats::AuthError::new) }
    }))
}

/// Adds the user name and password, or the token, of the first address that has one: the client
/// itself leaves them aside.
fn login(url: &str, options: ConnectOptions) -> ConnectOptions {
    let addresses = url.split(',').map(str::trim);
    let mut addresses = addresses.filter_map(|address| address.parse::<ServerAddr>().ok());
    let Some(address) = addresses.find(ServerAddr::has_user_pass) else {
        return options;
    };
    let user = plain(address.username().unwrap_or_default());
    match address.password() {
        Some(password) => options.user_and_password(user, plain(password)),
        None => options.token(user),
    }
}

/// A part of an address as it was before `%` stood for what addresses do not take.
fn plain(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The addresses without the user names and passwords that may stand in them.
fn without_login(url: &str) -> String {
    let one = |address: &str| {
        let address = address.trim();
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), address),
        };
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}{host}")
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

fn log(url: &str, event: &Event) {
    match event {
        Event::Connected => tracing::debug!(url, "connected to NATS"),
        Event::Disconnected => tracing::warn!(url, "lost the connection to NATS, connecting again"),
        Event::SlowConsumer(_) | Event::ClientError(_) | Event::ServerError(_) => {
            tracing::warn!(url, %event, "NATS reports a problem");
        }
        _ => tracing::debug!(url, %event, "NATS connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_logins() {
        assert_eq!(
            without_login("nats://me:secret@a:4222, b:4222"),
            "nats://a:4222,b:4222"
        );
    }

    #[test]
    fn parts_of_addresses_are_decoded() {
        assert_eq!(plain("a%40b%c3%bc"), "a@bü");
        assert_eq!(plain("100%"), "100%");
        assert_eq!(plain("%zz%4"), "%zz%4");
    }

    #[test]
    fn credentials_that_cannot_work_are_refused() {
        let bad = |jwt: &str, seed: &str| {
            let settings = NatsSettings {
                jwt: SecretText::new(jwt),
                seed: SecretText::new(seed),
                ..NatsSettings::default()
            };
            assert!(credentials(&settings).is_err());
        };
        bad("token", "");
        bad("token", "no seed");
        bad("", "no seed");
    }
}
