//! What becomes of messages that other programs have sent.

mod support;

use queue_nats::QueueNats;
use support::{Lattice, Outcome, attribute};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "stands in for a program without a lattice"
)]
async fn what_is_too_large_as_a_dead_letter_becomes_one_without_its_body() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let worker = lattice
        .link("worker", "default", &[("queue", "jobs")])
        .await;
    let client = lattice.nats.client().await.unwrap();
    let size = client.server_info().max_payload - 100;
    let body = vec![b'x'; size].into();
    client
        .publish("queue_default_jobs.one", body)
        .await
        .unwrap();
    client.flush().await.unwrap();
    let got = worker.one("jobs").await;
    assert_eq!(got.message.body.len(), size);
    let reject = Outcome::Reject("it is bad".into());
    let rejected = worker.settle("jobs", &got.receipt, reject).await;
    assert_eq!(rejected, Ok(()));
    let dead = worker.one("jobs-dead").await;
    assert!(dead.message.body.is_empty());
    assert_eq!(attribute(&dead, "dead-letter-reason"), Some("it is bad"));
    let told = attribute(&dead, "dead-letter-size");
    assert_eq!(told, Some(size.to_string().as_str()));
}
