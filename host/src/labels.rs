//! The labels of the host.

use std::sync::atomic::{AtomicU64, Ordering};

use lattice_core::StringMap;
use lattice_core::host::{InvalidLabelKey, check_label_key, is_host_label, machine_labels};
use lattice_rpc::throttle::LogThrottle;
use parking_lot::RwLock;

/// Why a label was not changed. The texts about `hostcore.*` are those of the 1.9 generation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum LabelError {
    #[error("hostcore.* labels cannot be set dynamically")]
    Set,
    #[error("hostcore.* labels cannot be deleted")]
    Delete,
    #[error(transparent)]
    Key(#[from] InvalidLabelKey),
    #[error(
        "with label {key:?} the labels of the host have {bytes} bytes, more than the {MAX_BYTES} they may have"
    )]
    TooMuch { key: String, bytes: usize },
}

/// How long all labels may be in JSON: they are in every heartbeat, for which NATS has a limit.
const MAX_BYTES: usize = 128 << 10;

/// Owns the labels. Their keys are kept sorted.
#[derive(Debug)]
pub(crate) struct Labels {
    map: RwLock<StringMap>,
    changes: AtomicU64,
    /// Of what is told of labels that were set to what they are.
    unchanged: LogThrottle,
}

impl Labels {
    /// The labels of the machine, under those of the operator, who may replace them at start.
    pub(crate) fn new(operator: &StringMap) -> Result<Self, InvalidLabelKey> {
        operator.keys().try_for_each(|key| check_label_key(key))?;
        let mut map = machine_labels();
        map.extend(
            operator
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        map.sort_unstable_keys();
        Ok(Self {
            map: RwLock::new(map),
            changes: AtomicU64::new(0),
            unchanged: LogThrottle::default(),
        })
    }

    /// How often they have changed, for who has said something about them.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn all(&self) -> StringMap {
        self.map.read().clone()
    }

    /// Sets a label, and has all of them told unless there is nothing to tell: before they can change
    /// again, so that what is told last is what holds. `tell` does not wait, nor ask for labels.
    ///
    /// The 1.9 generation tells of each label that is set, also to what it is. Of these, the lattice is told
    /// once a second: all labels together may be long, and whoever sets one can do so without end.
    pub(crate) fn put(
        &self,
        key: &str,
        value: &str,
        tell: impl FnOnce(StringMap),
    ) -> Result<(), LabelError> {
        if is_host_label(key) {
            return Err(LabelError::Set);
        }
        check_label_key(key)?;
        let mut map = self.map.write();
        // What was said about these labels still holds.
        if map.get(key).is_some_and(|present| present == value) {
            if self.unchanged.turn().is_some() {
                tell(map.clone());
            }
            return Ok(());
        }
        let mut changed = map.clone();
        changed.insert(key.to_owned(), value.to_owned());
        let bytes = bytes(&changed);
        if bytes > MAX_BYTES {
            let key = key.to_owned();
            return Err(LabelError::TooMuch { key, bytes });
        }
        changed.sort_unstable_keys();
        map.clone_from(&changed);
        self.changes.fetch_add(1, Ordering::Release);
        tell(changed);
        Ok(())
    }

    /// Deletes a label, and has told what is left as [`Labels::put`] does; `false` when there was no such
    /// label.
    pub(crate) fn delete(
        &self,
        key: &str,
        tell: impl FnOnce(StringMap),
    ) -> Result<bool, LabelError> {
        if is_host_label(key) {
            return Err(LabelError::Delete);
        }
        let mut map = self.map.write();
        if map.shift_remove(key).is_none() {
            return Ok(false);
        }
        self.changes.fetch_add(1, Ordering::Release);
        tell(map.clone());
        Ok(true)
    }

    /// Whether the host has every one of these labels with exactly these values.
    pub(crate) fn satisfy(&self, constraints: &StringMap) -> bool {
        let map = self.map.read();
        constraints
            .iter()
            .all(|(key, value)| map.get(key) == Some(value))
    }
}

/// How long labels are in JSON.
fn bytes(labels: &StringMap) -> usize {
    // Texts always encode.
    serde_json::to_vec(labels).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> StringMap {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Sets a label, and returns what is told.
    fn put(labels: &Labels, key: &str, value: &str) -> Result<Option<StringMap>, LabelError> {
        let mut told = None;
        labels.put(key, value, |all| told = Some(all))?;
        Ok(told)
    }

    /// Deletes a label, and returns what is told.
    fn delete(labels: &Labels, key: &str) -> Result<Option<StringMap>, LabelError> {
        let mut told = None;
        let deleted = labels.delete(key, |all| told = Some(all))?;
        assert_eq!(deleted, told.is_some());
        Ok(told)
    }

    #[test]
    fn labels_of_the_operator_replace_those_of_the_machine_at_start_only() {
        let labels = Labels::new(&map(&[("hostcore.os", "plan9"), ("zone", "a")])).unwrap();
        let all = labels.all();
        assert_eq!(all["hostcore.os"], "plan9");
        let keys: Vec<_> = all.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["hostcore.arch", "hostcore.os", "hostcore.osfamily", "zone"]
        );
        assert_eq!(put(&labels, "HostCore.os", "x"), Err(LabelError::Set));
        assert_eq!(delete(&labels, "hostcore.os"), Err(LabelError::Delete));
    }

    #[test]
    fn labels_come_and_go() {
        let labels = Labels::new(&StringMap::new()).unwrap();
        let put = put(&labels, "tier", "edge").unwrap().unwrap();
        assert_eq!(put["tier"], "edge");
        assert!(labels.satisfy(&map(&[("tier", "edge")])));
        assert!(!labels.satisfy(&map(&[("tier", "core")])) && labels.satisfy(&StringMap::new()));
        let left = delete(&labels, "tier").unwrap().unwrap();
        assert!(!left.contains_key("tier"));
        assert_eq!(delete(&labels, "tier"), Ok(None));
    }

    #[test]
    fn what_changes_nothing_counts_as_no_change_and_is_not_told_without_end() {
        let labels = Labels::new(&map(&[("zone", "a")])).unwrap();
        assert!(put(&labels, "zone", "a").unwrap().is_some());
        assert_eq!(put(&labels, "zone", "a"), Ok(None));
        assert_eq!(delete(&labels, "none"), Ok(None));
        assert_eq!(labels.changes(), 0);
        assert!(put(&labels, "zone", "b").unwrap().is_some());
        assert!(delete(&labels, "zone").unwrap().is_some());
        assert_eq!(labels.changes(), 2);
    }

    #[test]
    fn what_changes_is_told_before_it_changes_again() {
        let labels = Labels::new(&StringMap::new()).unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |all: StringMap| {
            assert!(labels.map.try_read().is_none(), "others go on already");
            told.borrow_mut().push(all.get("zone").cloned());
        };
        labels.put("zone", "a", tell).unwrap();
        labels.put("zone", "a", tell).unwrap();
        assert!(labels.delete("zone", tell).unwrap());
        let zone = Some("a".to_owned());
        assert_eq!(told.into_inner(), [zone.clone(), zone, None]);
    }

    #[test]
    fn labels_that_no_heartbeat_could_carry_are_refused_by_name() {
        let labels = Labels::new(&StringMap::new()).unwrap();
        let half = "\u{1}".repeat(MAX_BYTES / 12);
        put(&labels, "one", &half).unwrap();
        let before = labels.all();
        let refused = put(&labels, "two", &half).unwrap_err();
        assert!(
            refused.to_string().starts_with("with label \"two\""),
            "{refused}"
        );
        assert_eq!(labels.all(), before);
        put(&labels, "one", "x").unwrap();
        put(&labels, "two", &half).unwrap();
    }

    #[test]
    fn keys_that_could_not_be_named_again_are_refused() {
        let labels = Labels::new(&StringMap::new()).unwrap();
        let before = labels.all();
        for key in ["", " ", "a\u{0}b"] {
            let refused = put(&labels, key, "x");
            assert!(matches!(refused, Err(LabelError::Key(_))), "{key:?}");
            assert!(Labels::new(&map(&[(key, "x")])).is_err(), "{key:?}");
        }
        assert_eq!(labels.all(), before);
        assert_eq!(delete(&labels, ""), Ok(None));
    }
}
