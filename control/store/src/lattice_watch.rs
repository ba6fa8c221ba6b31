//! Typed changes of the lattice bucket.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lattice_core::ComponentId;
use lattice_core::record::{ComponentSpec, StoredClaims};
use lattice_core::subject::store::{LatticeKey, parse_lattice_key};

use crate::bucket::{Bucket, Record};
use crate::raw_watch::{RawChange, RawWatch, Snapshot};
use crate::told;

/// Everything in the lattice bucket.
#[derive(Debug, Clone, Default)]
pub struct LatticeSnapshot {
    /// The specs of all entities.
    pub specs: HashMap<ComponentId, ComponentSpec>,
    /// All claims by their subject.
    pub claims: HashMap<String, StoredClaims>,
    /// Entities whose spec is there but cannot be read. Keep what was known of them.
    pub unreadable: HashSet<ComponentId>,
    /// Entities whose spec was deleted, also in a bucket that is `fresh`; not by a deletion that is `outdated`.
    pub deleted: HashSet<ComponentId>,
    /// Deletions up to this revision are those of an older copy of the bucket, and older than what was
    /// watched; 0 when the bucket is no such copy.
    pub outdated: u64,
    /// The bucket is new: it was missing, it is not the one that was watched before, or an older copy of it.
    ///
    /// What is not in it was lost, unless it is told as deleted, for instance because the store of the NATS
    /// server was wiped.
    pub fresh: bool,
    /// The bucket took the place of one that was there less than a minute ago, so that hardly anything
    /// was deleted in it yet: what a record lacks was lost, too.
    pub lost_lately: bool,
}

/// A change of the lattice bucket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LatticeChange {
    /// The complete state. The first change of a watch, and the first after each interruption:
    /// what is not in it is gone.
    Resync(LatticeSnapshot),
    /// A spec was written.
    SpecPut {
        /// The entity.
        id: ComponentId,
        /// Its whole spec.
        spec: ComponentSpec,
    },
    /// A spec was deleted or purged.
    SpecDeleted {
        /// The entity.
        id: ComponentId,
    },
    /// Claims were written.
    ClaimsPut {
        /// The public key they are about.
        subject: String,
        /// The claims.
        claims: StoredClaims,
    },
    /// Claims were deleted or purged.
    ClaimsDeleted {
        /// The public key they were about.
        subject: String,
    },
}

/// A watch over specs and claims. It never ends; drop it to stop it.
#[derive(Debug)]
pub struct LatticeWatch {
    raw: RawWatch,
}

impl LatticeWatch {
    pub(crate) fn start(bucket: Arc<Bucket>) -> Self {
        Self {
            raw: RawWatch::start(bucket),
        }
    }

    /// Waits for the next change; the first one is always a [`LatticeChange::Resync`].
    ///
    /// While NATS is away, this waits. No change is lost when the future is dropped, so it may
    /// stand in a `select!`.
    pub async fn next(&mut self) -> LatticeChange {
        loop {
            if let Some(change) = typed(self.raw.next().await) {
                return change;
            }
        }
    }
}

fn typed(change: RawChange) -> Option<LatticeChange> {
    match change {
        RawChange::Snapshot(snapshot) => Some(LatticeChange::Resync(typed_snapshot(snapshot))),
        RawChange::Put(record) => match parse_record(&record) {
            Parsed::Spec(id, Some(spec)) => Some(LatticeChange::SpecPut { id, spec }),
            Parsed::Claims(subject, claims) => Some(LatticeChange::ClaimsPut { subject, claims }),
            Parsed::Spec(_, None) | Parsed::Nothing => None,
        },
        RawChange::Gone { key, .. } => match parse_lattice_key(&key) {
            LatticeKey::Component(id) => Some(LatticeChange::SpecDeleted { id }),
            LatticeKey::Claims(subject) => Some(LatticeChange::ClaimsDeleted { subject }),
            _ => None,
        },
    }
}

pub(crate) fn typed_snapshot(raw: Snapshot) -> LatticeSnapshot {
    let mut snapshot = LatticeSnapshot {
        outdated: raw.outdated,
        fresh: raw.fresh,
        lost_lately: raw.lost_lately,
        ..LatticeSnapshot::default()
    };
    for key in &raw.deleted {
        if let LatticeKey::Component(id) = parse_lattice_key(key) {
            snapshot.deleted.insert(id);
        }
    }
    for record in &raw.records {
        match parse_record(record) {
            Parsed::Spec(id, Some(spec)) => {
                snapshot.specs.insert(id, spec);
            }
            Parsed::Spec(id, None) => {
                snapshot.unreadable.insert(id);
            }
            Parsed::Claims(subject, claims) => {
                snapshot.claims.insert(subject, claims);
            }
            Parsed::Nothing => {}
        }
    }
    snapshot
}

/// A record by kind.
enum Parsed {
    /// `None` when the value is not a spec.
    Spec(ComponentId, Option<ComponentSpec>),
    Claims(String, StoredClaims),
    Nothing,
}

fn parse_record(record: &Record) -> Parsed {
    match parse_lattice_key(&record.key) {
        LatticeKey::Component(id) => {
            let spec = parsed(record, ComponentSpec::read, "a component spec");
            Parsed::Spec(id, spec)
        }
        LatticeKey::Claims(subject) => {
            match parsed::<StoredClaims>(record, |json| serde_json::from_slice(json), "claims") {
                Some(claims) if claims.subject() == subject => Parsed::Claims(subject, claims),
                Some(claims) => {
                    if let Some(untold) = told::turn(&record.key) {
                        let (key, found) = (&record.key, told::clipped(&claims.subject()));
                        tracing::error!(key, found, untold, "claims of another subject, ignored");
                    }
                    Parsed::Nothing
                }
                None => Parsed::Nothing,
            }
        }
        LatticeKey::Unknown => {
            if let Some(untold) = told::turn(&record.key) {
                let key = &record.key;
                tracing::warn!(key, untold, "unknown record in the lattice bucket, ignored");
            }
            Parsed::Nothing
        }
        _ => Parsed::Nothing,
    }
}

fn parsed<T>(
    record: &Record,
    read: impl Fn(&[u8]) -> serde_json::Result<T>,
    expected: &str,
) -> Option<T> {
    read(&record.value)
        .inspect_err(|error| {
            if let Some(untold) = told::turn(&record.key) {
                let (key, error) = (&record.key, told::clipped(error));
                tracing::error!(key, error, untold, "record is not {expected}, ignored");
            }
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> RawChange {
        RawChange::Put(Record {
            key: key.into(),
            value: value.to_owned().into(),
            revision: 1,
        })
    }

    #[test]
    fn deletions_are_told_by_kind() {
        let gone = |key: &str| {
            typed(RawChange::Gone {
                key: key.into(),
                revision: 2,
            })
        };
        let Some(LatticeChange::SpecDeleted { id }) = gone("COMPONENT_a") else {
            panic!()
        };
        assert_eq!(id, "a");
        let Some(LatticeChange::ClaimsDeleted { subject }) = gone("CLAIMS_V1") else {
            panic!()
        };
        assert_eq!(subject, "V1");
        assert!(gone("LINKDEF_1").is_none() && gone("odd").is_none());
    }

    #[test]
    fn old_and_broken_records_are_ignored() {
        for (key, value) in [
            ("LINKDEF_ab", "{}"),
            ("REFMAP_ab", "{}"),
            ("odd", "{}"),
            ("COMPONENT_a", "{\"url\":1}"),
            (
                "CLAIMS_V1",
                r#"{"iss":"A","name":"n","rev":"1","sub":"V2","version":"1"}"#,
            ),
        ] {
            assert!(typed(put(key, value)).is_none(), "{key}");
        }
    }

    #[test]
    fn a_snapshot_names_the_specs_it_cannot_read() {
        let record = |key: &str, value: &str| Record {
            key: key.into(),
            value: value.to_owned().into(),
            revision: 1,
        };
        let records = vec![
            record("COMPONENT_a", r#"{"url":"","links":[]}"#),
            record("COMPONENT_b", "oops"),
            record(
                "CLAIMS_V1",
                r#"{"iss":"A","name":"n","rev":"1","sub":"V1","version":"1"}"#,
            ),
        ];
        let snapshot = typed_snapshot(Snapshot {
            records,
            as_of: 3,
            ..Snapshot::default()
        });
        assert_eq!(snapshot.specs.len(), 1);
        assert_eq!(snapshot.claims["V1"].subject(), "V1");
        assert!(snapshot.unreadable.contains("b"));
    }
}
