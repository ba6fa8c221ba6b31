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

use lattice_provider_sdk::messaging::LARGEST_BODY;
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};
use lattice_rabbitmq::RabbitSettings;

/// How much a short string of AMQP holds.
const LONGEST_NAME: usize = 255;
/// How long queues stay that nobody consumes, in seconds: a day, and what fits into the milliseconds
/// of the server.
const EXPIRY: u64 = 24 * 60 * 60;
const LONGEST_EXPIRY: u64 = (u32::MAX / 1000) as u64;

/// A server, and what messages are published to there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// The server and who connects to it.
    pub rabbit: RabbitSettings,
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
        let name = |text: &str| is_name(text).then(|| text.to_owned());
        let exchange = settings.read("exchange", "a name of 255 bytes at most", name)?;
        Ok(Self {
            rabbit: RabbitSettings::read(settings)?,
            exchange: exchange.unwrap_or_else(|| "amq.topic".into()),
            largest: settings.number("max_message_bytes", 16 << 20, 1..=LARGEST_BODY)?,
        })
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
    fn the_exchange_is_that_of_every_server_unless_the_link_names_another() {
        assert_eq!(server(&[]).unwrap().exchange, "amq.topic");
        assert_eq!(server(&[("exchange", "news")]).unwrap().exchange, "news");
        for (key, text) in [("exchange", "a\nb"), ("url", "http://h")] {
            let error = server(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
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
            let _ = server(&[("exchange", &text)]);
            let _ = source(&[("subscriptions", &text)]);
        }
    }
}
