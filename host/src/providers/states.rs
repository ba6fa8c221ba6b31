//! What the providers of this host report about their links.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::event::{Event, LinkStatusChanged};
use lattice_core::link::LinkState;
use lattice_core::provider::LinkReport;
use lattice_core::text::clipped_line;
use lattice_core::{ComponentId, HostId, Link, LinkKey};
use lattice_store::StatusReporter;
use parking_lot::Mutex;

use crate::events::Events;

/// How much of a reason is kept, in characters.
pub(super) const REASON: usize = 1000;

/// A state with the reason of a failure.
type Told = (LinkState, Option<String>);

/// Keeps the states of links at the ends that run here, stores them, and tells of changes.
#[derive(Debug)]
pub(crate) struct LinkStates {
    host: HostId,
    reporter: StatusReporter,
    events: Arc<Events>,
    known: Mutex<HashMap<(LinkKey, ComponentId), Told>>,
}

impl LinkStates {
    pub(crate) fn new(host: HostId, reporter: StatusReporter, events: Arc<Events>) -> Self {
        Self {
            host,
            reporter,
            events,
            known: Mutex::default(),
        }
    }

    pub(crate) fn reporter(&self) -> &StatusReporter {
        &self.reporter
    }

    /// Takes in what a provider says about one of its links. What another host's process with
    /// the same id says is that host's business.
    pub(crate) fn reported(&self, endpoint: &ComponentId, report: LinkReport) {
        let LinkReport {
            source_id,
            target,
            name,
            wit_namespace,
            wit_package,
            ..
        } = report;
        if self.host != *report.host_id {
            return;
        }
        let link = Link {
            source_id,
            target,
            name,
            wit_namespace,
            wit_package,
            interfaces: Vec::new(),
            source_config: Vec::new(),
            target_config: Vec::new(),
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status: Vec::new(),
        };
        let reason = report.reason.map(|reason| clipped_line(reason, REASON));
        self.set(&link, endpoint, report.state, reason);
    }

    /// Notes the state of a link at one end.
    pub(crate) fn set(
        &self,
        link: &Link,
        endpoint: &ComponentId,
        state: LinkState,
        reason: Option<String>,
    ) {
        let key = match link.key() {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(provider = endpoint.as_str(), %error, "ignored a link report");
                return;
            }
        };
        let told = (state, reason);
        let before = self
            .known
            .lock()
            .insert((key.clone(), endpoint.clone()), told.clone());
        let (state, reason) = told.clone();
        self.reporter.report(&key, endpoint, state, reason);
        if before.as_ref() != Some(&told) {
            self.tell(link, &key, endpoint, told);
        }
    }

    /// Tells the operator and the lattice of a state that is new.
    fn tell(&self, link: &Link, key: &LinkKey, endpoint: &ComponentId, (state, reason): Told) {
        let provider = endpoint.as_str();
        match state {
            LinkState::Failed => {
                tracing::error!(provider, link = %key, reason, "a provider does not take a link");
            }
            state => tracing::info!(provider, link = %key, %state, "link state"),
        }
        self.events
            .publish(Event::LinkStatusChanged(LinkStatusChanged {
                source_id: link.source_id.clone(),
                target: link.target.clone(),
                name: link.name.clone(),
                wit_namespace: link.wit_namespace.clone(),
                wit_package: link.wit_package.clone(),
                endpoint: provider.to_owned(),
                host_id: self.host.as_str().to_owned(),
                state,
                reason,
            }));
    }

    /// Forgets a link that an end no longer has.
    pub(crate) fn forget(&self, key: &LinkKey, endpoint: &ComponentId) {
        self.known.lock().remove(&(key.clone(), endpoint.clone()));
        self.reporter.forget(key, endpoint);
    }

    /// Forgets all links of a provider that no longer runs here.
    pub(crate) fn forget_endpoint(&self, endpoint: &ComponentId) {
        self.known.lock().retain(|(_, end), _| end != endpoint);
        self.reporter.forget_endpoint(endpoint);
    }
}
