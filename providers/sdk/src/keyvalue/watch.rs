//! Telling components of keys that change.
//!
//! A link with a key-value provider as source of `wasi:keyvalue/watcher` names keys; the component
//! at its other end is told when they are set or deleted, whoever did it. A [`ChangeNotifier`] calls the
//! component; where the backend remembers nothing for who was away, a [`relay`] stands between the
//! two, and a store that tells nobody of changes is looked at by a [`Scanner`].

mod notifier;
mod relay;
mod scan;

use std::collections::HashMap;

use bytes::Bytes;

use crate::settings::{InvalidSetting, Settings};

pub use notifier::ChangeNotifier;
pub use relay::{ChangeSender, Changes, LONGEST_PAUSE, PAUSE, ReadCurrent, line, relay};
pub use scan::{REMEMBERED, Scan, Scanner};

/// The most keys of one link.
const MOST_KEYS: usize = 10_000;

const EXPECTED: &str = "a list such as `SET@key,DEL@key`";

/// What a component wants to know about a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchFilter {
    /// When it is set.
    pub set: bool,
    /// When it is deleted.
    pub delete: bool,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was set: to the value, or to one that has to be looked up.
    Set(Option<Bytes>),
    /// It was deleted, or its time was over.
    Delete,
}

/// The watched keys of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    keys: HashMap<String, WatchFilter>,
}

impl Watched {
    /// Reads the `watch` of a link: `SET@key,DEL@key,…`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when it is missing or no such list.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Self::parse(settings.required("watch", EXPECTED)?)
    }

    fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let invalid = |part: &str| InvalidSetting::Value {
            key: "watch".to_owned(),
            value: part.to_owned(),
            expected: EXPECTED.to_owned(),
        };
        let mut keys: HashMap<String, WatchFilter> = HashMap::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (kind, key) = part.split_once('@').ok_or_else(|| invalid(part))?;
            let wanted = keys.entry(key.to_owned()).or_default();
            match kind.trim().to_ascii_uppercase().as_str() {
                "SET" => wanted.set = true,
                "DEL" => wanted.delete = true,
                _ => return Err(invalid(part)),
            }
        }
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return Err(invalid(&text.chars().take(64).collect::<String>()));
        }
        Ok(Self { keys })
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Whether a key is watched.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// What is wanted of a key.
    #[must_use]
    pub fn wanted(&self, key: &str) -> WatchFilter {
        self.keys.get(key).copied().unwrap_or_default()
    }

    /// What is wanted of any key.
    #[must_use]
    pub fn wanted_at_all(&self) -> WatchFilter {
        WatchFilter {
            set: self.keys.values().any(|wanted| wanted.set),
            delete: self.keys.values().any(|wanted| wanted.delete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_with_what_is_wanted() {
        let watched = Watched::parse("SET@user:1, del@user:1,Set@a@b,").unwrap();
        let both = WatchFilter {
            set: true,
            delete: true,
        };
        assert_eq!(watched.wanted("user:1"), both);
        assert!(watched.wanted("a@b").set);
        assert_eq!(watched.wanted("other"), WatchFilter::default());
        assert_eq!(watched.keys().count(), 2);
        assert_eq!(watched.wanted_at_all(), both);
        assert!(!Watched::parse("SET@a").unwrap().wanted_at_all().delete);
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        for text in ["", " , ", "user:1", "GET@user:1"] {
            let settings = Settings::from_texts([("watch", text)], []);
            let error = Watched::read(&settings).unwrap_err().to_string();
            assert!(error.contains("`watch`"), "{error}");
        }
    }
}
