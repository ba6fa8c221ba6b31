//! What a link may say, besides what [`lattice_provider_sdk::queue`] lists, in the config of the
//! provider's end or, preferred for what is secret, in its secrets. What the provider's own config
//! says holds for links that do not say it.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `cluster_uri` | where NATS is, several addresses separated by commas | the lattice's own NATS |
//! | `js_domain` | the JetStream domain; see below | none |
//! | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
//! | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//! | `stream_prefix` | how the names of the streams begin | `queue_LATTICE_` |
//! | `create` | `true`: every queue that is missing is created; `false`: none is | the link's own and dead-letter queues are |
//! | `dead_letter` | the queue that dead letters go to | the name of their queue with `-dead` |
//!
//! Domains that are joined by leaf nodes have their streams apart, but subjects in common. Where two of
//! them have a queue of the same name, each takes what is sent to either. A send through a link with a
//! `js_domain` fails when the queue of another domain was the first to take the message; another
//! `stream_prefix` for one of the two keeps them apart.
//!
//! How a queue is made that is created; where the link says one of the first three, the link's own
//! queue is changed accordingly if it is there:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `max_messages` | the most messages in the queue; more are refused | no limit |
//! | `max_bytes` | the most bytes in the queue; more are refused | no limit |
//! | `max_message_bytes` | the largest message, with its attributes | what the server takes |
//! | `dedup_window_ms` | how long a `dedup-id` is remembered | 120000 |
//! | `replicas` | how many servers of a cluster keep a copy | 1 |
//! | `lease_ms` | also: the lease at whose end messages of a provider that died come again | 30000 |

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::queue::dead_name;
use lattice_provider_sdk::{InvalidSetting, Settings};

/// The largest count and size that a link may say: what a stream counts with.
const MOST: i64 = i64::MAX;

/// The shortest window: a message that is moved has to be known until the move is acknowledged.
const SHORTEST_WINDOW_MS: u64 = 30_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The NATS behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterSettings {
    /// The connection.
    pub nats: BackendSettings,
    /// How the names of its streams begin.
    pub prefix: String,
}

/// Which queues are created when they are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Any.
    All,
    /// That of the link and its dead-letter queue.
    Own,
    /// None.
    No,
}

/// How a queue is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The most messages; -1 for any number.
    pub max_messages: i64,
    /// The most bytes; -1 for any number.
    pub max_bytes: i64,
    /// The largest message; -1 for what the server takes.
    pub max_message_bytes: i32,
    /// How long ids are remembered.
    pub window: Duration,
    /// How many copies are kept.
    pub replicas: usize,
    /// The usual lease.
    pub lease: Duration,
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The NATS behind it.
    pub cluster: ClusterSettings,
    /// The link's own queue.
    pub own: String,
    /// Where dead letters go, if that was said.
    pub dead_letter: Option<String>,
    /// Which queues are created.
    pub create: Create,
    /// How.
    pub queue: QueueSettings,
}

impl LinkSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let create = match settings.text("create") {
            None => Create::Own,
            Some(_) if settings.switch("create", true)? => Create::All,
            Some(_) => Create::No,
        };
        Ok(Self {
            cluster: ClusterSettings::read(settings, lattice, own)?,
            own: settings
                .text("queue")
                .unwrap_or("default")
                .trim()
                .to_owned(),
            dead_letter: settings.text("dead_letter").map(str::to_owned),
            create,
            queue: QueueSettings::read(settings)?,
        })
    }

    /// Where the dead letters of a queue go.
    #[must_use]
    pub fn dead(&self, queue: &str) -> String {
        let named = self.dead_letter.clone();
        named.unwrap_or_else(|| dead_name(queue))
    }

    /// Whether a queue that is missing is created when a component asks for it.
    #[must_use]
    pub fn creates(&self, queue: &str) -> bool {
        match self.create {
            Create::All => true,
            Create::Own => queue == self.own || queue == self.dead(&self.own),
            Create::No => false,
        }
    }
}

impl QueueSettings {
    fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let limit = |key| match settings.text(key) {
            None => Ok(-1),
            Some(_) => settings.number(key, -1, 1..=MOST),
        };
        let largest = match settings.text("max_message_bytes") {
            None => -1,
            Some(_) => settings.number("max_message_bytes", -1, 1..=i32::MAX)?,
        };
        let window = Duration::from_secs(120);
        let lease = Duration::from_secs(30);
        Ok(Self {
            max_messages: limit("max_messages")?,
            max_bytes: limit("max_bytes")?,
            max_message_bytes: largest,
            window: settings.millis("dedup_window_ms", window, SHORTEST_WINDOW_MS..=DAY_MS)?,
            replicas: settings.number("replicas", 1, 1..=5)?,
            lease: settings.millis("lease_ms", lease, 1..=DAY_MS)?,
        })
    }
}

impl ClusterSettings {
    fn read(
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let expected = "letters, digits, `-` and `_`";
        let prefix = settings.read("stream_prefix", expected, |text| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            text.bytes().all(allowed).then(|| text.to_owned())
        })?;
        Ok(Self {
            nats: BackendSettings::read(settings, own)?,
            prefix: prefix.unwrap_or_else(|| format!("queue_{}_", plain(lattice))),
        })
    }
}

/// A lattice's name as part of a stream's.
fn plain(lattice: &LatticeName) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => c,
        _ => '_',
    };
    lattice.to_string().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use lattice_core::provider::SecretText;

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<LinkSettings, InvalidSetting> {
        let settings = Settings::from_texts(values.iter().copied(), []);
        let own = NatsSettings {
            url: "nats://own:4222".into(),
            seed: SecretText::new("own seed"),
            ..NatsSettings::default()
        };
        LinkSettings::read(&settings, &LatticeName::default(), &own)
    }

    #[test]
    fn an_empty_config_means_the_lattices_nats() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.cluster.nats.server, None);
        assert_eq!(settings.cluster.prefix, "queue_default_");
        assert_eq!(settings.own, "default");
        assert_eq!(settings.queue.max_messages, -1);
    }

    #[test]
    fn the_links_own_queues_are_created_unless_it_says_otherwise() {
        let settings = read(&[("queue", "jobs")]).unwrap();
        assert!(settings.creates("jobs") && settings.creates("jobs-dead"));
        assert!(!settings.creates("other"));
        assert!(read(&[("create", "true")]).unwrap().creates("other"));
        assert!(!read(&[("create", "false")]).unwrap().creates("default"));
        let settings = read(&[("dead_letter", "grave")]).unwrap();
        assert!(settings.creates("grave") && !settings.creates("default-dead"));
    }

    #[test]
    fn the_login_of_the_lattice_goes_to_its_own_servers_only() {
        let server = |values| read(values).unwrap().cluster.nats.server.unwrap();
        assert!(server(&[("cluster_uri", "nats://x:4222")]).seed.is_empty());
        assert_eq!(
            server(&[("tls_ca_file", "a.pem")]).seed.expose(),
            "own seed"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, text) in [
            ("create", "perhaps"),
            ("max_messages", "0"),
            ("max_bytes", "many"),
            ("max_message_bytes", "-1"),
            ("dedup_window_ms", "29999"),
            ("stream_prefix", "a.b"),
            ("js_domain", "a.*"),
            ("replicas", "6"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(text), "{error}");
        }
        assert!(read(&[("tls_ca", "x"), ("tls_ca_file", "y")]).is_err());
    }
}
