//! Decisions that the service takes back or makes anew.

#![expect(
    clippy::disallowed_methods,
    reason = "listens to the subject of changed decisions"
)]

use std::sync::Arc;

use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use lattice_core::HostId;
use lattice_core::event::{Event, PolicyDecisionChanged};
use lattice_core::policy::PolicyResponse;
use lattice_core::subject::TopicPrefix;
use lattice_core::text::clipped;
use lattice_rpc::throttle::LogThrottle;
use tokio_util::task::AbortOnDropHandle;

use super::cache::Cache;
use crate::events::Events;

/// How much of an error is told.
const LONGEST: usize = 256;

/// Why a host with a policy service did not start.
#[derive(Debug, thiserror::Error)]
#[error("could not listen to changed decisions of the policy service at `{topic}`")]
pub struct StartPolicyError {
    topic: String,
    source: async_nats::SubscribeError,
}

/// Takes over changes until what this returns is dropped.
///
/// Changes that are told while NATS is away are lost; decisions expire for that reason, too.
pub(super) async fn follow(
    nats: &Client,
    topic: &TopicPrefix,
    cache: Arc<Cache>,
    host: HostId,
    events: Arc<Events>,
) -> Result<AbortOnDropHandle<()>, StartPolicyError> {
    let topic = topic.as_str().to_owned();
    let changes = nats.subscribe(topic.clone()).await;
    let changes = changes.map_err(|source| StartPolicyError { topic, source })?;
    let task = tokio::spawn(take_over(changes, cache, host, events));
    Ok(AbortOnDropHandle::new(task))
}

async fn take_over(mut changes: Subscriber, cache: Arc<Cache>, host: HostId, events: Arc<Events>) {
    let unreadable = LogThrottle::default();
    while let Some(message) = changes.next().await {
        let Some(response) = read(&message.payload, &unreadable) else {
            continue;
        };
        // Hosts share the subject; most changes are about requests of others.
        let Some(asked) = cache.change(response.clone()) else {
            continue;
        };
        let (kind, request, permitted) = (asked.kind.as_str(), asked.id, response.permitted);
        let why = response.message.as_deref();
        tracing::info!(
            kind,
            request,
            permitted,
            why,
            "the policy service changed a decision"
        );
        let told = PolicyDecisionChanged {
            host_id: host.as_str().to_owned(),
            request_id: request,
            kind: asked.kind,
            permitted,
            message: response.message,
        };
        events.publish(Event::PolicyDecisionChanged(told));
    }
}

fn read(payload: &[u8], unreadable: &LogThrottle) -> Option<PolicyResponse> {
    let read = serde_json::from_slice(payload).inspect_err(|error| {
        // Whoever may publish there can send as many as they like.
        if let Some(untold) = unreadable.turn() {
            // It may repeat all that was sent.
            let error = clipped(error, LONGEST);
            tracing::warn!(
                error,
                untold,
                "ignored a changed decision that is not readable"
            );
        }
    });
    read.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::logged::lines;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_what_is_no_decision_fills_no_log() {
        let unreadable = LogThrottle::default();
        let written = lines(|| {
            for _ in 0..1000 {
                assert!(read(b"no decision", &unreadable).is_none());
            }
        });
        assert_eq!(written, 1);
        assert!(read(br#"{"requestId":"1","permitted":true}"#, &unreadable).is_some());
    }
}
