//! A server, connected to again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_provider_sdk::messaging::MessagingError;
use lattice_provider_sdk::{Backoff, chain};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::line::{ConnectError, Line};
use crate::settings::ServerSettings;

/// How long the server may take to answer when it is asked how it does.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the connection is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first and the longest pause before it is made again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The line that is there now, or why there is none.
type Now = Result<Arc<Line>, String>;

/// A server, connected to again and again.
pub(crate) struct Rabbit {
    pub(crate) settings: ServerSettings,
    now: watch::Receiver<Now>,
    next: AtomicU64,
    _keeper: AbortOnDropHandle<()>,
}

impl Rabbit {
    /// Connects as `name`.
    pub(crate) async fn connect(
        settings: &ServerSettings,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let line = Arc::new(Line::open(settings, name).await?);
        let (sender, now) = watch::channel(Ok(Arc::clone(&line)));
        let keeper = keep(settings.clone(), name.to_owned(), line, sender);
        Ok(Self {
            settings: settings.clone(),
            now,
            next: AtomicU64::new(1),
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)),
        })
    }

    /// The line that is there now.
    pub(crate) fn line(&self) -> Result<Arc<Line>, MessagingError> {
        let now = self.now.borrow();
        let line = now.as_ref().ok().filter(|line| line.is_up());
        line.map(Arc::clone)
            .ok_or(MessagingError::Disconnected("RabbitMQ"))
    }

    /// What is wrong with the server, if it does not answer.
    pub(crate) async fn trouble(&self) -> Option<String> {
        let line = match &*self.now.borrow() {
            Err(why) => return Some(why.clone()),
            Ok(line) => Arc::clone(line),
        };
        if !line.is_up() {
            return Some("lost the connection to RabbitMQ".into());
        }
        match tokio::time::timeout(CHECK_WITHIN, line.sync()).await {
            Ok(answer) => answer.err().map(|error| chain(&error)),
            Err(_) => Some(format!("RabbitMQ did not answer within {CHECK_WITHIN:?}")),
        }
    }

    /// Waits for a line.
    pub(crate) async fn next_line(&self) -> Arc<Line> {
        let mut now = self.now.clone();
        let is_up = |now: &Now| now.as_ref().is_ok_and(|line| line.is_up());
        let line = match now.wait_for(is_up).await {
            Ok(now) => now.as_ref().ok().map(Arc::clone),
            Err(_) => None,
        };
        match line {
            Some(line) => line,
            // The keeper lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// A number that no other request has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Connects again when the line is lost; never ends.
async fn keep(settings: ServerSettings, name: String, first: Arc<Line>, now: watch::Sender<Now>) {
    let mut line = first;
    loop {
        while line.is_up() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::warn!("lost the connection to RabbitMQ, connecting again");
        now.send_modify(|now| *now = Err("lost the connection to RabbitMQ".into()));
        // One whose channel alone was closed is closed as a whole.
        drop(line);
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        line = loop {
            match Line::open(&settings, &name).await {
                Ok(line) => break Arc::new(line),
                Err(error) => {
                    now.send_modify(|now| *now = Err(chain(&error)));
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        };
        now.send_modify(|now| *now = Ok(Arc::clone(&line)));
    }
}
