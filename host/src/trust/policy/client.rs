//! Asking: one request, one answer, one deadline.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subject of the policy service"
)]

use std::sync::Arc;

use async_nats::{Client, Request, RequestErrorKind};
use lattice_core::StringMap;
use lattice_core::policy::{
    POLICY_VERSION, PolicyHost, PolicyKind, PolicyRequest, PolicyResponse, PolicySubject,
};
use lattice_rpc::throttle::LogThrottle;

use super::denied::Denied;
use crate::config::PolicyConfig;
use crate::identity::Identity;

#[derive(Debug)]
pub(super) struct PolicyClient {
    config: PolicyConfig,
    nats: Client,
    identity: Arc<Identity>,
    /// Of the lines about answers that name another request.
    mismatches: LogThrottle,
}

impl PolicyClient {
    pub(super) fn new(config: PolicyConfig, nats: Client, identity: Arc<Identity>) -> Self {
        Self {
            config,
            nats,
            identity,
            mismatches: LogThrottle::default(),
        }
    }

    /// The question about `subject`, with an id of its own.
    pub(super) fn request(&self, labels: StringMap, subject: PolicySubject) -> PolicyRequest {
        let kind = match &subject {
            PolicySubject::Component(_) => PolicyKind::StartComponent,
            PolicySubject::Provider(_) => PolicyKind::StartProvider,
            PolicySubject::Invocation(_) => PolicyKind::PerformInvocation,
            PolicySubject::Other(_) => PolicyKind::Unknown,
        };
        PolicyRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            kind,
            version: POLICY_VERSION.to_owned(),
            host: PolicyHost {
                public_key: self.identity.id.as_str().to_owned(),
                lattice: self.identity.lattice.as_str().to_owned(),
                labels,
            },
            request: subject,
        }
    }

    /// Why there is no decision when a question was not asked to its end.
    pub(super) fn not_asked(&self, error: &dyn std::error::Error) -> Denied {
        Denied::NotAsked {
            topic: self.config.topic.as_str().to_owned(),
            why: error.to_string(),
        }
    }

    pub(super) async fn ask(&self, request: &PolicyRequest) -> Result<PolicyResponse, Denied> {
        let topic = || self.config.topic.as_str().to_owned();
        let not_asked = |error: &dyn std::error::Error| self.not_asked(error);
        let payload = serde_json::to_vec(request).map_err(|error| not_asked(&error))?;
        let message = Request::new()
            .payload(payload.into())
            .timeout(Some(self.config.timeout));
        let answer = self.nats.send_request(topic(), message).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Denied::NoService { topic: topic() },
            RequestErrorKind::TimedOut => Denied::TooLate {
                topic: topic(),
                within: self.config.timeout,
            },
            _ => not_asked(&error),
        })?;
        let invalid = |why: String| Denied::Invalid {
            topic: topic(),
            why,
        };
        let response: PolicyResponse =
            serde_json::from_slice(&answer.payload).map_err(|error| invalid(error.to_string()))?;
        // Only who was asked knows where this answer went, so that it counts as in 1.9, which does
        // not compare.
        if response.request_id != request.request_id
            && let Some(untold) = self.mismatches.turn()
        {
            let (asked, named) = (&request.request_id, response.request_id.escape_debug());
            tracing::warn!(asked, %named, untold, "the policy service named another request in its answer");
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::StreamExt as _;
    use lattice_claims::{KeyKind, SigningKey};
    use lattice_core::LatticeName;
    use lattice_core::policy::PolicyComponent;
    use lattice_core::subject::TopicPrefix;
    use lattice_nats_box::NatsBox;

    #[tokio::test]
    async fn an_answer_that_names_another_request_counts() {
        let nats = NatsBox::start().await.unwrap();
        let service = nats.client().await.unwrap();
        let mut asked = service.subscribe("policy").await.unwrap();
        lattice_nats_box::taken_in(&service).await.unwrap();
        let key = Arc::new(SigningKey::generate(KeyKind::Host));
        let identity = Identity::new(&key, None, LatticeName::default()).unwrap();
        let config = PolicyConfig::new(TopicPrefix::new("policy").unwrap());
        let client = nats.client().await.unwrap();
        let client = PolicyClient::new(config, client, Arc::new(identity));
        let about = PolicySubject::Component(PolicyComponent::default());
        let request = client.request(StringMap::new(), about);
        let answer = async {
            let reply = asked.next().await.unwrap().reply.unwrap();
            let answer = r#"{"requestId":"other","permitted":true}"#;
            service.publish(reply, answer.into()).await.unwrap();
        };
        let (said, ()) = tokio::join!(client.ask(&request), answer);
        assert!(said.unwrap().permitted);
    }
}
