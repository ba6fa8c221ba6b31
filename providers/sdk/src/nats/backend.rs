//! NATS as the backend of links: where it is, by what a link says.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use lattice_core::provider::SecretText;
use lattice_nats::connection::{AuthorityFile, NatsSystem, Place, login_in};

use super::{BACKEND_PING_INTERVAL, LinkServer, NatsError, NatsSettings, Rotation, connect_with};
use crate::session::Session;
use crate::settings::{InvalidSetting, Settings};

/// How long JetStream may take to answer; less than the usual deadline of a call, so that the
/// caller hears what is missing.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// The NATS that a link says: the values of [`LinkServer`], and `js_domain`, the JetStream domain.
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
        Self::read_under("cluster_uri", settings, own)
    }

    /// As [`BackendSettings::read`], for links that call the address `uri_key`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read_under(
        uri_key: &str,
        settings: &Settings,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let LinkServer { server, authority } = LinkServer::read(settings, uri_key, own)?;
        let word = |text: &str| is_domain(text).then(|| text.to_owned());
        let expected = "one word without dots and wildcards";
        let domain = settings.read("js_domain", expected, word)?;
        Ok(Self {
            server,
            authority,
            domain,
        })
    }

    /// Whether it is the NATS of the lattice with the rights of the process there, as far as its
    /// address tells; `own` is the connection of the lattice. Where it does not, that is seen when there
    /// is a connection: see [`NatsBackend::is_with`].
    #[must_use]
    pub fn is_of_lattice(&self, own: &NatsSettings) -> bool {
        self.has_login_of(own) && is_one(self.server.as_ref().unwrap_or(own), own)
    }

    /// Whether it connects as the process itself does; `own` is the connection of the lattice.
    #[must_use]
    pub fn has_login_of(&self, own: &NatsSettings) -> bool {
        let login = |of: &NatsSettings| {
            let token = (of.jwt.clone(), of.seed.clone(), of.token.clone());
            let said = (token, of.creds_file.clone());
            // What stands in an address counts where nothing else is said.
            let is_nobody = said == Default::default();
            (said, is_nobody.then(|| login_in(&of.url)))
        };
        let server = self.server.as_ref();
        server.is_none_or(|server| login(server) == login(own))
    }

    /// Whether both have an address in common, whoever connects; `own` is the connection of the
    /// lattice.
    #[must_use]
    pub fn has_address_of(&self, other: &Self, own: &NatsSettings) -> bool {
        let server = |of: &Self| of.server.clone().unwrap_or_else(|| own.clone());
        is_one(&server(self), &server(other))
    }

    /// Whether both may mean the same JetStream domain: a link that names none has that of its server.
    #[must_use]
    pub fn may_have_domain_of(&self, other: &Self) -> bool {
        let domains = (self.domain.as_ref(), other.domain.as_ref());
        !matches!(domains, (Some(one), Some(two)) if one != two)
    }

    /// Wants a connection apart from that of the lattice; `own` is that one.
    #[must_use]
    pub fn apart(mut self, own: &NatsSettings) -> Self {
        self.server.get_or_insert_with(|| own.clone());
        self
    }
}

/// Whether both have an address in common.
fn is_one(one: &NatsSettings, other: &NatsSettings) -> bool {
    let places = Place::all(&one.url);
    let mut others = Place::all(&other.url).into_iter();
    one.url == other.url || others.any(|place| places.contains(&place))
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
    /// Connects again when files that the link names change.
    _rotation: Option<Rotation>,
}

impl NatsBackend {
    /// Uses the connection of the lattice, or makes one.
    ///
    /// # Errors
    ///
    /// [`NatsError`] when there is no connection.
    pub async fn open(settings: &BackendSettings, session: &Session) -> Result<Self, NatsError> {
        Self::open_with(settings, session, |options| options).await
    }

    /// As [`NatsBackend::open`], with options that `adjust` has changed where a connection is made.
    ///
    /// # Errors
    ///
    /// As [`NatsBackend::open`].
    pub async fn open_with(
        settings: &BackendSettings,
        session: &Session,
        adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Self, NatsError> {
        let mut rotation = None;
        let nats = match &settings.server {
            None => session.nats_as_backend()?.clone(),
            Some(server) => {
                let mut server = server.clone();
                let authority = settings.authority.as_ref().map(AuthorityFile::write);
                // The connection keeps it from then on.
                let authority = authority.transpose().map_err(NatsError::Authority)?;
                if let Some(file) = &authority {
                    server.ca_file = Some(file.path().to_path_buf());
                }
                let adjust =
                    |options: ConnectOptions| adjust(options.ping_interval(BACKEND_PING_INTERVAL));
                let connected = connect_with(&server, session.id().as_str(), adjust).await?;
                rotation = connected.rotation;
                connected.client
            }
        };
        Ok(Self {
            _rotation: rotation,
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
            _rotation: None,
        }
    }

    /// The connection itself.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.nats
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

    /// Which NATS it is, as the server says that it is connected to, or was last.
    #[must_use]
    pub fn system(&self) -> NatsSystem {
        NatsSystem::of(&self.nats)
    }

    /// Whether that of another connection is the same, such as that of the lattice, by whatever
    /// address it was found. NATS that is joined to it by gateways or leaf nodes counts as another.
    #[must_use]
    pub fn is_with(&self, client: &async_nats::Client) -> bool {
        self.system().is_same(&NatsSystem::of(client))
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
    fn the_rights_of_the_process_are_known_however_the_link_says_it() {
        let own = NatsSettings {
            url: "nats://own:4222,nats://two:4222".into(),
            ..NatsSettings::default()
        };
        let is_own = |own: &NatsSettings, values: &[(&str, &'static str)]| {
            let settings = Settings::from_texts(values.to_vec(), []);
            let read = BackendSettings::read(&settings, own).unwrap();
            assert_eq!(
                read.clone().apart(own).is_of_lattice(own),
                read.is_of_lattice(own)
            );
            read.is_of_lattice(own)
        };
        assert!(is_own(&own, &[]));
        assert!(is_own(&own, &[("js_domain", "hub")]));
        assert!(is_own(&own, &[("tls_ca_file", "ca.pem")]));
        for address in ["nats://two:4222", "two", "TWO.", "b:1, nats://own:4222/"] {
            assert!(is_own(&own, &[("cluster_uri", address)]), "{address}");
        }
        assert!(!is_own(&own, &[("cluster_uri", "nats://b:4222")]));
        assert!(!is_own(&own, &[("client_seed", "other")]));
        let login = NatsSettings {
            seed: SecretText::new("own seed"),
            ..own
        };
        assert!(is_own(&login, &[("tls_ca_file", "ca.pem")]));
        assert!(!is_own(&login, &[("cluster_uri", "nats://two:4222")]));
    }

    #[test]
    fn a_user_in_the_address_is_a_user() {
        let own = NatsSettings {
            url: "nats://me:secret@own:4222".into(),
            ..NatsSettings::default()
        };
        let is_own = |address| {
            let settings = Settings::from_texts([("cluster_uri", address)], []);
            let read = BackendSettings::read(&settings, &own).unwrap();
            read.is_of_lattice(&own)
        };
        assert!(is_own("me:secret@OWN"));
        assert!(!is_own("nats://other:secret@own:4222"));
        assert!(!is_own("nats://own:4222"));
    }

    #[test]
    fn links_to_one_nats_are_known_as_such() {
        let own = NatsSettings {
            url: "nats://127.0.0.1:4222".into(),
            ..NatsSettings::default()
        };
        let read = |values: &[(&str, &'static str)]| {
            let settings = Settings::from_texts(values.to_vec(), []);
            BackendSettings::read(&settings, &own).unwrap()
        };
        let usual = read(&[]);
        for same in [
            &[("cluster_uri", "localhost")][..],
            &[("js_domain", "hub")],
            &[("client_seed", "other")],
        ] {
            assert!(usual.has_address_of(&read(same), &own), "{same:?}");
            assert!(read(same).has_address_of(&usual, &own), "{same:?}");
        }
        let other = read(&[("cluster_uri", "localhost:4333")]);
        assert!(!usual.has_address_of(&other, &own));
        let domain = |name| read(&[("js_domain", name)]);
        assert!(!domain("hub").may_have_domain_of(&domain("edge")));
        assert!(domain("hub").may_have_domain_of(&domain("hub")));
        assert!(domain("hub").may_have_domain_of(&usual));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let error = read(&[("js_domain", "a.*")]).unwrap_err().to_string();
        assert!(error.contains("js_domain"), "{error}");
        let error = read(&[("tls_ca", "x"), ("tls_ca_file", "y")]).unwrap_err();
        assert!(error.to_string().contains("tls_ca"), "{error}");
    }
}
