//! Watching keys for changes.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::Etcd;
use crate::error::EtcdError;
use crate::kv::{Pair, Range};
use crate::lines::Lines;
use crate::wire::{Header, base64_text, is_empty, is_zero, number};

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {
    #[serde(with = "base64_text")]
    key: Bytes,
    #[serde(with = "base64_text", skip_serializing_if = "is_empty")]
    range_end: Bytes,
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    start_revision: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    progress_notify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Filter {
    NoPut,
    NoDelete,
}

impl Watch {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::between(key, Bytes::new())
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let (key, end) = Range::prefix(prefix).ends();
        Self::between(key, end)
    }

    /// All keys from `first` to the one before `end`.
    pub fn between(first: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            key: first.into(),
            range_end: end.into(),
            start_revision: 0,
            progress_notify: false,
            filters: Vec::new(),
        }
    }

    /// From a revision on, which may be past, instead of from now on.
    #[must_use]
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.start_revision = revision;
        self
    }

    /// Only deletions and ends of leases.
    #[must_use]
    pub fn deletes_only(mut self) -> Self {
        self.filters = vec![Filter::NoPut];
        self
    }

    /// Only writes.
    #[must_use]
    pub fn puts_only(mut self) -> Self {
        self.filters = vec![Filter::NoDelete];
        self
    }

    /// Tells every ten minutes or so how far the watch has come when nothing changes.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.progress_notify = true;
        self
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventKind {
    /// It was written.
    #[default]
    Put,
    /// It was deleted, or its lease ended.
    Delete,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    #[serde(default, rename = "type")]
    pub kind: EventKind,
    /// The key as it is since; of a deleted one only the key and the revision.
    #[serde(default, rename = "kv")]
    pub pair: Pair,
}

/// Changes that came together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Events {
    /// The changes in their order; none when etcd only tells how far the watch has come.
    pub events: Vec<Event>,
    /// Up to which revision all changes are known. A later watch goes on after it.
    pub revision: i64,
}

#[derive(Serialize)]
struct Create {
    create_request: Watch,
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    created: bool,
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    cancel_reason: String,
    #[serde(default, with = "number")]
    compact_revision: i64,
    #[serde(default)]
    events: Vec<Event>,
}

/// A watch that is on. Changes that are not taken wait in etcd and on the way, not here. Dropping
/// it ends it. A member that falls silent without closing its connections is not noticed by a watch
/// on which nothing comes: who relies on one for long asks for the [`Etcd::status`] beside it.
#[derive(Debug)]
pub struct Watching {
    lines: Lines,
    /// What came before the watch was known to be on.
    first: VecDeque<Told>,
    revision: i64,
}

impl Etcd {
    /// Watches, and returns when the watch is on: no later change is missed.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]; [`EtcdError::Compacted`] when the first revision is too old.
    pub async fn watch(&self, watch: Watch) -> Result<Watching, EtcdError> {
        const PATH: &str = "/v3/watch";
        let limit = self.answer_limit();
        let create = Create {
            create_request: watch,
        };
        let (authority, answer) = self.open(PATH, &create).await?;
        let mut watching = Watching {
            lines: Lines::new(authority, PATH, answer),
            first: VecDeque::new(),
            revision: 0,
        };
        let created = tokio::time::timeout(limit, watching.created()).await;
        created.map_err(|_| watching.lines.silent(limit))??;
        Ok(watching)
    }
}

impl Watching {
    /// The revision of etcd when the watch was on: all changes after it are told.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.revision
    }

    async fn created(&mut self) -> Result<(), EtcdError> {
        let told = self.told().await?;
        self.revision = told.header.revision;
        if !told.created {
            self.first.push_back(told);
        }
        Ok(())
    }

    /// Waits for the next changes. When the wait is given up nothing is lost.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]: the watch is over.
    pub async fn next(&mut self) -> Result<Events, EtcdError> {
        let told = match self.first.pop_front() {
            Some(told) => told,
            None => self.told().await?,
        };
        Ok(Events {
            events: told.events,
            revision: told.header.revision,
        })
    }

    async fn told(&mut self) -> Result<Told, EtcdError> {
        let ended = |reason: &str| EtcdError::WatchEnded {
            reason: reason.to_owned(),
        };
        let told: Option<Told> = self.lines.next().await?;
        let told = told.ok_or_else(|| ended("the connection was closed"))?;
        if told.compact_revision > 0 {
            let first = told.compact_revision;
            return Err(EtcdError::Compacted { first });
        }
        if told.canceled {
            return Err(ended(&told.cancel_reason));
        }
        Ok(told)
    }
}
