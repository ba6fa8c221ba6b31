//! Handing calls on from one server of an entity to another; see [`crate::relief`].

use async_nats::{HeaderMap, Message, Subject};
use tokio::time::Instant;

use crate::complaint::Complaint;
use crate::header::{self, Terms};
use crate::outbox::Outgoing;
use crate::peer::{Inner, Peer};

impl Peer {
    /// Sends a call that came here just now on to the peer at `place`; gives it back when that is not
    /// possible at once.
    pub(crate) fn hand_on(&self, place: &Subject, call: Message) -> Option<Message> {
        let mut outgoing = again(call.clone());
        outgoing.subject = at_place(place, &call.subject);
        match self.inner.outbox.try_send(outgoing) {
            Ok(()) => None,
            Err(_) => Some(call),
        }
    }

    /// The same for one that has waited here since it arrived; whether it was possible.
    pub(crate) fn hand_on_late(&self, place: &Subject, call: &Message, arrived: Instant) -> bool {
        let mut outgoing = again_late(call, arrived);
        outgoing.subject = at_place(place, &call.subject);
        self.inner.outbox.try_send(outgoing).is_ok()
    }
}

/// Takes a call that another server of the entity has handed on. One of a function that was served
/// here until just now goes to whoever else does; nothing else goes on in our name.
pub(crate) fn take_over(inner: &Inner, suffix: &str, mut call: Message) {
    let Some(function) = inner.inbox.handed_on(suffix) else {
        return inner.complaints.add(Complaint::NoPlace, suffix);
    };
    call.subject = function.into();
    let Some(call) = inner.own.hand_over(call) else {
        return;
    };
    if !inner.served.read().contains(function) {
        tracing::debug!(
            function,
            "ignored a call that was handed on: never served here"
        );
        return;
    }
    if inner.outbox.try_send(again(call)).is_err() {
        inner.complaints.add(Complaint::NotHandedOn, function);
    }
}

impl Inner {
    /// Proves a request of this peer, and has it go to a server with room where one is known.
    pub(crate) fn address(&self, request: &mut Outgoing, place: Option<&Subject>) {
        if let Some(auth) = &self.config.auth {
            auth.prove(request);
        }
        // What is proven is the function, wherever it is served.
        if let Some(place) = place {
            request.subject = at_place(place, &request.subject);
        }
    }
}

/// Where a server with room takes calls of a function.
fn at_place(place: &Subject, function: &Subject) -> Subject {
    format!("{place}.{function}").into()
}

/// A call that has come, for it to be sent once more.
pub(crate) fn again(call: Message) -> Outgoing {
    Outgoing {
        deadline: told_deadline(call.headers.as_ref()),
        subject: call.subject,
        reply: call.reply,
        headers: call.headers,
        payload: call.payload,
    }
}

/// A call that has waited since it arrived, for it to be sent once more: it tells what is left of the time that
/// its caller gave it, which may be more than it would have been granted here.
pub(crate) fn again_late(call: &Message, arrived: Instant) -> Outgoing {
    let mut outgoing = again(call.clone());
    // One that tells no time has none to tell anew.
    if let (Some(deadline), Some(headers)) = (outgoing.deadline, &mut outgoing.headers) {
        let deadline = deadline
            - arrived
                .elapsed()
                .min(deadline.saturating_duration_since(arrived));
        header::write_left(headers, deadline);
        outgoing.deadline = Some(deadline);
    }
    outgoing
}

/// Until when somebody waits for the answer of a call that has just come.
pub(crate) fn told_deadline(headers: Option<&HeaderMap>) -> Option<Instant> {
    Instant::now().checked_add(Terms::of(headers?)?.left?)
}
