//! Which keys of etcd are a bucket's.
//!
//! All keys begin with the prefix of the link. Those of the default bucket go on with `default/`,
//! those of a bucket `b` with `{n}:{b}/`, where `n` is the number of bytes of its name; the key
//! follows as it is. With the number in front, no name or key can be mistaken for another one: `a`
//! in `cart` is `lattice/keyvalue/4:cart/a`.

use bytes::Bytes;

/// The keys of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The keys of the bucket `bucket`, behind the prefix of a link; empty for the default bucket.
    #[must_use]
    pub fn of(prefix: &str, bucket: &str) -> Self {
        match bucket {
            "" => Self(format!("{prefix}default/")),
            _ => Self(format!("{prefix}{}:{bucket}/", bucket.len())),
        }
    }

    /// What all stored keys begin with.
    #[must_use]
    pub fn prefix(&self) -> Bytes {
        self.0.clone().into()
    }

    /// The form in which a key is stored.
    #[must_use]
    pub fn stored(&self, key: &str) -> Bytes {
        format!("{}{key}", self.0).into()
    }

    /// The key that is stored as `stored`; `None` when it is one of another bucket, or no text.
    #[must_use]
    pub fn key<'a>(&self, stored: &'a [u8]) -> Option<&'a str> {
        let key = stored.strip_prefix(self.0.as_bytes())?;
        std::str::from_utf8(key).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_behind_the_prefix_and_the_name() {
        let own = Namespace::of("app/", "");
        assert_eq!(own.stored("user:1"), "app/default/user:1");
        let cart = Namespace::of("app/", "cart");
        assert_eq!(cart.stored("a"), "app/4:cart/a");
        assert_eq!(cart.key(b"app/4:cart/a"), Some("a"));
        assert_eq!(own.key(b"app/4:cart/a"), None);
        assert_eq!(own.key(b"app/default/\xff"), None);
    }

    proptest! {
        #[test]
        fn no_two_buckets_share_a_stored_key(
            one in "[0-4a:/]{0,4}|default",
            other in "[0-4a:/]{0,4}|default",
            key in "[0-4a:/]{0,8}",
        ) {
            let (of_one, of_other) = (Namespace::of("p/", &one), Namespace::of("p/", &other));
            let stored = of_one.stored(&key);
            prop_assert_eq!(of_one.key(&stored), Some(key.as_str()));
            if one != other {
                prop_assert_eq!(of_other.key(&stored), None);
            }
        }
    }
}
