//! The jobs that links say, and where they were put.
//!
//! A link is let go and put again whenever it changes, and let go by a copy of the provider that shall do
//! without it while others go on. So what a link has put stays until it says something else, or is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_provider_sdk::LinkKey;
use lattice_provider_sdk::schedule::Job;
use parking_lot::Mutex;

use crate::job_store::JobStore;
use crate::settings::JobStoreSettings;

/// A job that a link says, and where it was put.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) job: Job,
    pub(crate) settings: JobStoreSettings,
    /// When the bucket was made into which it was put last.
    made: AtomicU64,
}

impl Own {
    pub(crate) fn new(job: Job, settings: JobStoreSettings, made: u64) -> Self {
        Self {
            job,
            settings,
            made: AtomicU64::new(made),
        }
    }

    /// Whether it was put into the bucket that was made then.
    pub(crate) fn is_of(&self, made: u64) -> bool {
        self.made.load(Ordering::Relaxed) == made
    }

    /// It was put again, into the bucket that was made then.
    pub(crate) fn put_again(&self, made: u64) {
        self.made.store(made, Ordering::Relaxed);
    }

    /// Whether it was put into that bucket, by whatever login and address.
    pub(crate) fn is_in(&self, job_store: &JobStore) -> bool {
        let ledger = job_store.bucket.ledger();
        self.settings.bucket == ledger.bucket() && self.is_of(ledger.blank().made)
    }
}

/// Whether both are the same bucket, by whatever login and address.
pub(crate) fn is_one(one: &JobStore, other: &JobStore) -> bool {
    let (one, other) = (one.bucket.ledger(), other.bucket.ledger());
    one.bucket() == other.bucket() && one.blank().made == other.blank().made
}

/// What each link has put, and may still have.
#[derive(Debug, Default)]
pub(crate) struct Left(Mutex<HashMap<LinkKey, Vec<Arc<Own>>>>);

impl Left {
    /// From now on the link may have it.
    pub(crate) fn add(&self, link: &LinkKey, own: &Arc<Own>) {
        let mut table = self.0.lock();
        let of_link = table.entry(link.clone()).or_default();
        // One that was broken off is tried again and again.
        of_link.retain(|known| known.job != own.job || known.settings != own.settings);
        of_link.push(Arc::clone(own));
    }

    /// It does not, or that is known otherwise.
    pub(crate) fn remove(&self, link: &LinkKey, own: &Arc<Own>) {
        let mut table = self.0.lock();
        if let Some(of_link) = table.get_mut(link) {
            of_link.retain(|known| !Arc::ptr_eq(known, own));
            if of_link.is_empty() {
                table.remove(link);
            }
        }
    }

    /// What the link has put beside `now`.
    pub(crate) fn beside(&self, link: &LinkKey, now: Option<&Arc<Own>>) -> Vec<Arc<Own>> {
        let mut of_link = self.0.lock().get(link).cloned().unwrap_or_default();
        of_link.retain(|known| now.is_none_or(|now| !Arc::ptr_eq(known, now)));
        of_link
    }

    /// All of a link that is gone.
    pub(crate) fn take(&self, link: &LinkKey) -> Vec<Arc<Own>> {
        self.0.lock().remove(link).unwrap_or_default()
    }
}
