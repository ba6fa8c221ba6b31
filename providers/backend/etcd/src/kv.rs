//! Reading, writing and deleting keys.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::{Effect, Etcd};
use crate::error::EtcdError;
use crate::wire::{Header, base64_text, is_empty, is_zero, number};

/// A key with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Pair {
    /// The key.
    #[serde(default, with = "base64_text")]
    pub key: Bytes,
    /// Its value; empty when only keys were asked for.
    #[serde(default, with = "base64_text")]
    pub value: Bytes,
    /// The revision at which the key came to be, since it was last deleted.
    #[serde(default, with = "number")]
    pub create_revision: i64,
    /// The revision of its last change.
    #[serde(default, with = "number")]
    pub mod_revision: i64,
    /// How often it was written since it came to be.
    #[serde(default, with = "number")]
    pub version: i64,
    /// The lease that it ends with; 0 is none.
    #[serde(default, with = "number")]
    pub lease: i64,
}

/// By what keys are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SortBy {
    /// The key.
    Key,
    /// When it came to be.
    Create,
    /// When it last changed.
    Mod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Order {
    Ascend,
    Descend,
}

/// Which keys are read, and what of them. Without a sort they come in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    #[serde(with = "base64_text")]
    key: Bytes,
    #[serde(with = "base64_text", skip_serializing_if = "is_empty")]
    range_end: Bytes,
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    limit: i64,
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    revision: i64,
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    max_create_revision: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keys_only: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    count_only: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    serializable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_target: Option<SortBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_order: Option<Order>,
}

impl Range {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::between(key, Bytes::new())
    }

    /// All keys from `first` to the one before `end`. An empty `end` would mean `first` alone, a
    /// zero byte means that there is no end.
    pub fn between(first: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            key: first.into(),
            range_end: end.into(),
            limit: 0,
            revision: 0,
            max_create_revision: 0,
            keys_only: false,
            count_only: false,
            serializable: false,
            sort_target: None,
            sort_order: None,
        }
    }

    /// All keys that begin with `prefix`; all there are when it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let end = prefix_end(&prefix);
        match prefix.is_empty() {
            true => Self::between(Bytes::from_static(b"\0"), end),
            false => Self::between(prefix, end),
        }
    }

    /// The first key, and the one after the last.
    pub(crate) fn ends(self) -> (Bytes, Bytes) {
        (self.key, self.range_end)
    }

    /// At most so many of them; [`Ranged::more`] says whether there were more.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.into();
        self
    }

    /// As they were at a revision.
    #[must_use]
    pub fn at_revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    /// Only those that came to be at a revision up to this one.
    #[must_use]
    pub fn created_up_to(mut self, revision: i64) -> Self {
        self.max_create_revision = revision;
        self
    }

    /// Without their values.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Only how many there are.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// As the asked member knows them, which may be stale, but needs no other member.
    #[must_use]
    pub fn stale(mut self) -> Self {
        self.serializable = true;
        self
    }

    /// Smallest first.
    #[must_use]
    pub fn ascending(mut self, by: SortBy) -> Self {
        self.sort_target = Some(by);
        self.sort_order = Some(Order::Ascend);
        self
    }

    /// Greatest first.
    #[must_use]
    pub fn descending(mut self, by: SortBy) -> Self {
        self.sort_target = Some(by);
        self.sort_order = Some(Order::Descend);
        self
    }
}

/// The key after all that begin with `prefix`: a zero byte, which means no end, when there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX);
    let Some(last) = last else {
        return Bytes::from_static(b"\0");
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranged {
    /// The keys.
    pub pairs: Vec<Pair>,
    /// Whether there are more than were asked for.
    pub more: bool,
    /// How many there are, whatever the limit.
    pub count: u64,
    /// The revision of etcd when it answered.
    pub revision: i64,
}

impl Ranged {
    /// The only or first one.
    #[must_use]
    pub fn first(self) -> Option<Pair> {
        self.pairs.into_iter().next()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RangedWire {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
    #[serde(default)]
    more: bool,
    #[serde(default, with = "number")]
    count: i64,
}

impl From<RangedWire> for Ranged {
    fn from(wire: RangedWire) -> Self {
        Self {
            pairs: wire.kvs,
            more: wire.more,
            count: u64::try_from(wire.count).unwrap_or_default(),
            revision: wire.header.revision,
        }
    }
}

/// A key to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Put {
    #[serde(with = "base64_text")]
    key: Bytes,
    #[serde(with = "base64_text", skip_serializing_if = "is_empty")]
    value: Bytes,
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    lease: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prev_kv: bool,
}

impl Put {
    /// Writes `value` at `key`; a lease that the key had ends for it.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            lease: 0,
            prev_kv: false,
        }
    }

    /// The key ends with a lease.
    #[must_use]
    pub fn lease(mut self, id: i64) -> Self {
        self.lease = id;
        self
    }

    /// Gives back what was there before.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.prev_kv = true;
        self
    }
}

/// What a write did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutDone {
    /// The revision that it made.
    pub revision: i64,
    /// What was there before, when asked for.
    pub previous: Option<Pair>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct PutWire {
    #[serde(default)]
    header: Header,
    prev_kv: Option<Pair>,
}

impl From<PutWire> for PutDone {
    fn from(wire: PutWire) -> Self {
        Self {
            revision: wire.header.revision,
            previous: wire.prev_kv,
        }
    }
}

/// Keys to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delete {
    #[serde(with = "base64_text")]
    key: Bytes,
    #[serde(with = "base64_text", skip_serializing_if = "is_empty")]
    range_end: Bytes,
}

impl Delete {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            range_end: Bytes::new(),
        }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let (key, range_end) = Range::prefix(prefix).ends();
        Self { key, range_end }
    }
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// How many keys are gone.
    pub count: u64,
    /// The revision of etcd afterwards.
    pub revision: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeletedWire {
    #[serde(default)]
    header: Header,
    #[serde(default, with = "number")]
    deleted: i64,
}

impl From<DeletedWire> for Deleted {
    fn from(wire: DeletedWire) -> Self {
        Self {
            count: u64::try_from(wire.deleted).unwrap_or_default(),
            revision: wire.header.revision,
        }
    }
}

impl Etcd {
    /// Reads keys.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn range(&self, range: Range) -> Result<Ranged, EtcdError> {
        let asked = self.ask::<RangedWire>("/v3/kv/range", &range, Effect::Same);
        Ok(asked.await?.into())
    }

    /// Writes a key.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn put(&self, put: Put) -> Result<PutDone, EtcdError> {
        let asked = self.ask::<PutWire>("/v3/kv/put", &put, Effect::Once);
        Ok(asked.await?.into())
    }

    /// Deletes keys.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn delete(&self, delete: Delete) -> Result<Deleted, EtcdError> {
        let asked = self.ask::<DeletedWire>("/v3/kv/deleterange", &delete, Effect::Once);
        Ok(asked.await?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_one() {
        assert_eq!(prefix_end(b"a/"), "a0");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff"), "\0");
        assert_eq!(prefix_end(b""), "\0");
    }

    #[test]
    fn only_what_is_said_is_written() {
        let text = |range: Range| serde_json::to_string(&range).unwrap();
        assert_eq!(text(Range::key("foo")), r#"{"key":"Zm9v"}"#);
        assert_eq!(
            text(
                Range::prefix("")
                    .limit(2)
                    .keys_only()
                    .descending(SortBy::Mod)
            ),
            r#"{"key":"AA==","range_end":"AA==","limit":"2","keys_only":true,"sort_target":"MOD","sort_order":"DESCEND"}"#
        );
        let put = Put::new("foo", "").lease(-1);
        let put = serde_json::to_string(&put).unwrap();
        assert_eq!(put, r#"{"key":"Zm9v","lease":"-1"}"#);
    }
}
