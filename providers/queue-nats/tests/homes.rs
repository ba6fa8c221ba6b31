//! What becomes of calls about a delivery that another copy of the provider has received.

mod support;

use std::time::Duration;

use queue_nats::QueueNats;
use support::{Error, Lattice, Outcome, Says};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_cannot_answer_at_the_moment_has_not_ended() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    lattice
        .link("worker", "default", &[("queue", "jobs")])
        .await;
    let patience = Duration::from_secs(2);
    let worker = lattice.component_within("worker", "default", patience);
    // Whether a receipt is made up, its own copy alone can tell.
    let receipt = |home: &str| format!("{home}.receipt", home = home.repeat(24));

    let busy = receipt("b");
    let says = &[
        Says::Overloaded,
        Says::Stopping,
        Says::Overloaded,
        Says::Done,
    ];
    let home = lattice.home(&busy, says).await;
    let settled = worker.settle("jobs", &busy, Outcome::Ack).await;
    assert_eq!((settled, home.asked()), (Ok(()), 4));

    let each: [(&str, &'static [Says]); 4] = [
        ("c", &[Says::Overloaded]),
        ("d", &[Says::Stopping]),
        ("e", &[Says::Nothing]),
        ("f", &[Says::Unlinked]),
    ];
    for (name, says) in each {
        let receipt = receipt(name);
        let _home = lattice.home(&receipt, says).await;
        let begun = Instant::now();
        let settled = worker.settle("jobs", &receipt, Outcome::Ack).await;
        assert!(
            matches!(settled, Err(Error::Unavailable(_))),
            "{says:?}: {settled:?}"
        );
        assert!(begun.elapsed() < patience);
    }

    let ended = worker.settle("jobs", &receipt("z"), Outcome::Ack).await;
    assert_eq!(ended, Err(Error::ReceiptExpired));
}
