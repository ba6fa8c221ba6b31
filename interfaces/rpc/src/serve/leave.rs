//! Calls that leave while they wait for their turn.
//!
//! Whoever finds no turn here waits for one, or for the word that another server of the entity has room
//! ([`Relief`](crate::Relief)): whichever comes first. A call that leaves has not begun, and goes on as it came.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{Message, Subject};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::running::admitted;
use super::{IncomingCall, ServeOptions};
use crate::direct::Answered;
use crate::error::RemoteError;
use crate::limiter::Permit;
use crate::peer::Peer;

/// How a call leaves.
pub(crate) enum Leave {
    /// Whoever makes it in this process takes it back.
    Direct,
    /// It came as a message, which this sends on.
    Message(Box<SendOn>),
}

/// Sends a message on to a place; false when that is not possible.
type SendOn = dyn Fn(&Subject, Waited) -> bool + Send + Sync;

/// What is known of a call that leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited {
    pub(crate) arrived: Instant,
    /// Whether it has proven who makes it.
    is_proven: bool,
}

/// Makes the way on for a message that has come.
pub(crate) type WayOn<'a> = &'a dyn Fn(&Message) -> Leave;

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Message(_) => "Message",
        })
    }
}

impl Leave {
    /// The way on for a message that came over NATS.
    pub(super) fn of_bus(peer: &Peer, message: &Message) -> Self {
        let (peer, message) = (peer.clone(), message.clone());
        Self::Message(Box::new(move |place, waited| {
            // Should nobody serve it there any more, it may come back.
            let auth = peer.inner.config.auth.as_ref();
            let auth = auth.filter(|_| waited.is_proven);
            if let Some(auth) = auth {
                auth.give_back(&message);
            }
            let is_sent = peer.hand_on_late(place, &message, waited.arrived);
            if let Some(auth) = auth.filter(|_| !is_sent) {
                auth.keep_back(&message);
            }
            is_sent
        }))
    }

    /// Sends a call on to a place; false when that is not possible. While NATS is away it is better off here.
    fn sends(&self, call: &IncomingCall, place: &Subject) -> bool {
        let peer = &call.params.inbound().peer;
        if peer.nats().connection_state() != State::Connected {
            return false;
        }
        match self {
            Self::Direct => true,
            Self::Message(send) => send(
                place,
                Waited {
                    arrived: call.context.arrived,
                    is_proven: call.context.is_proven(),
                },
            ),
        }
    }
}

/// Waits for the right to run here, or for room elsewhere: the call with its turn or refusal, and nothing once
/// it has left.
pub(super) async fn turn_or_leave(
    options: &ServeOptions,
    abort: &CancellationToken,
    call: IncomingCall,
    leave: Leave,
) -> Option<(IncomingCall, Result<Permit, RemoteError>)> {
    let place = match turn_or_place(options, abort, &call, &leave).await {
        Ok(Err(error)) if error.code == RemoteError::OVERLOADED => {
            let soon = options.relief.elsewhere_soon(call.context.deadline).await;
            match soon.filter(|place| leave.sends(&call, place)) {
                Some(place) => place,
                None => return Some((call, Err(error))),
            }
        }
        Ok(permit) => return Some((call, permit)),
        Err(place) => place,
    };
    let inbound = Arc::clone(call.params.inbound());
    inbound.is_given_away();
    if let Some(direct) = inbound.place() {
        direct.put(Answered::Elsewhere {
            given: call.params.give_back(),
            place,
        });
    }
    None
}

/// A turn here or a refusal; or the place that the call has been sent to. One that cannot be sent on
/// waits as before.
async fn turn_or_place(
    options: &ServeOptions,
    abort: &CancellationToken,
    call: &IncomingCall,
    leave: &Leave,
) -> Result<Result<Permit, RemoteError>, Subject> {
    let mut admitted = pin!(admitted(&options.limiter, call.context.claim(), abort));
    let mut may_leave = true;
    loop {
        tokio::select! {
            biased;
            permit = &mut admitted => return Ok(permit),
            place = options.relief.elsewhere(), if may_leave => {
                if leave.sends(call, &place) {
                    return Err(place);
                }
                may_leave = false;
            }
        }
    }
}
