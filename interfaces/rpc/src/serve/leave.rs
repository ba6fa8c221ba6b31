//! Calls that leave while they wait for their turn.
//!
//! Whoever finds no turn here waits for one, or for the word that another server of the entity has room
//! ([`Relief`]): whichever comes first. A call that leaves has not begun, and goes on as it came.

use std::fmt;
use std::sync::Arc;

use async_nats::{Message, Subject};
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
    /// It came as a message, which this sends on to a place; false when that is not possible.
    Message(Box<dyn FnOnce(&Subject) -> bool + Send>),
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
        Self::Message(Box::new(move |place| {
            peer.hand_on(place, message).is_none()
        }))
    }
}

/// What becomes of a call that may leave.
pub(super) enum Outcome {
    /// It has its turn.
    Turn(IncomingCall, Permit),
    /// It is refused.
    Refused(IncomingCall, RemoteError),
    /// It goes on elsewhere.
    Left,
}

/// Waits for the right to run here, or for room elsewhere.
pub(super) async fn turn_or_leave(
    options: &ServeOptions,
    abort: &CancellationToken,
    call: IncomingCall,
    leave: Leave,
) -> Outcome {
    let admitted = admitted(&options.limiter, call.context.claim(), abort);
    let (place, refusal) = tokio::select! {
        biased;
        permit = admitted => match permit {
            Ok(permit) => return Outcome::Turn(call, permit),
            Err(error) if error.code == RemoteError::OVERLOADED => {
                (options.relief.elsewhere_soon().await, Some(error))
            }
            Err(error) => return Outcome::Refused(call, error),
        },
        place = options.relief.elsewhere() => (Some(place), None),
    };
    let refusal = refusal.unwrap_or_else(not_handed_on);
    match place {
        Some(place) => go(call, leave, place, refusal),
        None => Outcome::Refused(call, refusal),
    }
}

fn go(call: IncomingCall, leave: Leave, place: Subject, refusal: RemoteError) -> Outcome {
    let inbound = Arc::clone(call.params.inbound());
    match leave {
        Leave::Direct => {
            let Some(direct) = inbound.place() else {
                return Outcome::Refused(call, refusal);
            };
            inbound.is_given_away();
            direct.put(Answered::Elsewhere {
                given: call.params.give_back(),
                place,
            });
            Outcome::Left
        }
        Leave::Message(send) => {
            if !send(&place) {
                return Outcome::Refused(call, refusal);
            }
            inbound.is_given_away();
            Outcome::Left
        }
    }
}

fn not_handed_on() -> RemoteError {
    let text = "it could not be handed on to another host, which has room";
    RemoteError::new(RemoteError::OVERLOADED, text)
}
