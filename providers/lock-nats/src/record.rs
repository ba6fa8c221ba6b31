//! What is stored of a lock that is held.

use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::lock::Claim;
use lattice_provider_sdk::nats::ledger::Revision;
use serde::{Deserialize, Serialize};

use crate::fences;

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The component.
    pub(crate) owner: String,
    /// What proves the claim.
    secret: String,
    /// How long it lasts from this revision on.
    ttl_ms: u64,
    /// The fence of the acquisition; none as long as it is that of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
}

impl Record {
    /// That of a claim. `fence` is none at an acquisition whose revision makes it.
    pub(crate) fn new(claim: &Claim, ttl: Duration, fence: Option<u64>) -> Self {
        Self {
            owner: claim.owner.clone(),
            secret: claim.secret.expose().to_owned(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            fence,
        }
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }

    pub(crate) fn write(&self) -> Bytes {
        // A text for each name: nothing that could not be written.
        serde_json::to_vec(self)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// The fence of the one who holds it, at this revision.
    pub(crate) fn fence(&self, revision: Revision) -> u64 {
        self.fence.unwrap_or_else(|| fences::of(revision))
    }

    /// The same without need of the revision.
    pub(crate) fn with_its_fence(mut self, revision: Revision) -> Self {
        self.fence = Some(self.fence(revision));
        self
    }

    pub(crate) fn is_of(&self, claim: &Claim) -> bool {
        claim.is_of(&self.secret, &self.owner)
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::lock::LockName;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let place = LockName::read("", "a", "main").unwrap();
        let claim = Claim::new(place, "cart").unwrap();
        let revision = |number| Revision {
            making: 1,
            made: 100,
            number,
        };
        let first = Record::new(&claim, Duration::from_secs(3), None);
        assert_eq!(first.fence(revision(7)), 107);
        let renewed = Record::new(&claim, Duration::from_secs(3), Some(107));
        assert_eq!(renewed.fence(revision(9)), 107);
        assert_eq!(first.with_its_fence(revision(7)), renewed);
        let read = Record::read(&renewed.write()).unwrap();
        assert_eq!(read, renewed);
        assert!(read.is_of(&claim));
        assert!(Record::read(b"{}").is_err());
    }
}
