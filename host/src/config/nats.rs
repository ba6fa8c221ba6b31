//! Where a host finds NATS, and who signs for the providers that it starts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{KeyError, KeyKind, SigningKey};
use lattice_core::provider::{BusData, BusTls, HostData, SecretText};
use lattice_nats::connection::{
    Connection, ConnectionError, Creds, Login, ServerAddress, SystemAuthorities, Tls, without_login,
};

/// How to reach NATS, and as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct NatsConfig {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Addresses of servers, instead of host and port; one that is there is enough.
    pub servers: Vec<String>,
    /// Who connects.
    pub login: Login,
    /// The account that a credentials file has to be of, for the host and for the processes that it starts;
    /// that which it is of when each of them connects where this is left out.
    pub account: Option<String>,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// Keeps the file with the system's authorities, where `tls` names it beside others.
    pub system: Option<SystemAuthorities>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 4222,
            servers: Vec::new(),
            login: Login::Nobody,
            account: None,
            tls: Tls::default(),
            system: None,
        }
    }
}

impl NatsConfig {
    /// The first address as a URL without login, the form in which pings carry it.
    pub fn url(&self) -> String {
        let first = self.servers.first().cloned();
        without_login(&first.unwrap_or_else(|| self.address()))
    }

    /// The address that host and port make; a port or scheme that is written with the host stays.
    fn address(&self) -> String {
        ServerAddress::of(&self.host).or_port(self.port).url()
    }

    /// The same as everybody connects by it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        let servers = match self.servers.is_empty() {
            true => vec![self.address()],
            false => self.servers.clone(),
        };
        Connection {
            servers,
            login: self.login.clone(),
            account: self.account.clone(),
            tls: self.tls.clone(),
            inbox: None,
        }
    }

    /// The one address that the fields of 1.x have room for, with who connects where no other field says
    /// it.
    fn told_url(&self) -> SecretText {
        let told = match &self.login {
            Login::Nobody => {
                let servers = self.connection().servers;
                let named = servers.iter().find(|text| without_login(text) != **text);
                let told = named.or(servers.first()).cloned();
                // Providers take several addresses apart at commas.
                told.unwrap_or_default().replace(',', "%2C")
            }
            Login::Token(token) => with_token(&self.url(), token),
            // A login in the address does not count beside these.
            _ => self.url(),
        };
        SecretText::new(told)
    }

    /// Fills in how a provider process connects: the fields of 1.x, and what they cannot say.
    pub(crate) fn tell(&self, data: HostData) -> HostData {
        let (jwt, seed) = self.user();
        let bus = BusData {
            servers: self.servers.iter().map(SecretText::new).collect(),
            token: match &self.login {
                Login::Token(token) => token.clone(),
                _ => SecretText::default(),
            },
            creds_file: match &self.login {
                Login::CredsFile(path) => Some(path.display().to_string()),
                _ => None,
            },
            account: match &self.login {
                Login::CredsFile(_) => self.account.clone(),
                _ => None,
            },
            tls: self.bus_tls(),
            ..BusData::default()
        };
        HostData {
            lattice_rpc_user_jwt: jwt,
            lattice_rpc_user_seed: seed,
            lattice_rpc_url: self.told_url(),
            lattice_bus: (!bus.is_default()).then_some(bus),
            ..data
        }
    }

    /// Whether a credentials file is that of the host's account as it is now: a process that read another
    /// one would answer in an account that is none of its lattice.
    pub(crate) fn check_account(&self) -> Result<(), ConnectionError> {
        match &self.login {
            Login::CredsFile(path) => Creds::read_again(path, self.account.as_deref()).map(drop),
            _ => Ok(()),
        }
    }

    /// Token and seed for providers of 1.x. A file is read as it is now.
    fn user(&self) -> (SecretText, SecretText) {
        let creds = match &self.login {
            Login::Jwt(creds) => creds.clone(),
            Login::Nkey(seed) => return (SecretText::default(), seed.clone()),
            Login::CredsFile(path) => match Creds::read_again(path, self.account.as_deref()) {
                Ok(creds) => creds,
                Err(error) => {
                    tracing::error!(%error, "a provider gets no NATS credentials");
                    return Default::default();
                }
            },
            _ => return Default::default(),
        };
        (creds.jwt, creds.seed)
    }

    fn bus_tls(&self) -> BusTls {
        let text = |path: &std::path::PathBuf| path.display().to_string();
        let client = self.tls.client.as_ref();
        BusTls {
            required: self.tls.required,
            first: self.tls.first,
            ca_files: self.tls.ca_files.iter().map(text).collect(),
            cert: client.map(|client| text(&client.cert)),
            key: client.map(|client| text(&client.key)),
        }
    }
}

/// An address without login, and with a token in the form of a user.
fn with_token(address: &str, token: &SecretText) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bytes = token.expose().bytes();
    let user: String = bytes
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    match address.split_once("://") {
        Some((scheme, place)) => format!("{scheme}://{user}@{place}"),
        None => format!("{user}@{address}"),
    }
}

/// Who signs for the users of provider processes.
#[derive(Debug)]
pub struct ProviderSigner {
    /// The key of the account that providers connect to, or one that signs for it. It has to be of
    /// the kind [`KeyKind::Account`](lattice_claims::KeyKind::Account).
    pub key: Arc<SigningKey>,
    /// The public key of the account, where `key` only signs for it.
    pub account: Option<String>,
    /// The file with the seed of `key`, if it stands in one. A key that takes its place there, for the same
    /// account, is used as soon as the server lets in who shows a token by it: that is tried when tokens are
    /// due, and when a process starts.
    pub file: Option<PathBuf>,
    /// How long the credentials of a process last; they are replaced before.
    pub life: Duration,
    /// How long a process may go without the rights that its links need, or with rights that it
    /// should have no longer, before it is started again.
    pub patience: Duration,
    /// The longest line that the NATS server reads from who connects (its `max_control_line`): a
    /// process whose token does not fit would be shut out.
    pub longest_line: usize,
}

impl ProviderSigner {
    /// What [`ProviderSigner::patience`] is usually.
    pub const PATIENCE: Duration = Duration::from_secs(60);
    /// What servers read that are not told otherwise.
    pub const LONGEST_LINE: usize = 4096;

    /// The key that stands in the file now, where there is one.
    pub(crate) fn key_in_file(&self) -> Option<Result<SigningKey, SignerKeyError>> {
        let path = self.file.as_ref()?;
        let text = std::fs::read_to_string(path).map(SecretText::new);
        let key = text.map(|seed| SigningKey::from_seed(seed.expose()));
        Some(match key {
            Ok(key) => key
                .and_then(|key| key.expect_kind(KeyKind::Account))
                .map_err(|source| SignerKeyError::Key {
                    path: path.clone(),
                    source,
                }),
            Err(source) => Err(SignerKeyError::Read {
                path: path.clone(),
                source,
            }),
        })
    }
}

/// Why the key in the file of a signer is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignerKeyError {
    /// The file cannot be read.
    #[error("could not read the account seed from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("`{}` holds no account seed", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let url = |host: &str| {
            NatsConfig {
                host: host.to_owned(),
                ..NatsConfig::default()
            }
            .url()
        };
        assert_eq!(url("127.0.0.1"), "nats://127.0.0.1:4222");
        assert_eq!(url("::1"), "nats://[::1]:4222");
        assert_eq!(url("[::1]"), "nats://[::1]:4222");
        assert_eq!(url("nats.shop:4333"), "nats://nats.shop:4333");
        assert_eq!(url("tls://nats.shop"), "tls://nats.shop:4222");
        // Pings are told it, who connects does not stand in it.
        assert_eq!(url("token@nats.shop"), "nats://nats.shop:4222");
        for host in ["token@nats.shop", "user:password@nats.shop"] {
            assert_eq!(url(host), "nats://nats.shop:4222");
            let login = NatsConfig {
                host: host.to_owned(),
                ..NatsConfig::default()
            };
            assert_eq!(login.connection().servers, [format!("nats://{host}:4222")]);
        }
    }

    fn told(config: &NatsConfig) -> HostData {
        config.tell(HostData::default())
    }

    #[test]
    fn old_providers_are_told_what_they_can_use() {
        let plain = told(&NatsConfig::default());
        assert_eq!(plain.lattice_rpc_url.expose(), "nats://127.0.0.1:4222");
        assert_eq!(plain.lattice_bus, None);
        let config = NatsConfig {
            servers: vec!["nats://me:word@a:1".to_owned(), "nats://b:2".to_owned()],
            login: Login::Nkey(SecretText::new("SU")),
            ..NatsConfig::default()
        };
        let data = told(&config);
        // Who has a key connects by it, whatever stands in the address.
        assert_eq!(data.lattice_rpc_url.expose(), "nats://a:1");
        assert_eq!(data.lattice_rpc_user_seed.expose(), "SU");
        assert_eq!(data.lattice_bus.as_ref().unwrap().servers.len(), 2);
        assert!(!format!("{data:?}").contains("word"));
    }

    #[test]
    fn providers_are_told_the_login_that_stands_in_the_address() {
        for (host, url) in [
            ("me:word@a", "nats://me:word@a:4222"),
            ("word@::1", "nats://word@[::1]:4222"),
            ("me:wo,rd@a", "nats://me:wo%2Crd@a:4222"),
        ] {
            let config = NatsConfig {
                host: host.to_owned(),
                ..NatsConfig::default()
            };
            let data = told(&config);
            assert_eq!(data.lattice_rpc_url.expose(), url);
            assert!(!format!("{data:?}").contains("word"));
            assert!(!config.url().contains("word"));
        }
        // The login of one address is that of all, and providers of 1.x know one.
        let config = NatsConfig {
            servers: vec!["nats://b:2".to_owned(), "nats://me:word@a:1".to_owned()],
            ..NatsConfig::default()
        };
        let data = told(&config);
        assert_eq!(data.lattice_rpc_url.expose(), "nats://me:word@a:1");
        let servers = data.lattice_bus.unwrap().servers;
        let servers: Vec<_> = servers.iter().map(SecretText::expose).collect();
        assert_eq!(servers, config.servers);
    }

    #[test]
    fn old_providers_find_the_token_of_all_in_the_address() {
        for (server, url) in [
            ("nats://a:1", "nats://w%3Ao%40rd@a:1"),
            ("nats://me:other@a:1", "nats://w%3Ao%40rd@a:1"),
            ("a", "w%3Ao%40rd@a"),
        ] {
            let config = NatsConfig {
                servers: vec![server.to_owned()],
                login: Login::Token(SecretText::new("w:o@rd")),
                ..NatsConfig::default()
            };
            let data = told(&config);
            assert_eq!(data.lattice_rpc_url.expose(), url);
            assert_eq!(data.lattice_bus.unwrap().token.expose(), "w:o@rd");
        }
    }
}
