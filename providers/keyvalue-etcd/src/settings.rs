//! What links and the provider's config may say, beside what says where etcd is
//! ([`EtcdOptions::read`]).
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `endpoints` or `url` | link, provider | the members of etcd, separated by commas | `http://127.0.0.1:2379` |
//! | `prefix` | link, provider | what all keys in etcd begin with | `lattice/keyvalue/` |
//! | `ttl_seconds` | link, provider | after which time keys that are written go by themselves, up to three seconds late; 0 for never | 0 |
//! | `max_value_bytes` | link, provider | the longest value; etcd has a bound of 1.5 MiB for whole requests | 1048576 |
//! | `watch` | link with the provider as source, provider | `SET@key,DEL@key,…`: the keys whose changes are told | required there |
//! | `bucket` | link with the provider as source, provider | the bucket whose keys are watched | `default` |
//! | `watch_bucket` | link with the provider as source, provider | what the component is told that the bucket is called; hosts of 1.9 take numbers only, so that one there needs such as `0` | the bucket |
//!
//! Keys are matched in any case. A secret of the same name goes before a config value, and the link
//! before the provider.

use std::time::Duration;

use lattice_core::provider::SecretText;
use lattice_etcd::EtcdOptions;
use lattice_provider_sdk::keyvalue::{LARGEST_VALUE, lifetime};
use lattice_provider_sdk::{InvalidSetting, Settings};

/// The etcd behind a link, to find those that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EtcdKey {
    endpoints: Vec<String>,
    login: Option<(String, SecretText)>,
    tls: [Option<SecretText>; 3],
    limits: [Duration; 2],
}

impl EtcdKey {
    pub(crate) fn of(options: &EtcdOptions) -> Self {
        let tls = &options.tls;
        let secret = |text: &Option<String>| text.as_deref().map(SecretText::new);
        Self {
            endpoints: options.endpoints.clone(),
            login: options.login.clone(),
            tls: [&tls.roots, &tls.certificate, &tls.key].map(secret),
            limits: [options.connect_limit, options.answer_limit],
        }
    }
}

/// What a link says.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The etcd behind it.
    pub etcd: EtcdOptions,
    /// What all keys begin with.
    pub prefix: String,
    /// The longest value.
    pub longest: usize,
    /// After which time keys that are written go.
    pub lifetime: Option<Duration>,
}

impl LinkSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let prefix = settings.text("prefix").unwrap_or("lattice/keyvalue/");
        Ok(Self {
            etcd: EtcdOptions::read(settings)?,
            prefix: prefix.to_owned(),
            longest: settings.number("max_value_bytes", 1 << 20, 1..=LARGEST_VALUE)?,
            lifetime: lifetime(settings)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &[(&str, &str)]) -> Result<LinkSettings, InvalidSetting> {
        LinkSettings::read(&Settings::from_texts(link.to_vec(), []))
    }

    #[test]
    fn nothing_has_to_be_said() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.prefix, "lattice/keyvalue/");
        assert_eq!(settings.longest, 1 << 20);
        assert_eq!(read(&[("Prefix", "app/")]).unwrap().prefix, "app/");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [("max_value_bytes", "much"), ("ttl_seconds", "soon")] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn passwords_do_not_show() {
        let settings = read(&[("user", "me"), ("password", "sesame")]).unwrap();
        let key = EtcdKey::of(&settings.etcd);
        assert!(!format!("{key:?}").contains("sesame"));
    }
}
