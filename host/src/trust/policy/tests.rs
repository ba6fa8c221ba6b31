//! Tests of who asks, and who goes by the answer to another.

#![expect(
    clippy::disallowed_methods,
    reason = "answers hosts as a policy service does"
)]

use std::time::Duration;

use async_nats::Message;
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use lattice_claims::{KeyKind, SigningKey};
use lattice_core::policy::{PolicyComponent, PolicyRequest};
use lattice_core::subject::TopicPrefix;
use lattice_core::{ComponentId, LatticeName, StringMap};
use lattice_nats_box::NatsBox;
use tokio::time::timeout;

use super::*;

const CALLS: usize = 20;
const SOON: Duration = Duration::from_secs(20);

/// Asks at `policy`, and keeps decisions for a while.
async fn policy(nats: &NatsBox, keep: Duration) -> Policy {
    let key = Arc::new(SigningKey::generate(KeyKind::Host));
    let identity = Identity::new(&key, None, LatticeName::default()).unwrap();
    let config = PolicyConfig {
        keep,
        timeout: SOON,
        ..PolicyConfig::new(TopicPrefix::new("policy").unwrap())
    };
    Policy {
        cache: Arc::new(Cache::new(config.keep)),
        client: Arc::new(PolicyClient::new(
            config,
            nats.client().await.unwrap(),
            Arc::new(identity),
        )),
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

/// Answers a question of a host.
async fn permit(service: &Client, question: Message) {
    let request: PolicyRequest = serde_json::from_slice(&question.payload).unwrap();
    let answer = serde_json::json!({"requestId": request.request_id, "permitted": true});
    let (reply, answer) = (question.reply.unwrap(), answer.to_string());
    service.publish(reply, answer.into()).await.unwrap();
}

#[tokio::test]
async fn calls_that_come_together_share_a_question_also_where_no_decision_is_kept() {
    let nats = NatsBox::start().await.unwrap();
    let service = nats.client().await.unwrap();
    let mut asked = service.subscribe("policy").await.unwrap();
    lattice_nats_box::taken_in(&service).await.unwrap();
    let policy = policy(&nats, Duration::ZERO).await;
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
            permit(&service, asked.next().await.unwrap()).await;
        }
    };
    let both = async { tokio::join!(calls, answers) };
    timeout(SOON, both).await.unwrap();
}

#[tokio::test]
async fn a_question_whose_caller_has_left_is_answered_for_those_who_come_later() {
    let nats = NatsBox::start().await.unwrap();
    let service = nats.client().await.unwrap();
    let mut asked = service.subscribe("policy").await.unwrap();
    lattice_nats_box::taken_in(&service).await.unwrap();
    let policy = policy(&nats, SOON).await;
    let key = CallKey::new(&ComponentId::new("cart").unwrap(), "i", "a:b/c", "get");
    let question = tokio::select! {
        _ = policy.call(&key, call) => panic!("nobody has answered"),
        question = asked.next() => question.unwrap(),
    };
    permit(&service, question).await;
    let decided = timeout(SOON / 2, policy.call(&key, call)).await;
    assert_eq!(decided.unwrap(), Ok(()));
    // There was one question for both.
    lattice_nats_box::taken_in(&service).await.unwrap();
    assert!(asked.next().now_or_never().is_none());
}

#[tokio::test]
async fn where_no_decision_is_kept_a_question_whose_caller_has_left_holds_nobody_up() {
    let nats = NatsBox::start().await.unwrap();
    let service = nats.client().await.unwrap();
    let mut asked = service.subscribe("policy").await.unwrap();
    lattice_nats_box::taken_in(&service).await.unwrap();
    let policy = policy(&nats, Duration::ZERO).await;
    let key = CallKey::new(&ComponentId::new("cart").unwrap(), "i", "a:b/c", "get");
    tokio::select! {
        _ = policy.call(&key, call) => panic!("nobody has answered"),
        question = asked.next() => drop(question.unwrap()),
    }
    let answer = async {
        permit(&service, asked.next().await.unwrap()).await;
    };
    let both = async { tokio::join!(policy.call(&key, call), answer) };
    let (decided, ()) = timeout(SOON / 2, both).await.unwrap();
    assert_eq!(decided, Ok(()));
}
