//! Several copies of the provider, against Azurite.

#[path = "../../queue-nats/tests/support/mod.rs"]
mod support;

use lattice_services::{Kind, Service};
use queue_azure::QueueAzure;
use support::{
    Lattice, all_settle_what_each_gave, the_rest_do_what_they_can_while_one_is_silent,
    the_rest_settle_what_one_gave_that_has_ended,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_settle_what_others_gave() {
    let azurite = Service::start(Kind::Azurite).await.expect("Azurite");
    let url = format!("http://127.0.0.1:{}", azurite.ports()[1]);
    let own = [("endpoint", &*url), ("STORAGE_ACCOUNT", "devstoreaccount1")];
    let mut lattice = Lattice::start::<QueueAzure>(&own).await;
    let worker = lattice
        .link("worker", "default", &[("queue", "jobs")])
        .await;
    lattice.run_another::<QueueAzure>().await;
    all_settle_what_each_gave(&worker, "jobs").await;
    the_rest_settle_what_one_gave_that_has_ended(&mut lattice, &worker, "jobs").await;
    let queue = ("worker", "jobs");
    the_rest_do_what_they_can_while_one_is_silent::<QueueAzure>(&mut lattice, queue, false).await;
}
