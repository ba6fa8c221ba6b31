//! What a link may say: in its target config when this provider is its target, in its source config
//! when it is its source, or, preferred for what is secret, in the secrets of the same end. What the
//! provider's own config says holds for links that do not say it.
//!
//! Which NATS, at either end:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `cluster_uris` | where NATS is, addresses separated by commas | the lattice's own NATS |
//! | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
//! | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//! | `custom_inbox_prefix` | how the subjects begin on which answers arrive | `_INBOX` |
//! | `js_domain` | the JetStream domain | none |
//! | `lattice_subjects` | `allowed`: also on the lattice's own NATS the component may use the subjects that the lattice goes by: `wasmbus.>`, `$JS.>` and what else begins with `$`, calls and inboxes of providers, `wasmcloud.secrets.>` and `wasmcloud.policy.>`, the topics of the host, and patterns that would hear those or other people's `_INBOX`. By them it can give commands to hosts and call in anybody's name | `reserved` |
//!
//! The lattice's own NATS is known by its address, however that is written, and by what its servers say
//! of themselves, so that servers of a cluster of the same name count as it, too. Another login is another user, who has
//! rights of his own. NATS that is joined to the lattice's by leaf nodes or gateways cannot be told from any
//! other: where subjects of the lattice get there, let the account of the link's user not have them.
//!
//! What a component gets, with this provider as source:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `subscriptions` | subjects of core NATS separated by commas, each `subject` or `subject\|group` | none |
//! | `consumers` | JetStream consumers that are there, as JSON: `[{"stream":"S","consumer":"C"}]`, with `max_messages` and `max_bytes` of one fetch if wanted | none |
//! | `stream` | a stream whose messages the component gets | none |
//! | `stream_subjects` | the subjects that the stream takes, separated by commas, if it is missing and shall be made | |
//! | `durable` | the durable consumer on it, made if it is missing | `lattice_COMPONENT_LINK_` and a hash of lattice, provider and link |
//! | `filter_subjects` | subjects of the stream that are wanted, separated by commas | all |
//! | `deliver` | `all` messages of the stream, or `new` ones only, which a durable keeps as it was made | `all` |
//! | `ack_wait_ms` | when a message comes again whose provider has died | 30000 |
//!
//! A durable that is there is changed to what the link says of `filter_subjects` and `ack_wait_ms`,
//! and the link fails where it was made with another `deliver`. One that shall be used as it is
//! belongs in `consumers`. A link that says none of `subscriptions`, `consumers` and `stream` stands,
//! and its component gets nothing.
//!
//! and how, as in [`lattice_provider_sdk::messaging`]. `max_in_flight` is 1024 for core NATS. Dead
//! letters of JetStream go to `lattice.dead.STREAM.DURABLE` unless `dead_letter` names a subject; where
//! no stream takes that subject, one is made when the first letter comes. Those of core NATS go
//! nowhere unless it does; it is published by core NATS, as the message was. What a handler refuses is
//! tried again, from memory for core NATS; `max_deliver` of 1 does without, as 1.x did. Each copy of the
//! provider counts its own attempts at a message of a stream; all of them together make three times
//! `max_deliver` at most.
//!
//! With this provider as target:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `jetstream` | `true`: `publish` waits until a stream has the message; where an answer goes stands in its header `lattice-reply`. Requests and answers go by core NATS | `false` |

use std::time::Duration;

use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::{InvalidSetting, Settings};
use serde_json::Value;

/// The NATS behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterSettings {
    /// The connection.
    pub nats: BackendSettings,
    /// How the subjects of answers begin.
    pub inbox: Option<String>,
}

impl ClusterSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, own: &NatsSettings) -> Result<Self, InvalidSetting> {
        let nats = BackendSettings::read_under("cluster_uris", settings, own)?;
        let prefix = |text: &str| is_subject(text, false).then(|| text.to_owned());
        let expected = "words joined by dots, without wildcards";
        let inbox = settings.read("custom_inbox_prefix", expected, prefix)?;
        let nats = match &inbox {
            Some(_) => nats.apart(own),
            None => nats,
        };
        Ok(Self { nats, inbox })
    }
}

/// A subject of core NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The subject, maybe with wildcards.
    pub subject: String,
    /// Who shares its messages.
    pub group: String,
}

/// A JetStream consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The stream.
    pub stream: String,
    /// The consumer's name.
    pub name: String,
    /// How many messages are fetched at once at most.
    pub max_messages: usize,
    /// How many bytes; 0 for any.
    pub max_bytes: usize,
    /// How it is made when it is missing; `None` when it has to be there.
    pub create: Option<NewConsumer>,
}

/// How a durable consumer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConsumer {
    /// The subjects of the stream, if that is made when it is missing.
    pub stream_subjects: Vec<String>,
    /// The subjects that are wanted; none for all.
    pub filter: Vec<String>,
    /// Whether messages count that were there before.
    pub all: bool,
    /// When a message comes again that nobody acknowledges.
    pub ack_wait: Duration,
}

/// What a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// By core NATS.
    pub subscriptions: Vec<Subscription>,
    /// By JetStream.
    pub consumers: Vec<ConsumerSettings>,
}

impl SourceSettings {
    /// Reads what a link says. `group` is the queue group of subscriptions that name none, `own` the
    /// durable of a link that names none.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, group: &str, own: &str) -> Result<Self, InvalidSetting> {
        let subscriptions = subscriptions(settings, group)?;
        let expected =
            "JSON like [{\"stream\":\"S\",\"consumer\":\"C\"}], with names that NATS takes";
        let mut consumers = settings
            .read("consumers", expected, consumers)?
            .unwrap_or_default();
        if let Some(stream) = settings.read("stream", "the name of a stream", name)? {
            consumers.push(durable(settings, own, stream)?);
        }
        // One that says nothing of it stands and brings nothing, as in 1.x; one that says it and
        // names nothing is a mistake.
        let says = ["subscriptions", "consumers"].iter();
        let mut says = says.filter(|key| settings.text(key).is_some());
        if subscriptions.is_empty()
            && consumers.is_empty()
            && let Some(key) = says.next()
        {
            return Err(InvalidSetting::Missing {
                key: (*key).to_owned(),
                expected: "something that the component gets, or not this value at all".into(),
            });
        }
        Ok(Self {
            subscriptions,
            consumers,
        })
    }
}

fn subscriptions(settings: &Settings, group: &str) -> Result<Vec<Subscription>, InvalidSetting> {
    let one = |item: &str| {
        let (subject, group) = item.split_once('|').unwrap_or((item, group));
        let (subject, group) = (subject.trim(), group.trim());
        let is_good = is_subject(subject, true) && is_subject(group, false);
        is_good.then(|| Subscription {
            subject: subject.to_owned(),
            group: group.to_owned(),
        })
    };
    let expected = "subjects like `a.b`, `a.*` or `a.>`, with a queue group as `a.b|group`";
    let all = |text: &str| {
        let items = text.split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(one).collect()
    };
    let found = settings.read("subscriptions", expected, all)?;
    Ok(found.unwrap_or_default())
}

fn consumers(text: &str) -> Option<Vec<ConsumerSettings>> {
    let list: Vec<Value> = serde_json::from_str(text).ok()?;
    let one = |item: &Value| {
        let word = |key: &str| name(item.get(key)?.as_str()?);
        let count = |key: &str, none: usize| match item.get(key) {
            None | Some(Value::Null) => Some(none),
            Some(number) => usize::try_from(number.as_u64()?).ok(),
        };
        Some(ConsumerSettings {
            stream: word("stream")?,
            name: word("consumer")?,
            max_messages: count("max_messages", usize::MAX)?.max(1),
            max_bytes: count("max_bytes", 0)?,
            create: None,
        })
    };
    list.iter().map(one).collect()
}

fn durable(
    settings: &Settings,
    own: &str,
    stream: String,
) -> Result<ConsumerSettings, InvalidSetting> {
    let expected = "a name without dots, blanks and wildcards";
    let named = settings.read("durable", expected, name)?;
    let new = NewConsumer {
        stream_subjects: subjects(settings, "stream_subjects")?,
        filter: subjects(settings, "filter_subjects")?,
        all: settings.choice("deliver", true, &[("all", true), ("new", false)])?,
        ack_wait: settings.millis("ack_wait_ms", Duration::from_secs(30), 1000..=3_600_000)?,
    };
    Ok(ConsumerSettings {
        stream,
        name: named.unwrap_or_else(|| own.to_owned()),
        max_messages: usize::MAX,
        max_bytes: 0,
        create: Some(new),
    })
}

fn subjects(settings: &Settings, key: &str) -> Result<Vec<String>, InvalidSetting> {
    let list = settings.list(key);
    match list.iter().find(|subject| !is_subject(subject, true)) {
        None => Ok(list.into_iter().map(str::to_owned).collect()),
        Some(bad) => Err(InvalidSetting::Value {
            key: key.to_owned(),
            value: (*bad).to_owned(),
            expected: "subjects like `a.b`, `a.*` or `a.>`".into(),
        }),
    }
}

/// Names of streams and consumers.
fn name(text: &str) -> Option<String> {
    is_word(text).then(|| text.to_owned())
}

fn is_word(text: &str) -> bool {
    let allowed = |c: char| {
        !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>' | '/' | '\\')
    };
    !text.is_empty() && text.chars().all(allowed)
}

/// Whether NATS takes this as a subject.
pub(crate) fn is_subject(text: &str, wildcards: bool) -> bool {
    let mut words = text.split('.').peekable();
    while let Some(word) = words.next() {
        let is_wild = word == "*" || word == ">";
        let is_last = words.peek().is_none();
        let is_blank = word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '\0');
        if is_blank || (is_wild && !wildcards) || (word == ">" && !is_last) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use lattice_core::provider::SecretText;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<SourceSettings, InvalidSetting> {
        let settings = Settings::from_texts(values.iter().copied(), []);
        SourceSettings::read(&settings, "group", "own")
    }

    #[test]
    fn subjects_are_read_with_their_groups() {
        let settings = read(&[("subscriptions", "a.b|q, c.>,")]).unwrap();
        let pairs = settings.subscriptions.iter();
        let pairs = pairs.map(|s| (&*s.subject, &*s.group)).collect::<Vec<_>>();
        assert_eq!(pairs, [("a.b", "q"), ("c.>", "group")]);
    }

    #[test]
    fn consumers_are_read_as_1_9_writes_them() {
        let text = r#"[{"stream":"S","consumer":"C","max_messages":7},{"stream":"T","consumer":"D","max_bytes":null}]"#;
        let settings = read(&[("consumers", text)]).unwrap();
        assert_eq!(settings.consumers[0].max_messages, 7);
        assert_eq!(settings.consumers[1].name, "D");
        assert!(settings.consumers.iter().all(|c| c.create.is_none()));
    }

    #[test]
    fn a_stream_has_a_durable_of_the_link() {
        let settings = read(&[("stream", "ORDERS"), ("filter_subjects", "o.a,o.b")]).unwrap();
        let consumer = &settings.consumers[0];
        assert_eq!(consumer.name, "own");
        assert_eq!(consumer.create.as_ref().unwrap().filter, ["o.a", "o.b"]);
    }

    #[test]
    fn a_link_may_bring_nothing() {
        for values in [&[][..], &[("subscriptions", "")], &[("max_deliver", "2")]] {
            let settings = read(values).unwrap();
            assert_eq!(
                (settings.subscriptions, settings.consumers),
                (vec![], vec![])
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, text) in [
            ("subscriptions", "a..b"),
            ("subscriptions", "a.>.b"),
            ("subscriptions", "a b"),
            ("consumers", "{}"),
            ("consumers", r#"[{"stream":"a.b","consumer":"C"}]"#),
            ("stream", "a.b"),
            ("subscriptions", ","),
            ("consumers", "[]"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        let error = read(&[("stream", "S"), ("filter_subjects", "a..b")]).unwrap_err();
        assert!(error.to_string().contains("`filter_subjects`"), "{error}");
    }

    fn cluster(values: &[(&str, &str)]) -> Result<ClusterSettings, InvalidSetting> {
        let own = NatsSettings {
            url: "nats://own:4222".into(),
            seed: SecretText::new("own seed"),
            ..NatsSettings::default()
        };
        ClusterSettings::read(&Settings::from_texts(values.iter().copied(), []), &own)
    }

    #[test]
    fn the_lattices_login_is_not_lent_to_others() {
        assert_eq!(cluster(&[]).unwrap().nats.server, None);
        let other = cluster(&[("cluster_uris", "nats://b:4222")]).unwrap();
        let server = other.nats.server.unwrap();
        assert_eq!(
            (&*server.url, server.seed.is_empty()),
            ("nats://b:4222", true)
        );
        let inbox = cluster(&[("custom_inbox_prefix", "_MINE.a")]).unwrap();
        let server = inbox.nats.server.unwrap();
        assert_eq!(
            (&*server.url, server.seed.is_empty()),
            ("nats://own:4222", false)
        );
        assert!(cluster(&[("custom_inbox_prefix", "a.*")]).is_err());
        assert!(cluster(&[("tls_ca", "x"), ("tls_ca_file", "y")]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in ".{0,60}") {
            let _ = read(&[("subscriptions", &text)]);
            let _ = read(&[("consumers", &text)]);
            let _ = is_subject(&text, true);
        }

        #[test]
        fn words_joined_by_dots_are_subjects(words in prop::collection::vec("[a-zA-Z0-9_-]{1,8}", 1..6)) {
            prop_assert!(is_subject(&words.join("."), false));
        }
    }
}
