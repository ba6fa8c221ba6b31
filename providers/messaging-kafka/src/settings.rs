//! What a link may say: in its target config when this provider is its target, in its source config
//! when it is its source. What the provider's own config says holds for links that do not say it.
//!
//! At either end:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `hosts` | the brokers, addresses separated by commas | `127.0.0.1:9092` |
//! | `max_message_bytes` | the largest body that is published | 1048576 |
//! | `tls` | `true`: connections are kept private | `true` with one of the next three |
//! | `tls_ca`, `tls_ca_file` | authorities to trust in place of those of the system: PEM text, or the path of a file | those of the system |
//! | `tls_cert`, `tls_key`, or `tls_cert_file`, `tls_key_file` | our own certificate and its key | none |
//! | `tls_key_password` | what the key is encrypted with | |
//! | `username`, `password` | who logs in, by SASL | nobody |
//! | `sasl_mechanism` | `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512` | `PLAIN` |
//!
//! What is secret may stand in the secrets of the same end, and should. `PLAIN` sends the password
//! as it is, which only TLS hides.
//!
//! What a component gets:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `subscriptions` | topics separated by commas, each `topic` or `topic\|group` with the same group | `topic` |
//! | `topic` | one topic | needed, if there are no `subscriptions` |
//! | `consumer_group` | who shares the partitions | `lattice-LATTICE-COMPONENT-LINK` |
//! | `consumer_partitions` | partitions to read, separated by commas, rather than a share | a share |
//! | `begin` | where a group begins that has no position yet: `earliest` or `latest` | `earliest`; `latest` for links in the form of 1.x |
//! | `keys_in_subject` | `true`: subjects of what arrives are `topic#key` | `false` |
//!
//! and how, as in [`lattice_provider_sdk::messaging`]; `max_in_flight` bounds the partitions that are
//! worked on at once.
//!
//! In the form of 1.x one link with this provider as target does both: the component publishes, and
//! gets what comes to `topic` from when the link is put. Without `topic` a link for
//! `wasmcloud:messaging` reads `my-topic`, if there is such a topic; one for `wasi:messaging` only
//! publishes.
//!
//! Where a link with `begin=latest` begins is stored with the brokers before it is ready, so that it misses
//! nothing when it is put again before it has handled anything. The brokers refuse that while others of its
//! group read already; then it begins a moment later.
//!
//! With this provider as target:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `producer_partitions` | partitions, separated by commas, each of which gets every message that is published; requests go to one in turn | by key, or any |
//! | `reply_topic` | where answers arrive | `lattice.replies` |

pub mod security;

use lattice_provider_sdk::messaging::LARGEST_BODY;
use lattice_provider_sdk::{InvalidSetting, Settings};

use security::{SecurityError, SecuritySettings};

/// The longest name of a topic.
const LONGEST_TOPIC: usize = 249;

/// Brokers, and what is published to them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// Their addresses.
    pub hosts: String,
    /// The largest body.
    pub largest: usize,
    /// Where answers arrive.
    pub reply_topic: String,
    /// How connections are kept private, and who logs in.
    pub security: SecuritySettings,
}

impl ServerSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`SecurityError`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, SecurityError> {
        let expected = "addresses like `host:9092`, separated by commas";
        let hosts = |text: &str| {
            let mut places = text.split(',').map(str::trim);
            places.all(is_place).then(|| text.to_owned())
        };
        let hosts = settings.read("hosts", expected, hosts)?;
        let topic = |text: &str| is_topic(text).then(|| text.to_owned());
        let reply = settings.read("reply_topic", TOPIC, topic)?;
        Ok(Self {
            hosts: hosts.unwrap_or_else(|| "127.0.0.1:9092".into()),
            largest: settings.number("max_message_bytes", 1 << 20, 1..=LARGEST_BODY)?,
            reply_topic: reply.unwrap_or_else(|| "lattice.replies".into()),
            security: SecuritySettings::read(settings)?,
        })
    }
}

const TOPIC: &str = "a topic: letters, digits, `.`, `_` and `-`";

fn is_place(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "9092"));
    let allowed = |c: char| !c.is_whitespace() && c != '/';
    !host.is_empty() && host.chars().all(allowed) && port.parse::<u16>().is_ok()
}

/// What a target link for the package of 1.x reads that names no topic.
const USUAL_TOPIC: &str = "my-topic";

/// Which end of a link says what a component gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The source end, which is ours.
    Own,
    /// The target end, as in 1.x: what is there already was not meant for the component.
    Old,
}

/// What a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderSettings {
    /// From which topics.
    pub topics: Vec<String>,
    /// Whether the link names none, and that is the one that links of 1.x read then.
    pub is_usual: bool,
    /// Who shares the partitions.
    pub group: String,
    /// The partitions to read; none for a share.
    pub partitions: Vec<i32>,
    /// Whether a group without a position begins with the oldest message.
    pub earliest: bool,
    /// Whether subjects have keys.
    pub keys_in_subject: bool,
}

impl ReaderSettings {
    /// Reads what a link says in a form; `own` is the group of those that name none.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, form: Form, own: String) -> Result<Self, InvalidSetting> {
        let begins = [("earliest", true), ("latest", false)];
        let mut group = settings.text("consumer_group").map(str::to_owned);
        let expected = "topics separated by commas, with at most one group, as `topic|group`";
        let read = |text: &str| topics(text, &mut group);
        let mut named = settings.read("subscriptions", expected, read)?;
        if named.is_none() {
            let topic = |text: &str| is_topic(text).then(|| vec![text.to_owned()]);
            named = settings.read("topic", TOPIC, topic)?;
        }
        let is_usual = named.is_none() && form == Form::Old;
        let usual = is_usual.then(|| vec![USUAL_TOPIC.to_owned()]);
        Ok(Self {
            topics: named.or(usual).ok_or_else(|| InvalidSetting::Missing {
                key: "subscriptions".into(),
                expected: "the topics whose messages the component gets".into(),
            })?,
            is_usual,
            group: group.unwrap_or(own),
            partitions: partitions(settings, "consumer_partitions")?,
            earliest: settings.choice("begin", form == Form::Own, &begins)?,
            keys_in_subject: settings.switch("keys_in_subject", false)?,
        })
    }
}

fn topics(text: &str, group: &mut Option<String>) -> Option<Vec<String>> {
    let mut topics = Vec::new();
    let items = text.split(',').map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        let (topic, named) = match item.split_once('|') {
            Some((topic, named)) => (topic.trim(), Some(named.trim())),
            None => (item, None),
        };
        if let Some(named) = named {
            let is_other = group.as_ref().is_some_and(|known| known != named);
            if named.is_empty() || is_other {
                return None;
            }
            *group = Some(named.to_owned());
        }
        topics.push(is_topic(topic).then(|| topic.to_owned())?);
    }
    (!topics.is_empty()).then_some(topics)
}

/// Partitions, separated by commas.
///
/// # Errors
///
/// [`InvalidSetting`] when one is no number.
pub fn partitions(settings: &Settings, key: &str) -> Result<Vec<i32>, InvalidSetting> {
    let all = |text: &str| {
        let numbers = text.split(',').map(|number| number.trim().parse().ok());
        let numbers = numbers.map(|number| number.filter(|number| *number >= 0));
        numbers.collect::<Option<Vec<i32>>>()
    };
    let found = settings.read(key, "numbers of partitions, separated by commas", all)?;
    Ok(found.unwrap_or_default())
}

/// Whether Kafka takes this as a topic.
pub(crate) fn is_topic(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_dots = text == "." || text == "..";
    !text.is_empty() && text.len() <= LONGEST_TOPIC && text.chars().all(allowed) && !is_dots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader(values: &[(&str, &str)]) -> Result<ReaderSettings, InvalidSetting> {
        ReaderSettings::read(
            &Settings::from_texts(values.iter().copied(), []),
            Form::Own,
            "own".into(),
        )
    }

    #[test]
    fn topics_are_read_as_1_9_writes_them_and_as_others_do() {
        let old = [
            ("TOPIC", "my-topic"),
            ("CONSUMER_GROUP", "g"),
            ("CONSUMER_PARTITIONS", "0,2"),
        ];
        let settings = reader(&old).unwrap();
        assert_eq!((&*settings.topics[0], &*settings.group), ("my-topic", "g"));
        assert_eq!(settings.partitions, [0, 2]);
        let new = reader(&[("subscriptions", "a, b|h,")]).unwrap();
        assert_eq!((new.topics.len(), &*new.group), (2, "h"));
        assert_eq!(reader(&[("topic", "a")]).unwrap().group, "own");
    }

    #[test]
    fn a_link_in_the_form_of_1_9_begins_with_what_is_new() {
        let earliest = |form, begin| {
            let settings = Settings::from_texts([("topic", "a"), ("begin", begin)], []);
            let settings = ReaderSettings::read(&settings, form, "own".into());
            settings.unwrap().earliest
        };
        assert!(earliest(Form::Own, "") && !earliest(Form::Old, ""));
        assert!(earliest(Form::Old, "earliest") && !earliest(Form::Own, "latest"));
        let nothing = Settings::from_texts([], []);
        let usual = ReaderSettings::read(&nothing, Form::Old, "own".into()).unwrap();
        assert_eq!((&*usual.topics[0], usual.is_usual), ("my-topic", true));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, text) in [
            ("subscriptions", "a/b"),
            ("subscriptions", "a|g,b|h"),
            ("topic", ".."),
            ("begin", "now"),
        ] {
            let error = reader(&[(key, text), ("topic", "")])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("`{key}`")) || key == "begin",
                "{error}"
            );
        }
        let bad = [("topic", "a"), ("consumer_partitions", "1,x")];
        assert!(reader(&bad).is_err());
        let server = |hosts| ServerSettings::read(&Settings::from_texts([("hosts", hosts)], []));
        assert!(server("a:1,b").is_ok());
        assert!(server("a:b:c").is_err() && server("http://a").is_err() && server("a,").is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in ".{0,60}") {
            let _ = reader(&[("subscriptions", &text)]);
            let _ = ServerSettings::read(&Settings::from_texts([("hosts", &*text)], []));
        }
    }
}
