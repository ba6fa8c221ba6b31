//! Tests of who asks, and who goes by the answer to another.

#![expect(
    clippy::disallowed_methods,
    reason = "answers hosts as a policy service does"
)]

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use lattice_claims::{KeyKind, SigningKey};
use lattice_core::policy::{PolicyComponent, PolicyRequest};
use lattice_core::subject::TopicPrefix;
use lattice_core::{ComponentId, LatticeName, StringMap};
use lattice_nats_box::NatsBox;
use tokio::time::timeout;

use super::*;

const CALLS: usize = 20;
const SOON: Duration = Duration::from_secs(20);

/// Asks at `policy`, and keeps no decision.
async fn forgetful(nats: &NatsBox) -> Policy {
    let key = Arc::new(SigningKey::generate(KeyKind::Host));
    let identity = Identity::new(&key, None, LatticeName::default()).unwrap();
    let config = PolicyConfig {
        keep: Duration::ZERO,
        timeout: SOON,
        ..PolicyConfig::new(TopicPrefix::new("policy").unwrap())
    };
    Policy {
        cache: Arc::new(Cache::new(config.keep)),
        client: PolicyClient::new(config, nats.client().await.unwrap(), Arc::new(identity)),
        labels: Arc::new(Labels::new(&StringMap::new()).unwrap()),
        _changes: None,
    }
}

fn call() -> PolicyInvocation {
    PolicyInvocation {
        interface: "a:b/c".to_owned(),
        function: "get".to_owned(),
        target: PolicyComponent::default(),
    }
}

#[tokio::test]
async fn calls_that_come_together_share_a_question_also_where_no_decision_is_kept() {
    let nats = NatsBox::start().await.unwrap();
    let service = nats.client().await.unwrap();
    let mut asked = service.subscribe("policy").await.unwrap();
    lattice_nats_box::taken_in(&service).await.unwrap();
    let policy = forgetful(&nats).await;
    let key = CallKey::new(&ComponentId::new("cart").unwrap(), "i", "a:b/c", "get");
    // The first asks at once; the others have come after that, and are decided by one more question.
    let calls = async {
        let calls = (0..CALLS).map(|_| policy.call(&key, call));
        assert_eq!(join_all(calls).await, vec![Ok(()); CALLS]);
        // Whoever comes later has a question of his own.
        assert_eq!(policy.call(&key, call).await, Ok(()));
    };
    let answers = async {
        for _ in 0..3 {
            let message = asked.next().await.unwrap();
            let request: PolicyRequest = serde_json::from_slice(&message.payload).unwrap();
            let answer = serde_json::json!({"requestId": request.request_id, "permitted": true});
            let (reply, answer) = (message.reply.unwrap(), answer.to_string());
            service.publish(reply, answer.into()).await.unwrap();
        }
    };
    let both = async { tokio::join!(calls, answers) };
    timeout(SOON, both).await.unwrap();
}
