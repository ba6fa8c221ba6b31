//! The claims of the lattice as this host knows them.

use std::collections::BTreeMap;

use lattice_core::StringMap;
use lattice_core::record::StoredClaims;
use lattice_store::LatticeSnapshot;
use parking_lot::RwLock;

/// Owns the host's copy of all claims. It follows the store and is never written otherwise.
#[derive(Debug, Default)]
pub(crate) struct ClaimsTable {
    claims: RwLock<BTreeMap<String, StoredClaims>>,
}

impl ClaimsTable {
    pub(crate) fn put(&self, subject: String, claims: StoredClaims) {
        self.claims.write().insert(subject, claims);
    }

    pub(crate) fn remove(&self, subject: &str) {
        self.claims.write().remove(subject);
    }

    /// What is known and missing in a store that was lost.
    pub(crate) fn lost(&self, snapshot: &LatticeSnapshot) -> Vec<(String, StoredClaims)> {
        let known = self.claims.read();
        let lost = known.iter();
        let lost = lost.filter(|(subject, _)| !snapshot.claims.contains_key(*subject));
        lost.map(|(subject, claims)| (subject.clone(), claims.clone()))
            .collect()
    }

    /// Takes over the complete state of the store, or adds to what is known when the store was
    /// lost.
    pub(crate) fn resync(&self, snapshot: &mut LatticeSnapshot) {
        let stored = std::mem::take(&mut snapshot.claims);
        let mut claims = self.claims.write();
        if !snapshot.fresh {
            claims.clear();
        }
        claims.extend(stored);
    }

    /// All claims in the form of the control interface.
    pub(crate) fn all(&self) -> Vec<StringMap> {
        self.claims
            .read()
            .values()
            .map(StoredClaims::to_claims_map)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::record::StoredProviderClaims;

    use super::*;

    fn claims(subject: &str) -> StoredClaims {
        StoredClaims::Provider(StoredProviderClaims {
            subject: subject.to_owned(),
            ..StoredProviderClaims::default()
        })
    }

    fn subjects(table: &ClaimsTable) -> Vec<String> {
        table
            .all()
            .into_iter()
            .map(|map| map["sub"].clone())
            .collect()
    }

    #[test]
    fn claims_follow_the_store_and_survive_its_loss() {
        let table = ClaimsTable::default();
        table.put("V1".into(), claims("V1"));
        table.put("V2".into(), claims("V2"));
        table.remove("V2");
        assert_eq!(subjects(&table), ["V1"]);
        let mut lost = LatticeSnapshot {
            fresh: true,
            ..LatticeSnapshot::default()
        };
        assert_eq!(table.lost(&lost), [("V1".to_owned(), claims("V1"))]);
        table.resync(&mut lost);
        assert_eq!(subjects(&table), ["V1"]);
        let mut stored = LatticeSnapshot::default();
        stored.claims.insert("V3".into(), claims("V3"));
        table.resync(&mut stored);
        assert_eq!(subjects(&table), ["V3"]);
    }
}
