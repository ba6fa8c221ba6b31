//! Several copies of the provider, against moto.

#[path = "../../queue-nats/tests/support/mod.rs"]
mod support;

use lattice_services::{Kind, Service};
use queue_sqs::QueueSqs;
use support::{
    Lattice, all_settle_what_each_gave, the_rest_do_what_they_can_while_one_is_silent,
    the_rest_settle_what_one_gave_that_has_ended,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_settle_what_others_gave() {
    let moto = Service::start(Kind::Moto).await.expect("moto");
    let url = moto.url();
    let own = [
        ("endpoint", &*url),
        ("access_key_id", "id"),
        ("secret_access_key", "secret"),
    ];
    let mut lattice = Lattice::start::<QueueSqs>(&own).await;
    let worker = lattice
        .link("worker", "default", &[("queue", "jobs")])
        .await;
    lattice.run_another::<QueueSqs>().await;
    all_settle_what_each_gave(&worker, "jobs").await;
    the_rest_settle_what_one_gave_that_has_ended(&mut lattice, &worker, "jobs").await;
    let queue = ("worker", "jobs");
    the_rest_do_what_they_can_while_one_is_silent::<QueueSqs>(&mut lattice, queue, true).await;
}
