//! The links of a queue provider, at either end.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Handlers, Linked, PushSettings, Queues, serve};
use crate::backends::Backends;
use crate::error::{LinkError, StartError};
use crate::link::{LinkKey, LinkRole, ProviderLink};
use crate::session::Session;
use crate::settings::Settings;

/// The links of a queue provider: those through which components send and receive, and those whose
/// handlers are called.
#[derive(Debug)]
pub struct QueueLinks<B> {
    backends: Arc<Backends<Linked<Arc<B>>>>,
    handlers: Handlers,
    made: Mutex<HashMap<LinkKey, Arc<B>>>,
}

/// A link that says nothing wrong, and has not begun.
#[derive(Debug)]
pub struct NewLink<B> {
    queues: Arc<B>,
    linked: Linked<Arc<B>>,
    push: Option<PushSettings>,
}

impl<B> NewLink<B> {
    /// The queues behind it, which can be looked at before it begins.
    #[must_use]
    pub fn queues(&self) -> &B {
        &self.queues
    }
}

impl<B> NewLink<B>
where
    Arc<B>: Queues,
{
    /// Reads what the link says, beyond what its backend knows of.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value that cannot be used.
    pub fn read(link: &ProviderLink, settings: &Settings, queues: B) -> Result<Self, LinkError> {
        let queues = Arc::new(queues);
        let push = match link.role {
            LinkRole::Target => None,
            LinkRole::Source => Some(PushSettings::read(settings)?),
        };
        Ok(Self {
            linked: Linked::new(link, settings, Arc::clone(&queues))?,
            queues,
            push,
        })
    }
}

impl<B: Send + Sync + 'static> QueueLinks<B>
where
    Arc<B>: Queues,
{
    /// Serves components, of which none has a link yet.
    ///
    /// # Errors
    ///
    /// As [`serve`].
    pub async fn serve(session: &Session) -> Result<Self, StartError> {
        let backends = Arc::new(Backends::new());
        serve(session, Arc::clone(&backends)).await?;
        Ok(Self {
            backends,
            handlers: Handlers::new(),
            made: Mutex::default(),
        })
    }

    /// Begins a link.
    pub fn put(&self, session: &Session, link: &ProviderLink, new: NewLink<B>) {
        match new.push {
            None => self.backends.put(link, Arc::new(new.linked)),
            Some(push) => self.handlers.put(session, link, new.linked, push),
        }
        self.made.lock().insert(link.key(), new.queues);
    }

    /// Ends a link.
    pub async fn delete(&self, link: &ProviderLink) {
        self.made.lock().remove(&link.key());
        match link.role {
            LinkRole::Target => drop(self.backends.delete(link)),
            LinkRole::Source => self.handlers.delete(link).await,
        }
    }

    /// The queues behind a link that was put.
    #[must_use]
    pub fn of(&self, link: &ProviderLink) -> Option<Arc<B>> {
        self.made.lock().get(&link.key()).cloned()
    }

    /// Has no more handlers called, and waits for those at work until `until`.
    pub async fn end(&self, until: Instant) {
        self.handlers.end(until).await;
    }
}
