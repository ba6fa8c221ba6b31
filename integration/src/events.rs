//! Every event of a lattice, as it was published.

#![expect(clippy::disallowed_methods, reason = "reads events as any client may")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

/// One event: its short name and the whole CloudEvent.
#[derive(Debug, Clone)]
pub struct Event {
    /// The last token of the subject, such as `component_scaled`.
    pub name: String,
    /// The CloudEvent.
    pub body: Value,
}

impl Event {
    /// A field of the event's data, as text; empty when it is not there.
    pub fn data(&self, field: &str) -> &str {
        self.body["data"][field].as_str().unwrap_or_default()
    }
}

/// The events of one lattice since the log was opened.
#[derive(Debug, Clone)]
pub struct EventLog {
    events: Arc<Mutex<Vec<Event>>>,
    more: Arc<Notify>,
}

impl EventLog {
    /// Subscribes all events of `lattice`.
    ///
    /// # Errors
    ///
    /// Fails when NATS refuses the subscription.
    pub async fn open(client: &async_nats::Client, lattice: &str) -> Result<Self> {
        let lattice = lattice.parse()?;
        let subject = lattice_core::subject::event::all_events(&lattice);
        let mut incoming = client.subscribe(subject).await?;
        let log = Self {
            events: Arc::default(),
            more: Arc::default(),
        };
        let writer = log.clone();
        // Ends with the connection, which the lattice in the box owns.
        tokio::spawn(async move {
            while let Some(message) = incoming.next().await {
                let name = message
                    .subject
                    .rsplit('.')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let body = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
                writer.events.lock().push(Event { name, body });
                writer.more.notify_waiters();
            }
        });
        Ok(log)
    }

    /// All events so far, in order.
    pub fn all(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// How many events there are; a mark for [`EventLog::wait_after`].
    pub fn len(&self) -> usize {
        self.events.lock().len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for an event, also one that has passed.
    ///
    /// # Errors
    ///
    /// Fails with all names so far when it does not come in time.
    pub async fn wait(&self, matches: impl Fn(&Event) -> bool, within: Duration) -> Result<Event> {
        self.wait_after(0, matches, within).await
    }

    /// Waits for an event that came after the first `mark` ones.
    ///
    /// # Errors
    ///
    /// As [`EventLog::wait`].
    pub async fn wait_after(
        &self,
        mark: usize,
        matches: impl Fn(&Event) -> bool,
        within: Duration,
    ) -> Result<Event> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if let Some(found) = self
                .events
                .lock()
                .iter()
                .skip(mark)
                .find(|event| matches(event))
            {
                return Ok(found.clone());
            }
            if tokio::time::timeout_at(until, more).await.is_err() {
                let seen = self.all();
                bail!("the event did not come within {within:?}; seen: {seen:#?}");
            }
        }
    }
}
