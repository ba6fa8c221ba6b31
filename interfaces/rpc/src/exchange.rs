//! What one call receives: the state behind its slot.
//!
//! Delivery never waits: it appends to a bounded queue and wakes whoever polls.

mod channel;
mod pulse;
mod release;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;
use lattice_codec::Path;
use parking_lot::Mutex;

use crate::error::{CallError, RemoteError};
use crate::header;
use crate::peer::PeerConfig;

pub(crate) use channel::{Budget, Share};
use channel::{Channel, Piece};
use pulse::Pulse;
pub(crate) use pulse::{ALIVE, LOST};
pub(crate) use release::Release;

/// How many streams one call may open. The widest published function has four.
const MAX_PATHS: usize = 64;

/// The other end, once it has told its own subject.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Where its own slot listens.
    pub(crate) root: Subject,
    /// The credit it grants per path; `None` for a peer of the 1.9 lattice.
    pub(crate) window: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    root: Channel,
    paths: Vec<(Path, Channel)>,
    ended_paths: Vec<Path>,
    remote: Option<Remote>,
    credits: Vec<(Path, u64)>,
    error: Option<CallError>,
    /// The other end has failed or is not there, so that there is nothing to cancel.
    over: bool,
    /// The answer goes on until an empty message.
    more: bool,
    cancelled: bool,
    abandoned: bool,
    pulse: Pulse,
    wakers: Vec<Waker>,
}

impl State {
    fn path(&mut self, path: &Path) -> Option<&mut Channel> {
        if let Some(at) = self.paths.iter().position(|(known, _)| known == path) {
            return Some(&mut self.paths[at].1);
        }
        if self.paths.len() == MAX_PATHS {
            return None;
        }
        let channel = if self.ended_paths.contains(path) {
            Channel::ended()
        } else {
            Channel::default()
        };
        self.paths.push((path.clone(), channel));
        self.paths.last_mut().map(|(_, channel)| channel)
    }

    /// Notes how much of our stream at `path` the other end has consumed.
    fn credit(&mut self, path: Path, total: u64) {
        if let Some((_, known)) = self.credits.iter_mut().find(|(known, _)| *known == path) {
            *known = total.max(*known);
        } else if self.credits.len() < MAX_PATHS {
            self.credits.push((path, total));
        }
    }

    fn register(&mut self, cx: &Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
    }
}

/// Which end of a call a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Receives results.
    Caller,
    /// Receives parameters.
    Callee,
}

/// What delivering a message asks of the dispatcher.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Nothing further.
    Done,
    /// The caller has given up; tell the peer at this subject and drop the slot.
    CancelAt(Subject),
}

/// The receiving state of one call at one end.
#[derive(Debug)]
pub(crate) struct Exchange {
    side: Side,
    subject: Subject,
    max_value: usize,
    max_buffered: usize,
    window: u64,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

impl Exchange {
    pub(crate) fn new(
        side: Side,
        subject: Subject,
        config: &PeerConfig,
        budget: &Arc<Budget>,
    ) -> Self {
        Self {
            side,
            subject,
            max_value: config.max_value_bytes,
            max_buffered: config.max_buffered_bytes,
            window: config.stream_window,
            budget: Arc::clone(budget),
            state: Mutex::default(),
        }
    }

    /// The subject that was called, for error texts.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Takes in one message. `suffix` is what follows the slot's token in the subject.
    pub(crate) fn deliver(&self, suffix: &str, message: Message) -> Delivered {
        let mut state = self.state.lock();
        let mut outcome = Delivered::Done;
        if suffix == LOST {
            self.deliver_lost(&mut state);
        } else {
            state.pulse.heard();
        }
        match (self.side, suffix) {
            (_, LOST) => {}
            (Side::Caller, "") => outcome = self.deliver_accept(&mut state, &message),
            (Side::Caller, "results") => self.deliver_result(&mut state, message),
            (Side::Callee, "params") => self.deliver_root(&mut state, message.payload),
            (Side::Callee, "cancel") => state.cancelled = true,
            (Side::Callee, "") => {}
            (side, suffix) => self.deliver_at_path(&mut state, side, suffix, message.payload),
        }
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
        outcome
    }

    /// The other end was asked for and not found.
    fn deliver_lost(&self, state: &mut State) {
        if !state.pulse.lost() {
            return;
        }
        state.over = true;
        match self.side {
            Side::Caller => {
                let subject = self.subject.to_string();
                state.error.get_or_insert(CallError::Gone { subject });
            }
            Side::Callee => state.cancelled = true,
        }
    }

    /// Where to ask whether the other end is still there; `None` while that is not in doubt.
    pub(crate) fn ask(&self) -> Option<Subject> {
        let mut state = self.state.lock();
        if state.over || state.cancelled || state.abandoned || state.error.is_some() {
            return None;
        }
        // A 1.9 peer has no such place.
        let remote = state.remote.clone().filter(|r| r.window.is_some())?;
        let due = state.pulse.round();
        due.then(|| format!("{}.{ALIVE}", remote.root).into())
    }

    fn deliver_accept(&self, state: &mut State, message: &Message) -> Delivered {
        let headers = message.headers.as_ref();
        if let Some(error) = RemoteError::read(headers, &message.payload) {
            state.over = true;
            state.error.get_or_insert(CallError::Remote(error));
        } else if let Some(status) = message.status {
            let error = self.status_error(status, message.description.as_deref());
            state.over = true;
            state.error.get_or_insert(error);
        } else if let Some(reply) = &message.reply {
            self.learn_remote(state, reply, headers);
            if state.abandoned && state.remote.as_ref().is_some_and(|r| r.window.is_some()) {
                return Delivered::CancelAt(format!("{reply}.cancel").into());
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
        });
    }

    fn status_error(&self, status: StatusCode, description: Option<&str>) -> CallError {
        let subject = self.subject.to_string();
        match status.as_u16() {
            503 => CallError::NotServed { subject },
            409 | 499 => CallError::Incomplete { subject },
            code => {
                let text = description.unwrap_or("no description");
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
        state.ended_paths.extend(header::read_ended(headers));
        if let Some(reply) = &message.reply {
            self.learn_remote(state, reply, headers);
        }
        let complete = !stock && !state.more;
        self.deliver_root(state, message.payload);
        if complete {
            state.root.end();
        }
    }

    fn deliver_root(&self, state: &mut State, payload: Bytes) {
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
        if state.root.push(payload, &self.budget).is_err() {
            self.exhausted(state);
        }
    }

    /// Fails the call because all calls together hold as much as they may.
    fn exhausted(&self, state: &mut State) {
        let error = CallError::TooLarge {
            what: "what all open calls hold",
            size: self.budget.held(),
            limit: self.budget.limit(),
        };
        state.error.get_or_insert(match self.side {
            Side::Caller => error,
            // It is not the fault of this caller, who may try again.
            Side::Callee => RemoteError::new(RemoteError::OVERLOADED, error.to_string()).into(),
        });
    }

    fn deliver_at_path(&self, state: &mut State, side: Side, suffix: &str, payload: Bytes) {
        let prefix = match side {
            Side::Caller => "results.",
            Side::Callee => "params.",
        };
        if let Some(path) = suffix
            .strip_prefix(prefix)
            .and_then(|p| p.parse::<Path>().ok())
        {
            self.deliver_data(state, &path, payload);
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

    fn deliver_data(&self, state: &mut State, path: &Path, payload: Bytes) {
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
        let full = channel.push(payload, &self.budget).is_err();
        let buffered = channel.buffered();
        if full {
            channel.clear();
            self.exhausted(state);
        } else if buffered > limit {
            channel.clear();
            state
                .error
                .get_or_insert(CallError::SlowReader { buffered });
        }
    }

    /// Ends the call at this end.
    pub(crate) fn fail(&self, error: CallError) {
        let mut state = self.state.lock();
        state.error.get_or_insert(error);
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
    }

    /// The other end as far as it is known, without waiting.
    pub(crate) fn remote(&self) -> Option<Remote> {
        self.state.lock().remote.clone()
    }

    /// Sets the other end where it is known from the request itself.
    pub(crate) fn set_remote(&self, remote: Remote) {
        self.state.lock().remote = Some(remote);
    }

    /// Notes paths that ended without data.
    pub(crate) fn set_ended(&self, ended: &[Path]) {
        self.state.lock().ended_paths.extend_from_slice(ended);
    }

    pub(crate) fn ended_paths(&self) -> Vec<Path> {
        self.state.lock().ended_paths.clone()
    }

    /// Waits for the accept of the other end.
    pub(crate) fn poll_remote(&self, cx: &Context<'_>) -> Poll<Result<Remote, CallError>> {
        let mut state = self.state.lock();
        if let Some(remote) = &state.remote {
            return Poll::Ready(Ok(remote.clone()));
        }
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.clone()));
        }
        state.register(cx);
        Poll::Pending
    }

    /// Waits until the whole synchronous value is here and takes it.
    pub(crate) fn poll_value(&self, cx: &Context<'_>) -> Poll<Result<Bytes, CallError>> {
        let mut state = self.state.lock();
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.clone()));
        }
        if !state.root.is_ended() {
            state.register(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(state.root.pop_all()))
    }

    /// Takes the next piece of the synchronous value; `None` at its end.
    pub(crate) fn poll_root(&self, cx: &Context<'_>) -> Poll<Option<Result<Piece, CallError>>> {
        let mut state = self.state.lock();
        if let Some(piece) = state.root.pop_piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if state.root.is_ended() {
            return Poll::Ready(None);
        }
        if let Some(error) = &state.error {
            return Poll::Ready(Some(Err(error.clone())));
        }
        state.register(cx);
        Poll::Pending
    }

    /// Takes the next piece of the stream at `path`; `None` at its end.
    pub(crate) fn poll_path(
        &self,
        path: &Path,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Bytes, CallError>>> {
        let mut state = self.state.lock();
        let error = state.error.clone();
        let cancelled = state.cancelled;
        let Some(channel) = state.path(path) else {
            let text = format!("more than {MAX_PATHS} streams in one call");
            return Poll::Ready(Some(Err(CallError::Protocol(text))));
        };
        if let Some(data) = channel.pop() {
            return Poll::Ready(Some(Ok(data)));
        }
        if let Some(error) = error {
            return Poll::Ready(Some(Err(error)));
        }
        if channel.is_ended() {
            return Poll::Ready(None);
        }
        if cancelled {
            return Poll::Ready(Some(Err(CallError::Cancelled)));
        }
        state.register(cx);
        Poll::Pending
    }

    /// How much the other end has consumed of what we sent at `path`; waits while that is not
    /// more than `least`.
    pub(crate) fn poll_credit(
        &self,
        path: &Path,
        least: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<u64, CallError>> {
        let mut state = self.state.lock();
        if state.cancelled {
            return Poll::Ready(Err(CallError::Cancelled));
        }
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.clone()));
        }
        let credit = state
            .credits
            .iter()
            .find(|(known, _)| known == path)
            .map_or(0, |(_, n)| *n);
        if credit > least {
            return Poll::Ready(Ok(credit));
        }
        state.register(cx);
        Poll::Pending
    }

    /// Whether the call was cancelled or failed, without waiting.
    pub(crate) fn stopped(&self) -> Option<CallError> {
        let state = self.state.lock();
        if state.cancelled {
            Some(CallError::Cancelled)
        } else {
            state.error.clone()
        }
    }

    /// Resolves when the caller gives up.
    pub(crate) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        state.register(cx);
        Poll::Pending
    }
}
