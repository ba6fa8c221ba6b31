//! What a link may say: in its target config when this provider is its target, in its source config
//! when it is its source, or, preferred for what is secret, in the secrets of the same end. What the
//! provider's own config says holds for links that do not say it.
//!
//! Which server, at either end:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `url` | `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS | `amqp://guest:guest@127.0.0.1:5672/%2f` |
//! | `username`, `password` | who connects | those in `url` |
//! | `tls_ca` | certificates to trust besides those of the system, as PEM text | none |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//! | `exchange` | the topic exchange, made if it is missing | `amq.topic`, which every server has |
//! | `max_message_bytes` | the largest body that components may publish | 16777216 |
//!
//! What a component gets, with this provider as source:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `subscriptions` | binding keys separated by commas, each `key` or `key\|group`; a group is a queue that others may share | needed |
//! | `queue` | the queue of those without a group | `lattice.LATTICE.PROVIDER.COMPONENT.LINK` |
//! | `queue_type` | for queues that are made: `classic` or `quorum`. RabbitMQ 4 drops what comes back from a quorum queue 20 times, as messages do every 25 minutes while their component is away, unless a policy of the server says otherwise (`delivery-limit`) | `classic` |
//! | `queue_expiry_s` | for queues that are made: how many seconds they stay, with what is in them, when nobody consumes them; 0 for ever | 86400 |
//!
//! and how, as in [`lattice_provider_sdk::messaging`]; `max_in_flight` is the prefetch count. Whoever
//! connects needs the right to make, write and read what begins with `lattice.`, where the link's
//! bindings are kept, besides the exchange and the queues. With
//! this provider as target:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `mandatory` | `true`: to publish what no queue takes is an error | `false` |

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use lattice_core::provider::SecretText;
use lattice_provider_sdk::messaging::LARGEST_BODY;
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};

/// How much a short string of AMQP holds.
const LONGEST_NAME: usize = 255;
/// How often each side lets the other know that it is there, in seconds.
const HEARTBEAT: u16 = 10;
/// How long queues stay that nobody consumes, in seconds: a day, and what fits into the milliseconds
/// of the server.
const EXPIRY: u64 = 24 * 60 * 60;
const LONGEST_EXPIRY: u64 = (u32::MAX / 1000) as u64;

/// A server and who connects to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    url: SecretText,
    login: Option<(String, SecretText)>,
    /// Certificates to trust besides those of the system.
    pub authority: Option<SecretText>,
    /// The topic exchange.
    pub exchange: String,
    /// The largest body.
    pub largest: usize,
}

impl ServerSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, LinkError> {
        let usual = || SecretText::new("amqp://guest:guest@127.0.0.1:5672/%2f");
        let url = settings.secret("url").unwrap_or_else(usual);
        let authority = match (settings.secret("tls_ca"), settings.text("tls_ca_file")) {
            (Some(_), Some(_)) => {
                let what = "there are both `tls_ca` and `tls_ca_file`, expected one of them";
                return Err(LinkError::invalid(what));
            }
            (None, Some(path)) => {
                let pem = std::fs::read_to_string(path).map_err(|e| {
                    LinkError::invalid_because(format!("could not read `tls_ca_file`, `{path}`"), e)
                })?;
                Some(SecretText::new(pem))
            }
            (text, None) => text,
        };
        let password = settings.secret("password");
        let login = settings.text("username").map(|user| {
            let password = password.unwrap_or_else(|| SecretText::new(""));
            (user.to_owned(), password)
        });
        let name = |text: &str| is_name(text).then(|| text.to_owned());
        let exchange = settings.read("exchange", "a name of 255 bytes at most", name)?;
        let read = Self {
            url,
            login,
            authority,
            exchange: exchange.unwrap_or_else(|| "amq.topic".into()),
            largest: settings.number("max_message_bytes", 16 << 20, 1..=LARGEST_BODY)?,
        };
        let uri = read.uri()?;
        if read.authority.is_some() && uri.scheme != AMQPScheme::AMQPS {
            let what = "there are certificates, but `url` does not begin with `amqps://`";
            return Err(LinkError::invalid(what));
        }
        Ok(read)
    }

    /// The address with the login.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] when the address cannot be read; it is not shown, as it may have a
    /// password.
    pub fn uri(&self) -> Result<AMQPUri, LinkError> {
        let mut uri: AMQPUri = self.url.expose().trim().parse().map_err(|_| {
            let expected = "an address like `amqp://user:password@host:5672/vhost`";
            LinkError::invalid(format!("`url` cannot be read, expected {expected}"))
        })?;
        if let Some((user, password)) = &self.login {
            uri.authority.userinfo.username = user.clone();
            uri.authority.userinfo.password = password.expose().to_owned();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(uri)
    }
}

/// How a queue is made that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueKind {
    /// Whether it is a quorum queue.
    pub quorum: bool,
    /// How long it stays when nobody consumes it; `None` for ever.
    pub expiry: Option<Duration>,
}

/// What a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// The queues with the keys that they are bound by.
    pub queues: BTreeMap<String, Vec<String>>,
    /// How those are made that are missing.
    pub kind: QueueKind,
}

impl SourceSettings {
    /// Reads what a link says; `own` is the queue of what has no group.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, own: String) -> Result<Self, InvalidSetting> {
        let expected = "binding keys like `a.b`, `a.*`, `a.#`, with a group as `a.b|group`";
        settings.required("subscriptions", expected)?;
        let name = |text: &str| is_name(text).then(|| text.to_owned());
        let queue = settings.read("queue", "a name of 255 bytes at most", name)?;
        let own = queue.unwrap_or(own);
        let read = |text: &str| queues(text, &own);
        let queues = settings.read("subscriptions", expected, read)?;
        let kinds = [("classic", false), ("quorum", true)];
        let seconds = settings.number("queue_expiry_s", EXPIRY, 0..=LONGEST_EXPIRY)?;
        Ok(Self {
            queues: queues.unwrap_or_default(),
            kind: QueueKind {
                quorum: settings.choice("queue_type", false, &kinds)?,
                expiry: (seconds > 0).then(|| Duration::from_secs(seconds)),
            },
        })
    }
}

fn queues(text: &str, own: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let mut queues: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let items = text.split(',').map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        let (key, queue) = item.split_once('|').unwrap_or((item, own));
        let (key, queue) = (key.trim(), queue.trim());
        if !is_name(key) || !is_name(queue) {
            return None;
        }
        let keys = queues.entry(queue.to_owned()).or_default();
        keys.push(key.to_owned());
    }
    (!queues.is_empty()).then_some(queues)
}

/// Whether AMQP takes this as a name or a routing key.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(values: &[(&str, &str)]) -> Result<ServerSettings, LinkError> {
        ServerSettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    fn source(values: &[(&str, &str)]) -> Result<SourceSettings, InvalidSetting> {
        SourceSettings::read(
            &Settings::from_texts(values.iter().copied(), []),
            "own".into(),
        )
    }

    #[test]
    fn addresses_are_read_with_their_logins() {
        let uri = server(&[("url", "amqps://a:b@host/v")])
            .unwrap()
            .uri()
            .unwrap();
        assert_eq!((&*uri.authority.host, &*uri.vhost), ("host", "v"));
        assert_eq!(uri.query.heartbeat, Some(HEARTBEAT));
        let other = [("url", "amqp://h"), ("username", "me"), ("password", "p")];
        let uri = server(&other).unwrap().uri().unwrap();
        assert_eq!(uri.authority.userinfo.username, "me");
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused_without_showing_passwords() {
        for url in ["host", "http://me:secret@h", "amqp://me:secret@h:x"] {
            let error = server(&[("url", url)]).unwrap_err().to_string();
            assert!(
                error.contains("`url`") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(server(&[("tls_ca", "pem")]).is_err());
    }

    #[test]
    fn keys_are_read_with_their_queues() {
        let settings = source(&[("subscriptions", "a.*, b.#|shared,c")]).unwrap();
        let queues: Vec<_> = settings.queues.into_iter().collect();
        let expected = [
            ("own".to_owned(), vec!["a.*".to_owned(), "c".to_owned()]),
            ("shared".to_owned(), vec!["b.#".to_owned()]),
        ];
        assert_eq!(queues, expected);
        for bad in ["", ",", "a|", "|b"] {
            let error = source(&[("subscriptions", bad)]).unwrap_err().to_string();
            assert!(error.contains("`subscriptions`"), "{error}");
        }
        let long = "x".repeat(256);
        assert!(source(&[("subscriptions", &long)]).is_err());
        assert!(source(&[("subscriptions", "a"), ("queue_type", "odd")]).is_err());
    }

    #[test]
    fn queues_go_after_a_day_unless_the_link_says_otherwise() {
        let expiry = |text| {
            let said = source(&[("subscriptions", "a"), ("queue_expiry_s", text)]);
            said.map(|settings| settings.kind.expiry)
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(expiry("").unwrap(), Some(day));
        assert_eq!(expiry("60").unwrap(), Some(Duration::from_secs(60)));
        assert_eq!(expiry("0").unwrap(), None);
        for text in ["soon", "-1", "4294968"] {
            let error = expiry(text).unwrap_err().to_string();
            assert!(error.contains("`queue_expiry_s`"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in ".{0,60}") {
            let _ = server(&[("url", &text)]);
            let _ = source(&[("subscriptions", &text)]);
        }
    }
}
