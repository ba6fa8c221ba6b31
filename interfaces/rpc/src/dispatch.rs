//! Taking in what comes for the calls of a peer.

use std::sync::Arc;

use async_nats::{Message, Subject};
use futures::StreamExt as _;
use lattice_core::road::{Road, Why};
use tokio::time::Instant;

use crate::auth::ask;
use crate::complaint::Complaint;
use crate::error::CallError;
use crate::exchange::{ALIVE, Delivered, Exchange};
use crate::handing::{again_late, take_over, told_deadline};
use crate::header::{self, turn_of};
use crate::inbox::{HANDED_ON, is_place_with_room};
use crate::local::Asked;
use crate::outbox::Outgoing;
use crate::peer::{DeferredSend, Inner};
use crate::socket::Line;

/// Routes every message of the inbox to its slot. It never waits for a reader.
pub(crate) async fn dispatch(inner: Arc<Inner>, mut incoming: async_nats::Subscriber) {
    loop {
        let message = tokio::select! {
            biased;
            () = inner.stop.cancelled() => break,
            message = incoming.next() => match message {
                Some(message) => message,
                None => break,
            },
        };
        route(&inner, message, Via::Bus);
    }
    if let Some(board) = &inner.config.local {
        board.remove_peer(inner.inbox.prefix());
    }
    inner.slots.fail_all(&CallError::Cancelled);
    inner.stop.cancel();
}

/// The road that a message has come by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via<'a> {
    /// NATS, where whoever knows a subject may write to it.
    Bus,
    /// Somebody of this process has sent it.
    Here,
    /// Over the line of a process, which has a say in the calls that are made over it and no others.
    Line(&'a Line),
}

/// Takes back a request that a line could not carry on: it goes over NATS now, if it may. What comes
/// back has to be a call that took that line, and of the same function; what else it says is
/// believed, since it goes to others who serve that function as well.
pub(crate) fn send_declined(inner: &Arc<Inner>, request: Outgoing, local_only: bool, line: &Line) {
    let root = request
        .reply
        .clone()
        .unwrap_or_else(|| Subject::from_static(""));
    let slot = inner
        .inbox
        .split(&root)
        .map(|(token, _)| inner.slots.get(token));
    // Nobody waits any more for one that has lost its slot.
    let Some(Some((_, exchange))) = slot else {
        return;
    };
    if exchange.is_given_up() {
        return;
    }
    if !exchange.went_by(line) || *exchange.subject() != request.subject {
        let why = "a process has declined a call that it was not sent";
        tell_of_line(inner, line, exchange.subject(), why);
        return inner.complaints.add(Complaint::NotSent, exchange.subject());
    }
    exchange.goes_by(0);
    let request = Outgoing {
        deadline: told_deadline(request.headers.as_ref()),
        ..request
    };
    if local_only {
        return ask_another(inner, &exchange, request);
    }
    let owner = Arc::clone(inner);
    let mut request = request;
    let place = header::take_place(&mut request.headers);
    let place = place.filter(|place| inner.may_write_to(place, Via::Bus));
    inner.address(&mut request, place.as_ref());
    inner.tasks.spawn(async move {
        match owner.outbox.send(request).await {
            Ok(()) => exchange.count(Road::Bus, Why::NoRoomHere),
            Err(error) => exchange.fail(error),
        }
    });
}

/// Sends a request of this process, which waited for a turn in it, to a server with room; false when that
/// is not possible.
pub(crate) fn send_on(
    inner: &Arc<Inner>,
    request: &Message,
    place: &Subject,
    arrived: Instant,
) -> bool {
    let root = request.reply.as_ref();
    let token = root.and_then(|root| inner.inbox.split(root));
    let slot = token.and_then(|(token, _)| inner.slots.get(token));
    // Nobody waits any more for one that has lost its slot, or was given up: it need not begin.
    let Some((_, exchange)) = slot.filter(|(_, exchange)| !exchange.is_given_up()) else {
        return true;
    };
    let mut request = again_late(request, arrived);
    inner.address(&mut request, Some(place));
    let is_sent = inner.outbox.try_send(request).is_ok();
    if is_sent {
        exchange.moved(Road::Process, Road::Bus, Why::NoRoomHere);
    }
    is_sent
}

/// Looks for another process of this machine for a request that may not leave it.
fn ask_another(inner: &Inner, exchange: &Exchange, request: Outgoing) {
    let Some(board) = &inner.config.local else {
        return;
    };
    match board.ask(request, true, |line| exchange.goes_by(line)) {
        Asked::Taken(Road::Socket) => {}
        Asked::Taken(road) => exchange.count(road, Why::Nearest),
        Asked::Left(request, why) => exchange.fail(CallError::not_local(&request.subject, why)),
    }
}

/// Takes in one message for a slot.
pub(crate) fn route(inner: &Arc<Inner>, message: Message, via: Via<'_>) {
    let subject = message.subject.clone();
    let Some((token, suffix)) = inner.inbox.split(subject.as_str()) else {
        return;
    };
    match (token, via) {
        (HANDED_ON, Via::Bus) => return take_over(inner, suffix, message),
        (ask::KEY, Via::Bus) => return ask::asked(inner, message),
        (HANDED_ON | ask::KEY, _) => return,
        _ => {}
    }
    // A late message for a call that has ended finds no slot; that is not an error.
    let Some((id, exchange)) = inner.slots.get(token) else {
        return came_late(inner, token, suffix, &message, via);
    };
    if let Via::Line(line) = via
        && !exchange.is_over(line)
    {
        let function = exchange.subject();
        let why = "a process wrote to a call that is not its own";
        tell_of_line(inner, line, function, why);
        return inner.complaints.add(Complaint::ForeignCall, function);
    }
    if let Some(reply) = &message.reply
        && turn_of(reply).is_none()
        && !inner.may_write_to(reply, via)
    {
        exchange.fail(CallError::Protocol(
            "the answer leads to no inbox".to_owned(),
        ));
        return;
    }
    match exchange.deliver(suffix, message, matches!(via, Via::Bus)) {
        Delivered::Done => {}
        Delivered::Ended => inner.slots.remove(id),
        Delivered::EndAt(ends) => {
            inner.slots.remove(id);
            for end in ends {
                inner.send_later(end);
            }
        }
        Delivered::CancelAt(subject) => {
            inner.slots.remove(id);
            inner.send_later(DeferredSend::empty(subject));
        }
        Delivered::Misplaced => {
            let function = exchange.subject();
            inner.slots.distrust(function);
            inner.complaints.add(Complaint::AnsweredTwice, function);
        }
        Delivered::Outdated => {
            if let Some(auth) = &inner.config.auth {
                auth.begin_anew(exchange.subject());
            }
            if exchange.is_left() {
                inner.slots.remove(id);
            }
        }
    }
}

/// Tells whoever watches of what a process does to a call that it has no part in.
fn tell_of_line(inner: &Inner, line: &Line, function: &Subject, why: &str) {
    if let Some(board) = &inner.config.local {
        board.tell_of_line(line, function, why);
    }
}

/// Answers what has come for a call that has no slot any more, as far as somebody waits for that.
fn came_late(inner: &Inner, token: &str, suffix: &str, message: &Message, via: Via<'_>) {
    let reply = message.reply.as_ref();
    match reply.filter(|reply| inner.may_write_to(reply, via)) {
        Some(subject) if suffix == ALIVE => {
            return inner.send_later(DeferredSend::empty(subject.clone()));
        }
        Some(root) if suffix.is_empty() && is_accept_of_stock(inner, message, root) => {
            let params = Subject::from(format!("{root}.params"));
            inner.send_later(DeferredSend::empty(params));
        }
        _ => {}
    }
    if let Some(function) = inner.slots.stray(token) {
        inner.complaints.add(Complaint::AnsweredTwice, &function);
    }
}

/// Whether a message is what a 1.9 callee accepts a call with: it may wait for the end of the parameters
/// and take no other call before.
fn is_accept_of_stock(inner: &Inner, message: &Message, root: &Subject) -> bool {
    let is_bare = message.headers.is_none() && message.status.is_none();
    // Others answer in the same way who were asked for room.
    let is_other = is_place_with_room(root) || inner.inbox.split(root).is_some();
    is_bare && message.payload.is_empty() && !is_other
}
