//! The subscription to the changes of keys.

use std::time::Duration;

use futures::StreamExt as _;
use lattice_provider_sdk::Backoff;
use redis::RedisError;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::connection::{AskError, Connection};
use crate::watch::events::{Change, Watched};
use crate::watch::teller::Teller;

/// How many changes may wait for the component.
const WAITING: usize = 1024;
/// How often a subscription on which nothing comes is checked, and how long that may take.
const CHECK_PAUSE: Duration = Duration::from_secs(10);
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// How many keys are subscribed to with one command.
const AT_ONCE: usize = 500;

/// Why keys cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// The server refuses or does not answer.
    #[error("could not subscribe at Redis")]
    Subscribe(#[source] RedisError),
    /// It did not answer in time.
    #[error("Redis did not take the subscription in time")]
    Slow,
    /// It says nothing about keys.
    #[error(
        "Redis is not set up to tell of changes: its `notify-keyspace-events` is `{flags}`; \
         `CONFIG SET notify-keyspace-events KA` changes that"
    )]
    Quiet {
        /// What is set.
        flags: String,
    },
    /// The keys could not be read.
    #[error("could not read the watched keys")]
    Read(#[from] AskError),
}

/// A subscription to the watched keys.
pub(crate) struct Feed {
    sink: PubSubSink,
    messages: PubSubStream,
    prefix: String,
    /// Told when changes may have been missed.
    missed: Notify,
}

impl Feed {
    /// Subscribes to all keys.
    pub(crate) async fn open(
        connection: &Connection,
        watched: &Watched,
    ) -> Result<Self, FeedError> {
        check_flags(connection, watched).await?;
        let client = connection.client();
        let database = client.get_connection_info().redis_settings().db();
        let prefix = format!("__keyspace@{database}__:");
        let subscribe = async {
            let (mut sink, messages) = client.get_async_pubsub().await?.split();
            let channels: Vec<_> = watched.keys().map(|key| format!("{prefix}{key}")).collect();
            for part in channels.chunks(AT_ONCE) {
                sink.subscribe(part).await?;
            }
            Ok((sink, messages))
        };
        let subscribed = tokio::time::timeout(connection.limit(), subscribe).await;
        let (sink, messages) = subscribed
            .map_err(|_| FeedError::Slow)?
            .map_err(FeedError::Subscribe)?;
        Ok(Self {
            sink,
            messages,
            prefix,
            missed: Notify::new(),
        })
    }

    /// Lets the next run begin with telling what has changed meanwhile.
    pub(crate) fn catch_up(&self) {
        self.missed.notify_one();
    }

    /// Tells the component of changes until the subscription is lost.
    pub(crate) async fn run(
        &mut self,
        connection: &Connection,
        watched: &Watched,
        teller: &mut Teller,
    ) {
        let Self {
            sink,
            messages,
            prefix,
            missed,
        } = self;
        let (changes, waiting) = mpsc::channel(WAITING);
        // Messages are taken in at once, since the client would keep any number of them.
        let read = async {
            while let Some(message) = messages.next().await {
                let Some(change) = read(prefix, &message) else {
                    continue;
                };
                if changes.try_send(change).is_err() {
                    missed.notify_one();
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = tell(connection, watched, teller, waiting, missed) => {}
            () = silence(sink) => {}
        }
    }
}

/// Tells of one change after the other; when the component cannot be reached, or changes were
/// missed, of what the keys have become.
async fn tell(
    connection: &Connection,
    watched: &Watched,
    teller: &mut Teller,
    mut waiting: mpsc::Receiver<(String, Change)>,
    missed: &Notify,
) {
    let mut backoff = Backoff::new(super::PAUSE, super::LONGEST_PAUSE);
    let mut again: Option<Instant> = None;
    loop {
        let retry = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            biased;
            () = missed.notified() => None,
            () = retry => None,
            Some(change) = waiting.recv() => Some(change),
        };
        let told = match &change {
            Some((key, change)) => teller.tell(connection, watched, key, *change).await,
            None => {
                // What waits is older than what is read now.
                while waiting.try_recv().is_ok() {}
                teller.catch_up(connection, watched).await
            }
        };
        let told = told.unwrap_or_else(|error| {
            tracing::debug!(link = teller.name(), %error, "could not read a watched key");
            false
        });
        if !told {
            again = Some(Instant::now() + backoff.delay());
        } else if change.is_none() {
            again = None;
            backoff = Backoff::new(super::PAUSE, super::LONGEST_PAUSE);
        }
    }
}

/// Ends when the server does not answer any more.
async fn silence(sink: &mut PubSubSink) {
    loop {
        tokio::time::sleep(CHECK_PAUSE).await;
        let answer = tokio::time::timeout(CHECK_LIMIT, sink.ping::<redis::Value>()).await;
        if !matches!(answer, Ok(Ok(_))) {
            return;
        }
    }
}

fn read(prefix: &str, message: &redis::Msg) -> Option<(String, Change)> {
    let event: String = message.get_payload().ok()?;
    let key = message.get_channel_name().strip_prefix(prefix)?;
    Change::of(&event).map(|change| (key.to_owned(), change))
}

/// Finds out whether the server tells of changes at all.
async fn check_flags(connection: &Connection, watched: &Watched) -> Result<(), FeedError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("notify-keyspace-events");
    let answer: Result<(String, String), _> = connection.ask(&command).await;
    let flags = match answer {
        Ok((_, flags)) => flags,
        // Some logins may not look; then it has to be taken on trust.
        Err(error) => {
            tracing::warn!(%error, "cannot find out whether Redis tells of changes");
            return Ok(());
        }
    };
    if watched.needs().all(|letters| flags.contains(letters)) {
        return Ok(());
    }
    Err(FeedError::Quiet { flags })
}
