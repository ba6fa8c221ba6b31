//! The policy service: asked before a component or provider starts and before a component is
//! called. Without an answer there is no leave.

mod cache;
mod changes;
mod client;
mod denied;
mod question;

use std::sync::Arc;

use async_nats::Client;
use lattice_core::policy::{PolicyInvocation, PolicySubject};
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::config::PolicyConfig;
use crate::events::Events;
use crate::identity::Identity;
use crate::labels::Labels;
use cache::{Cache, Decision, Entry};
pub(crate) use changes::StartPolicyError;
use client::PolicyClient;
pub(crate) use denied::Denied;
pub(crate) use question::{CallKey, claims_of};

/// Asks a policy service and remembers what it said.
///
/// A decision holds for a while, until a label of the host changes, or until the service takes it
/// back; several calls that need the same one share a question. That there was no answer is
/// remembered for a moment, so that a service that is gone does not cost every call its timeout.
#[derive(Debug)]
pub(crate) struct Policy {
    client: Arc<PolicyClient>,
    cache: Arc<Cache>,
    labels: Arc<Labels>,
    _changes: Option<AbortOnDropHandle<()>>,
}

impl Policy {
    /// Listens to changes from now on.
    pub(crate) async fn start(
        config: PolicyConfig,
        nats: Client,
        identity: Arc<Identity>,
        labels: Arc<Labels>,
        events: Arc<Events>,
    ) -> Result<Self, StartPolicyError> {
        let cache = Arc::new(Cache::new(config.keep));
        let changes = match &config.changes_topic {
            None => None,
            Some(topic) => {
                let host = identity.id.clone();
                Some(changes::follow(&nats, topic, Arc::clone(&cache), host, events).await?)
            }
        };
        Ok(Self {
            client: Arc::new(PolicyClient::new(config, nats, identity)),
            cache,
            labels,
            _changes: changes,
        })
    }

    /// Whether a component or provider may start.
    pub(crate) async fn start_of(&self, subject: PolicySubject) -> Result<(), Denied> {
        let key = question::start_key(&subject);
        self.decide(&key, || subject).await
    }

    /// Whether a call may be made, if that is known without asking.
    pub(crate) fn known(&self, key: &CallKey) -> Option<Result<(), Denied>> {
        let entry = self.cache.find(key.as_arc())?;
        let decision = entry.decision(self.labels.changes())?;
        Some(decision.outcome())
    }

    /// Whether a call may be made.
    pub(crate) async fn call(
        &self,
        key: &CallKey,
        call: impl FnOnce() -> PolicyInvocation,
    ) -> Result<(), Denied> {
        let subject = || PolicySubject::Invocation(call());
        self.decide(key.as_arc(), subject).await
    }

    /// Forgets what was said about calls of a component, which is about to be another.
    pub(crate) fn forget_calls(&self, component: &str) {
        self.cache.forget(&question::calls_of(component));
    }

    async fn decide(
        &self,
        key: &Arc<str>,
        subject: impl FnOnce() -> PolicySubject,
    ) -> Result<(), Denied> {
        let entry = self.cache.entry(key);
        if let Some(decision) = entry.decision(self.labels.changes()) {
            return decision.outcome();
        }
        // One asks, within the timeout of the service; the others wait for what it is told. Where decisions
        // are not kept, it counts for those who had come when it asked, who would else ask one by one.
        let asked = entry.asked();
        let asking = Arc::clone(&entry.asking).lock_owned().await;
        let labels = self.labels.changes();
        if let Some(decision) = entry.decision_since(asked, labels) {
            return decision.outcome();
        }
        let question = self.ask(entry, labels, subject(), asking);
        // Nobody who comes later could go by the answer: it must hold nobody up.
        if self.cache.keep().is_zero() {
            return question.await;
        }
        // A caller that leaves does not take the question along: what is answered counts for those who
        // come after it, however little time each of them has. It ends with the timeout of the service.
        let decided = tokio::spawn(question.in_current_span()).await;
        decided.unwrap_or_else(|error| Err(self.client.not_asked(&error)))
    }

    /// Asks, which holds who else needs the decision up until the end.
    fn ask(
        &self,
        entry: Arc<Entry>,
        labels: u64,
        subject: PolicySubject,
        asking: OwnedMutexGuard<()>,
    ) -> impl Future<Output = Result<(), Denied>> + Send + use<> {
        let request = self.client.request(self.labels.all(), subject);
        self.cache.asks(&entry, &request, labels);
        let (client, keep) = (Arc::clone(&self.client), self.cache.keep());
        async move {
            let _asking = asking;
            let decision = match client.ask(&request).await {
                Ok(response) => Decision::said(response, keep, labels),
                Err(denied) => {
                    tracing::warn!(
                        kind = request.kind.as_str(),
                        request = request.request_id,
                        "denied without an answer of the policy service: {denied}"
                    );
                    Decision::unanswered(denied, labels)
                }
            };
            entry.answered(&request.request_id, decision).outcome()
        }
    }
}

#[cfg(test)]
mod tests;
