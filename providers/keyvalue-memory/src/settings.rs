//! What links and the provider's config may say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `bucket` | link | the bucket behind `default`, the link name and the empty name; created when it is missing | `keyvalue_` and the lattice's name |
//! | `enable_bucket_auto_create` | link | `true`: other buckets that are missing are created | `false` |
//! | `max_bytes` | link, provider | how much a bucket may hold | 67108864, which is 64 MiB |
//! | `max_value_bytes` | link, provider | the longest value | 16777216, which is 16 MiB |
//! | `max_total_bytes` | provider | how much all buckets may hold together | 268435456, which is 256 MiB |
//!
//! Keys are matched in any case, and the link goes before the provider. The bounds are those of the
//! link that writes: two links to the same bucket may fill it to different heights. A bound that is
//! made smaller than what is there throws nothing out; it refuses what would grow.

use lattice_core::LatticeName;

/// A value is not of the kind it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{value}`, expected {expected}")]
pub struct InvalidSetting {
    /// Which value.
    pub key: &'static str,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

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
}

/// The keys that the provider's config may have.
pub(crate) const SHARED_KEYS: [&str; 3] = [MAX_BYTES, MAX_VALUE_BYTES, MAX_TOTAL_BYTES];

pub(crate) const MAX_BYTES: &str = "max_bytes";
pub(crate) const MAX_VALUE_BYTES: &str = "max_value_bytes";
pub(crate) const MAX_TOTAL_BYTES: &str = "max_total_bytes";

/// The longest name of a bucket, in bytes.
const LONGEST_NAME: usize = 255;
/// The largest bound; sums of such bounds are far from the end of the numbers.
const MOST_BYTES: u64 = 1 << 50;

impl LinkSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        link: impl Fn(&str) -> Option<String>,
        provider: impl Fn(&str) -> Option<String>,
        lattice: &LatticeName,
    ) -> Result<Self, InvalidSetting> {
        let bucket = link("bucket").unwrap_or_else(|| format!("keyvalue_{lattice}"));
        if !is_bucket_name(&bucket) {
            let expected = "letters, digits, `-` and `_`";
            return Err(invalid("bucket", bucket, expected));
        }
        let either = |key| link(key).or_else(|| provider(key));
        let default = Limits::default();
        Ok(Self {
            bucket,
            create_others: switch("enable_bucket_auto_create", &link)?,
            limits: Limits {
                bucket: bytes(MAX_BYTES, either(MAX_BYTES), default.bucket)?,
                value: bytes(MAX_VALUE_BYTES, either(MAX_VALUE_BYTES), default.value)?,
                // No link may take more of the memory than the provider gives.
                total: bytes(MAX_TOTAL_BYTES, provider(MAX_TOTAL_BYTES), default.total)?,
            },
        })
    }
}

/// Whether a bucket can have the name; the same that NATS allows, so that a component can move.
pub(crate) fn is_bucket_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed)
}

fn switch(
    key: &'static str,
    value: impl Fn(&str) -> Option<String>,
) -> Result<bool, InvalidSetting> {
    let Some(text) = value(key) else {
        return Ok(false);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(key, text, "`true` or `false`")),
    }
}

fn bytes(key: &'static str, text: Option<String>, default: u64) -> Result<u64, InvalidSetting> {
    let Some(text) = text else {
        return Ok(default);
    };
    let number = text.trim().parse().ok();
    number
        .filter(|number| (1..=MOST_BYTES).contains(number))
        .ok_or_else(|| invalid(key, text, "a number of bytes in a sensible range"))
}

fn invalid(key: &'static str, value: String, expected: &'static str) -> InvalidSetting {
    InvalidSetting {
        key,
        value,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Values<'a> = [(&'static str, &'a str)];

    fn read(link: &Values<'_>, provider: &Values<'_>) -> Result<LinkSettings, InvalidSetting> {
        let find = |values: &Values<'_>, name: &str| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        LinkSettings::read(
            |name| find(link, name),
            |name| find(provider, name),
            &LatticeName::default(),
        )
    }

    #[test]
    fn an_empty_config_means_a_bucket_of_the_lattice() {
        let settings = read(&[], &[]).unwrap();
        assert_eq!(settings.bucket, "keyvalue_default");
        assert!(!settings.create_others);
        assert_eq!(settings.limits, Limits::default());
    }

    #[test]
    fn others_are_created_only_when_the_link_says_so() {
        assert!(!read(&[("bucket", "cart")], &[]).unwrap().create_others);
        let create = ("enable_bucket_auto_create", " True ");
        assert!(read(&[create], &[]).unwrap().create_others);
        assert!(!read(&[], &[create]).unwrap().create_others);
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
        ] {
            let error = read(&[(key, value)], &[]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let error = read(&[], &[("max_total_bytes", "")]).unwrap_err();
        assert_eq!(error.key, "max_total_bytes");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_by_name(text in "\\PC{0,12}|[0-9]{1,24}") {
            for key in ["bucket", "enable_bucket_auto_create", "max_bytes"] {
                if let Err(error) = read(&[(key, &text)], &[]) {
                    prop_assert_eq!((error.key, error.value), (key, text.clone()));
                }
            }
        }
    }
}
