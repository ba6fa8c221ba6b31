//! Clearing away the locks that nobody gave back.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::nats::Ledger;
use lattice_provider_sdk::nats::ledger::{Change, LedgerError, Revision};

use crate::fences::Fences;
use crate::sightings::Sightings;

/// How often it is looked for some.
const PAUSE: Duration = Duration::from_secs(5);
/// How many are taken at a time, and how often in one round.
const MOST: usize = 256;
const TURNS: usize = 64;

/// Deletes locks that are over for as long again as they lasted, for as long as the bucket is in use.
///
/// That is as safe as to take such a lock and to give it back: the revision is compared. Each copy of
/// the provider does it, and none minds that another was faster.
pub(crate) async fn clear(ledger: Arc<Ledger>, sightings: Arc<Sightings>, fences: Arc<Fences>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        sightings.forget_old();
        if let Err(error) = round(&ledger, &sightings, &fences).await {
            tracing::debug!(%error, "could not clear locks away that are over");
        }
    }
}

async fn round(ledger: &Ledger, sightings: &Sightings, fences: &Fences) -> Result<(), LedgerError> {
    for _ in 0..TURNS {
        let spent = sightings.spent(MOST);
        if spent.is_empty() {
            return Ok(());
        }
        for (key, seen) in spent {
            clear_one(ledger, sightings, fences, &key, seen).await?;
        }
    }
    Ok(())
}

async fn clear_one(
    ledger: &Ledger,
    sightings: &Sightings,
    fences: &Fences,
    key: &str,
    seen: Revision,
) -> Result<(), LedgerError> {
    let connection = ledger.nats().connections();
    // What was seen may be gone without a word, or may be another's now.
    let stored = ledger.read(key).await?;
    let Some(value) = stored.value else {
        sightings.forget(key, seen);
        return Ok(());
    };
    // Its fence goes with it.
    fences.saw(stored.revision, &value);
    sightings.see(key, stored.revision, &value, connection);
    if !sightings.is_spent(key) {
        return Ok(());
    }
    if let Change::Done(revision) = ledger.delete(key, stored.revision).await? {
        sightings.gone(key, revision, connection);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use lattice_nats::NewBucket;
    use lattice_nats_box::NatsBox;
    use lattice_provider_sdk::nats::NatsBackend;

    #[tokio::test]
    async fn a_lock_that_is_cleared_away_leaves_its_fence() {
        let nats = NatsBox::start().await.unwrap();
        let backend = NatsBackend::on(nats.client().await.unwrap(), None);
        let new = NewBucket {
            name: "locks".to_owned(),
            ..NewBucket::default()
        };
        let ledger = Ledger::open(backend, new).await.unwrap();
        let (sightings, fences) = (Sightings::default(), Fences::default());
        // It is over at once.
        let value = br#"{"owner":"a","secret":"b","ttl_ms":0,"fence":9000000000000000000}"#;
        let value = Bytes::from_static(value);
        let written = ledger.write("s.a", value, ledger.blank()).await.unwrap();
        let Change::Done(revision) = written else {
            panic!("nobody else writes");
        };
        let cleared = clear_one(&ledger, &sightings, &fences, "s.a", revision).await;
        cleared.unwrap();
        assert!(ledger.read("s.a").await.unwrap().value.is_none());
        assert_eq!(fences.highest(), 9_000_000_000_000_000_000);
    }
}
