//! The subjects under the one wildcard subscription of a peer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_core::subject::RpcPrefix;
use lattice_core::subject::reserved::at_home;
use sha2::{Digest as _, Sha256};

use crate::auth::entity;
use crate::slots::SlotId;

/// The token for calls that others hand on; no slot is called so.
pub(crate) const HANDED_ON: &str = "at";

/// What the subjects of inboxes begin with. A call names the place for its answer as it likes, and
/// nothing else is to be sent there.
const INBOX: &str = "_INBOX";

/// Whether a subject is below an inbox: the common ones, or those of providers with NATS users of
/// their own, `{lattice}.{id}.inbox`, as the servers of other clusters write them, too.
pub(crate) fn is_inbox(subject: &str, lattice: &str) -> bool {
    let subject = at_home(subject);
    let own = subject.strip_prefix(lattice);
    let own = own.and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    let is_own = own.is_some_and(|(_, rest)| rest.starts_with("inbox."));
    is_own || subject.starts_with(INBOX)
}

/// The part of an inbox that tells whose it is: what its connection has made unique, or the names of
/// the user that it is for.
pub(crate) fn owner(inbox: &str) -> &str {
    let inbox = at_home(inbox);
    // `_INBOX.{unique}…`, or `{lattice}.{id}.inbox.{key}…`.
    let tokens = if inbox.starts_with(INBOX) { 2 } else { 4 };
    let end = inbox.match_indices('.').nth(tokens - 1);
    end.map_or(inbox, |(at, _)| &inbox[..at])
}

/// Whether the subject that an answer names is that of a [place](Inbox::place) with the room there.
pub(crate) fn is_place_with_room(told: &str) -> bool {
    let mut tokens = told.rsplit('.');
    let room = tokens.next().map(str::parse::<usize>);
    // What cannot be guessed stands in between.
    matches!(room, Some(Ok(_))) && tokens.nth(1) == Some(HANDED_ON)
}

/// The prefix under which all slots of a peer listen.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// The prefix with its dot.
    prefix: String,
    /// What the places for calls that others hand on are named with.
    seal: [u8; 32],
}

impl Inbox {
    /// Uses a prefix that the NATS client has made unique.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub(crate) fn new(unique: String) -> Result<Self, getrandom::Error> {
        let mut seal = [0; 32];
        getrandom::fill(&mut seal)?;
        Ok(Self {
            prefix: unique + ".",
            seal,
        })
    }

    /// What the subjects of all slots begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What to subscribe.
    pub(crate) fn filter(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// What calls of an entity begin with that others hand on to this peer; the subject of the
    /// function follows. It cannot be guessed, and only who may call the entity is told.
    pub(crate) fn place(&self, entity: &RpcPrefix) -> String {
        let token = self.token(entity.as_str());
        format!("{}{HANDED_ON}.{token}", self.prefix)
    }

    /// The function of a call that was handed on, from what follows [`HANDED_ON`], if it came to the
    /// place of its entity.
    pub(crate) fn handed_on<'a>(&self, suffix: &'a str) -> Option<&'a str> {
        let (token, function) = suffix.split_once('.')?;
        let (lattice, target) = entity(function)?;
        let entity = &function[..lattice.len() + 1 + target.len()];
        (token == self.token(entity)).then_some(function)
    }

    fn token(&self, entity: &str) -> String {
        let mut code = Sha256::new();
        code.update(b"lattice place v1");
        code.update(self.seal);
        code.update(entity);
        URL_SAFE_NO_PAD.encode(&code.finalize()[..16])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(target: &str) -> RpcPrefix {
        RpcPrefix::new(&"default".parse().unwrap(), &target.parse().unwrap())
    }

    #[test]
    fn an_inbox_is_its_connections_or_its_users() {
        for (inbox, expected) in [
            ("_INBOX.abc", "_INBOX.abc"),
            ("_INBOX.abc.d.e", "_INBOX.abc"),
            ("_GR_.A.B._INBOX.abc.d", "_INBOX.abc"),
            ("l.kv.inbox.XKEY.abc", "l.kv.inbox.XKEY"),
            ("l.kv.inbox.XKEY", "l.kv.inbox.XKEY"),
            ("", ""),
        ] {
            assert_eq!(owner(inbox), expected, "{inbox}");
        }
    }

    #[test]
    fn a_place_with_room_is_told_from_other_subjects() {
        let inbox = Inbox::new("_INBOX.me".to_owned()).unwrap();
        let place = inbox.place(&prefix("a"));
        assert!(is_place_with_room(&format!("{place}.7")));
        for other in [&*place, "_INBOX.x", "_INBOX.at.7", "_INBOX.x.at.7", ""] {
            assert!(!is_place_with_room(other), "{other}");
        }
    }

    #[test]
    fn a_place_takes_the_calls_of_its_entity_only() {
        let inbox = Inbox::new("_INBOX.me".to_owned()).unwrap();
        let place = inbox.place(&prefix("a"));
        let handed = |function: &str| {
            let subject = format!("{place}.{function}");
            let (token, suffix) = inbox.split(&subject).unwrap();
            assert_eq!(token, HANDED_ON);
            inbox.handed_on(suffix).map(str::to_owned)
        };
        let own = "default.a.wrpc.0.0.1.x:y/z.f";
        assert_eq!(handed(own).as_deref(), Some(own));
        for other in [
            "default.b.wrpc.0.0.1.x:y/z.f",
            "other.a.wrpc.0.0.1.f",
            "default.a",
            "",
        ] {
            assert_eq!(handed(other), None, "{other}");
        }
        assert_eq!(inbox.handed_on(own), None);
        let another = Inbox::new("_INBOX.me".to_owned()).unwrap();
        assert_ne!(another.place(&prefix("a")), place);
    }
}
