//! NATS as the backend of links: where it is, by what a link says.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use lattice_core::provider::SecretText;
use tempfile::NamedTempFile;

use super::{BACKEND_PING_INTERVAL, NatsError, NatsSettings, connect_with};
use crate::session::Session;
use crate::settings::{InvalidSetting, Settings};

/// How long JetStream may take to answer; less than the usual deadline of a call, so that the
/// caller hears what is missing.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// The NATS that a link says, by these values:
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `cluster_uri` | where NATS is, several addresses separated by commas | the lattice's own NATS |
/// | `js_domain` | the JetStream domain | none |
/// | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
/// | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
/// | `tls_ca_file` | as `tls_ca`, the path of a file | |
///
/// A login without an address is a login to the lattice's own NATS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendSettings {
    /// Where it is and who connects; `None` for the connection of the lattice itself.
    pub server: Option<NatsSettings>,
    /// Certificates to trust, as PEM text.
    pub authority: Option<SecretText>,
    /// The JetStream domain.
    pub domain: Option<String>,
}

impl BackendSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, own: &NatsSettings) -> Result<Self, InvalidSetting> {
        let value = |key| settings.text(key).map(str::trim);
        let uri = value("cluster_uri");
        let secret = |key| SecretText::new(value(key).unwrap_or_default());
        let (jwt, seed) = (secret("client_jwt"), secret("client_seed"));
        let authority = settings.secret("tls_ca");
        let alone = |path: &str| authority.is_none().then(|| PathBuf::from(path));
        let ca_file = settings.read("tls_ca_file", "nothing beside `tls_ca`", alone)?;
        let word = |text: &str| is_domain(text).then(|| text.to_owned());
        let expected = "one word without dots and wildcards";
        let domain = settings.read("js_domain", expected, word)?;
        let no_login = jwt.is_empty() && seed.is_empty();
        let is_own = uri.is_none() && no_login && authority.is_none() && ca_file.is_none();
        let server = (!is_own).then(|| {
            // The lattice's login is for the lattice's servers only.
            let lend = uri.is_none() && no_login;
            NatsSettings {
                url: uri.unwrap_or(&own.url).to_owned(),
                jwt: if lend { own.jwt.clone() } else { jwt },
                seed: if lend { own.seed.clone() } else { seed },
                ca_file,
            }
        });
        Ok(Self {
            server,
            authority,
            domain,
        })
    }
}

fn is_domain(text: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>');
    !text.is_empty() && text.chars().all(allowed)
}

/// A connection to the NATS of a link.
#[derive(Debug)]
pub struct NatsBackend {
    nats: async_nats::Client,
    jetstream: Context,
    /// Read again whenever the connection is made again.
    _authority: Option<NamedTempFile>,
}

impl NatsBackend {
    /// Uses the connection of the lattice, or makes one.
    ///
    /// # Errors
    ///
    /// [`NatsError`] when there is no connection.
    pub async fn open(settings: &BackendSettings, session: &Session) -> Result<Self, NatsError> {
        let mut authority = None;
        let nats = match &settings.server {
            None => session.peer().nats().clone(),
            Some(server) => {
                let mut server = server.clone();
                if let Some(pem) = &settings.authority {
                    let file = keep(pem.expose()).map_err(NatsError::Authority)?;
                    server.ca_file = Some(file.path().to_path_buf());
                    authority = Some(file);
                }
                let adjust = |options: async_nats::ConnectOptions| {
                    options.ping_interval(BACKEND_PING_INTERVAL)
                };
                connect_with(&server, session.id().as_str(), adjust).await?
            }
        };
        Ok(Self {
            _authority: authority,
            ..Self::on(nats, settings.domain.as_deref())
        })
    }

    /// Uses a connection that is there.
    #[must_use]
    pub fn on(nats: async_nats::Client, domain: Option<&str>) -> Self {
        let context = ContextBuilder::new();
        let jetstream = match domain {
            Some(domain) => context.domain(domain).timeout(ANSWER_LIMIT),
            None => context.timeout(ANSWER_LIMIT),
        };
        Self {
            jetstream: jetstream.build(nats.clone()),
            nats,
            _authority: None,
        }
    }

    /// JetStream in the domain of the link. A request is given up after three seconds.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// A subject for answers that nobody else has.
    #[must_use]
    pub fn inbox(&self) -> String {
        self.nats.new_inbox()
    }

    /// How often the connection was made so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.nats.statistics().connects.load(Ordering::Relaxed)
    }

    /// The longest message that the server takes.
    #[must_use]
    pub fn largest_message(&self) -> usize {
        self.nats.server_info().max_payload
    }

    /// Whether there is a connection: requests without one would wait until they are given up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.nats.connection_state() == State::Connected
    }
}

fn keep(pem: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("lattice-ca-")?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &'static str)]) -> Result<BackendSettings, InvalidSetting> {
        let own = NatsSettings {
            url: "nats://own:4222".into(),
            seed: SecretText::new("own seed"),
            ..NatsSettings::default()
        };
        BackendSettings::read(&Settings::from_texts(values.to_vec(), []), &own)
    }

    fn server(values: &[(&str, &'static str)]) -> NatsSettings {
        read(values).unwrap().server.unwrap()
    }

    #[test]
    fn a_link_that_says_nothing_means_the_lattice_itself() {
        assert_eq!(read(&[]).unwrap().server, None);
    }

    #[test]
    fn the_login_of_the_lattice_goes_to_its_own_servers_only() {
        assert!(server(&[("cluster_uri", "nats://x:4222")]).seed.is_empty());
        let settings = server(&[("tls_ca_file", "ca.pem")]);
        assert_eq!(settings.url, "nats://own:4222");
        assert_eq!(settings.seed.expose(), "own seed");
        let settings = server(&[("client_seed", "other")]);
        assert_eq!(settings.url, "nats://own:4222");
        assert_eq!(settings.seed.expose(), "other");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let error = read(&[("js_domain", "a.*")]).unwrap_err().to_string();
        assert!(error.contains("js_domain"), "{error}");
        let error = read(&[("tls_ca", "x"), ("tls_ca_file", "y")]).unwrap_err();
        assert!(error.to_string().contains("tls_ca"), "{error}");
    }
}
