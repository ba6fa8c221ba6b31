//! Hosts of 1.9 that run a component too, to which its queue groups may be left.
//!
//! They do not say whether they have room, but what they run. So when calls have waited for a
//! while here and none of our hosts has room, all hosts are asked who they are (`host.ping`), and
//! those whose version is not ours for their inventories (`host.get`). One that runs the same
//! image under the same id serves all functions that are served here, apart from those that only we
//! know, whose components never leave; of another image that is not known.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client as NatsClient;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use lattice_control::{Client, ClientConfig, ClientError, GatherOptions};
use lattice_core::host::{Host, HostInventory, is_ours};
use lattice_core::subject::TopicPrefix;
use lattice_core::{Backoff, ComponentId, HostId, ImageRef, LatticeName};
use lattice_rpc::Others;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long the hosts may take for an answer, so that two of them come in the time of one question.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// What is read of the answers to a ping: how many, and how many bytes together.
const MOST_ANSWERS: usize = 4096;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How many hosts of 1.9 are kept in mind, and how many are asked at the same time.
const MOST_HOSTS: usize = 64;
const AT_ONCE: usize = 8;

/// The least time between two pings of this host, whatever number of components wait; it grows
/// while no host of 1.9 is found, so that lattices without them are left in peace.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Knows the hosts of 1.9 in the lattice, for all components of this host.
#[derive(Debug)]
pub(crate) struct OldHosts {
    client: Client,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    hosts: Vec<HostId>,
    /// When they may be looked for again.
    next: Instant,
    backoff: Backoff,
}

impl Known {
    fn new() -> Self {
        Self {
            hosts: Vec::new(),
            next: Instant::now(),
            backoff: Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Whether it is time to look for hosts; it is not for whoever asks next.
    fn begin_to_look(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + self.backoff.delay();
        true
    }

    /// Takes over which of those that have answered are of 1.9.
    fn found(&mut self, answers: Vec<Host>) {
        self.hosts.clear();
        for host in answers {
            let is_old = !host.version.as_deref().is_some_and(is_ours);
            if let Ok(id) = HostId::new(host.id)
                && is_old
                && self.hosts.len() < MOST_HOSTS
                && !self.hosts.contains(&id)
            {
                self.hosts.push(id);
            }
        }
        if !self.hosts.is_empty() {
            self.backoff.reset();
        }
    }
}

impl OldHosts {
    /// Asks over a connection for control.
    pub(crate) fn new(nats: NatsClient, lattice: LatticeName, topic_prefix: TopicPrefix) -> Self {
        let config = ClientConfig {
            topic_prefix,
            timeout: ANSWER_WITHIN,
            ..ClientConfig::new(lattice)
        };
        Self {
            client: Client::new(nats, config),
            known: Mutex::new(Known::new()),
        }
    }

    /// One that runs the component: of those that are known, or else of those there are now.
    async fn find(&self, id: &ComponentId, image: &ImageRef) -> Option<HostId> {
        match self.find_known(id, image).await {
            None if self.look().await => self.find_known(id, image).await,
            found => found,
        }
    }

    async fn find_known(&self, id: &ComponentId, image: &ImageRef) -> Option<HostId> {
        let known = self.known.lock().hosts.clone();
        let asked = stream::iter(known)
            .map(async |host: HostId| self.runs(&host, id, image).await.then_some(host));
        let answers = asked.buffer_unordered(AT_ONCE);
        let mut found = std::pin::pin!(answers.filter_map(std::future::ready));
        found.next().await
    }

    /// Looks for them, unless that was done just before; whether any are known then.
    async fn look(&self) -> bool {
        if !self.known.lock().begin_to_look() {
            return false;
        }
        let options = GatherOptions {
            timeout: Some(ANSWER_WITHIN),
            max_replies: Some(MOST_ANSWERS),
            max_bytes: Some(MOST_BYTES),
            ..GatherOptions::default()
        };
        let answers = self.client.ping(options).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "could not look for hosts of 1.9");
            Vec::new()
        });
        let mut known = self.known.lock();
        known.found(answers);
        !known.hosts.is_empty()
    }

    /// Whether a host still runs the component.
    async fn runs(&self, host: &HostId, id: &ComponentId, image: &ImageRef) -> bool {
        match self.client.inventory(host).await {
            Ok(inventory) => runs(&inventory, id, image),
            Err(error) => {
                tracing::debug!(%error, host = host.as_str(), "a host does not say what it runs");
                if matches!(error, ClientError::NoResponders { .. }) {
                    self.known.lock().hosts.retain(|known| known != host);
                }
                false
            }
        }
    }
}

fn runs(inventory: &HostInventory, id: &ComponentId, image: &ImageRef) -> bool {
    !is_ours(&inventory.version)
        && inventory.components.iter().any(|component| {
            component.id == id.as_str()
                && component.image_ref == image.as_str()
                && component.max_instances > 0
        })
}

/// The hosts of 1.9 beside this one that run one component.
#[derive(Debug)]
pub(crate) struct Beside {
    hosts: Arc<OldHosts>,
    id: ComponentId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is served here; nothing while that changes.
    image: Option<ImageRef>,
    /// The host that was found last, which is asked first.
    last: Option<HostId>,
}

impl Beside {
    pub(crate) fn new(hosts: Arc<OldHosts>, id: ComponentId) -> Self {
        Self {
            hosts,
            id,
            state: Mutex::default(),
        }
    }

    /// Says which image is served here from now on, and returns the one before.
    pub(crate) fn serve_image(&self, image: Option<ImageRef>) -> Option<ImageRef> {
        std::mem::replace(&mut self.state.lock().image, image)
    }

    /// Has nobody count as one who serves the same, until what is returned says what is served then.
    /// Where it is dropped before, that is what was served.
    pub(crate) fn change(&self) -> Changing<'_> {
        Changing {
            image: self.serve_image(None),
            beside: self,
        }
    }

    async fn is_any(&self) -> bool {
        let (image, last) = {
            let state = self.state.lock();
            (state.image.clone(), state.last.clone())
        };
        let Some(image) = image else {
            return false;
        };
        let found = match last {
            Some(host) if self.hosts.runs(&host, &self.id, &image).await => Some(host),
            _ => self.hosts.find(&self.id, &image).await,
        };
        let mut state = self.state.lock();
        state.last = found;
        // Another one may be served meanwhile.
        state.last.is_some() && state.image.as_ref() == Some(&image)
    }
}

/// The time in which what is served changes.
#[derive(Debug)]
pub(crate) struct Changing<'a> {
    beside: &'a Beside,
    /// What is served after it.
    image: Option<ImageRef>,
}

impl Changing<'_> {
    /// Says which image is served from now on.
    pub(crate) fn done(mut self, image: Option<ImageRef>) {
        self.image = image;
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.beside.serve_image(self.image.take());
    }
}

impl Others for Beside {
    fn serve(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.is_any())
    }
}

#[cfg(test)]
mod tests;
