//! What links and the provider's config may say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `URL` | link, provider | the server: `redis://user:password@host:6379/0`, `rediss://…` for TLS, `redis+unix:///path` | `redis://127.0.0.1:6379/` |
//! | `DISABLE_DEFAULT_CONNECTION` | provider | `true`: links have to have a `URL` of their own | `false` |
//! | `BACKEND_CONNECTION_TIMEOUT_MS` | link, provider | how long one attempt to connect may take | 3000 |
//! | `BACKEND_RESPONSE_TIMEOUT_MS` | link, provider | how long the server may take to answer | 1000 |
//! | `BACKEND_RECONNECT_NUM_RETRIES` | link, provider | how often to try again to connect before a call fails | 3 |
//! | `BACKEND_RECONNECT_MAX_DELAY_MS` | link, provider | the longest pause between these attempts | 300 |
//! | `watch` | link with the provider as source | `SET@key,DEL@key,…`: the keys whose changes are told; the server's `notify-keyspace-events` has to have `K$g` | required there |
//! | `SHARE_CONNECTIONS_BY_URL` | provider | accepted; links that say the same always share a connection | |
//!
//! Keys are matched in any case. A secret of the same name goes before a config value, and the link
//! before the provider; a `URL` with a password belongs into the secrets.

use std::time::Duration;

use lattice_core::provider::SecretText;

/// A value is not of the kind it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// A number is none, or out of range.
    #[error("`{key}` is `{value}`, expected {expected}")]
    Value {
        /// Which value.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A link that is to watch does not say what.
    #[error("the link has no `watch`, which lists keys such as `SET@key,DEL@key`")]
    NoWatch,
    /// There is nothing to connect to.
    #[error("the link has no `URL`, and the provider's default connection is disabled")]
    NoUrl,
}

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

/// The keys that links may have as well as the provider.
pub(crate) const SHARED_KEYS: [&str; 5] = [
    "URL",
    "BACKEND_CONNECTION_TIMEOUT_MS",
    "BACKEND_RESPONSE_TIMEOUT_MS",
    "BACKEND_RECONNECT_NUM_RETRIES",
    "BACKEND_RECONNECT_MAX_DELAY_MS",
];
pub(crate) const DISABLE_DEFAULT: &str = "DISABLE_DEFAULT_CONNECTION";

const DEFAULT_URL: &str = "redis://127.0.0.1:6379/";
const MOST_RETRIES: u64 = 100;
const LONGEST_MS: u64 = 600_000;

impl ServerSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        link: impl Fn(&str) -> Option<String>,
        provider: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidSetting> {
        let no_default = provider(DISABLE_DEFAULT);
        let no_default = no_default.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
        let url = match link("URL") {
            Some(url) => url,
            None if no_default => return Err(InvalidSetting::NoUrl),
            None => provider("URL").unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        let [_, connection, response, retries, delay] = SHARED_KEYS;
        let value = |key| link(key).or_else(|| provider(key));
        let duration = |key, default, least| {
            number(key, value(key), default, least, LONGEST_MS).map(Duration::from_millis)
        };
        Ok(Self {
            url: SecretText::new(url.trim()),
            connection_timeout: duration(connection, 3000, 1)?,
            response_timeout: duration(response, 1000, 1)?,
            // Smaller than any usize.
            retries: usize::try_from(number(retries, value(retries), 3, 0, MOST_RETRIES)?)
                .unwrap_or(usize::MAX),
            longest_delay: duration(delay, 300, 0)?,
        })
    }
}

fn number(
    key: &'static str,
    text: Option<String>,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, InvalidSetting> {
    let Some(text) = text else {
        return Ok(default);
    };
    let number = text.trim().parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or(InvalidSetting::Value {
            key,
            value: text,
            expected: "a number in a sensible range",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = [(&'static str, &'static str)];

    fn read(link: &Values, provider: &Values) -> Result<ServerSettings, InvalidSetting> {
        let find = |values: &Values, name: &str| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        ServerSettings::read(|name| find(link, name), |name| find(provider, name))
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
        assert_eq!(read(&[], &provider), Err(InvalidSetting::NoUrl));
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
