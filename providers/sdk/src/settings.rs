//! What a link and the provider's own config say, read as what it should be.
//!
//! ```
//! use lattice_provider_sdk::{InvalidSetting, Settings};
//!
//! # fn demo() -> Result<(), InvalidSetting> {
//! let settings = Settings::from_texts([("URL", "redis://a"), ("pool_size", "7")], []);
//! assert_eq!(settings.required("url", "the address of a server")?, "redis://a");
//! assert_eq!(settings.number("pool_size", 10, 1..=100)?, 7);
//! assert!(!settings.switch("create", false)?);
//! # Ok(()) }
//! # demo().unwrap();
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_core::provider::{SecretMap, SecretText, SecretValue};

use crate::error::LinkError;
use crate::link::ProviderLink;
use crate::session::Session;

/// How much of a value an error shows.
const SHOWN: usize = 120;

/// A value cannot be used, or one is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// It is not of the kind it has to be.
    #[error("`{key}` is `{value}`, expected {expected}")]
    Value {
        /// Which value.
        key: String,
        /// What it is; a secret is not shown.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// It is not there and has no default.
    #[error("there is no `{key}`, which should be {expected}")]
    Missing {
        /// Which value.
        key: String,
        /// What it should be.
        expected: String,
    },
}

impl From<InvalidSetting> for LinkError {
    fn from(error: InvalidSetting) -> Self {
        Self::invalid(error.to_string())
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Known {
    text: String,
    is_secret: bool,
}

/// Texts by lower-case name.
type Texts = BTreeMap<String, Known>;

/// The values that hold for one link. A value of the link goes before one of the provider, and in
/// each of them a secret before a config value. Names are found in any case of their letters; an
/// empty text counts as absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    link: Texts,
    provider: Texts,
}

impl fmt::Debug for Settings {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("link", &self.link.keys())
            .field("provider", &self.provider.keys())
            .finish()
    }
}

impl Settings {
    /// Those of a link, as they are now.
    #[must_use]
    pub fn of(session: &Session, link: &ProviderLink) -> Self {
        Self {
            link: texts(&link.config, &link.secrets),
            provider: texts(&session.config(), &session.secrets()),
        }
    }

    /// Those of a provider, for what does not depend on a link.
    #[must_use]
    pub fn of_provider(session: &Session) -> Self {
        Self {
            link: Texts::new(),
            provider: texts(&session.config(), &session.secrets()),
        }
    }

    /// Some that are said in words, first those of the link and then those of the provider.
    #[must_use]
    pub fn from_texts<'a>(
        link: impl IntoIterator<Item = (&'a str, &'a str)>,
        provider: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut settings = Self::default();
        for (key, text) in link {
            keep(&mut settings.link, key, text, false);
        }
        for (key, text) in provider {
            keep(&mut settings.provider, key, text, false);
        }
        settings
    }

    fn known(&self, key: &str) -> Option<&Known> {
        let key = key.to_ascii_lowercase();
        self.link.get(&key).or_else(|| self.provider.get(&key))
    }

    /// A value as it is.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.known(key).map(|known| known.text.as_str())
    }

    /// A value that only the link may say.
    #[must_use]
    pub fn link_text(&self, key: &str) -> Option<&str> {
        let known = self.link.get(&key.to_ascii_lowercase());
        known.map(|known| known.text.as_str())
    }

    /// A value that must not be shown.
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<SecretText> {
        self.text(key).map(SecretText::new)
    }

    /// A value that has to be there. `expected` says what it is, for who has to add it.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Missing`].
    pub fn required(&self, key: &str, expected: &str) -> Result<&str, InvalidSetting> {
        self.text(key).ok_or_else(|| InvalidSetting::Missing {
            key: key.to_owned(),
            expected: expected.to_owned(),
        })
    }

    /// What `read` makes of a value; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`] when `read` makes nothing of it, with `expected`.
    pub fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, InvalidSetting> {
        let Some(known) = self.known(key) else {
            return Ok(None);
        };
        let value = read(known.text.trim()).ok_or_else(|| InvalidSetting::Value {
            key: key.to_owned(),
            value: match known.is_secret {
                true => "(a secret)".to_owned(),
                false => known.text.chars().take(SHOWN).collect(),
            },
            expected: expected.to_owned(),
        })?;
        Ok(Some(value))
    }

    /// A number in a range.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`] when it is none or out of range.
    pub fn number<T: FromStr + PartialOrd + fmt::Display>(
        &self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, InvalidSetting> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let read = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        Ok(self.read(key, &expected, read)?.unwrap_or(default))
    }

    /// A time in milliseconds.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`] when it is none or out of range.
    pub fn millis(
        &self,
        key: &str,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, InvalidSetting> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        self.number(key, default, range).map(Duration::from_millis)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`] when it is neither.
    pub fn switch(&self, key: &str, default: bool) -> Result<bool, InvalidSetting> {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        };
        Ok(self
            .read(key, "`true` or `false`", read)?
            .unwrap_or(default))
    }

    /// One of some words.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`] when it is none of them.
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        default: T,
        words: &[(&str, T)],
    ) -> Result<T, InvalidSetting> {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let expected = format!("one of {}", names.join(", "));
        let read = |text: &str| {
            let found = words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(text));
            found.map(|(_, value)| *value)
        };
        Ok(self.read(key, &expected, read)?.unwrap_or(default))
    }

    /// A list with commas, without empty items; empty when there is none.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&str> {
        let text = self.text(key).unwrap_or_default();
        let items = text.split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).collect()
    }
}

fn texts(config: &StringMap, secrets: &SecretMap) -> Texts {
    let mut texts = Texts::new();
    for (key, text) in config {
        keep(&mut texts, key, text, false);
    }
    for (key, secret) in secrets {
        match secret {
            SecretValue::String(text) => keep(&mut texts, key, text, true),
            SecretValue::Bytes(bytes) => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    keep(&mut texts, key, text, true);
                }
            }
        }
    }
    texts
}

fn keep(texts: &mut Texts, key: &str, text: &str, is_secret: bool) {
    if text.is_empty() {
        return;
    }
    let text = text.to_owned();
    texts.insert(key.to_ascii_lowercase(), Known { text, is_secret });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_link(key: &str, text: &str) -> Settings {
        Settings::from_texts([(key, text)], [])
    }

    #[test]
    fn the_link_goes_before_the_provider() {
        let settings = Settings::from_texts([("URL", "link")], [("url", "own"), ("b", "own")]);
        assert_eq!(settings.text("Url"), Some("link"));
        assert_eq!(settings.text("B"), Some("own"));
        assert_eq!(settings.link_text("b"), None);
        assert_eq!(of_link("a", "").text("a"), None);
    }

    #[test]
    fn what_is_of_the_wrong_kind_is_named() {
        let error = of_link("size", "many")
            .number("size", 1, 1..=9)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`size` is `many`, expected a number from 1 to 9"
        );
        assert!(of_link("size", "10").number("size", 1, 1..=9).is_err());
        assert!(of_link("on", "maybe").switch("on", true).is_err());
        let words = [("fast", 1), ("safe", 2)];
        let error = of_link("mode", "odd")
            .choice("mode", 1, &words)
            .unwrap_err();
        assert!(
            error.to_string().ends_with("one of `fast`, `safe`"),
            "{error}"
        );
        let error = Settings::default()
            .required("url", "an address")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no `url`, which should be an address"
        );
    }

    #[test]
    fn what_is_right_is_read() {
        assert_eq!(of_link("size", " 7 ").number("size", 1, 1..=9), Ok(7));
        assert_eq!(of_link("on", "TRUE").switch("on", false), Ok(true));
        assert_eq!(of_link("l", "a, ,b").list("L"), ["a", "b"]);
        let wait = of_link("wait", "250").millis("wait", Duration::ZERO, 0..=1000);
        assert_eq!(wait, Ok(Duration::from_millis(250)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets =
            SecretMap::from([("port".to_owned(), SecretValue::String("hidden".to_owned()))]);
        let settings = Settings {
            link: texts(&StringMap::new(), &secrets),
            provider: Texts::new(),
        };
        let error = settings.number("port", 1, 1..=9).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
