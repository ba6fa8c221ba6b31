//! Numbers that several may add to.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::keyvalue::decimal::Addend;

use crate::bucket::Failure;

/// The first and the longest pause after somebody else was faster.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Adds to the number under `stored`, a key in the form in which it is stored; tries again while
/// others change it, until the caller gives up.
pub(crate) async fn increment(
    store: &kv::Store,
    key: &str,
    stored: &str,
    by: Addend,
) -> Result<i128, Failure> {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        let entry = store.entry(stored).await;
        let entry = entry.map_err(|e| Failure::nats(format!("could not read `{key}`"), e))?;
        let (revision, value) = match &entry {
            None => (0, None),
            Some(entry) if entry.operation == Operation::Put => {
                (entry.revision, Some(entry.value.as_ref()))
            }
            Some(marker) => (marker.revision, None),
        };
        let sum = by.to_value(value).map_err(|why| Failure::Number {
            key: key.to_owned(),
            why,
        })?;
        match store.update(stored, sum.to_string().into(), revision).await {
            Ok(_) => return Ok(sum),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                tokio::time::sleep(backoff.delay()).await;
            }
            // The sum may have been stored or not: another try could count twice.
            Err(error) => return Err(Failure::nats(format!("could not write `{key}`"), error)),
        }
    }
}
