//! What links and the provider's config may say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `path` | link, provider | the file | required |
//! | `create` | link, provider | `false`: the file has to exist | `true` |
//! | `synchronous` | link, provider | `full`: what was answered outlasts the loss of power; `normal`: it outlasts the loss of the provider only, and writes are faster | `full` |
//! | `busy_timeout_ms` | link, provider | how long to wait for another program that writes to the file | 3000 |
//! | `ttl_seconds` | link, provider | after which time keys that are written go by themselves; 0 for never | 0 |
//! | `watch` | link with the provider as source, provider | `SET@key,DEL@key,…`: the keys whose changes are told | required there |
//! | `bucket` | link with the provider as source, provider | the bucket whose keys are watched | `default` |
//! | `watch_bucket` | link with the provider as source, provider | what the component is told that the bucket is called; hosts of 1.9 take numbers only, so that one there needs such as `0` | the bucket |
//!
//! Keys are matched in any case, and the link goes before the provider.

use std::path::PathBuf;
use std::time::Duration;

use lattice_provider_sdk::keyvalue::lifetime;
use lattice_provider_sdk::{InvalidSetting, Settings};

/// The file behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileSettings {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is made when it is missing.
    pub create: bool,
    /// Whether every write waits for the disk.
    pub full: bool,
    /// How long to wait for another program that writes.
    pub busy_timeout: Duration,
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The file behind it.
    pub file: FileSettings,
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
        let path = settings.required("path", "the path of a file")?;
        let words = [("full", true), ("normal", false)];
        let busy = Duration::from_secs(3);
        Ok(Self {
            file: FileSettings {
                path: PathBuf::from(path),
                create: settings.switch("create", true)?,
                full: settings.choice("synchronous", true, &words)?,
                // Beyond the usual deadline of a call nobody waits.
                busy_timeout: settings.millis("busy_timeout_ms", busy, 0..=60_000)?,
            },
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
    fn a_path_is_enough() {
        let settings = read(&[("Path", "/data/kv.db")]).unwrap();
        assert_eq!(settings.file.path, PathBuf::from("/data/kv.db"));
        assert!(settings.file.create && settings.file.full);
        assert_eq!(settings.lifetime, None);
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        assert!(read(&[]).unwrap_err().to_string().contains("`path`"));
        for (key, value) in [
            ("create", "perhaps"),
            ("synchronous", "off"),
            ("busy_timeout_ms", "long"),
            ("ttl_seconds", "soon"),
        ] {
            let error = read(&[("path", "x"), (key, value)])
                .unwrap_err()
                .to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
