//! The subjects under the one wildcard subscription of a peer.

use crate::slots::SlotId;

/// The token for calls that others hand on; no slot is called so.
pub(crate) const HANDED_ON: &str = "at";

/// The prefix under which all slots of a peer listen.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// The prefix with its dot.
    prefix: String,
}

impl Inbox {
    /// Uses a prefix that the NATS client has made unique.
    pub(crate) fn new(unique: String) -> Self {
        Self {
            prefix: unique + ".",
        }
    }

    /// What the subjects of all slots begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What to subscribe.
    pub(crate) fn filter(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// What calls begin with that others hand on to this peer; the subject of the function follows.
    pub(crate) fn place(&self) -> String {
        format!("{}{HANDED_ON}", self.prefix)
    }

    /// Where a slot listens.
    pub(crate) fn subject(&self, slot: &SlotId) -> String {
        slot.text(&self.prefix)
    }

    /// Takes a subject apart into the slot's token and what follows it.
    pub(crate) fn split<'a>(&self, subject: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = subject.strip_prefix(&self.prefix)?;
        Some(rest.split_once('.').unwrap_or((rest, "")))
    }
}
