//! Writes that depend on what was read.
//!
//! The version of a key is the revision that NATS gave its last write. What is not there has no
//! revision, or that of the marker of its deletion, so it is a version of its own.

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use bytes::Bytes;
use lattice_provider_sdk::keyvalue::{Outcome, Versioned};

use crate::bucket::Failure;

/// The version of what is not there.
const ABSENT: &str = "absent";

/// What a key holds, and the revision after which a write has to come.
async fn look(store: &kv::Store, key: &str, stored: &str) -> Result<(Versioned, u64), Failure> {
    let entry = store.entry(stored).await;
    let entry = entry.map_err(|e| Failure::nats(format!("could not read `{key}`"), e))?;
    let absent = || Versioned {
        value: None,
        version: ABSENT.to_owned(),
    };
    Ok(match entry {
        None => (absent(), 0),
        Some(entry) if entry.operation == Operation::Put => {
            let now = Versioned {
                value: Some(entry.value),
                version: entry.revision.to_string(),
            };
            (now, entry.revision)
        }
        Some(marker) => (absent(), marker.revision),
    })
}

/// The value of a key with its version; `stored` is the key in the form in which it is stored.
pub(crate) async fn read(store: &kv::Store, key: &str, stored: &str) -> Result<Versioned, Failure> {
    let (now, _) = look(store, key, stored).await?;
    Ok(now)
}

/// Writes a key if it still has a version.
pub(crate) async fn swap(
    store: &kv::Store,
    key: &str,
    stored: &str,
    version: &str,
    value: Bytes,
) -> Result<Outcome, Failure> {
    // A key that is there has its revision as version, so that one question is enough.
    let mut revision = version.parse().ok().filter(|revision| *revision > 0);
    loop {
        let after = match revision.take() {
            Some(revision) => revision,
            None => match look(store, key, stored).await? {
                (now, revision) if now.version == version => revision,
                (now, _) => return Ok(Outcome::Stale(now)),
            },
        };
        match store.update(stored, value.clone(), after).await {
            Ok(_) => return Ok(Outcome::Swapped),
            // Somebody was faster, if only by deleting what was deleted.
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(Failure::nats(format!("could not write `{key}`"), error)),
        }
    }
}
