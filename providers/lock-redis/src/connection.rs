//! A connection to a server that is made again when it is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::lock::LocalQueue;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::settings::ServerSettings;

/// The pauses before the subscription is made again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a subscription on which nothing comes is checked, and how long that may take.
const CHECK_PAUSE: Duration = Duration::from_secs(10);
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// One server.
pub(crate) struct Connection {
    client: Client,
    config: AsyncConnectionConfig,
    /// Host and port, without the login.
    address: String,
    pub(crate) prefix: String,
    limit: Duration,
    /// Held while a connection is made, so that many calls make one.
    current: Mutex<Option<Current>>,
    /// How many were made.
    made: AtomicU64,
    /// Those who wait; rung with the keys of locks that are released.
    pub(crate) local_queue: Arc<LocalQueue>,
    _watch: AbortOnDropHandle<()>,
}

/// A connection, and which one it is.
#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    number: u64,
}

impl std::fmt::Debug for Connection {
    // The client would show the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The address is none.
    #[error("the `URL` is not the address of a Redis server")]
    Url(#[source] RedisError),
    /// It is not there or refuses.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The server says no, or is not there.
    #[error("Redis at `{address}`: {source}")]
    Redis {
        /// Where.
        address: String,
        /// Why.
        source: RedisError,
    },
    /// Nothing is heard of it.
    #[error("Redis at `{address}` did not answer within {limit:?}")]
    Silent {
        /// Where.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
}

impl AskError {
    /// Whether the login is the reason.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Redis { source, .. } = self else {
            return false;
        };
        source.kind() == ErrorKind::AuthenticationFailed
            || matches!(source.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
    }

    /// Whether the server itself has answered.
    pub(crate) fn is_answer(&self) -> bool {
        let Self::Redis { source, .. } = self else {
            return false;
        };
        matches!(source.kind(), ErrorKind::Server(_))
            && source.kind() != ErrorKind::Server(ServerErrorKind::BusyLoading)
    }
}

impl Connection {
    /// Connects and logs in. One attempt: who asks tries again.
    pub(crate) async fn open(settings: &ServerSettings) -> Result<Self, ConnectError> {
        let client = Client::open(settings.url.expose()).map_err(ConnectError::Url)?;
        let local_queue = Arc::new(LocalQueue::new());
        let watch = watch(
            client.clone(),
            settings.prefix.clone(),
            Arc::clone(&local_queue),
        );
        let this = Self {
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_limit))
                .set_response_timeout(Some(settings.answer_limit)),
            address: client.get_connection_info().addr().to_string(),
            client,
            prefix: settings.prefix.clone(),
            limit: settings.connect_limit + settings.answer_limit,
            current: Mutex::default(),
            made: AtomicU64::new(0),
            local_queue,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
        };
        this.check().await?;
        Ok(this)
    }

    /// Looks whether the server answers. Who may not say hello is logged in all the same.
    pub(crate) async fn check(&self) -> Result<(), AskError> {
        match self.ask::<()>(&redis::cmd("PING")).await {
            Err(AskError::Redis { source, .. }) if source.code() == Some("NOPERM") => Ok(()),
            other => other,
        }
    }

    /// Sends a command that may be sent twice, and waits for what the server answers. A connection
    /// that turns out to be broken is made again at once.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, AskError> {
        let (mut current, is_fresh) = self.current().await?;
        let first = self.ask_on(&mut current, command).await;
        match &first {
            Err(AskError::Redis { source, .. }) if !is_fresh && source.is_io_error() => {}
            _ => return first,
        }
        let (mut current, _) = self.current().await?;
        self.ask_on(&mut current, command).await
    }

    async fn ask_on<T: redis::FromRedisValue>(
        &self,
        current: &mut Current,
        command: &Cmd,
    ) -> Result<T, AskError> {
        let answer = self.in_time(command.query_async(&mut current.connection));
        let answer = answer.await;
        if let Err(error) = &answer
            && !error.is_answer()
        {
            self.give_up(current.number).await;
        }
        answer
    }

    /// The connection, and whether it was made for this call.
    async fn current(&self) -> Result<(Current, bool), AskError> {
        let mut current = self.current.lock().await;
        if let Some(current) = &*current {
            return Ok((current.clone(), false));
        }
        let connect = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config);
        let connection = self.in_time(connect).await?;
        let fresh = Current {
            connection,
            number: self.made.fetch_add(1, Ordering::Relaxed),
        };
        Ok((current.insert(fresh).clone(), true))
    }

    /// Makes the next call connect again, unless another has done so already.
    async fn give_up(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current
            .as_ref()
            .is_some_and(|current| current.number == number)
        {
            *current = None;
        }
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, AskError> {
        match tokio::time::timeout(self.limit, answer).await {
            Ok(answer) => answer.map_err(|source| AskError::Redis {
                address: self.address.clone(),
                source,
            }),
            Err(_) => Err(AskError::Silent {
                address: self.address.clone(),
                limit: self.limit,
            }),
        }
    }
}

/// Rings for every lock that is released, for as long as the server is in use.
async fn watch(client: Client, prefix: String, local_queue: Arc<LocalQueue>) {
    let pattern = format!("{}*", escaped(&prefix));
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        match subscribe(&client, &pattern).await {
            Ok((sink, messages)) => {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                local_queue.wakeups().ring_all();
                tokio::select! {
                    () = listen(messages, &local_queue) => {}
                    () = silence(sink) => {}
                }
                tracing::debug!("lost the subscription to released locks");
            }
            Err(error) => tracing::debug!(%error, "could not subscribe to released locks"),
        }
        local_queue.wakeups().ring_all();
        tokio::time::sleep(backoff.delay()).await;
    }
}

type Subscription = (redis::aio::PubSubSink, redis::aio::PubSubStream);

async fn subscribe(client: &Client, pattern: &str) -> Result<Subscription, RedisError> {
    let (mut sink, messages) = client.get_async_pubsub().await?.split();
    sink.psubscribe(pattern).await?;
    Ok((sink, messages))
}

async fn listen(mut messages: redis::aio::PubSubStream, local_queue: &LocalQueue) {
    while let Some(message) = messages.next().await {
        local_queue.wakeups().ring(message.get_channel_name());
    }
}

/// Ends when the server does not answer any more.
async fn silence(mut sink: redis::aio::PubSubSink) {
    loop {
        tokio::time::sleep(CHECK_PAUSE).await;
        let answer = tokio::time::timeout(CHECK_LIMIT, sink.ping::<redis::Value>()).await;
        if !matches!(answer, Ok(Ok(_))) {
            return;
        }
    }
}

/// A text as a pattern that matches only itself.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
