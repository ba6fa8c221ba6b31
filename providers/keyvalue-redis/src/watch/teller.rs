//! Calling the component that watches.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::watcher;
use lattice_provider_sdk::{CallContext, Client, ProviderLink, Session, call_error};
use lattice_rpc::CallError;

use crate::connection::{AskError, Connection};
use crate::watch::events::{Change, Watched};

/// Hosts of 1.9 take numbers only.
const BUCKET: &str = "0";

/// What a value was, as far as telling it from another one needs.
type Seen = Option<u64>;

/// Tells one component, and remembers what it was told.
#[derive(Debug)]
pub(crate) struct Teller {
    client: Client,
    link_name: String,
    link: String,
    seen: HashMap<String, Seen>,
    hasher: RandomState,
}

impl Teller {
    pub(crate) fn new(session: &Session, link: &ProviderLink) -> Self {
        Self {
            client: session.client_through(link),
            link_name: link.name.to_string(),
            link: link.to_string(),
            seen: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// What the link is called in logs.
    pub(crate) fn name(&self) -> &str {
        &self.link
    }

    /// Takes the keys as they are now as known.
    pub(crate) async fn remember(
        &mut self,
        connection: &Connection,
        watched: &Watched,
    ) -> Result<(), AskError> {
        for key in watched.keys() {
            let value = read(connection, key).await?;
            self.seen.insert(key.to_owned(), self.seen(value.as_ref()));
        }
        Ok(())
    }

    /// Tells of a change that Redis told of; `false` when nobody was reached.
    pub(crate) async fn tell(
        &mut self,
        connection: &Connection,
        watched: &Watched,
        key: &str,
        change: Change,
    ) -> Result<bool, AskError> {
        let wanted = watched.wanted(key);
        match change {
            Change::Set if wanted.set => match read(connection, key).await? {
                Some(value) => Ok(self.call_set(key, &value).await),
                // It has gone since, which is told next.
                None => Ok(true),
            },
            Change::Delete if wanted.delete => Ok(self.call_delete(key).await),
            Change::Set | Change::Delete => Ok(true),
        }
    }

    /// Tells of keys that are not as the component was told; `false` when it was not reached.
    pub(crate) async fn catch_up(
        &mut self,
        connection: &Connection,
        watched: &Watched,
    ) -> Result<bool, AskError> {
        let mut reached = true;
        for key in watched.keys() {
            let value = read(connection, key).await?;
            let now = self.seen(value.as_ref());
            if self.seen.get(key) == Some(&now) {
                continue;
            }
            let wanted = watched.wanted(key);
            reached &= match value {
                Some(value) if wanted.set => self.call_set(key, &value).await,
                None if wanted.delete => self.call_delete(key).await,
                _ => {
                    self.seen.insert(key.to_owned(), now);
                    true
                }
            };
        }
        Ok(reached)
    }

    async fn call_set(&mut self, key: &str, value: &Bytes) -> bool {
        let called = watcher::on_set(&self.client, self.cx(), BUCKET, key, value).await;
        self.note(key, self.seen(Some(value)), called.map_err(call_error))
    }

    async fn call_delete(&mut self, key: &str) -> bool {
        let called = watcher::on_delete(&self.client, self.cx(), BUCKET, key).await;
        self.note(key, None, called.map_err(call_error))
    }

    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    /// Whether the component was reached. One that fails has been told: to tell it again and again
    /// would not help.
    fn note(&mut self, key: &str, seen: Seen, called: Result<(), CallError>) -> bool {
        if let Err(error) = called {
            tracing::warn!(link = self.link, key, %error, "could not tell of a change");
            if error.never_started() {
                return false;
            }
        }
        self.seen.insert(key.to_owned(), seen);
        true
    }

    fn seen(&self, value: Option<&Bytes>) -> Seen {
        value.map(|value| self.hasher.hash_one(value))
    }
}

/// The value of a key; one that is no string counts as none.
async fn read(connection: &Connection, key: &str) -> Result<Option<Bytes>, AskError> {
    let mut command = redis::cmd("MGET");
    command.arg(key);
    let (value,): (Option<Bytes>,) = connection.ask(&command).await?;
    Ok(value)
}
