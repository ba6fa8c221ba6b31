//! Which keys are watched, and what Redis calls their changes.

use std::collections::HashMap;

use lattice_provider_sdk::{InvalidSetting, Settings};

/// The most keys of one link.
const MOST_KEYS: usize = 10_000;

const EXPECTED: &str = "a list such as `SET@key,DEL@key`";

/// What a component wants to know about a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) set: bool,
    pub(crate) delete: bool,
}

/// The watched keys of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    keys: HashMap<String, Wanted>,
}

impl Watched {
    /// Reads the `watch` of a link.
    pub(crate) fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Self::parse(settings.required("watch", EXPECTED)?)
    }

    /// Reads `SET@key,DEL@key,…`.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let invalid = |part: &str| InvalidSetting::Value {
            key: "watch".to_owned(),
            value: part.to_owned(),
            expected: EXPECTED.to_owned(),
        };
        let mut keys: HashMap<String, Wanted> = HashMap::new();
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

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub(crate) fn wanted(&self, key: &str) -> Wanted {
        self.keys.get(key).copied().unwrap_or_default()
    }

    /// The letters that `notify-keyspace-events` has to have, each with what may stand for it.
    pub(crate) fn needs(&self) -> impl Iterator<Item = [char; 2]> {
        let set = self.keys.values().any(|wanted| wanted.set);
        let delete = self.keys.values().any(|wanted| wanted.delete);
        let letters = [(true, ['K', 'K']), (set, ['$', 'A']), (delete, ['g', 'A'])];
        letters
            .into_iter()
            .filter_map(|(needed, letters)| needed.then_some(letters))
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Delete,
}

impl Change {
    /// What the name of a keyspace event means; `None` when the value stays as it is.
    pub(crate) fn of(event: &str) -> Option<Self> {
        match event {
            "set" | "setrange" | "append" | "incrby" | "incrbyfloat" | "decrby" | "restore"
            | "rename_to" | "copy_to" | "move_to" => Some(Self::Set),
            "del" | "expired" | "evicted" | "rename_from" | "move_from" => Some(Self::Delete),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_with_what_is_wanted() {
        let watched = Watched::parse("SET@user:1, del@user:1,Set@a@b,").unwrap();
        let both = Wanted {
            set: true,
            delete: true,
        };
        assert_eq!(watched.wanted("user:1"), both);
        assert!(watched.wanted("a@b").set);
        assert_eq!(watched.wanted("other"), Wanted::default());
        assert_eq!(watched.keys().count(), 2);
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        for text in ["", " , ", "user:1", "GET@user:1"] {
            assert!(Watched::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_needed_of_the_server() {
        let needs = |text| Watched::parse(text).unwrap().needs().count();
        assert_eq!(needs("SET@a"), 2);
        assert_eq!(needs("SET@a,DEL@b"), 3);
    }
}
