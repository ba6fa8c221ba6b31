//! What a link says.
//!
//! | value | default | meaning |
//! |---|---|---|
//! | `cluster_uri`, `js_domain`, `client_jwt`, `client_seed`, `tls_ca`, `tls_ca_file` | the lattice's own NATS | which NATS; see [`BackendSettings`] |
//! | `max_write_wait` | 30 | how many seconds the server may take to store a piece of an object |
//! | `abandoned_after` | 7200 | after how many seconds without a new piece data that are no object are purged, when the container is first used |
//! | `storage_type` | `file` | `file` or `memory` (`0` or `1`): where containers are kept that are created |
//! | `num_replicas` | 1 | how many servers keep a copy of them, 1 to 5 |
//! | `max_age` | 0 | after how many seconds their objects go; 0 is never |
//! | `max_bytes` | 0 | how much such a container may hold; 0 is what the server allows |
//! | `compression` | `false` | whether it is compressed, by servers that can do that |
//!
//! JetStream domains that are joined by leaf nodes have their containers apart, but subjects in common.
//! Where two of them have a container of the same name, each takes what is written to either. A write
//! through a link with a `js_domain` fails when the container of another domain was the first to take
//! the data; another name for one of the two keeps them apart.
//!
//! Those of every blob provider come on top; see [`lattice_provider_sdk::blobstore`].

use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use lattice_provider_sdk::blobstore::BlobSettings;
use lattice_provider_sdk::nats::BackendSettings;
use lattice_provider_sdk::{InvalidSetting, ProviderLink, Session, Settings};

/// A hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 3600;

/// How containers are kept that are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeping {
    storage: StorageType,
    replicas: usize,
    max_age: Duration,
    max_bytes: i64,
    compression: bool,
}

/// The settings of a link.
#[derive(Debug, Clone)]
pub(crate) struct NatsBlobSettings {
    pub(crate) backend: BackendSettings,
    pub(crate) write_wait: Duration,
    pub(crate) abandoned_after: Duration,
    pub(crate) keeping: Keeping,
    pub(crate) shared: BlobSettings,
}

impl NatsBlobSettings {
    pub(crate) fn of(session: &Session, link: &ProviderLink) -> Result<Self, InvalidSetting> {
        let settings = Settings::of(session, link);
        Ok(Self {
            backend: BackendSettings::read(&settings, &session.nats_settings())?,
            write_wait: Duration::from_secs(settings.number("max_write_wait", 30, 1..=3600)?),
            abandoned_after: Duration::from_secs(settings.number(
                "abandoned_after",
                7200,
                1..=LONGEST,
            )?),
            keeping: Keeping::read(&settings)?,
            shared: BlobSettings::of(session, link)?,
        })
    }
}

impl Keeping {
    fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let storage = [
            ("file", StorageType::File),
            ("memory", StorageType::Memory),
            // 1.x takes the numbers of JetStream, too.
            ("0", StorageType::File),
            ("1", StorageType::Memory),
        ];
        let max_bytes = settings.number("max_bytes", 0, 0..=i64::MAX)?;
        Ok(Self {
            storage: settings.choice("storage_type", StorageType::File, &storage)?,
            replicas: settings.number("num_replicas", 1, 1..=5)?,
            max_age: Duration::from_secs(settings.number("max_age", 0, 0..=LONGEST)?),
            max_bytes: if max_bytes == 0 { -1 } else { max_bytes },
            compression: settings.switch("compression", false)?,
        })
    }

    /// How much a container may hold, where there is a limit.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        u64::try_from(self.max_bytes).ok()
    }

    /// The stream of a container that is created.
    pub(crate) fn stream(&self, container: &str) -> Config {
        Config {
            name: format!("OBJ_{container}"),
            subjects: vec![format!("$O.{container}.C.>"), format!("$O.{container}.M.>")],
            max_age: self.max_age,
            max_bytes: self.max_bytes,
            storage: self.storage,
            num_replicas: self.replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            compression: self.compression.then_some(Compression::S2),
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &'static str)]) -> Result<Keeping, InvalidSetting> {
        Keeping::read(&Settings::from_texts(values.to_vec(), []))
    }

    #[test]
    fn containers_are_kept_as_the_link_says() {
        let stream = read(&[]).unwrap().stream("c");
        assert_eq!(stream.name, "OBJ_c");
        assert_eq!(
            (stream.storage, stream.num_replicas),
            (StorageType::File, 1)
        );
        assert_eq!((stream.max_age, stream.max_bytes), (Duration::ZERO, -1));
        let values = [
            ("STORAGE_TYPE", "Memory"),
            ("num_replicas", "3"),
            ("max_age", "60"),
            ("max_bytes", "1000"),
            ("compression", "true"),
        ];
        let stream = read(&values).unwrap().stream("c");
        assert_eq!(
            (stream.storage, stream.num_replicas),
            (StorageType::Memory, 3)
        );
        assert_eq!(stream.max_age, Duration::from_secs(60));
        assert_eq!(stream.max_bytes, 1000);
        assert_eq!(stream.compression, Some(Compression::S2));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [
            ("storage_type", "tape"),
            ("num_replicas", "9"),
            ("max_age", "soon"),
            ("max_bytes", "-1"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
