//! Telling components about keys that change.
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` names keys; the component at its
//! other end is told when they are set or deleted, whoever did it. See [`settings`](crate::settings)
//! for what the link says.
//!
//! Changes of one link are told one after the other, in their order, with the value that the key
//! has by then. Redis does not keep changes for those who are not there: when the connection was
//! lost, or more changed than the component could take, the component is told what each key has
//! become, so that it misses steps but not where they led. Nothing is remembered when the provider
//! itself ends.

mod events;
mod feed;
mod teller;

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::{Backoff, Shared};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
pub(crate) use events::Watched;
use feed::Feed;
pub(crate) use feed::FeedError;
pub(crate) use teller::Teller;

/// The first and the longest pause before the subscription is made again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Watches the keys of one link until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Subscribes, and tells of every change from now on.
    pub(crate) async fn start(
        connection: Shared<Connection>,
        watched: Watched,
        mut teller: Teller,
    ) -> Result<Self, FeedError> {
        let watched = Arc::new(watched);
        let mut feed = Feed::open(&connection, &watched).await?;
        teller.remember(&connection, &watched).await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let watch = async move {
            loop {
                feed.run(&connection, &watched, &mut teller).await;
                tracing::warn!(
                    link = teller.name(),
                    "lost the subscription to watched keys"
                );
                feed = reopen(&connection, &watched).await;
                feed.catch_up();
            }
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = watch => {}
            }
        });
        Ok(Self {
            stop,
            task: Some(task),
        })
    }

    /// Ends it; a component that is being told is not any more.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && task.await.is_err()
        {
            tracing::error!("the task of a watched link panicked");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn reopen(connection: &Connection, watched: &Watched) -> Feed {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        tokio::time::sleep(backoff.delay()).await;
        match Feed::open(connection, watched).await {
            Ok(feed) => return feed,
            Err(error) => tracing::debug!(%error, "could not subscribe again"),
        }
    }
}
