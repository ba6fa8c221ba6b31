//! Which keys of the database are a bucket's.
//!
//! The keys of the bucket `b` begin with `lattice:kv:{n}:{b}:`, where `n` is the number of bytes of
//! the bucket's name; the key follows as it is. With the number in front, no name or key can be
//! mistaken for another one, whatever is in them: `a` in `cart` is `lattice:kv:4:cart:a`.
//!
//! The keys of the default bucket are stored as they are, but for those that begin with
//! `lattice:kv:` themselves: they get `lattice:kv:0::` in front. A link may say that all buckets are
//! the default one.

/// What every key begins with that is not one of the default bucket's, stored as it is.
const MARK: &str = "lattice:kv:";
/// What keys of the default bucket begin with when they would be mistaken for others.
const ESCAPE: &str = "lattice:kv:0::";

/// The keys of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// Keys as they are.
    Default,
    /// Keys behind a prefix.
    Prefix(String),
}

impl Namespace {
    /// The keys of the bucket `bucket`; empty for the default one.
    #[must_use]
    pub fn of(bucket: &str) -> Self {
        if bucket.is_empty() {
            return Self::Default;
        }
        Self::Prefix(format!("{MARK}{}:{bucket}:", bucket.len()))
    }

    /// The form in which a key is stored.
    #[must_use]
    pub fn stored(&self, key: &str) -> String {
        match self {
            Self::Default if key.starts_with(MARK) => format!("{ESCAPE}{key}"),
            Self::Default => key.to_owned(),
            Self::Prefix(prefix) => format!("{prefix}{key}"),
        }
    }

    /// The key that is stored as `stored`; `None` when it is one of another bucket.
    #[must_use]
    pub fn key<'a>(&self, stored: &'a str) -> Option<&'a str> {
        match self {
            Self::Default if stored.starts_with(MARK) => stored
                .strip_prefix(ESCAPE)
                .filter(|key| key.starts_with(MARK)),
            Self::Default => Some(stored),
            Self::Prefix(prefix) => stored.strip_prefix(prefix.as_str()),
        }
    }

    /// The pattern that finds the keys of the bucket; `None` when all have to be looked at.
    #[must_use]
    pub fn pattern(&self) -> Option<String> {
        let Self::Prefix(prefix) = self else {
            return None;
        };
        let mut pattern = String::with_capacity(prefix.len() + 1);
        for c in prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        Some(pattern)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_the_default_bucket_are_stored_as_they_are() {
        let keys = Namespace::of("");
        assert_eq!(keys.stored("user:1"), "user:1");
        assert_eq!(keys.key("user:1"), Some("user:1"));
        assert_eq!(keys.pattern(), None);
    }

    #[test]
    fn keys_of_other_buckets_are_behind_the_name() {
        let keys = Namespace::of("cart");
        assert_eq!(keys.stored("a"), "lattice:kv:4:cart:a");
        assert_eq!(keys.key("lattice:kv:4:cart:a"), Some("a"));
        assert_eq!(keys.key("lattice:kv:5:carts:a"), None);
        assert_eq!(Namespace::of("").key("lattice:kv:4:cart:a"), None);
    }

    #[test]
    fn names_are_no_patterns() {
        let pattern = Namespace::of(r"a*[b]\?").pattern().unwrap();
        assert_eq!(pattern, r"lattice:kv:7:a\*\[b\]\\\?:*");
    }

    proptest! {
        #[test]
        fn every_key_comes_back(bucket in "[0-4a:]{0,4}", key in "(lattice:kv:)?[0-4a:]{0,8}") {
            let keys = Namespace::of(&bucket);
            let stored = keys.stored(&key);
            prop_assert_eq!(keys.key(&stored), Some(key.as_str()));
        }

        #[test]
        fn no_two_buckets_share_a_stored_key(
            one in "[0-4a:]{0,4}",
            other in "[0-4a:]{0,4}",
            key in "(lattice:kv:)?[0-4a:]{0,8}",
        ) {
            prop_assume!(one != other);
            let stored = Namespace::of(&one).stored(&key);
            prop_assert_eq!(Namespace::of(&other).key(&stored), None);
        }
    }
}
