//! The subscription to the changes of keys.

use std::time::Duration;

use futures::StreamExt as _;
use lattice_provider_sdk::keyvalue::watch::{Change, ChangeSender, Watched};
use redis::RedisError;
use redis::aio::{PubSubSink, PubSubStream};

use crate::connection::{AskError, Connection};
use crate::namespace::Namespace;
use crate::watch::events::{change_of, needs};

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
    /// What the names of the channels have before a key as it is stored.
    prefix: String,
    keys: Namespace,
}

impl Feed {
    /// Subscribes to all keys.
    pub(crate) async fn open(
        connection: &Connection,
        keys: &Namespace,
        watched: &Watched,
    ) -> Result<Self, FeedError> {
        check_flags(connection, watched).await?;
        let client = connection.client();
        let database = client.get_connection_info().redis_settings().db();
        let prefix = format!("__keyspace@{database}__:");
        let subscribe = async {
            let (mut sink, messages) = client.get_async_pubsub().await?.split();
            let channel = |key| format!("{prefix}{}", keys.stored(key));
            let channels: Vec<_> = watched.keys().map(channel).collect();
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
            keys: keys.clone(),
        })
    }

    /// Puts every change into the line, until the subscription is lost; says why it is of no use any
    /// more, if the server told.
    pub(crate) async fn run(
        &mut self,
        line: &ChangeSender,
        connection: &Connection,
        watched: &Watched,
    ) -> Option<FeedError> {
        let Self {
            sink,
            messages,
            prefix,
            keys,
        } = self;
        // Messages are taken in at once, since the client would keep any number of them.
        let read = async {
            while let Some(message) = messages.next().await {
                if let Some((key, change)) = read(prefix, keys, &message) {
                    line.put(&key, change);
                }
            }
        };
        tokio::select! {
            () = read => None,
            why = silence(sink, connection, watched) => why,
        }
    }
}

/// Ends when the server does not answer any more, or tells of no changes any more.
async fn silence(
    sink: &mut PubSubSink,
    connection: &Connection,
    watched: &Watched,
) -> Option<FeedError> {
    loop {
        tokio::time::sleep(CHECK_PAUSE).await;
        let answer = tokio::time::timeout(CHECK_LIMIT, sink.ping::<redis::Value>()).await;
        if !matches!(answer, Ok(Ok(_))) {
            return None;
        }
        if let Ok(flags) = flags(connection).await
            && let Err(quiet) = suffice(flags, watched)
        {
            return Some(quiet);
        }
    }
}

fn read(prefix: &str, keys: &Namespace, message: &redis::Msg) -> Option<(String, Change)> {
    let event: String = message.get_payload().ok()?;
    let stored = message.get_channel_name().strip_prefix(prefix)?;
    let key = keys.key(stored)?;
    change_of(&event).map(|change| (key.to_owned(), change))
}

/// Finds out whether the server tells of changes at all.
async fn check_flags(connection: &Connection, watched: &Watched) -> Result<(), FeedError> {
    match flags(connection).await {
        Ok(flags) => suffice(flags, watched),
        // Some logins may not look; then it has to be taken on trust.
        Err(error) => {
            tracing::warn!(%error, "cannot find out whether Redis tells of changes");
            Ok(())
        }
    }
}

/// Of which changes the server tells.
async fn flags(connection: &Connection) -> Result<String, AskError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("notify-keyspace-events");
    let (_, flags): (String, String) = connection.ask(&command).await?;
    Ok(flags)
}

fn suffice(flags: String, watched: &Watched) -> Result<(), FeedError> {
    if needs(watched).all(|letters| flags.contains(letters)) {
        return Ok(());
    }
    Err(FeedError::Quiet { flags })
}
