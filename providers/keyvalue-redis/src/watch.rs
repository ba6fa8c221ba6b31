//! Telling components about keys that change.
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` names keys; the component at its
//! other end is told when they are set or deleted, whoever did it. See [`settings`](crate::settings)
//! for what the link says.
//!
//! Changes of one link are told one after the other, in their order, with the value that the key
//! has by then. Redis does not keep changes for those who are not there: when the connection was
//! lost, more changed than the component could take, or the provider itself was away, the component
//! is told what each key has become, so that it misses steps but not where they led. What it was
//! told last is kept in Redis, in a hash whose name begins with `lattice:kv:watch:`.

mod events;
mod feed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::watch::{
    ChangeNotifier, ChangeSender, Changes, LONGEST_PAUSE, PAUSE, ReadCurrent, Watched, line, relay,
};
use lattice_provider_sdk::{Backoff, Shared, chain};
use parking_lot::Mutex;
use redis::cmd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::{AskError, Connection};
use crate::namespace::Namespace;
use feed::Feed;
pub(crate) use feed::FeedError;

/// How many remembered keys are written with one command.
const AT_ONCE: usize = 500;

/// For how many seconds it is remembered what was told: two weeks.
const REMEMBERED: u64 = 14 * 24 * 3600;
/// How often that time begins anew, so that it is that of a provider that is away, and not that of
/// keys that do not change.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// What is watched, and where it is remembered what was told.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) connection: Arc<Shared<Connection>>,
    pub(crate) keys: Namespace,
    pub(crate) memory: String,
}

/// Why there is no subscription, if there is none.
type Trouble = Arc<Mutex<Option<String>>>;

/// Watches the keys of one link until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    connection: Arc<Shared<Connection>>,
    trouble: Trouble,
    tasks: JoinSet<()>,
}

impl Watcher {
    /// Subscribes, and tells of every change from now on, and of those since it was last watched.
    pub(crate) async fn start(
        source: Source,
        mut notifier: ChangeNotifier,
    ) -> Result<Self, FeedError> {
        let feed = Feed::open(&source.connection, &source.keys, notifier.watched()).await?;
        let (line, changes) = line();
        if source.remember(&mut notifier).await? {
            line.missed();
        }
        let (note, told) = mpsc::channel(AT_ONCE);
        let notifier = notifier.noting(note);
        let connection = Arc::clone(&source.connection);
        let trouble = Trouble::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(write_down(source.clone(), told));
        tasks.spawn(follow(
            source.clone(),
            feed,
            line,
            notifier.watched().clone(),
            Arc::clone(&trouble),
        ));
        tasks.spawn(tell(source, notifier, changes));
        Ok(Self {
            connection,
            trouble,
            tasks,
        })
    }

    /// The connection that the keys are read over.
    pub(crate) fn connection(&self) -> Arc<Shared<Connection>> {
        Arc::clone(&self.connection)
    }

    /// Why changes are not heard of, if they are not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Ends it; a component that is being told is not any more.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Keeps a subscription.
async fn follow(
    source: Source,
    mut feed: Feed,
    line: ChangeSender,
    watched: Watched,
    trouble: Trouble,
) {
    loop {
        let why = feed.run(&line, &source.connection, &watched).await;
        tracing::warn!("lost the subscription to watched keys");
        if let Some(error) = why {
            failed(&error, &trouble);
        }
        // Nobody reads it, and the client would keep any number of messages.
        drop(feed);
        feed = subscribe_again(&source, &line, &watched, &trouble).await;
        *trouble.lock() = None;
        line.missed();
    }
}

async fn subscribe_again(
    source: &Source,
    line: &ChangeSender,
    watched: &Watched,
    trouble: &Trouble,
) -> Feed {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        tokio::time::sleep(backoff.delay()).await;
        match Feed::open(&source.connection, &source.keys, watched).await {
            Ok(feed) => return feed,
            Err(error) => failed(&error, trouble),
        }
        // The keys may be there to be read, though nothing is told of them.
        line.missed();
    }
}

/// Keeps why there is no subscription, and says it when it is news.
fn failed(error: &FeedError, trouble: &Trouble) {
    let why = chain(error);
    let before = trouble.lock().replace(why.clone());
    if before.as_ref() != Some(&why) {
        tracing::warn!(why, "could not subscribe to watched keys again");
    }
}

async fn tell(source: Source, mut notifier: ChangeNotifier, mut changes: Changes) {
    relay(&mut notifier, &mut changes, &source).await;
}

/// Writes down what was told, and keeps it from being forgotten.
async fn write_down(source: Source, mut told: mpsc::Receiver<(String, String)>) {
    let mut again = tokio::time::interval(AGAIN);
    loop {
        let first = tokio::select! {
            first = told.recv() => first,
            _ = again.tick() => {
                if let Err(error) = source.keep().await {
                    tracing::warn!(%error, "could not have Redis remember what a watcher was told");
                }
                continue;
            }
        };
        let Some(first) = first else {
            return;
        };
        let mut all = vec![first];
        while all.len() < AT_ONCE
            && let Ok(next) = told.try_recv()
        {
            all.push(next);
        }
        if let Err(error) = source.write(&all).await {
            tracing::warn!(%error, "could not write down what a watcher was told");
        }
    }
}

impl Source {
    /// Takes down what the component was told last, and what the other keys are now; says whether
    /// it was told anything before.
    async fn remember(&self, notifier: &mut ChangeNotifier) -> Result<bool, AskError> {
        let mut command = cmd("HGETALL");
        command.arg(&self.memory);
        let mut before: HashMap<String, String> = self.connection.ask(&command).await?;
        let keys: Vec<String> = notifier.watched().keys().map(str::to_owned).collect();
        let mut new = Vec::new();
        for key in &keys {
            match before.remove(key) {
                Some(digest) => notifier.know(key, digest),
                None => {
                    let digest = ChangeNotifier::digest(self.look(key).await?.as_ref());
                    notifier.know(key, digest.clone());
                    new.push((key.clone(), digest));
                }
            }
        }
        for part in new.chunks(AT_ONCE) {
            self.write(part).await?;
        }
        Ok(new.len() < keys.len())
    }

    /// Has what is remembered last from now on again.
    async fn keep(&self) -> Result<(), AskError> {
        let mut command = cmd("EXPIRE");
        command.arg(&self.memory).arg(REMEMBERED);
        let _is_there: bool = self.connection.ask(&command).await?;
        Ok(())
    }

    async fn write(&self, told: &[(String, String)]) -> Result<(), AskError> {
        let mut all = redis::pipe();
        let write = all.atomic().cmd("HSET").arg(&self.memory);
        for (key, digest) in told {
            write.arg(key).arg(digest);
        }
        write.ignore();
        // What nobody needs any more goes by itself.
        all.cmd("EXPIRE").arg(&self.memory).arg(REMEMBERED).ignore();
        self.connection.ask_all(&all).await
    }
}

impl ReadCurrent for Source {
    type Error = AskError;

    /// One that is no string counts as none.
    async fn look(&self, key: &str) -> Result<Option<Bytes>, AskError> {
        let mut command = cmd("MGET");
        command.arg(self.keys.stored(key));
        let (value,): (Option<Bytes>,) = self.connection.ask(&command).await?;
        Ok(value)
    }
}
