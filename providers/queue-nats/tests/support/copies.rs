//! What holds for several copies of a provider, of which each call may reach any.

use std::time::Duration;

use lattice_provider_sdk::Provider;

use super::{Component, Delivery, Error, Lattice, Outcome, Says, text};

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

/// What a copy gave that hangs is acknowledged and given back by the others, and not by that one; what they
/// cannot do is said to be unavailable. `can_extend` says whether they extend leases in its place.
pub async fn the_rest_do_what_they_can_while_one_is_silent<P: Provider>(
    lattice: &mut Lattice,
    (id, queue): (&str, &str),
    can_extend: bool,
) {
    let worker = lattice.component_within(id, "default", Duration::from_secs(3));
    let got = received(&worker, queue).await;
    lattice.run_another::<P>().await;
    lattice.copies.remove(0).stop().await;
    let says = &[Says::Nothing, Says::Nothing, Says::Unlinked];
    let silent = lattice.home(&got[0].receipt, says).await;
    assert_eq!(worker.ack(queue, &got[0]).await, Ok(()));
    let back = Outcome::Retry(Some(60_000));
    assert_eq!(worker.settle(queue, &got[1].receipt, back).await, Ok(()));
    assert_eq!(silent.asked(), 0);
    let rejected = Outcome::Reject("no".to_owned());
    let rejected = worker.settle(queue, &got[2].receipt, rejected).await;
    assert!(
        matches!(rejected, Err(Error::Unavailable(_))),
        "{rejected:?}"
    );
    let extended = worker.extend(queue, &got[3].receipt, LEASE_MS).await;
    match can_extend {
        true => assert_eq!(extended, Ok(())),
        false => assert!(
            matches!(extended, Err(Error::Unavailable(_))),
            "{extended:?}"
        ),
    }
    // With the link, what it knew of the delivery has gone.
    let extended = worker.extend(queue, &got[4].receipt, LEASE_MS).await;
    assert_eq!((extended, silent.asked()), (Ok(()), 3));
}
