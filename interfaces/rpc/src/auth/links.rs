//! Whom providers may call, where that is no more than what they are linked to.
//!
//! What a component calls is chosen by its host, which knows the links. A provider chooses itself: NATS
//! permissions may hold it to its links, but there are roads that NATS has no say in, a socket of the
//! machine above all. So a host that knows for certain which provider calls asks its own table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lattice_claims::peer::VerifiedPeer;
use lattice_core::subject::rpc::{PROTOCOL, interface_of};

use super::refusal::Refusal;
use super::{Admission, Auth, Verdict, entity};

/// How long a call waits for a link that this host has not heard of: the provider may have been told of
/// it by another.
const HEARD_OF: Duration = Duration::from_secs(2);

/// The links of a lattice, as far as they are known here.
pub trait Links: fmt::Debug + Send + Sync {
    /// Whether `source` has a link to `target` for calls of `interface`, which is named as on the wire,
    /// without version.
    fn is_linked(&self, source: &str, target: &str, interface: &str) -> bool;

    /// Waits until `source` has such a link, for `within` at most; whether it has.
    fn linked<'a>(
        &'a self,
        source: &'a str,
        target: &'a str,
        interface: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, bool>;
}

/// The link that a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needed {
    source: Arc<str>,
    target: Box<str>,
    interface: Box<str>,
}

impl Auth {
    /// Lets a call of a provider in that is linked, or is one to its own kind.
    pub(super) fn admit_provider(&self, id: &str, subject: &str, admission: Admission) -> Verdict {
        let Some(links) = &self.inner.links else {
            return Verdict::Admit(admission);
        };
        let Some((_, target)) = entity(subject) else {
            let refusal = Refusal::not_linked(id, subject, "");
            return Verdict::Refuse(refusal.by(id, admission.is_proven));
        };
        let interface = interface(subject);
        if id == target || links.is_linked(id, target, interface) {
            return Verdict::Admit(admission);
        }
        let needed = Needed {
            source: id.into(),
            target: target.into(),
            interface: interface.into(),
        };
        Verdict::Link(needed, admission)
    }

    /// Lets a call of a peer in whose proof holds.
    pub(super) fn admit_proven(
        &self,
        peer: &VerifiedPeer,
        subject: &str,
        admission: Admission,
    ) -> Verdict {
        match &peer.provider {
            Some(id) => self.admit_provider(id, subject, admission),
            None => Verdict::Admit(admission),
        }
    }

    /// What becomes of a call whose link is not known here yet.
    pub(crate) async fn settle_link(&self, needed: &Needed, admission: Admission) -> Verdict {
        let (source, target) = (&*needed.source, &*needed.target);
        let interface = &*needed.interface;
        let Some(links) = &self.inner.links else {
            return Verdict::Admit(admission);
        };
        let Some(_place) = self.inner.linking.enter(&needed.source) else {
            return Verdict::Refuse(Refusal::busy().by(source, admission.is_proven));
        };
        let within = admission.left.map_or(HEARD_OF, |left| left.min(HEARD_OF));
        match links.linked(source, target, interface, within).await {
            true => Verdict::Admit(admission),
            false => {
                let refusal = Refusal::not_linked(source, target, interface);
                Verdict::Refuse(refusal.by(source, admission.is_proven))
            }
        }
    }
}

/// The interface that a subject calls; nothing for what is no call.
fn interface(subject: &str) -> &str {
    let operation = subject
        .split_once(PROTOCOL)
        .and_then(|(_, rest)| rest.strip_prefix('.'));
    interface_of(operation.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_a_call_stands_between_protocol_and_function() {
        for (subject, expected) in [
            ("l.t.wrpc.0.0.1.a:b/c@0.2.0-draft.get", "a:b/c"),
            ("l.t.wrpc.0.0.1.a:b/c.bucket.get", "a:b/c"),
            ("l.t.wrpc.0.0.1.a:b/c.get-many", "a:b/c"),
            ("l.t.wrpc.0.0.1.run", ""),
            ("l.t.wrpc.room", ""),
            ("l.t.wrpc.0.0.1x", ""),
        ] {
            assert_eq!(interface(subject), expected, "{subject}");
        }
    }
}
