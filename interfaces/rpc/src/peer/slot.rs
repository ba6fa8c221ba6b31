//! A slot that is taken for as long as its call is held.

use std::sync::Arc;

use async_nats::Subject;
use lattice_codec::Path;

use super::{DeferredSend, Peer};
use crate::exchange::{Exchange, Release, UntoldEnd};
use crate::slots::SlotId;

/// A taken slot. The slot is given back when the last holder lets go.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    pub(crate) peer: Peer,
    pub(super) id: SlotId,
    pub(crate) exchange: Arc<Exchange>,
}

impl SlotGuard {
    /// The subject at which the slot listens.
    pub(crate) fn root(&self) -> Subject {
        self.peer.inner.inbox.subject(&self.id).into()
    }

    /// Where it reads what is long, if that is another place.
    pub(crate) fn bulk_root(&self) -> Option<Subject> {
        self.peer.inner.bulk.root(&self.id)
    }

    /// The writer of a parameter is gone that has sent nothing: a 1.9 callee is told so as soon as it is
    /// known.
    pub(crate) fn owe_end(&self, path: &Path) {
        self.exchange.note_end(UntoldEnd::broken(path.clone()));
        self.settle_later();
    }

    /// Has a 1.9 callee told of all ends that are untold, if it is known, without waiting for that.
    pub(crate) fn settle_later(&self) {
        for end in self.exchange.take_untold_ends() {
            self.peer.send_later(end);
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        match self.exchange.release() {
            Release::Free => self.peer.inner.slots.remove(self.id),
            Release::Clean => self.peer.inner.slots.rest(self.id),
            Release::Known => {
                let slots = &self.peer.inner.slots;
                slots.remove(self.id);
                slots.trust(self.exchange.subject());
            }
            Release::Stock => {
                let slots = &self.peer.inner.slots;
                slots.remove(self.id);
                slots.distrust(self.exchange.subject());
            }
            Release::TellEnds(ends) => {
                let slots = &self.peer.inner.slots;
                slots.remove(self.id);
                slots.distrust(self.exchange.subject());
                for end in ends {
                    self.peer.send_later(end);
                }
            }
            Release::Cancel(subject) => {
                let slots = &self.peer.inner.slots;
                slots.remove(self.id);
                // A peer of our kind, or it would not have told where.
                slots.trust(self.exchange.subject());
                self.peer.send_later(DeferredSend::empty(subject));
            }
            Release::Linger => {
                let inner = &self.peer.inner;
                inner.slots.linger(self.id, inner.config.linger);
            }
        }
    }
}
