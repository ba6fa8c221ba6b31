//! The words in which the providers of a capability tell what their backends can do.
//!
//! All providers of a capability tell the same features, each with one of a few values, so that a
//! component or a link can ask for any of them whatever stands behind it. What a backend lacks has
//! the value `none`. Five words are told for every capability that keeps something:
//!
//! | feature | tells |
//! | --- | --- |
//! | `consistency` | what later operations see of one that was answered: see below |
//! | `ttl` | what has a time after which it goes by itself |
//! | `cas` | how a write can be made to depend on what was there |
//! | `paging` | how a long list comes in parts |
//! | `order` | in which order things come |
//!
//! and limits, whose names begin with `max-` or end with the unit. The values of `consistency` are
//!
//! | value | means |
//! | --- | --- |
//! | `linearizable` | what was answered is there for every later operation, and no two are out of order |
//! | `strong` | who reads after a write was answered sees it |
//! | `best-effort` | as `linearizable`, as long as no copy of the backend takes over: copies are behind, so the last writes may be lost then |
//! | `eventual` | it is seen after a while |
//! | `none` | nothing is known of what was answered |
//!
//! The other values are listed at the beginning of the module of each capability.

/// The value of a feature that is not there.
pub(crate) const NONE: &str = "none";

/// The words that every capability has that keeps something.
pub const COMMON: [&str; 5] = ["cas", "consistency", "order", "paging", "ttl"];

/// The features that every provider of a capability tells.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary {
    /// What the capability is called.
    pub capability: &'static str,
    /// Its features.
    pub words: &'static [Word],
}

/// A feature with what may be said of it.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// The name of the feature.
    pub name: &'static str,
    /// Its values.
    pub says: Says,
}

/// The values of a feature.
#[derive(Debug, Clone, Copy)]
pub enum Says {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number.
    Number,
    /// A number, or `none`.
    NumberOrNone,
}

impl Word {
    const fn new(name: &'static str, says: Says) -> Self {
        Self { name, says }
    }

    const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self::new(name, Says::OneOf(values))
    }

    /// There, or not.
    const fn flag(name: &'static str) -> Self {
        Self::one_of(name, &["yes", NONE])
    }

    const fn number(name: &'static str) -> Self {
        Self::new(name, Says::Number)
    }

    const fn number_or_none(name: &'static str) -> Self {
        Self::new(name, Says::NumberOrNone)
    }

    fn allows(&self, value: &str) -> bool {
        let is_number = value.parse::<u64>().is_ok();
        match self.says {
            Says::OneOf(values) => values.contains(&value),
            Says::Number => is_number,
            Says::NumberOrNone => is_number || value == NONE,
        }
    }
}

impl Vocabulary {
    /// What is wrong with the features that a provider has told: a word that is missing, one that
    /// nobody knows, and a value that is none of the word's.
    #[must_use]
    pub fn complaints<'a>(
        &self,
        told: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<String> {
        let told: Vec<_> = told.into_iter().collect();
        let missing = self
            .words
            .iter()
            .filter(|word| told.iter().all(|(name, _)| *name != word.name))
            .map(|word| format!("`{}` is not told", word.name));
        let wrong = told.iter().filter_map(|(name, value)| {
            match self.words.iter().find(|word| word.name == *name) {
                Some(word) if word.allows(value) => None,
                Some(_) => Some(format!("`{value}` is no value of `{name}`")),
                None => Some(format!("`{name}` is no feature of {}", self.capability)),
            }
        });
        missing.chain(wrong).collect()
    }
}

/// What key-value providers tell.
pub const KEY_VALUE: Vocabulary = Vocabulary {
    capability: "key-value",
    words: &[
        Word::one_of("consistency", &["linearizable", "best-effort", "eventual"]),
        Word::one_of("ttl", &["key", "bucket"]),
        Word::one_of("cas", &["version", "value"]),
        Word::one_of("paging", &["once", "stable"]),
        Word::one_of("order", &["key", NONE]),
        Word::one_of("increment", &["atomic"]),
        Word::number("max-count"),
        Word::one_of("watch", &["live", "resumed", NONE]),
        Word::flag("watch-set"),
        Word::flag("watch-delete"),
        Word::one_of("watch-expiry", &["yes", "server", NONE]),
        Word::one_of("watch-steps", &["each", "last", NONE]),
        Word::one_of("batch", &["atomic", "each"]),
        Word::number("max-value-bytes"),
        Word::number("max-key-bytes"),
    ],
};

/// What blob providers tell.
pub const BLOBS: Vocabulary = Vocabulary {
    capability: "blobs",
    words: &[
        Word::one_of("consistency", &["strong", "eventual"]),
        Word::one_of("ttl", &["container", NONE]),
        Word::one_of("cas", &[NONE]),
        Word::one_of("paging", &["offset"]),
        Word::one_of("order", &["name", "written", NONE]),
        Word::one_of("ranges", &["native", "skip"]),
        Word::one_of("copy", &["native", "stream"]),
        Word::one_of("move", &["atomic", "copy-delete"]),
        Word::one_of(
            "created-at",
            &["containers-and-objects", "objects", "containers"],
        ),
        Word::flag("durable"),
        Word::number("max-object-bytes"),
    ],
};

/// What message providers tell.
pub const MESSAGES: Vocabulary = Vocabulary {
    capability: "messages",
    words: &[
        Word::one_of("consistency", &["strong", NONE]),
        Word::one_of("ttl", &["stream", "topic", "session", "queue", NONE]),
        Word::one_of("cas", &[NONE]),
        Word::one_of("paging", &[NONE]),
        Word::one_of("order", &["subject", "partition", "queue", "connection"]),
        Word::one_of("delivery", &["at-most-once", "at-least-once"]),
        Word::one_of("request", &["no-responders", "yes", NONE]),
        Word::flag("groups"),
        Word::flag("headers"),
        Word::flag("dead-letter"),
        Word::number("max-message-bytes"),
    ],
};

/// What queue providers tell.
pub const QUEUE: Vocabulary = Vocabulary {
    capability: "queue",
    words: &[
        Word::one_of("consistency", &["strong", "eventual"]),
        Word::one_of("ttl", &["queue", NONE]),
        Word::one_of("cas", &[NONE]),
        Word::one_of("paging", &[NONE]),
        Word::one_of("order", &["fifo", "best-effort"]),
        Word::number_or_none("delay"),
        Word::number_or_none("dedup"),
        Word::flag("groups"),
        Word::flag("dead-letter"),
        Word::one_of("depth", &["exact", "approximate", "ready-only"]),
        Word::number("max-message-bytes"),
        Word::number("max-lease-ms"),
    ],
};

/// What SQL providers tell.
pub const SQL: Vocabulary = Vocabulary {
    capability: "sql",
    words: &[
        Word::one_of("consistency", &["linearizable", "eventual"]),
        Word::one_of("ttl", &[NONE]),
        Word::one_of("cas", &["statement"]),
        Word::one_of("paging", &["cursor", NONE]),
        Word::one_of("order", &["query"]),
        Word::one_of("dialect", &["postgres", "mysql", "sqlite"]),
        Word::one_of("decimal", &["exact", "float"]),
        Word::flag("transactions"),
        Word::one_of("isolation", &["serializable", NONE]),
        Word::flag("transactional-ddl"),
        Word::one_of("after-error", &["goes-on", "rolls-back"]),
        Word::flag("prepared"),
        Word::number_or_none("max-page-rows"),
        Word::number_or_none("max-page-bytes"),
        Word::number("max-parameters"),
        Word::number_or_none("max-transactions"),
        Word::number_or_none("max-cursors"),
    ],
};

/// What lock providers tell.
pub const LOCK: Vocabulary = Vocabulary {
    capability: "lock",
    words: &[
        Word::one_of("consistency", &["linearizable", "best-effort"]),
        Word::one_of("ttl", &["lease"]),
        Word::one_of("cas", &["token"]),
        Word::one_of("paging", &[NONE]),
        Word::one_of("order", &["arrival", NONE]),
        Word::flag("fencing"),
        Word::flag("fair"),
        Word::number("ttl-min-ms"),
        Word::number("ttl-max-ms"),
        Word::number("max-waiters"),
    ],
};

/// What schedule providers tell.
pub const SCHEDULE: Vocabulary = Vocabulary {
    capability: "schedule",
    words: &[
        Word::one_of("consistency", &["linearizable", "eventual"]),
        Word::one_of("ttl", &[NONE]),
        Word::one_of("cas", &[NONE]),
        Word::one_of("paging", &[NONE]),
        Word::one_of("order", &["name"]),
        Word::flag("cron"),
        Word::flag("time-zone"),
        Word::flag("once"),
        Word::number("resolution-ms"),
        Word::number("max-jobs"),
        Word::number("max-payload-bytes"),
    ],
};

/// What HTTP servers tell. Nothing is kept, so the common words say nothing.
pub const HTTP_IN: Vocabulary = Vocabulary {
    capability: "http-in",
    words: &[
        Word::flag("http1"),
        Word::flag("http2"),
        Word::flag("tls"),
        Word::flag("keep-alive"),
        Word::flag("streams"),
        Word::flag("trailers"),
        Word::flag("sse"),
        Word::flag("websocket"),
        Word::number("max-header-bytes"),
        Word::number("max-body-bytes"),
        Word::number_or_none("timeout-ms"),
        Word::number("max-concurrent-streams"),
    ],
};

/// What providers of HTTP calls tell. Nothing is kept, so the common words say nothing.
pub const HTTP_OUT: Vocabulary = Vocabulary {
    capability: "http-out",
    words: &[
        Word::flag("proxy"),
        Word::flag("timeouts"),
        Word::flag("trailers"),
        Word::flag("allow"),
        Word::one_of("http2", &["yes", "prior-knowledge", NONE]),
        Word::number("retries"),
        Word::number("max-concurrent-requests"),
        Word::number("max-connections-per-host"),
        Word::number("max-header-bytes"),
        Word::number("max-request-body-bytes"),
        Word::number("max-response-body-bytes"),
    ],
};

/// The vocabularies of all capabilities that have providers.
pub const ALL: [&Vocabulary; 9] = [
    &KEY_VALUE, &BLOBS, &MESSAGES, &QUEUE, &SQL, &LOCK, &SCHEDULE, &HTTP_IN, &HTTP_OUT,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the words of a capability are explained to those who write links.
    fn page(capability: &str) -> &'static str {
        match capability {
            "key-value" => include_str!("../keyvalue.rs"),
            "blobs" => include_str!("../blobstore.rs"),
            "messages" => include_str!("../messaging.rs"),
            "queue" => include_str!("../queue.rs"),
            "sql" => include_str!("../sql.rs"),
            "lock" => include_str!("../lock.rs"),
            "schedule" => include_str!("../schedule.rs"),
            other => panic!("no page explains the words of {other}"),
        }
    }

    /// Whether it has neither the common words nor a module of the SDK that explains its own.
    fn keeps_nothing(capability: &str) -> bool {
        ["http-in", "http-out"].contains(&capability)
    }

    #[test]
    fn every_word_and_value_is_explained() {
        for vocabulary in ALL {
            if keeps_nothing(vocabulary.capability) {
                continue;
            }
            let page = page(vocabulary.capability);
            for word in vocabulary.words {
                let row = page
                    .lines()
                    .find(|line| line.starts_with("//! |") && line.contains(&quoted(word.name)));
                let row = row.unwrap_or_else(|| {
                    panic!("{}: no row for `{}`", vocabulary.capability, word.name)
                });
                let Says::OneOf(values) = word.says else {
                    continue;
                };
                // What is common to all is explained here, and what is there needs no value.
                let is_common = |value: &&str| ["yes", NONE].contains(value);
                let own = word.name != "consistency";
                for value in values.iter().filter(|value| own && !is_common(value)) {
                    assert!(row.contains(&quoted(value)), "{row} has no `{value}`");
                }
            }
        }
    }

    fn quoted(word: &str) -> String {
        format!("`{word}`")
    }

    #[test]
    fn what_keeps_something_has_the_common_words() {
        for vocabulary in ALL {
            if keeps_nothing(vocabulary.capability) {
                continue;
            }
            for common in COMMON {
                let has = vocabulary.words.iter().any(|word| word.name == common);
                assert!(has, "{} has no `{common}`", vocabulary.capability);
            }
        }
    }

    #[test]
    fn what_is_missing_unknown_or_wrong_is_named() {
        const WORDS: &[Word] = &[Word::flag("cas"), Word::number("max-bytes")];
        let vocabulary = Vocabulary {
            capability: "test",
            words: WORDS,
        };
        let complaints =
            |told: &[(&'static str, &'static str)]| vocabulary.complaints(told.iter().copied());
        assert!(complaints(&[("cas", "none"), ("max-bytes", "7")]).is_empty());
        assert_eq!(
            complaints(&[("cas", "maybe"), ("speed", "high")]),
            [
                "`max-bytes` is not told",
                "`maybe` is no value of `cas`",
                "`speed` is no feature of test",
            ]
        );
    }
}
