//! Taking in the messages of a call.

use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;
use lattice_codec::Path;
use lattice_core::text::clipped_line;

use super::budget::Exhausted;
use super::channel::Refused;
use super::{ALIVE, Exchange, LOST, MAX_PATHS, Remote, Side, State};
use crate::bulk::Offset;
use crate::error::{CallError, RemoteError};
use crate::header::{self, turn_of};
use crate::peer::DeferredSend;

/// How much of the description of a status is told.
const LONGEST_DESCRIPTION: usize = 200;

/// What delivering a message asks of the dispatcher.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Nothing further.
    Done,
    /// The caller has given up; tell the peer at this subject and drop the slot.
    CancelAt(Subject),
    /// The caller has given up, and there is nobody to tell; drop the slot.
    Ended,
    /// The caller has given up; tell the peer, of 1.9, where the parameters end, and drop the slot.
    EndAt(Vec<DeferredSend>),
    /// It was an answer to another call of this function.
    Misplaced,
    /// The call was refused, since the session that proves it is of no use there.
    Outdated,
}

/// What a part of a stream tells of where it is.
#[derive(Debug, Clone, Copy)]
enum Told {
    Nothing,
    /// It is the last one, after so many bytes.
    Last(u64),
    /// It came over the connection for long streams.
    Long(Offset),
}

impl Exchange {
    /// Takes in one message. `suffix` is what follows the slot's token in the subject, `by_bus` says
    /// that it came over NATS.
    pub(crate) fn deliver(&self, suffix: &str, message: Message, by_bus: bool) -> Delivered {
        let mut state = self.state.lock();
        state.by_bus |= by_bus;
        let mut outcome = Delivered::Done;
        if suffix == LOST {
            self.deliver_lost(&mut state);
        } else {
            state.pulse.heard();
        }
        match (self.side, suffix) {
            (_, LOST) => {}
            (_, ALIVE) => self.deliver_question(&mut state, &message.payload),
            (Side::Caller, "") => outcome = self.deliver_accept(&mut state, &message),
            (Side::Caller, "results") => {
                if is_misplaced(&mut state, &message) {
                    return Delivered::Misplaced;
                }
                self.deliver_result(&mut state, message);
            }
            (Side::Callee, "params") => self.deliver_root(&mut state, message.payload),
            (Side::Callee, "cancel") => state.cancelled = true,
            (Side::Callee, "") => {}
            (side, suffix) => self.deliver_at_path(&mut state, side, suffix, message),
        }
        state.wake();
        if state.is_left() && matches!(outcome, Delivered::Done) {
            outcome = Delivered::Ended;
        }
        outcome
    }

    /// The other end was asked for and not found.
    fn deliver_lost(&self, state: &mut State) {
        if state.pulse.lost() {
            self.lost(state);
        }
    }

    /// The other end is no more.
    pub(super) fn lost(&self, state: &mut State) {
        state.over = true;
        match self.side {
            // What is here already stays; a stream that nobody has read so far may have more.
            Side::Caller if state.is_answered() => state.lost = true,
            Side::Caller => {
                let subject = self.subject.to_string();
                state.error.get_or_insert(CallError::Gone { subject });
            }
            Side::Callee => state.cancelled = true,
        }
    }

    fn deliver_accept(&self, state: &mut State, message: &Message) -> Delivered {
        let headers = message.headers.as_ref();
        if let Some(error) = RemoteError::read(headers, &message.payload) {
            let outdated = [RemoteError::STALE, RemoteError::UNKNOWN_SESSION];
            let is_outdated = outdated.contains(&&*error.code);
            state.over = true;
            state.error.get_or_insert(CallError::Remote(error));
            if is_outdated {
                return Delivered::Outdated;
            }
        } else if let Some(status) = message.status {
            let error = self.status_error(status, message.description.as_deref());
            state.over = true;
            state.error.get_or_insert(error);
        } else if let Some(reply) = &message.reply {
            self.learn_remote(state, reply, headers);
            if state.abandoned {
                if state.remote.as_ref().is_some_and(|r| r.window.is_some()) {
                    return Delivered::CancelAt(format!("{reply}.cancel").into());
                }
                let ends = state.take_untold_ends();
                if !ends.is_empty() {
                    return Delivered::EndAt(ends);
                }
            }
        } else if state.remote.is_none() {
            let text = "peer did not specify a reply subject".to_owned();
            state.over = true;
            state.error.get_or_insert(CallError::Protocol(text));
        }
        Delivered::Done
    }

    fn learn_remote(
        &self,
        state: &mut State,
        reply: &Subject,
        headers: Option<&async_nats::HeaderMap>,
    ) {
        let window = headers.and_then(|h| header::number(h, header::WINDOW));
        state.remote.get_or_insert_with(|| Remote {
            root: reply.clone(),
            window,
            bulk: header::read_bulk(headers),
        });
    }

    fn status_error(&self, status: StatusCode, description: Option<&str>) -> CallError {
        let subject = self.subject.to_string();
        match status.as_u16() {
            503 => CallError::NotServed { subject },
            409 | 499 => CallError::Incomplete { subject },
            code => {
                // Anybody may have written it who knows the subject.
                let text = description.unwrap_or("no description");
                let text = clipped_line(text, LONGEST_DESCRIPTION);
                CallError::Protocol(format!("NATS status {code} ({text})"))
            }
        }
    }

    /// A peer of our kind answers in one message unless it says that more follow; a 1.9 peer has
    /// sent an accept without credit before, and ends its answer with an empty message.
    fn deliver_result(&self, state: &mut State, message: Message) {
        let headers = message.headers.as_ref();
        let stock = state
            .remote
            .as_ref()
            .is_some_and(|remote| remote.window.is_none());
        state.more |= header::has(headers, header::MORE);
        // What comes after the end of the answer is no part of it.
        if !state.root.is_ended() {
            state.end_paths(&header::read_ended(headers));
        }
        let reply = message.reply.as_ref();
        if let Some(reply) = reply.filter(|reply| turn_of(reply).is_none()) {
            self.learn_remote(state, reply, headers);
        }
        let complete = !stock && !state.more;
        state.surplus |= state.root.is_ended();
        self.deliver_root(state, message.payload);
        if complete {
            state.root.end();
        }
    }

    fn deliver_root(&self, state: &mut State, payload: Bytes) {
        // A call that has failed holds nothing more, and what has a gap has no end.
        if state.error.is_some() {
            return;
        }
        let size = state.root.received() as usize + payload.len();
        if size > self.max_value {
            let error = CallError::TooLarge {
                what: "a value",
                size,
                limit: self.max_value,
            };
            state.error.get_or_insert(error);
            return;
        }
        if let Err(refused) = state.root.push(payload, &self.account) {
            self.refused(state, refused);
        }
    }

    /// Fails the call because it holds as much as it may.
    fn exhausted(&self, state: &mut State, exhausted: Exhausted) {
        let error = match exhausted {
            Exhausted::Call { size, limit } => CallError::TooLarge {
                what: "what the call holds for its readers",
                size,
                limit,
            },
            Exhausted::Peer { size, limit } => {
                let error = CallError::TooLarge {
                    what: "what all open calls hold, and this one once more,",
                    size,
                    limit,
                };
                match self.side {
                    Side::Caller => error,
                    // It is not the fault of this caller, who may try again.
                    Side::Callee => {
                        RemoteError::new(RemoteError::OVERLOADED, error.to_string()).into()
                    }
                }
            }
        };
        state.error.get_or_insert(error);
    }

    fn deliver_at_path(&self, state: &mut State, side: Side, suffix: &str, message: Message) {
        let payload = message.payload;
        let prefix = match side {
            Side::Caller => "results.",
            Side::Callee => "params.",
        };
        if let Some(path) = suffix
            .strip_prefix(prefix)
            .and_then(|p| p.parse::<Path>().ok())
        {
            let offset = Offset::of(message.headers.as_ref());
            let told = offset.map_or(Told::Nothing, |offset| Told::Last(offset.at));
            self.deliver_data(state, &path, told, payload);
        } else if let Some(path) = suffix.strip_prefix("credit.").and_then(|p| p.parse().ok()) {
            let total = std::str::from_utf8(&payload)
                .ok()
                .and_then(|text| text.parse().ok());
            if let Some(total) = total {
                state.credit(path, total);
            }
        } else {
            tracing::debug!(suffix, "ignored a message for an unknown part of a call");
        }
    }

    /// Takes in a part of a stream that came over the connection for long ones. `suffix` is what follows
    /// the slot's token in the subject.
    pub(crate) fn deliver_long(&self, suffix: &str, offset: Offset, payload: Bytes) {
        let part = match self.side {
            Side::Caller => "results.",
            Side::Callee => "params.",
        };
        let path = suffix.strip_prefix(part).and_then(|path| path.parse().ok());
        let Some(path) = path else {
            tracing::debug!(suffix, "ignored a message for an unknown part of a call");
            return;
        };
        let mut state = self.state.lock();
        state.pulse.heard();
        state.long = true;
        self.deliver_data(&mut state, &path, Told::Long(offset), payload);
        state.wake();
    }

    fn deliver_data(&self, state: &mut State, path: &Path, told: Told, payload: Bytes) {
        if state.error.is_some() {
            return;
        }
        // A peer that was granted credit stays within its window; one without flow control may
        // run ahead by the whole buffer, and then its call fails alone.
        let granted = state
            .remote
            .as_ref()
            .is_some_and(|remote| remote.window.is_some());
        let limit = if granted {
            self.max_buffered.min(2 * self.window as usize)
        } else {
            self.max_buffered
        };
        let Some(channel) = state.path(path) else {
            let text = format!("more than {MAX_PATHS} streams in one call");
            state.error.get_or_insert(CallError::Protocol(text));
            return;
        };
        let pushed = match told {
            Told::Nothing => channel.push(payload, &self.account),
            Told::Last(at) => channel.push_last(at, payload, &self.account),
            Told::Long(offset) => channel.push_long(offset, payload, &self.account),
        };
        channel.drop_unread();
        let buffered = channel.buffered();
        if pushed.is_ok() && buffered <= limit {
            return;
        }
        channel.clear();
        match pushed {
            Ok(()) => {
                let slow = CallError::SlowReader { buffered };
                state.error.get_or_insert(slow);
            }
            Err(refused) => self.refused(state, refused),
        }
    }

    pub(super) fn refused(&self, state: &mut State, refused: Refused) {
        match refused {
            Refused::Exhausted(exhausted) => self.exhausted(state, exhausted),
            Refused::Gap => {
                let subject = self.subject.to_string();
                state.error.get_or_insert(CallError::Incomplete { subject });
            }
        }
    }
}

/// Whether a result belongs to another call that had the same subject. Without its turn it may
/// belong to this one only if this is the first, if the other end has told its own place, or if it
/// goes on with an answer that began with the right turn: a call whose answer had several parts
/// leaves its subject to nobody.
fn is_misplaced(state: &mut State, result: &Message) -> bool {
    match result.reply.as_ref().and_then(turn_of) {
        Some(turn) => turn != state.turn,
        None => {
            state.surplus = true;
            state.again && state.remote.is_none() && !state.more
        }
    }
}

#[cfg(test)]
mod tests;
