//! What links and the provider's config may say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `bucket` | link, provider | the bucket behind `default`, the link name and the empty name; created when it is missing | `keyvalue_` and the lattice's name |
//! | `enable_bucket_auto_create` | link, provider | `true`: other buckets that are missing are created | `false` |
//! | `ttl_seconds` | link, provider | after which time keys that are written go by themselves; 0 for never | 0 |
//! | `watch` | link with the provider as source, provider | `SET@key,DEL@key,…`: the keys whose changes are told | required there |
//! | `watch_bucket` | link with the provider as source, provider | what the component is told that the bucket is called; hosts of 1.9 take numbers only, so that one there needs such as `0` | the bucket |
//! | `max_bytes` | link, provider | how much a bucket may hold | 67108864, which is 64 MiB |
//! | `max_value_bytes` | link, provider | the longest value | 16777216, which is 16 MiB |
//! | `max_total_bytes` | provider | how much all buckets may hold together | 268435456, which is 256 MiB |
//!
//! Keys are matched in any case, and the link goes before the provider. The bounds are those of the
//! link that writes: two links to the same bucket may fill it to different heights. A bound that is
//! made smaller than what is there throws nothing out; it refuses what would grow.

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_provider_sdk::keyvalue::lifetime;
use lattice_provider_sdk::{InvalidSetting, Settings};

/// How much there may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In a bucket.
    pub bucket: u64,
    /// In one value.
    pub value: u64,
    /// In all buckets together.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bucket: 64 << 20,
            value: 16 << 20,
            total: 256 << 20,
        }
    }
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The bucket behind `default`, the link name and the empty name.
    pub bucket: String,
    /// Whether other buckets are created when they are missing.
    pub create_others: bool,
    /// What writes through the link are bounded by.
    pub limits: Limits,
    /// After which time keys that are written go.
    pub lifetime: Option<Duration>,
}

pub(crate) const MAX_BYTES: &str = "max_bytes";
pub(crate) const MAX_VALUE_BYTES: &str = "max_value_bytes";
pub(crate) const MAX_TOTAL_BYTES: &str = "max_total_bytes";

/// The longest name of a bucket, in bytes.
const LONGEST_NAME: usize = 255;
/// The largest bound; sums of such bounds are far from the end of the numbers.
const MOST_BYTES: u64 = 1 << 50;

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            bucket: own_bucket(&LatticeName::default()),
            create_others: false,
            limits: Limits::default(),
            lifetime: None,
        }
    }
}

/// The bucket of a link that names none.
fn own_bucket(lattice: &LatticeName) -> String {
    format!("keyvalue_{lattice}")
}

impl LinkSettings {
    /// Reads what a link says, and for the rest what the provider says; `own` is what the provider
    /// says alone.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        own: &Settings,
        lattice: &LatticeName,
    ) -> Result<Self, InvalidSetting> {
        let name = |text: &str| is_bucket_name(text).then(|| text.to_owned());
        let bucket = settings.read("bucket", "letters, digits, `-` and `_`", name)?;
        let default = Limits::default();
        let bytes = |from: &Settings, key, default| from.number(key, default, 1..=MOST_BYTES);
        Ok(Self {
            bucket: bucket.unwrap_or_else(|| own_bucket(lattice)),
            create_others: settings.switch("enable_bucket_auto_create", false)?,
            limits: Limits {
                bucket: bytes(settings, MAX_BYTES, default.bucket)?,
                value: bytes(settings, MAX_VALUE_BYTES, default.value)?,
                // No link may take more of the memory than the provider gives.
                total: bytes(own, MAX_TOTAL_BYTES, default.total)?,
            },
            lifetime: lifetime(settings)?,
        })
    }
}

/// Whether a bucket can have the name; the same that NATS allows, so that a component can move.
pub(crate) fn is_bucket_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Values<'a> = [(&'static str, &'a str)];

    fn read(link: &Values<'_>, provider: &Values<'_>) -> Result<LinkSettings, InvalidSetting> {
        LinkSettings::read(
            &Settings::from_texts(link.to_vec(), provider.to_vec()),
            &Settings::from_texts([], provider.to_vec()),
            &LatticeName::default(),
        )
    }

    #[test]
    fn an_empty_config_means_a_bucket_of_the_lattice() {
        let settings = read(&[], &[]).unwrap();
        assert_eq!(settings.bucket, "keyvalue_default");
        assert!(!settings.create_others);
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.lifetime, None);
    }

    #[test]
    fn others_are_created_only_when_it_is_said() {
        assert!(!read(&[("bucket", "cart")], &[]).unwrap().create_others);
        let create = ("enable_bucket_auto_create", " True ");
        assert!(read(&[create], &[]).unwrap().create_others);
    }

    #[test]
    fn the_link_goes_before_the_provider() {
        let provider = [("max_bytes", "1000"), ("max_value_bytes", "100")];
        let limits = read(&[("max_bytes", " 2000 ")], &provider).unwrap().limits;
        assert_eq!((limits.bucket, limits.value), (2000, 100));
    }

    #[test]
    fn the_provider_alone_says_what_all_buckets_may_hold() {
        let total = [("max_total_bytes", "5")];
        let limits = read(&total, &[]).unwrap().limits;
        assert_eq!(limits.total, Limits::default().total);
        assert_eq!(read(&[], &total).unwrap().limits.total, 5);
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let too_much = (MOST_BYTES + 1).to_string();
        for (key, value) in [
            ("bucket", "a.b"),
            ("enable_bucket_auto_create", "perhaps"),
            ("max_bytes", "64 MiB"),
            ("max_bytes", "0"),
            ("max_bytes", &too_much),
            ("max_value_bytes", "-1"),
            ("ttl_seconds", "soon"),
        ] {
            let error = read(&[(key, value)], &[]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let error = read(&[], &[("max_total_bytes", "x")]).unwrap_err();
        assert!(error.to_string().contains("max_total_bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_by_name(text in "\\PC{0,12}|[0-9]{1,24}") {
            for key in ["bucket", "enable_bucket_auto_create", "max_bytes"] {
                if let Err(error) = read(&[(key, &text)], &[]) {
                    prop_assert!(error.to_string().contains(key));
                }
            }
        }
    }
}
