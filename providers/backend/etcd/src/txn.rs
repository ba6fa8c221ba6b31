//! Several operations as one, if some comparisons hold.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::{Effect, Etcd};
use crate::error::EtcdError;
use crate::kv::{
    Delete, Deleted, DeletedWire, Put, PutDone, PutWire, Range, Ranged, RangedWire, prefix_end,
};
use crate::wire::{Header, base64_text};

/// How two things have to stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Relation {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Greater than the given.
    Greater,
    /// Less than the given.
    Less,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "target", rename_all = "UPPERCASE")]
enum Target {
    Create {
        #[serde(with = "crate::wire::number")]
        create_revision: i64,
    },
    Mod {
        #[serde(with = "crate::wire::number")]
        mod_revision: i64,
    },
    Value {
        #[serde(with = "base64_text")]
        value: Bytes,
    },
    Lease {
        #[serde(with = "crate::wire::number")]
        lease: i64,
    },
}

/// A comparison of something of a key with something given. A key that is not there has zeros for
/// its revisions and its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compare {
    #[serde(with = "base64_text")]
    key: Bytes,
    /// Where the keys end of which it has to hold for each; empty for one key.
    #[serde(with = "base64_text", skip_serializing_if = "Bytes::is_empty")]
    range_end: Bytes,
    result: Relation,
    #[serde(flatten)]
    target: Target,
}

impl Compare {
    /// The key is not there.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, Relation::Equal, 0)
    }

    /// No key is there that begins with `prefix`.
    pub fn none_below(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let range_end = prefix_end(&prefix);
        Self {
            range_end,
            ..Self::absent(prefix)
        }
    }

    /// The key is there.
    pub fn present(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, Relation::NotEqual, 0)
    }

    /// The revision at which the key came to be.
    pub fn create_revision(key: impl Into<Bytes>, relation: Relation, revision: i64) -> Self {
        let create_revision = revision;
        Self::of(key, relation, Target::Create { create_revision })
    }

    /// The revision of its last change.
    pub fn mod_revision(key: impl Into<Bytes>, relation: Relation, revision: i64) -> Self {
        let mod_revision = revision;
        Self::of(key, relation, Target::Mod { mod_revision })
    }

    /// Its value. A key that is not there fails any such comparison.
    pub fn value(key: impl Into<Bytes>, relation: Relation, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        Self::of(key, relation, Target::Value { value })
    }

    /// The lease that it ends with.
    pub fn lease(key: impl Into<Bytes>, relation: Relation, lease: i64) -> Self {
        Self::of(key, relation, Target::Lease { lease })
    }

    fn of(key: impl Into<Bytes>, result: Relation, target: Target) -> Self {
        Self {
            key: key.into(),
            range_end: Bytes::new(),
            result,
            target,
        }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Op {
    /// Reads keys.
    #[serde(rename = "request_range")]
    Range(Range),
    /// Writes a key.
    #[serde(rename = "request_put")]
    Put(Put),
    /// Deletes keys.
    #[serde(rename = "request_delete_range")]
    Delete(Delete),
}

/// Operations for when all comparisons hold, and others for when one does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Txn {
    compare: Vec<Compare>,
    success: Vec<Op>,
    failure: Vec<Op>,
}

impl Txn {
    /// Without comparisons: always the operations of [`Txn::then`].
    #[must_use]
    pub fn always() -> Self {
        Self::default()
    }

    /// With a first comparison.
    #[must_use]
    pub fn when(compare: Compare) -> Self {
        Self::default().and(compare)
    }

    /// With one more comparison.
    #[must_use]
    pub fn and(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }

    /// With one more operation for when all hold.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.success.push(op);
        self
    }

    /// With one more operation for when one does not.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.failure.push(op);
        self
    }

    /// Whether a second time changes nothing.
    fn effect(&self) -> Effect {
        let mut ops = self.success.iter().chain(&self.failure);
        match ops.all(|op| matches!(op, Op::Range(_))) {
            true => Effect::Same,
            false => Effect::Once,
        }
    }
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Keys were read.
    Range(Ranged),
    /// A key was written.
    Put(PutDone),
    /// Keys were deleted.
    Delete(Deleted),
}

/// What a transaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnDone {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// What each operation did, in their order.
    pub done: Vec<Done>,
    /// The revision of etcd afterwards; the one that the writes made, if there were any.
    pub revision: i64,
}

impl TxnDone {
    /// What the first operation that reads has read.
    #[must_use]
    pub fn ranged(self) -> Option<Ranged> {
        self.done.into_iter().find_map(|done| match done {
            Done::Range(ranged) => Some(ranged),
            _ => None,
        })
    }
}

#[derive(Debug, Deserialize)]
enum DoneWire {
    #[serde(rename = "response_range")]
    Range(RangedWire),
    #[serde(rename = "response_put")]
    Put(PutWire),
    #[serde(rename = "response_delete_range")]
    Delete(DeletedWire),
}

#[derive(Debug, Deserialize)]
struct TxnWire {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<DoneWire>,
}

impl From<DoneWire> for Done {
    fn from(wire: DoneWire) -> Self {
        match wire {
            DoneWire::Range(wire) => Self::Range(wire.into()),
            DoneWire::Put(wire) => Self::Put(wire.into()),
            DoneWire::Delete(wire) => Self::Delete(wire.into()),
        }
    }
}

impl Etcd {
    /// Runs a transaction. etcd takes up to 128 operations in one, unless set up otherwise.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, EtcdError> {
        let effect = txn.effect();
        let wire: TxnWire = self.ask("/v3/kv/txn", &txn, effect).await?;
        Ok(TxnDone {
            succeeded: wire.succeeded,
            done: wire.responses.into_iter().map(Done::from).collect(),
            revision: wire.header.revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_written_as_the_gateway_reads_it() {
        let txn = Txn::when(Compare::absent("foo"))
            .and(Compare::value("foo", Relation::NotEqual, "x"))
            .then(Op::Put(Put::new("foo", "x")))
            .otherwise(Op::Delete(Delete::key("foo")));
        assert_eq!(
            serde_json::to_string(&txn).unwrap(),
            concat!(
                r#"{"compare":[{"key":"Zm9v","result":"EQUAL","target":"CREATE","create_revision":"0"},"#,
                r#"{"key":"Zm9v","result":"NOT_EQUAL","target":"VALUE","value":"eA=="}],"#,
                r#""success":[{"request_put":{"key":"Zm9v","value":"eA=="}}],"#,
                r#""failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#
            )
        );
        assert_eq!(txn.effect(), Effect::Once);
        assert_eq!(
            serde_json::to_string(&Compare::none_below("a/")).unwrap(),
            r#"{"key":"YS8=","range_end":"YTA=","result":"EQUAL","target":"CREATE","create_revision":"0"}"#
        );
        assert_eq!(
            Txn::always().then(Op::Range(Range::key("a"))).effect(),
            Effect::Same
        );
    }
}
