//! The buckets of the provider.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_provider_sdk::keyvalue::KeyValueError;
use parking_lot::RwLock;

use crate::bucket::Bucket;
use crate::room::Room;
use crate::settings::is_bucket_name;

/// How many buckets calls may create; those of links are there all the same.
pub const MOST_BUCKETS: usize = 1024;

/// All buckets, which stay until the provider ends.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_name: RwLock<HashMap<String, Arc<Bucket>>>,
    /// What is in all of them.
    total: Arc<Room>,
}

impl Buckets {
    /// The bucket of a link, created when it is missing.
    pub(crate) fn of_link(&self, name: &str) -> Arc<Bucket> {
        let mut by_name = self.by_name.write();
        if let Some(known) = by_name.get(name) {
            return Arc::clone(known);
        }
        self.create(&mut by_name, name)
    }

    /// A bucket that a call names, created if it is missing and `create` says so.
    pub(crate) fn of_call(&self, name: &str, create: bool) -> Result<Arc<Bucket>, KeyValueError> {
        if let Some(known) = self.by_name.read().get(name) {
            return Ok(Arc::clone(known));
        }
        if !create || !is_bucket_name(name) {
            return Err(KeyValueError::NoSuchStore);
        }
        let mut by_name = self.by_name.write();
        if let Some(known) = by_name.get(name) {
            return Ok(Arc::clone(known));
        }
        if by_name.len() >= MOST_BUCKETS {
            return Err(KeyValueError::other(format!(
                "could not create the bucket `{name}`: the provider has {MOST_BUCKETS} buckets already"
            )));
        }
        Ok(self.create(&mut by_name, name))
    }

    /// Drops the keys whose time is over.
    pub(crate) fn sweep(&self) {
        let all: Vec<_> = self.by_name.read().values().map(Arc::clone).collect();
        all.iter().for_each(|bucket| bucket.sweep());
    }

    fn create(&self, by_name: &mut HashMap<String, Arc<Bucket>>, name: &str) -> Arc<Bucket> {
        tracing::info!(bucket = name, "creating a bucket");
        let bucket = Arc::new(Bucket::new(name, Arc::clone(&self.total)));
        by_name.insert(name.to_owned(), Arc::clone(&bucket));
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Writing;

    #[test]
    fn a_bucket_of_a_name_is_one() {
        let buckets = Buckets::default();
        let own = buckets.of_link("cart");
        own.set("a", b"x", None, &Writing::default()).unwrap();
        for again in [
            buckets.of_link("cart"),
            buckets.of_call("cart", false).unwrap(),
        ] {
            assert!(Arc::ptr_eq(&own, &again));
        }
    }

    #[test]
    fn calls_create_what_they_may() {
        let buckets = Buckets::default();
        let none = |name, create| buckets.of_call(name, create).unwrap_err();
        assert_eq!(none("cart", false), KeyValueError::NoSuchStore);
        for name in ["a.b", "ä", "no bucket", &"b".repeat(256)] {
            assert_eq!(none(name, true), KeyValueError::NoSuchStore);
        }
        assert!(buckets.of_call("cart", true).is_ok());
        assert!(buckets.of_call("cart", false).is_ok());
    }

    #[test]
    fn calls_create_a_bounded_number() {
        let buckets = Buckets::default();
        for number in 0..MOST_BUCKETS {
            buckets.of_call(&format!("b{number}"), true).unwrap();
        }
        let Err(KeyValueError::Other(why)) = buckets.of_call("more", true) else {
            panic!("it was created");
        };
        assert!(why.contains("`more`"), "{why}");
        assert!(buckets.of_call("b7", true).is_ok());
        assert_eq!(buckets.of_link("more").name(), "more");
    }
}
