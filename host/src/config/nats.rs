//! Where a host finds NATS, and who signs for the providers that it starts.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::SigningKey;
use lattice_core::provider::{BusData, BusTls, HostData, SecretText};
use lattice_nats::connection::{Connection, Creds, Login, SystemAuthorities, Tls, without_login};

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
            tls: Tls::default(),
            system: None,
        }
    }
}

impl NatsConfig {
    /// The first address as a URL, the form in which pings and provider data carry it.
    pub fn url(&self) -> String {
        let first = self.servers.first().cloned();
        without_login(&first.unwrap_or_else(|| self.address()))
    }

    /// The address that host and port make, with what may stand before them.
    fn address(&self) -> String {
        let place = self
            .host
            .rsplit_once('@')
            .map_or(&*self.host, |(_, place)| place);
        let login = &self.host[..self.host.len() - place.len()];
        match place.contains(':') && !place.starts_with('[') {
            true => format!("nats://{login}[{place}]:{}", self.port),
            false => format!("nats://{login}{place}:{}", self.port),
        }
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
            tls: self.tls.clone(),
            inbox: None,
        }
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
            tls: self.bus_tls(),
            ..BusData::default()
        };
        HostData {
            lattice_rpc_user_jwt: jwt,
            lattice_rpc_user_seed: seed,
            lattice_rpc_url: self.url(),
            lattice_bus: (!bus.is_default()).then_some(bus),
            ..data
        }
    }

    /// Token and seed for providers of 1.x. A file is read as it is now.
    fn user(&self) -> (SecretText, SecretText) {
        let creds = match &self.login {
            Login::Jwt(creds) => creds.clone(),
            Login::Nkey(seed) => return (SecretText::default(), seed.clone()),
            Login::CredsFile(path) => match Creds::read(path) {
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

/// Who signs for the users of provider processes.
#[derive(Debug)]
pub struct ProviderSigner {
    /// The key of the account that providers connect to, or one that signs for it. It has to be of
    /// the kind [`KeyKind::Account`](lattice_claims::KeyKind::Account).
    pub key: Arc<SigningKey>,
    /// The public key of the account, where `key` only signs for it.
    pub account: Option<String>,
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
        // Pings and providers are told it, who connects does not stand in it.
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

    #[test]
    fn old_providers_are_told_what_they_can_use() {
        let plain = NatsConfig::default().tell(HostData::default());
        assert_eq!(plain.lattice_rpc_url, "nats://127.0.0.1:4222");
        assert_eq!(plain.lattice_bus, None);
        let config = NatsConfig {
            servers: vec!["nats://me:word@a:1".to_owned(), "nats://b:2".to_owned()],
            login: Login::Nkey(SecretText::new("SU")),
            ..NatsConfig::default()
        };
        let data = config.tell(HostData::default());
        assert_eq!(data.lattice_rpc_url, "nats://a:1");
        assert_eq!(data.lattice_rpc_user_seed.expose(), "SU");
        assert_eq!(data.lattice_bus.as_ref().unwrap().servers.len(), 2);
        assert!(!format!("{data:?}").contains("word"));
    }
}
