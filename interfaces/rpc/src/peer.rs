//! One process on one NATS connection.

#![expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]

mod config;
mod slot;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use lattice_core::road::{Road, Why};
use lattice_core::subject::takes_answers;
use lattice_core::{LatticeName, Locality};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alarm::Alarm;
use crate::bulk::{self, Bulk, BulkConnection, Offset};
use crate::complaint::{self, Complaints};
use crate::dispatch::{Via, dispatch};
use crate::error::{CallError, ConnectError};
use crate::exchange::{Account, Budget, Exchange, Share, Side};
use crate::inbox::Inbox;
use crate::janitor::sweep;
use crate::local::{Asked, Passed, Switchboard};
use crate::outbox::{Outbox, Outgoing, check_subject};
use crate::slots::Slots;
use crate::socket::is_line;
pub use config::PeerConfig;
pub(crate) use slot::SlotGuard;

/// What a peer has open right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStats {
    /// Calls that hold a slot, made and served, including cancelled ones that linger.
    pub open_calls: usize,
    /// Bytes that open calls hold for readers which have not taken them yet, with what keeping them
    /// takes.
    pub held_bytes: usize,
    /// Calls that are being served.
    pub serving: usize,
    /// NATS subscriptions that this peer holds: one inbox, another one for long streams once their
    /// connection stands, and one for each served function.
    pub subscriptions: usize,
}

/// A message that is sent by the janitor, because its sender could not wait.
#[derive(Debug)]
pub(crate) struct DeferredSend {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    /// Where it is, for the end of a stream that goes over the connection for long ones.
    pub(crate) offset: Option<Offset>,
}

impl DeferredSend {
    pub(crate) fn empty(subject: Subject) -> Self {
        Self {
            subject,
            headers: None,
            payload: Bytes::new(),
            offset: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) nats: async_nats::Client,
    pub(crate) config: PeerConfig,
    pub(crate) slots: Slots,
    pub(crate) tasks: TaskTracker,
    pub(crate) sending: TaskTracker,
    sender: AbortHandle,
    pub(crate) bulk: Bulk,
    pub(crate) stop: CancellationToken,
    pub(crate) subscriptions: AtomicUsize,
    pub(crate) serving: AtomicUsize,
    pub(crate) inbox: Inbox,
    /// For calls that are not answered at once.
    pub(crate) slow: Arc<Alarm>,
    /// The functions that this peer serves itself.
    pub(crate) own: Switchboard,
    /// All functions that it has served so far, as far as is remembered.
    pub(crate) served: RwLock<HashSet<Box<str>>>,
    budget: Arc<Budget>,
    deferred: mpsc::Sender<DeferredSend>,
    pub(crate) outbox: Outbox,
    /// Ends the task of the outbox, which outlives the others.
    pub(crate) silent: CancellationToken,
    pub(crate) complaints: Complaints,
}

impl Inner {
    /// Whether this peer writes to a place for answers that somebody else has named: not to what the
    /// lattice goes by. In a lattice with callers who may not write everywhere it has to be in an inbox,
    /// or they would have this peer do it.
    pub(crate) fn may_write_to(&self, place: &Subject, via: Via<'_>) -> bool {
        match (via, &self.config.auth) {
            // It was put before what the other end has named.
            (Via::Line(_), _) => true,
            _ if is_line(place) => false,
            (_, Some(auth)) => auth.may_write_to(place),
            (_, None) => takes_answers(place),
        }
    }

    /// Counts what waits here among what calls hold; `None` when they hold too much.
    pub(crate) fn hold(&self, size: usize) -> Option<Share> {
        let account = Account::new(&self.budget, self.config.max_held_by_call());
        account.take(size).ok()
    }

    /// Hands a message to the janitor. Used where nothing can be awaited.
    pub(crate) fn send_later(&self, deferred: DeferredSend) {
        if self.deferred.try_send(deferred).is_err() {
            tracing::debug!("dropped a last message of a call: too many are waiting");
        }
    }
}

/// One process on one NATS connection: calls and serves functions.
///
/// Clones share everything. When [`Peer::close`] has run, or the connection has ended, every open
/// call fails with [`CallError::Cancelled`].
#[derive(Debug, Clone)]
pub struct Peer {
    pub(crate) inner: Arc<Inner>,
}

/// How long a peer that is closed waits for its last messages to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many deferred messages may wait; beyond that they are dropped and deadlines take their place.
const FAREWELLS: usize = 4096;

impl Peer {
    /// Subscribes the inbox and starts the tasks that a peer consists of.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when the subscription is refused, [`ConnectError::Timeout`]
    /// when the server does not confirm it within 10 s.
    pub async fn new(nats: async_nats::Client, config: PeerConfig) -> Result<Self, ConnectError> {
        let inbox = Inbox::new(nats.new_inbox()).map_err(ConnectError::NoRandom)?;
        let incoming =
            nats.subscribe(inbox.filter())
                .await
                .map_err(|e| ConnectError::Subscribe {
                    subject: inbox.filter(),
                    reason: e.to_string(),
                })?;
        let (deferred, queue) = mpsc::channel(FAREWELLS);
        let budget = Arc::new(Budget::new(config.max_held_bytes));
        let silent = CancellationToken::new();
        let (outbox, emptying) = Outbox::new(nats.clone(), silent.clone(), config.auth.clone());
        let sending = TaskTracker::new();
        let sender = sending.spawn(emptying).abort_handle();
        let slow = Alarm::new(config.accept_after);
        let stop = CancellationToken::new();
        let (complaints, telling) = Complaints::begin(stop.clone(), complaint::tell);
        let inner = Arc::new(Inner {
            nats,
            config,
            slots: Slots::default(),
            tasks: TaskTracker::new(),
            sending,
            sender,
            bulk: Bulk::default(),
            stop,
            subscriptions: AtomicUsize::new(1),
            serving: AtomicUsize::new(0),
            inbox,
            slow: Arc::clone(&slow),
            own: Switchboard::default(),
            served: RwLock::default(),
            budget,
            deferred,
            outbox,
            silent,
            complaints,
        });
        if let Some(board) = &inner.config.local {
            board.add_peer(inner.inbox.prefix(), &inner);
        }
        inner.tasks.spawn(dispatch(Arc::clone(&inner), incoming));
        inner.tasks.spawn(sweep(Arc::clone(&inner), queue));
        inner.tasks.spawn(slow.keep(inner.stop.clone()));
        inner.tasks.spawn(telling);
        if let Some(connection) = inner.config.bulk.clone() {
            inner
                .tasks
                .spawn(bulk::keep(Arc::clone(&inner), connection));
        }
        let peer = Self { inner };
        let unfinished = Unfinished(&peer);
        peer.confirm(Duration::from_secs(10)).await?;
        std::mem::forget(unfinished);
        Ok(peer)
    }

    /// The connection for long streams, for other peers of the process.
    pub fn bulk(&self) -> Option<&BulkConnection> {
        self.inner.config.bulk.as_ref()
    }

    /// Makes the connection for long streams again, if there is one: for new credentials, which are
    /// looked at when it is made. Calls whose long streams are under way end with
    /// [`CallError::Incomplete`].
    pub async fn connect_bulk_again(&self) {
        if let Some(lane) = self.inner.bulk.lane() {
            lane.connect_again().await;
        }
    }

    /// The NATS connection.
    pub fn nats(&self) -> &async_nats::Client {
        &self.inner.nats
    }

    /// What is open right now.
    pub fn stats(&self) -> PeerStats {
        PeerStats {
            open_calls: self.inner.slots.live(),
            held_bytes: self.inner.budget.held(),
            serving: self.inner.serving.load(Ordering::Relaxed),
            subscriptions: self.inner.subscriptions.load(Ordering::Relaxed),
        }
    }

    /// Waits until the server has taken in everything sent so far, subscriptions above all.
    ///
    /// A message to our own inbox comes back after them, since a connection keeps its order.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Timeout`] when it does not come back in time.
    pub async fn confirm(&self, within: Duration) -> Result<(), ConnectError> {
        let timeout = ConnectError::Timeout(within);
        let subject = Subject::from_static("confirm");
        let Ok(guard) = self.open(Side::Caller, subject) else {
            return Err(timeout);
        };
        let probe = async {
            let message = Outgoing::reply(guard.root(), guard.root());
            self.inner.outbox.send(message).await?;
            std::future::poll_fn(|cx| guard.exchange.poll_remote(cx)).await
        };
        let answer = tokio::time::timeout(within, probe).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            _ => Err(timeout),
        }
    }

    /// Asks whoever else listens at `subject`. The answer is the reply subject of the first that
    /// comes; `None` when there is none in time.
    pub(crate) async fn ask(&self, subject: &str, within: Duration) -> Option<Subject> {
        let guard = self.open(Side::Caller, subject.into()).ok()?;
        guard.exchange.is_no_call();
        let question = async {
            let question = Outgoing {
                deadline: Some(Instant::now() + within),
                ..Outgoing::reply(subject.into(), guard.root())
            };
            self.inner.outbox.send(question).await?;
            std::future::poll_fn(|cx| guard.exchange.poll_remote(cx)).await
        };
        let answer = timeout(within, question).await.ok()?;
        answer.ok().map(|remote| remote.root)
    }

    /// Tells that a process has died that served `target`. Calls to it that are on their way over
    /// NATS and that nobody has confirmed end with [`CallError::Gone`] in three to four seconds,
    /// unless whoever else serves it confirms them.
    pub fn has_died(&self, lattice: &LatticeName, target: &str) {
        self.inner.slots.doubt(&format!("{lattice}.{target}."));
    }

    /// Whether this peer listens at `subject` for what belongs to its calls.
    pub(crate) fn is_own(&self, subject: &Subject) -> bool {
        self.inner.inbox.split(subject.as_str()).is_some()
    }

    /// Ends the peer: open calls fail, its tasks end, the inbox is unsubscribed. What was sent
    /// before is on its way to the server then, unless NATS has not taken it for a second, as
    /// while it is away.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.silent.cancel();
        inner.sending.close();
        let last_words = async {
            inner.sending.wait().await;
            if let Some(lane) = inner.bulk.lane() {
                lane.flush().await;
            }
            inner.nats.flush().await
        };
        match timeout(LAST_WORDS, last_words).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "closed without the last messages of calls"),
            Err(_) => {
                tracing::warn!("closed with messages of calls that NATS did not take");
                inner.sender.abort();
                if let Some(lane) = inner.bulk.lane() {
                    lane.abort();
                }
                inner.sending.wait().await;
            }
        }
    }

    /// Ends the peer without waiting for anything; for one whose owner is gone.
    pub fn abandon(&self) {
        self.inner.stop.cancel();
        self.inner.silent.cancel();
    }

    /// Whether what is sent to a call there does not go over NATS.
    pub(crate) fn is_near(&self, root: &Subject) -> bool {
        let inner = &self.inner;
        let board = inner.config.local.as_ref();
        is_line(root) || board.is_some_and(|board| board.has_peer(root, inner.inbox.prefix().len()))
    }

    /// Takes a slot for one call.
    pub(crate) fn open(&self, side: Side, subject: Subject) -> Result<Arc<SlotGuard>, CallError> {
        if self.inner.stop.is_cancelled() {
            return Err(CallError::Cancelled);
        }
        let inner = &self.inner;
        let exchange = Exchange::new(side, subject, &inner.config, &inner.budget);
        let exchange = Arc::new(exchange);
        let limit = self.inner.config.max_open;
        let Some(id) = self.inner.slots.insert(limit, Arc::clone(&exchange)) else {
            return Err(CallError::TooLarge {
                what: "the number of open calls",
                size: limit,
                limit,
            });
        };
        Ok(Arc::new(SlotGuard {
            peer: self.clone(),
            id,
            exchange,
        }))
    }

    pub(crate) async fn publish(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), CallError> {
        self.pass(Outgoing {
            subject,
            reply: None,
            headers,
            payload,
            deadline: None,
        })
        .await
    }

    pub(crate) async fn publish_reply(
        &self,
        subject: Subject,
        reply: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), CallError> {
        self.pass(Outgoing {
            headers,
            payload,
            ..Outgoing::reply(subject, reply)
        })
        .await
    }

    /// Sends a message of a call under way.
    pub(crate) async fn pass(&self, mut message: Outgoing) -> Result<(), CallError> {
        let inner = &self.inner;
        if let Some(board) = &inner.config.local {
            match board.pass(message, inner.inbox.prefix().len()) {
                Passed::Done => return Ok(()),
                // Boxed, since it is rare and would make every call's future larger.
                Passed::Waits(line, message) => return Box::pin(line.pass(message)).await,
                Passed::Left(back) => message = back,
                Passed::Gone(error) => return Err(error),
            }
        }
        inner.outbox.send(message).await
    }

    /// Sends a request by the nearest road that it may take, unless it cannot leave before its
    /// deadline, and has that road counted. One that is a part of a call which `is_under_way` here may
    /// go to what takes no others.
    pub(crate) async fn publish_request(
        &self,
        exchange: &Arc<Exchange>,
        mut message: Outgoing,
        locality: Locality,
        is_under_way: bool,
    ) -> Result<(), CallError> {
        check_subject(&message.subject).map_err(CallError::Send)?;
        let mut why = Why::NotConnected;
        let local_only = locality == Locality::LocalOnly;
        let board = self.inner.config.local.as_ref();
        match board {
            _ if locality == Locality::Spread => why = Why::Spread,
            Some(board) => match board.ask(message, local_only, |line| exchange.goes_by(line)) {
                Asked::Taken(Road::Socket) => return Ok(()),
                Asked::Taken(road) => {
                    exchange.count(road, Why::Nearest);
                    return Ok(());
                }
                Asked::Left(back, reason) => (message, why) = (back, reason),
            },
            None => {}
        }
        if let Some(board) = board.filter(|_| is_under_way && locality != Locality::Spread) {
            match board.ask_retired(message, local_only) {
                None => {
                    exchange.count(Road::Process, Why::Nearest);
                    return Ok(());
                }
                Some(back) => message = back,
            }
        }
        if local_only {
            return Err(CallError::not_local(&message.subject, why));
        }
        self.inner.address(&mut message, None);
        self.inner.outbox.send_request(message, exchange).await?;
        exchange.count(Road::Bus, why);
        Ok(())
    }

    /// Sends a request that found no turn in this process to a server with room.
    pub(crate) async fn publish_to(
        &self,
        exchange: &Arc<Exchange>,
        mut message: Outgoing,
        place: &Subject,
    ) -> Result<(), CallError> {
        self.inner.address(&mut message, Some(place));
        self.inner.outbox.send_request(message, exchange).await?;
        exchange.count(Road::Bus, Why::NoRoomHere);
        Ok(())
    }

    /// Hands a message to the janitor. Used where nothing can be awaited.
    pub(crate) fn send_later(&self, deferred: DeferredSend) {
        self.inner.send_later(deferred);
    }
}

/// Ends a peer that was not set up to the end, or its tasks would stay.
struct Unfinished<'a>(&'a Peer);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
