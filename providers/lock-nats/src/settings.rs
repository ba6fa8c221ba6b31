//! What links say, besides what [`lattice_provider_sdk::lock`] lists.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `bucket` | the bucket of the locks, created when it is missing | `lock_` and the lattice's name |
//! | `replicas` | how many servers keep a copy of a bucket that is created | 1 |
//! | `ttl_max_ms` | as for every backend; up to 12 hours | 3600000 |
//!
//! and where NATS is: see [`BackendSettings`].
//!
//! A bucket that is created drops what nobody touched for a day, which only released locks are. One
//! that somebody else made has to keep its entries for at least twice `ttl_max_ms`.

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::subject::store::lock_bucket;
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::lock::Limits;
use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::{InvalidSetting, Settings};

/// The shortest lease: some round trips to NATS.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest lease, half of what a bucket keeps.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// How many copies NATS makes at most.
const MOST_REPLICAS: usize = 5;

/// Which bucket on which NATS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultSettings {
    /// The NATS.
    pub nats: BackendSettings,
    /// The bucket.
    pub bucket: String,
    /// How many copies there are of one that is created.
    pub replicas: usize,
}

impl VaultSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let name = |text: &str| is_bucket_name(text).then(|| text.to_owned());
        let bucket = settings.read("bucket", "letters, digits, `-` and `_`", name)?;
        Ok(Self {
            nats: BackendSettings::read(settings, own)?,
            bucket: bucket.unwrap_or_else(|| lock_bucket(lattice)),
            replicas: settings.number("replicas", 1, 1..=MOST_REPLICAS)?,
        })
    }
}

/// Reads the bounds of leases.
///
/// # Errors
///
/// [`InvalidSetting`] names the value.
pub fn limits(settings: &Settings) -> Result<Limits, InvalidSetting> {
    Limits::read_within(settings, SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<VaultSettings, InvalidSetting> {
        let settings = Settings::from_texts([(key, value)], []);
        VaultSettings::read(&settings, &LatticeName::default(), &NatsSettings::default())
    }

    #[test]
    fn the_bucket_is_one_of_the_lattice_unless_named() {
        assert_eq!(read("x", "").unwrap().bucket, "lock_default");
        assert_eq!(read("bucket", "mine").unwrap().bucket, "mine");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [("bucket", "a.b"), ("replicas", "6"), ("js_domain", "a b")] {
            let error = read(key, value).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let settings = Settings::from_texts([("ttl_max_ms", "43200001")], []);
        assert!(limits(&settings).is_err());
    }
}
