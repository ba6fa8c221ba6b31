//! The connection for long streams, so that calls need not wait behind them.
//!
//! What one connection is sent comes in one order, and a call behind a mebibyte waits for it: at the
//! one who sends, at the server, and at the one who reads. So a process has a second connection, made
//! when it starts, so that nothing is subscribed for a call, with an inbox of its own. A reader tells
//! its place there along with its credit, and what a writer sends after the first [`LONG`] bytes goes
//! there, from its own second connection. Each such message tells how many bytes come before it: it may
//! overtake what was sent earlier over the other connection, and waits for that then.
//!
//! Peers of the 1.9 lattice are told no place and tell none, and streams that do not go over NATS stay
//! where they are.

#![expect(clippy::disallowed_methods, reason = "owns the inbox for long streams")]

use std::any::Any;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use lattice_core::Backoff;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::error::CallError;
use crate::header;
use crate::outbox::{Outbox, Outgoing};
use crate::peer::Inner;
use crate::slots::SlotId;

/// How many bytes of a stream go over the connection of calls.
pub(crate) const LONG: u64 = 64 * 1024;

/// How long it may take until the connection stands and its inbox is known.
const WITHIN: Duration = Duration::from_secs(10);

/// The pauses after attempts that failed, growing from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn Error + Send + Sync>;

type Dial = Box<dyn Fn() -> BoxFuture<'static, Result<BulkClient, BoxError>> + Send + Sync>;

/// Where in its stream a part is: one that goes over the connection for long ones, or the last one of
/// those that do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    /// How many bytes come before it.
    pub(crate) at: u64,
    /// How many of them went over the other connection: without it nobody could tell whether what
    /// came first over that for long streams was lost.
    pub(crate) from: u64,
}

impl Offset {
    /// What the headers of a part tell, if they do.
    pub(crate) fn of(headers: Option<&HeaderMap>) -> Option<Self> {
        let text = header::text(headers?, header::OFFSET)?;
        Self::read(&text)
    }

    fn read(text: &str) -> Option<Self> {
        let (at, from) = text.split_once('/')?;
        Some(Self {
            at: at.parse().ok()?,
            from: from.parse().ok()?,
        })
    }

    pub(crate) fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let text = format!("{}/{}", self.at, self.from);
        header::set(&mut headers, header::OFFSET, text);
        headers
    }
}

/// A connection for long streams.
pub struct BulkClient {
    /// The client. It connects again by itself when it is lost.
    pub client: Client,
    /// What has to live as long.
    pub kept: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for BulkClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkClient")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// How the process connects for long streams. The peers of one process share one, and with it one
/// connection, which is made for the first of them. Clones share everything.
#[derive(Clone)]
pub struct BulkConnection(Arc<Shared>);

struct Shared {
    dial: Dial,
    made: OnceCell<BulkClient>,
}

impl std::fmt::Debug for BulkConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkConnection")
            .field("is_made", &self.0.made.initialized())
            .finish()
    }
}

impl BulkConnection {
    /// Connects by `dial`, as the process itself has connected: by the same server, as the same
    /// user.
    pub fn new<F>(dial: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<BulkClient, BoxError>> + Send + 'static,
    {
        Self(Arc::new(Shared {
            dial: Box::new(move || Box::pin(dial())),
            made: OnceCell::new(),
        }))
    }

    async fn client(&self) -> Result<Client, BoxError> {
        let made = self.0.made.get_or_try_init(|| (self.0.dial)()).await?;
        Ok(made.client.clone())
    }
}

/// What a peer has of the connection.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    lane: OnceLock<Lane>,
}

/// A peer's inbox on the connection, and its way out.
#[derive(Debug)]
pub(crate) struct Lane {
    client: Client,
    prefix: String,
    outbox: Outbox,
    sender: AbortHandle,
    /// How often the connection was made when it was last looked.
    connects: AtomicU64,
    ended: AtomicBool,
}

impl Bulk {
    /// The way of long streams, as far as there is one.
    pub(crate) fn lane(&self) -> Option<&Lane> {
        self.lane
            .get()
            .filter(|lane| !lane.ended.load(Ordering::Relaxed))
    }

    /// Where the slot reads what is long; `None` while that is no other place.
    pub(crate) fn root(&self, slot: &SlotId) -> Option<Subject> {
        let lane = self.lane()?;
        Some(slot.text(&lane.prefix).into())
    }

    /// Whether messages may have been lost since this was last asked.
    pub(crate) fn has_broken(&self) -> bool {
        self.lane.get().is_some_and(|lane| {
            let connects = lane.client.statistics().connects.load(Ordering::Relaxed);
            lane.connects.swap(connects, Ordering::Relaxed) != connects
        })
    }
}

impl Lane {
    /// Whether something can be sent right now.
    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Sends a part of a stream; an empty one ends the stream.
    pub(crate) async fn send(
        &self,
        subject: Subject,
        offset: Offset,
        part: Bytes,
    ) -> Result<(), CallError> {
        let message = Outgoing {
            subject,
            reply: None,
            headers: Some(offset.headers()),
            payload: part,
            deadline: None,
        };
        self.outbox.send(message).await
    }

    /// Waits until what was sent is on its way.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.client.flush().await {
            tracing::debug!(%error, "the last parts of long streams were not sent");
        }
    }

    /// Makes the connection again. Calls end of which parts are on their way.
    pub(crate) async fn connect_again(&self) {
        self.flush().await;
        if let Err(error) = self.client.force_reconnect().await {
            tracing::warn!(%error, "the connection for long streams is not made again");
        }
    }

    /// Ends the way out, whatever waits there.
    pub(crate) fn abort(&self) {
        self.sender.abort();
    }
}

/// Makes the connection, and takes in what comes over it until the peer ends.
pub(crate) async fn keep(inner: Arc<Inner>, connection: BulkConnection) {
    let stop = inner.stop.clone();
    let work = async {
        let incoming = opened(&inner, &connection).await;
        take_in_all(&inner, incoming).await;
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

async fn opened(inner: &Arc<Inner>, connection: &BulkConnection) -> Subscriber {
    let mut backoff = Backoff::exact(FIRST_PAUSE, LAST_PAUSE);
    loop {
        let error = match timeout(WITHIN, open(inner, connection)).await {
            Ok(Ok(incoming)) => return incoming,
            Ok(Err(error)) => error,
            Err(_) => format!("it does not stand within {WITHIN:?}").into(),
        };
        tracing::warn!(%error, "no connection for long streams, which share that of calls");
        sleep(backoff.delay()).await;
    }
}

async fn open(inner: &Arc<Inner>, connection: &BulkConnection) -> Result<Subscriber, BoxError> {
    let client = connection.client().await?;
    let prefix = client.new_inbox() + ".";
    let mut incoming = client.subscribe(format!("{prefix}>")).await?;
    // It comes back when the server knows the inbox: it is told to nobody before.
    client
        .publish(format!("{prefix}confirm"), Bytes::new())
        .await?;
    incoming.next().await.ok_or("it was closed")?;
    let (outbox, emptying) = Outbox::new(client.clone(), inner.silent.clone(), None);
    let lane = Lane {
        connects: client.statistics().connects.load(Ordering::Relaxed).into(),
        client,
        prefix,
        outbox,
        sender: inner.sending.spawn(emptying).abort_handle(),
        ended: AtomicBool::new(false),
    };
    inner.subscriptions.fetch_add(1, Ordering::Relaxed);
    // Nobody else opens one.
    let _there = inner.bulk.lane.set(lane);
    Ok(incoming)
}

async fn take_in_all(inner: &Arc<Inner>, mut incoming: Subscriber) {
    let Some(lane) = inner.bulk.lane() else {
        return;
    };
    while let Some(message) = incoming.next().await {
        take_in(inner, lane, message);
    }
    lane.ended.store(true, Ordering::Relaxed);
    inner.slots.lose_long();
}

fn take_in(inner: &Inner, lane: &Lane, message: Message) {
    let subject = message.subject.clone();
    let place = subject.strip_prefix(&*lane.prefix);
    let Some((token, suffix)) = place.and_then(|place| place.split_once('.')) else {
        return;
    };
    let offset = Offset::of(message.headers.as_ref());
    // A late message for a call that has ended finds no slot; that is not an error.
    if let (Some((_, exchange)), Some(offset)) = (inner.slots.get(token), offset) {
        exchange.deliver_long(suffix, offset, message.payload);
    }
}
