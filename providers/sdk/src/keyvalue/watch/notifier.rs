//! Calling the component that watches.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;
use lattice_rpc::wrpc::{CallContext, Client};
use lattice_rpc::{CallError, Reached};
use tokio::sync::mpsc;

use super::{Change, Watched};
use crate::error::call_error;
use crate::keyvalue::watcher;
use crate::link::ProviderLink;
use crate::session::Session;
use crate::settings::Settings;

/// The digest of what is not there.
const ABSENT: &str = "absent";
/// The digest of a value that nobody has looked at.
const PRESENT: &str = "present";

/// Tells one component, and remembers what it was told.
#[derive(Debug)]
pub struct ChangeNotifier {
    client: Client,
    link_name: String,
    link: String,
    bucket: String,
    watched: Watched,
    seen: HashMap<String, String>,
    note: Option<mpsc::Sender<(String, String)>>,
}

impl ChangeNotifier {
    /// Tells the component at the other end of a link of keys in the bucket that it knows as
    /// `bucket`, or as the `watch_bucket` of the link: hosts of 1.9 take none but numbers, and pass on no
    /// change of a bucket with another name.
    #[must_use]
    pub fn new(session: &Session, link: &ProviderLink, bucket: &str, watched: Watched) -> Self {
        let settings = Settings::of(session, link);
        Self {
            client: session.client_through(link),
            link_name: link.name.to_string(),
            link: link.to_string(),
            bucket: settings.text("watch_bucket").unwrap_or(bucket).to_owned(),
            watched,
            seen: HashMap::new(),
            note: None,
        }
    }

    /// One that tells the component at the other end of `client`.
    #[cfg(test)]
    pub(super) fn of(client: Client, watched: Watched) -> Self {
        Self {
            client,
            link_name: "default".to_owned(),
            link: "a link".to_owned(),
            bucket: "default".to_owned(),
            watched,
            seen: HashMap::new(),
            note: None,
        }
    }

    /// Passes on which key was told with which [digest](Self::digest), to be written down. What
    /// does not fit is not, so that it may be told again one day.
    #[must_use]
    pub fn noting(self, note: mpsc::Sender<(String, String)>) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }

    /// What the link is called in logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.link
    }

    /// The watched keys.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// What tells a value from another one. Another release may make another text of the same
    /// value, which is told once too often then.
    #[must_use]
    pub fn digest(value: Option<&Bytes>) -> String {
        let Some(value) = value else {
            return ABSENT.to_owned();
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(value);
        format!("{:016x}", hasher.finish())
    }

    /// Takes a key as known, with the [digest](Self::digest) of its value.
    pub fn know(&mut self, key: &str, digest: String) {
        self.seen.insert(key.to_owned(), digest);
    }

    /// The digest of the value of which the component was last told.
    #[must_use]
    pub fn known(&self, key: &str) -> Option<&str> {
        self.seen.get(key).map(String::as_str)
    }

    /// Tells of a change, if the component wants to know; `false` when nobody was reached. A
    /// change to an unknown value is none.
    pub async fn tell(&mut self, key: &str, change: &Change) -> bool {
        let wanted = self.watched.wanted(key);
        match change {
            Change::Set(Some(value)) if wanted.set => self.call_set(key, value).await,
            Change::Delete if wanted.delete => self.call_delete(key).await,
            // A deletion is news of what is there, and a write of what is not, wanted or not.
            Change::Set(_) if wanted.delete && self.is_absent(key) => {
                self.take_down(key, PRESENT.to_owned());
                true
            }
            Change::Delete if wanted.set && !self.is_absent(key) => {
                self.take_down(key, ABSENT.to_owned());
                true
            }
            Change::Set(_) | Change::Delete => true,
        }
    }

    fn is_absent(&self, key: &str) -> bool {
        self.known(key).is_none_or(|digest| digest == ABSENT)
    }

    /// Tells what a key has become, if it is not as the component was told; `false` when it was
    /// not reached.
    pub async fn tell_what_became(&mut self, key: &str, value: Option<Bytes>) -> bool {
        let now = Self::digest(value.as_ref());
        if self.known(key) == Some(&*now) {
            return true;
        }
        let wanted = self.watched.wanted(key);
        match value {
            Some(value) if wanted.set => self.call_set(key, &value).await,
            None if wanted.delete => self.call_delete(key).await,
            _ => {
                self.take_down(key, now);
                true
            }
        }
    }

    async fn call_set(&mut self, key: &str, value: &Bytes) -> bool {
        let called = watcher::on_set(&self.client, self.cx(), &self.bucket, key, value).await;
        self.note(key, Some(value), called.map_err(call_error))
    }

    async fn call_delete(&mut self, key: &str) -> bool {
        let called = watcher::on_delete(&self.client, self.cx(), &self.bucket, key).await;
        self.note(key, None, called.map_err(call_error))
    }

    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    /// Whether the component was reached. One that fails has been told: to tell it again and again
    /// would not help.
    fn note(&mut self, key: &str, value: Option<&Bytes>, called: Result<(), CallError>) -> bool {
        if let Err(error) = called {
            tracing::warn!(link = self.link, key, %error, "could not tell of a change");
            if error.reached() == Reached::Never {
                return false;
            }
        }
        self.take_down(key, Self::digest(value));
        true
    }

    /// Remembers what a key has become, here and where it is written down.
    fn take_down(&mut self, key: &str, digest: String) {
        if let Some(note) = &self.note {
            // What is lost is told again, which is better than to wait.
            let _full = note.try_send((key.to_owned(), digest.clone()));
        }
        self.know(key, digest);
    }
}
