//! What one call receives: the state behind its slot.
//!
//! Delivery never waits: it appends to a bounded queue and wakes whoever polls.

mod budget;
mod channel;
mod deliver;
mod early;
mod leaving;
mod pulse;
mod question;
mod release;
mod road;
mod unread;
mod untold_ends;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use lattice_codec::Path;
use lattice_core::RoadCounts;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bulk::LONG;
use crate::error::CallError;
use crate::peer::PeerConfig;

pub(crate) use budget::{Account, Budget, Share};
use channel::Channel;
pub(crate) use channel::Pieces;
pub(crate) use deliver::Delivered;
use leaving::Leaving;
use pulse::Pulse;
pub(crate) use pulse::{ALIVE, LOST};
pub(crate) use question::Question;
pub(crate) use release::Release;
pub(crate) use unread::UNREAD;
pub(crate) use untold_ends::UntoldEnd;

/// How many streams one call may open. The widest published function has four.
const MAX_PATHS: usize = 64;

/// The other end, once it has told its own subject.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Where its own slot listens.
    pub(crate) root: Subject,
    /// The credit it grants per path; `None` for a peer of the 1.9 lattice.
    pub(crate) window: Option<u64>,
    /// Where it reads what is long, if that is another place.
    pub(crate) bulk: Option<Subject>,
}

impl Remote {
    /// Whether it is a peer of the 1.9 lattice.
    fn is_of_1_9(&self) -> bool {
        self.window.is_none()
    }
}

#[derive(Debug, Default)]
struct State {
    root: Channel,
    paths: Vec<(Path, Channel)>,
    ended_paths: Vec<Path>,
    remote: Option<Remote>,
    credits: Vec<(Path, u64)>,
    /// When it was last told that more of our streams was consumed.
    credited: Option<Instant>,
    /// How much of our streams was sent by a way on which some of it may be lost.
    sent: Vec<(Path, u64)>,
    error: Option<CallError>,
    /// The other end has failed or is not there, so that there is nothing to cancel.
    over: bool,
    /// The answer goes on until an empty message.
    more: bool,
    /// Something came after the end of the answer, or the answer did not tell its turn.
    surplus: bool,
    /// Which call of its slot this is.
    turn: u32,
    /// Whether an earlier call had the same subject.
    again: bool,
    cancelled: bool,
    /// The other end is no more, after the synchronous part of its answer was all here.
    lost: bool,
    abandoned: bool,
    /// Of which a 1.9 callee has to be told.
    untold_ends: Vec<UntoldEnd>,
    /// Something goes or comes over the connection for long streams.
    long: bool,
    /// Something has come over NATS.
    by_bus: bool,
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

    /// Notes paths that ended without data.
    fn end_paths(&mut self, ended: &[Path]) {
        for path in ended {
            let is_full = self.ended_paths.len() == MAX_PATHS;
            if !is_full && !self.ended_paths.contains(path) {
                self.ended_paths.push(path.clone());
            }
        }
    }

    /// Notes how much of our stream at `path` the other end has consumed.
    fn credit(&mut self, path: Path, total: u64) {
        if let Some((_, known)) = self.credits.iter_mut().find(|(known, _)| *known == path) {
            if total <= *known {
                return;
            }
            *known = total;
        } else if self.credits.len() < MAX_PATHS {
            self.credits.push((path, total));
        }
        self.credited = Some(Instant::now());
    }

    /// Whether the other end of a call that is done has told no place of its own and sent nothing
    /// but its answer.
    fn is_clean(&self) -> bool {
        let streamed = self.paths.iter().any(|(_, channel)| channel.received() > 0);
        self.remote.is_none()
            && !self.over
            && !self.more
            && !self.surplus
            && self.credits.is_empty()
            && !streamed
    }

    /// Whether parts of the call may be on their way over the connection for long streams: the first
    /// ones of a stream, too, of which nothing is known here before they come.
    fn may_be_long(&self) -> bool {
        let is_stock = self.remote.as_ref().is_some_and(|r| r.window.is_none());
        let is_open = |channel: &Channel| channel.received() >= LONG && !channel.is_ended();
        let comes = self.paths.iter().any(|(_, channel)| is_open(channel));
        self.long || (self.by_bus && !is_stock && comes)
    }

    /// Whether nothing is of use any more that may come for a call which was given up before its other end
    /// was known: it is over, or that is known now and cannot be told.
    fn is_left(&self) -> bool {
        let is_stock = || self.remote.as_ref().is_some_and(|r| r.window.is_none());
        self.abandoned && (self.over || self.is_answered() || is_stock())
    }

    /// Whether everything that the other end sends has come.
    fn is_answered(&self) -> bool {
        self.root.is_ended() && self.paths.iter().all(|(_, channel)| channel.is_ended())
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
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

/// The receiving state of one call at one end.
#[derive(Debug)]
pub(crate) struct Exchange {
    side: Side,
    subject: Subject,
    max_value: usize,
    max_buffered: usize,
    window: u64,
    /// What the call holds for its readers.
    account: Arc<Account>,
    /// The line that the request took; 0 where it took none.
    line: AtomicU32,
    leaving: Leaving,
    /// Who counts the road of the call.
    roads: Mutex<Option<Arc<RoadCounts>>>,
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
            account: Account::new(budget, config.max_held_by_call()),
            line: AtomicU32::new(0),
            leaving: Leaving::default(),
            roads: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// The subject that was called, for error texts.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(crate) fn begin_turn(&self, turn: u32, again: bool) {
        let mut state = self.state.lock();
        (state.turn, state.again) = (turn, again);
    }

    /// Which call of its slot this is.
    pub(crate) fn turn(&self) -> u32 {
        self.state.lock().turn
    }

    pub(crate) fn is_caller(&self) -> bool {
        self.side == Side::Caller
    }

    /// Whether the other end is asked now and then whether it is still there, and its loss noticed.
    pub(crate) fn can_be_asked(&self) -> bool {
        let state = self.state.lock();
        state.remote.as_ref().is_some_and(|r| r.window.is_some())
    }

    /// Whether the synchronous value is all here.
    pub(crate) fn has_result(&self) -> bool {
        self.state.lock().root.is_ended()
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_given_up(&self) -> bool {
        let state = self.state.lock();
        state.abandoned || state.over || state.error.is_some()
    }

    /// Somebody has died who served what begins with `prefix`. A call that is on its way to such a
    /// subject over NATS, and of which nothing has been heard, may have gone with them.
    pub(crate) fn doubt(&self, prefix: &str) {
        if self.subject.starts_with(prefix) {
            let mut state = self.state.lock();
            if self.is_unheard_of(&state) {
                state.pulse.doubt();
            }
        }
    }

    /// Whether this is a call over NATS of which nothing has been heard.
    fn is_unheard_of(&self, state: &State) -> bool {
        let by_bus = self.line.load(Ordering::Relaxed) == 0;
        self.is_caller() && by_bus && state.remote.is_none() && state.root.received() == 0
    }

    /// Whether nothing is of use any more that may come for it, as it was given up.
    pub(crate) fn is_left(&self) -> bool {
        self.state.lock().is_left()
    }

    /// Notes that this is no call, so that there is nothing to cancel when it is let go.
    pub(crate) fn is_no_call(&self) {
        self.state.lock().over = true;
    }

    /// Notes that a stream of the call goes over the connection for long ones.
    pub(crate) fn is_long(&self) {
        self.state.lock().long = true;
    }

    /// Ends the call if a part of it may have been lost with the connection for long streams.
    pub(crate) fn lose_long(&self) {
        if self.state.lock().may_be_long() {
            let subject = self.subject.to_string();
            self.fail(CallError::Incomplete { subject });
        }
    }

    /// Ends the call at this end.
    pub(crate) fn fail(&self, error: CallError) {
        let mut state = self.state.lock();
        state.error.get_or_insert(error);
        state.wake();
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
        self.state.lock().end_paths(ended);
    }

    /// Whether the end of the stream at `path` was written by a peer of our kind in the stream
    /// itself, which is more than that nothing follows.
    pub(crate) fn tells_ends(&self, path: &Path) -> bool {
        let state = self.state.lock();
        let newer = state.remote.as_ref().is_some_and(|r| r.window.is_some());
        newer && !state.ended_paths.contains(path)
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

    /// Takes all that has come of the synchronous value since the last time; `None` at its end.
    pub(crate) fn poll_root(&self, cx: &Context<'_>) -> Poll<Option<Result<Pieces, CallError>>> {
        let mut state = self.state.lock();
        let pieces = state.root.pop_pieces();
        if !pieces.is_empty() {
            return Poll::Ready(Some(Ok(pieces)));
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
        let (cancelled, lost) = (state.cancelled, state.lost);
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
        if lost {
            let subject = self.subject.to_string();
            return Poll::Ready(Some(Err(CallError::Gone { subject })));
        }
        if cancelled {
            return Poll::Ready(Some(Err(CallError::Cancelled)));
        }
        state.register(cx);
        Poll::Pending
    }

    /// Whether the other end has consumed more of any of our streams within this time.
    pub(crate) fn is_read(&self, within: Duration) -> bool {
        let credited = self.state.lock().credited;
        credited.is_some_and(|at| at.elapsed() < within)
    }

    /// How much the other end has consumed of what we sent at `path`; waits while that is not
    /// more than `least`. An error when it reads no more.
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
        if credit >= UNREAD {
            return Poll::Ready(Err(CallError::Cancelled));
        }
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
