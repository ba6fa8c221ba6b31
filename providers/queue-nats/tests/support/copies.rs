//! What holds for several copies of a provider, of which each call may reach any.

use super::{Component, Delivery, Lattice, Outcome, text};

/// How many messages are under way: with two copies each is sure to have some.
const MANY: usize = 40;
const LEASE_MS: u32 = 60_000;

async fn received(worker: &Component, queue: &str) -> Vec<Delivery> {
    let messages: Vec<_> = (0..MANY).map(|n| text(n.to_string())).collect();
    for sent in worker.send_many(queue, &messages).await.expect("sent") {
        sent.expect("stored");
    }
    let mut got = Vec::new();
    while got.len() < MANY {
        let more = worker.receive_for(queue, 3, 10_000, Some(LEASE_MS)).await;
        got.extend(more.expect("received"));
    }
    got
}

/// Whoever is asked, leases are extended more than once, and messages acknowledged and rejected.
pub async fn all_settle_what_each_gave(worker: &Component, queue: &str) {
    let got = received(worker, queue).await;
    for delivery in got.iter().chain(&got) {
        let extended = worker.extend(queue, &delivery.receipt, LEASE_MS).await;
        assert_eq!(extended, Ok(()));
    }
    // Whose home is nobody's is made up.
    let made_up = worker.settle(queue, &got[0].receipt[1..], Outcome::Ack);
    assert!(made_up.await.is_err());
    for (number, delivery) in got.iter().enumerate() {
        let how = match number % 2 {
            0 => Outcome::Ack,
            _ => Outcome::Reject("no".to_owned()),
        };
        let settled = worker.settle(queue, &delivery.receipt, how).await;
        assert_eq!(settled, Ok(()));
    }
    let depth = worker.depth(queue).await.expect("counted");
    assert_eq!((depth.ready, depth.dead), (0, Some(MANY as u64 / 2)));
}

/// What the first copy gave is acknowledged by the others once it has ended.
pub async fn the_rest_settle_what_one_gave_that_has_ended(
    lattice: &mut Lattice,
    worker: &Component,
    queue: &str,
) {
    let got = received(worker, queue).await;
    lattice.copies.remove(0).stop().await;
    for delivery in &got {
        assert_eq!(worker.ack(queue, delivery).await, Ok(()));
    }
    assert_eq!(worker.depth(queue).await.expect("counted").ready, 0);
}
