//! What is known of whether a process has heard what it was told.

use std::collections::HashSet;

use super::link_publisher::LinkId;

/// How certain it is that a process was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confidence {
    Surely,
    /// It may have been another process with the same provider id.
    Perhaps,
}

/// Which generation a process is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Nothing was heard of it so far.
    Unknown,
    /// Ours: it is told on subjects of its own, and takes a link that it has as a changed one.
    Ours,
    /// That of 1.9: it ignores a link that it has, and shares the subject on which links are taken
    /// away with all processes of its id, whose hosts have told them theirs.
    Old,
}

/// What a process may have missed.
#[derive(Debug, Default)]
pub(super) struct MissedUpdates {
    /// Links that have changed since the process was given its data.
    pub(super) changed: HashSet<LinkId>,
    pub(super) answers: u32,
}

/// The links of which a process was told lately, so that it may have missed them if it was away.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Since its last answer.
    now: HashSet<LinkId>,
    /// Between that and the one before: an answer may have left before what was told just then came.
    before: HashSet<LinkId>,
}

impl Recent {
    pub(super) fn note(&mut self, id: LinkId) {
        self.now.insert(id);
    }

    /// The process has answered, and was there all the time.
    pub(super) fn has_heard(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// All of them, which are forgotten here.
    pub(super) fn take(&mut self) -> impl Iterator<Item = LinkId> {
        let Self { now, before } = std::mem::take(self);
        now.into_iter().chain(before)
    }
}
