//! What links and the provider's config may say, besides what [`lattice_provider_sdk::lock`] lists.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `URL` | the server: `redis://user:password@host:6379/0`, `rediss://…` for TLS, `redis+unix:///path` | `redis://127.0.0.1:6379/` |
//! | `BACKEND_CONNECTION_TIMEOUT_MS` | how long one attempt to connect may take | 3000 |
//! | `BACKEND_RESPONSE_TIMEOUT_MS` | how long the server may take to answer | 1000 |
//! | `prefix` | what the keys of locks begin with | `lattice:lock:`, the lattice's name and `:` |
//!
//! A `URL` with a password belongs into the secrets.

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::provider::SecretText;
use lattice_provider_sdk::lock::Limits;
use lattice_provider_sdk::{InvalidSetting, Settings};

const URL: &str = "redis://127.0.0.1:6379/";
/// The shortest lease: some round trips.
const SHORTEST: Duration = Duration::from_millis(100);
/// The bounds of time limits, in milliseconds.
const LIMITS: std::ops::RangeInclusive<u64> = 1..=600_000;

/// Which keys of which server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// The address; hidden, since a password may be part of it.
    pub url: SecretText,
    /// How long one attempt to connect may take.
    pub connect_limit: Duration,
    /// How long the server may take to answer.
    pub answer_limit: Duration,
    /// What the keys of locks begin with.
    pub prefix: String,
}

impl ServerSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, lattice: &LatticeName) -> Result<Self, InvalidSetting> {
        let usual = || format!("lattice:lock:{lattice}:");
        let url = settings.text("URL").unwrap_or(URL).trim();
        let limit = |key, default| settings.millis(key, Duration::from_millis(default), LIMITS);
        Ok(Self {
            url: SecretText::new(url),
            connect_limit: limit("BACKEND_CONNECTION_TIMEOUT_MS", 3000)?,
            answer_limit: limit("BACKEND_RESPONSE_TIMEOUT_MS", 1000)?,
            prefix: settings.text("prefix").map_or_else(usual, str::to_owned),
        })
    }
}

/// Reads the bounds of leases.
///
/// # Errors
///
/// [`InvalidSetting`] names the value.
pub fn limits(settings: &Settings) -> Result<Limits, InvalidSetting> {
    Limits::read(settings, SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        let says = Settings::from_texts([("url", "redis://me:word@host")], []);
        let settings = ServerSettings::read(&says, &LatticeName::default()).unwrap();
        assert!(!format!("{settings:?}").contains("word"));
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let says = Settings::from_texts([("BACKEND_RESPONSE_TIMEOUT_MS", "soon")], []);
        let error = ServerSettings::read(&says, &LatticeName::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("BACKEND_RESPONSE_TIMEOUT_MS"), "{error}");
    }

    #[test]
    fn each_lattice_has_locks_of_its_own_unless_the_link_says_otherwise() {
        let prefix = |lattice: &str, says: &[(&str, &str)]| {
            let says = Settings::from_texts(says.iter().copied(), []);
            let lattice = LatticeName::new(lattice).unwrap();
            ServerSettings::read(&says, &lattice).unwrap().prefix
        };
        assert_eq!(prefix("shop", &[]), "lattice:lock:shop:");
        assert_eq!(prefix("shop", &[("prefix", "ours:")]), "ours:");
    }
}
