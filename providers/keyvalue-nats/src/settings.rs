//! What a link may say, in its config or, preferred for what is secret, its secrets, and the provider
//! for links that do not.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `bucket` | the bucket behind `default`, the link name and the empty name | `keyvalue_` and the lattice's name, created when it is missing |
//! | `enable_bucket_auto_create` | `true`: that bucket is created when it is missing | `false` |
//! | `create_other_buckets` | `true`: so are others that the component opens | as `enable_bucket_auto_create`, where the link names no `bucket` |
//! | `ttl_seconds` | after which time the keys of buckets that are created go by themselves; the bucket of the link has to have the same when it exists | 0, which is never |
//! | `watch` | on a link with the provider as source: `SET@key,DEL@key,…`, the keys of the bucket whose changes are told | required there |
//! | `watch_bucket` | on a link with the provider as source: what the component is told that the bucket is called; hosts of 1.9 take numbers only, so that one there needs such as `0` | the bucket |
//!
//! A component opens by the name of another link of its own what that link configures, as in 1.x,
//! unless that one has rules. Any other name is that of a bucket; the one of a link with rules is
//! opened through that link alone, also while that link has failed, and for a short time after it was
//! deleted; of a link that was refused for good, until it is put again or the provider ends. Whether both links lead to the same NATS is seen by their addresses, however those are written,
//! and by what its servers say of themselves; as long as a link with rules has not reached its own, it may be
//! any. NATS that is joined by leaf nodes or gateways counts as another.
//!
//! Where NATS is: see [`BackendSettings`]. Keys are matched in any case.

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::subject::store::{LOCK_BUCKETS, SCHEDULE_BUCKETS};
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::keyvalue::lifetime;
use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::{InvalidSetting, Settings};

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The NATS behind it.
    pub cluster: BackendSettings,
    /// The bucket behind `default`, the link name and the empty name.
    pub bucket: String,
    /// Whether that bucket is created when it is missing.
    pub create_own: bool,
    /// Whether other buckets are created when they are missing.
    pub create_others: bool,
    /// After which time the keys of buckets that are created go.
    pub lifetime: Option<Duration>,
    /// The bucket of links that name none.
    pub usual: String,
}

impl LinkSettings {
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
        let create = settings.switch("enable_bucket_auto_create", false)?;
        let name = |text: &str| is_bucket_name(text).then(|| text.to_owned());
        let bucket = settings.read("bucket", "letters, digits, `-` and `_`", name)?;
        Ok(Self {
            cluster: BackendSettings::read(settings, own)?,
            create_own: create || bucket.is_none(),
            // A link of 1.x names a bucket, and has only that one made.
            create_others: settings.switch("create_other_buckets", create && bucket.is_none())?,
            bucket: bucket.unwrap_or_else(|| usual_bucket(lattice)),
            usual: usual_bucket(lattice),
            lifetime: lifetime(settings)?,
        })
    }
}

/// What the usual buckets of lattices begin with.
const USUAL: &str = "keyvalue_";

/// The bucket of links that name none.
pub(crate) fn usual_bucket(lattice: &LatticeName) -> String {
    format!("{USUAL}{lattice}")
}

/// Whether components of some lattice keep something in a bucket of that name: keys, or what the providers of
/// locks and jobs keep for them. It is not for those of another lattice that is on the same NATS, nor for
/// whoever has a link for keys alone.
pub(crate) fn is_kept_for_some(bucket: &str) -> bool {
    let kept = [USUAL, LOCK_BUCKETS, SCHEDULE_BUCKETS];
    kept.iter().any(|prefix| bucket.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &'static str)]) -> Result<LinkSettings, InvalidSetting> {
        let settings = Settings::from_texts(values.to_vec(), []);
        LinkSettings::read(&settings, &LatticeName::default(), &NatsSettings::default())
    }

    #[test]
    fn an_empty_config_means_a_bucket_of_the_lattice() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.bucket, "keyvalue_default");
        assert_eq!(settings.cluster.server, None);
        assert!(settings.create_own);
        assert!(!settings.create_others);
    }

    #[test]
    fn a_named_bucket_is_created_only_when_the_link_says_so() {
        let settings = read(&[("bucket", "cart")]).unwrap();
        assert_eq!(settings.bucket, "cart");
        assert!(!settings.create_own);
        let create = ("enable_bucket_auto_create", " True ");
        let settings = read(&[("bucket", "cart"), create]).unwrap();
        assert!(settings.create_own && !settings.create_others);
        let others = ("create_other_buckets", "true");
        let settings = read(&[("bucket", "cart"), create, others]).unwrap();
        assert!(settings.create_own && settings.create_others);
        assert!(read(&[create]).unwrap().create_others);
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [
            ("bucket", "a.b"),
            ("enable_bucket_auto_create", "perhaps"),
            ("js_domain", "a.*"),
            ("ttl_seconds", "soon"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
