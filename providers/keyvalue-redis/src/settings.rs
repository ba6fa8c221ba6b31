//! What links and the provider's config may say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `URL` | link, provider | the server: `redis://user:password@host:6379/0`, `rediss://…` for TLS, `redis+unix:///path` | `redis://127.0.0.1:6379/` |
//! | `DISABLE_DEFAULT_CONNECTION` | provider | `true`: links have to have a `URL` of their own | `false` |
//! | `ttl_seconds` | link, provider | after which time keys that are written go by themselves; 0 for never | 0 |
//! | `BACKEND_CONNECTION_TIMEOUT_MS` | link, provider | how long one attempt to connect may take | 3000 |
//! | `BACKEND_RESPONSE_TIMEOUT_MS` | link, provider | how long the server may take to answer | 1000 |
//! | `BACKEND_RECONNECT_NUM_RETRIES` | link, provider | how often to try again to connect before a call fails | 3 |
//! | `BACKEND_RECONNECT_MAX_DELAY_MS` | link, provider | the longest pause between these attempts | 300 |
//! | `buckets` | link, provider | `apart`: each bucket has keys of its own; `shared`: all have those of the database as they are, as in 1.x, which did not look at the name | `apart` |
//! | `watch` | link with the provider as source, provider | `SET@key,DEL@key,…`: the keys whose changes are told; the server's `notify-keyspace-events` has to have `K$g` (`Kg` for deletions alone, which are missed then of keys that are new since the provider was there last), and `x` and `e` for keys that expire or are evicted | required there |
//! | `bucket` | link with the provider as source, provider | the bucket whose keys are watched | `default` |
//! | `watch_bucket` | link with the provider as source, provider | what the component is told that the bucket is called | the bucket, and `0` for the default one, which hosts of 1.9 take |
//! | `SHARE_CONNECTIONS_BY_URL` | provider | accepted; links that say the same always share a connection | |
//!
//! Keys are matched in any case. A secret of the same name goes before a config value, and the link
//! before the provider; a `URL` with a password belongs into the secrets.

use std::time::Duration;

use lattice_core::provider::SecretText;
use lattice_provider_sdk::{InvalidSetting, Settings};

use crate::namespace::Namespace;

/// The server behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// Its address; hidden, since a password may be part of it.
    pub url: SecretText,
    /// How long one attempt to connect may take.
    pub connection_timeout: Duration,
    /// How long the server may take to answer.
    pub response_timeout: Duration,
    /// How often to try again to connect before a call fails.
    pub retries: usize,
    /// The longest pause between attempts.
    pub longest_delay: Duration,
}

/// Whose keys the names of buckets mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Each bucket has keys of its own.
    Apart,
    /// All have those of the database.
    Shared,
}

impl Buckets {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names a word that is none.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let words = [("apart", Self::Apart), ("shared", Self::Shared)];
        settings.choice("buckets", Self::Apart, &words)
    }

    /// The keys of a bucket; empty for the default one.
    pub(crate) fn keys(self, bucket: &str) -> Namespace {
        match self {
            Self::Apart => Namespace::of(bucket),
            Self::Shared => Namespace::of(""),
        }
    }
}

const DISABLE_DEFAULT: &str = "DISABLE_DEFAULT_CONNECTION";
const DEFAULT_URL: &str = "redis://127.0.0.1:6379/";
const MOST_RETRIES: usize = 100;
const LONGEST_MS: u64 = 600_000;

impl ServerSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let no_default = settings.switch(DISABLE_DEFAULT, false)?;
        let url = match no_default {
            true => settings.link_text("URL").ok_or_else(no_url)?,
            false => settings.text("URL").unwrap_or(DEFAULT_URL),
        };
        let time = |key, default, least| {
            let default = Duration::from_millis(default);
            settings.millis(key, default, least..=LONGEST_MS)
        };
        Ok(Self {
            url: SecretText::new(url.trim()),
            connection_timeout: time("BACKEND_CONNECTION_TIMEOUT_MS", 3000, 1)?,
            response_timeout: time("BACKEND_RESPONSE_TIMEOUT_MS", 1000, 1)?,
            retries: settings.number("BACKEND_RECONNECT_NUM_RETRIES", 3, 0..=MOST_RETRIES)?,
            longest_delay: time("BACKEND_RECONNECT_MAX_DELAY_MS", 300, 0)?,
        })
    }
}

fn no_url() -> InvalidSetting {
    InvalidSetting::Missing {
        key: "URL".to_owned(),
        expected: "the address of a server, since the provider's default connection is disabled"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values<'a> = [(&'a str, &'a str)];

    fn read(link: &Values<'_>, provider: &Values<'_>) -> Result<ServerSettings, InvalidSetting> {
        ServerSettings::read(&Settings::from_texts(link.to_vec(), provider.to_vec()))
    }

    #[test]
    fn the_defaults_are_those_of_1_x() {
        let settings = read(&[], &[]).unwrap();
        assert_eq!(settings.url.expose(), "redis://127.0.0.1:6379/");
        assert_eq!(settings.connection_timeout, Duration::from_secs(3));
        assert_eq!(settings.response_timeout, Duration::from_secs(1));
        assert_eq!(settings.retries, 3);
        assert_eq!(settings.longest_delay, Duration::from_millis(300));
    }

    #[test]
    fn the_link_goes_before_the_provider() {
        let provider = [
            ("URL", "redis://provider"),
            ("BACKEND_RECONNECT_NUM_RETRIES", "7"),
        ];
        let settings = read(&[("URL", " redis://link ")], &provider).unwrap();
        assert_eq!(settings.url.expose(), "redis://link");
        assert_eq!(settings.retries, 7);
        let settings = read(&[], &provider).unwrap();
        assert_eq!(settings.url.expose(), "redis://provider");
    }

    #[test]
    fn the_default_connection_can_be_disabled() {
        let provider = [("URL", "redis://provider"), (DISABLE_DEFAULT, "TRUE")];
        let error = read(&[], &provider).unwrap_err().to_string();
        assert!(
            error.contains("`URL`") && error.contains("disabled"),
            "{error}"
        );
        assert!(read(&[("URL", "redis://link")], &provider).is_ok());
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        for text in ["soon", "0", "-1", "600001"] {
            let error = read(&[("BACKEND_RESPONSE_TIMEOUT_MS", text)], &[]).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("BACKEND_RESPONSE_TIMEOUT_MS"), "{error}");
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn passwords_do_not_show() {
        let settings = read(&[("URL", "redis://me:hidden@host")], &[]).unwrap();
        assert!(!format!("{settings:?}").contains("me:hidden"));
    }
}
