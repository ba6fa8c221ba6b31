//! Ten thousand messages while providers are killed, handlers fail and NATS restarts: none is lost,
//! and those that come twice are counted.

#![allow(
    clippy::unwrap_used,
    reason = "steps of tests stand in functions of their own"
)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_nats::QueueNats;
use support::{Asked, Component, Lattice, Message, Outcome, body, text};
use tokio::sync::Mutex;
use tokio::time::Instant;

const COUNT: usize = 10_000;
/// How many messages one call sends.
const AT_ONCE: usize = 50;
/// The pause between two calls, so that there is something under way whenever something dies.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the whole may take.
const LIMIT: Duration = Duration::from_secs(90);
/// How often something dies at most: what is under way then comes again after 15 seconds, so that more
/// of it takes longer but shows nothing new.
const DEATHS: (u32, u32) = (10, 5);

/// How often each message was acknowledged by the handler.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

/// A sequence that is the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Sends all, each until it is said to be stored.
async fn send_all(sender: Component) -> usize {
    let mut again = 0;
    for start in (0..COUNT).step_by(AT_ONCE) {
        tokio::time::sleep(PAUSE).await;
        let mut left: Vec<Message> = (start..start + AT_ONCE)
            .map(|n| Message {
                // So that one whose answer was lost is stored once.
                dedup_id: Some(format!("message-{n}")),
                ..text(n.to_string())
            })
            .collect();
        while !left.is_empty() {
            let sent = sender.try_send_many("", &left).await;
            let Ok(Ok(sent)) = sent else {
                again += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let each = left.into_iter().zip(sent);
            left = each
                .filter_map(|(message, sent)| sent.is_err().then_some(message))
                .collect();
        }
    }
    again
}

/// Plays the handler: one in fifty calls traps, one in fifty asks for the message again.
async fn handle(seen: Seen, (delivery, answer): Asked, luck: u64) {
    match luck {
        0 => drop(answer),
        1 => drop(answer.send(Outcome::Retry(Some(20)))),
        _ => {
            *seen.lock().await.entry(body(&delivery)).or_default() += 1;
            answer.send(Outcome::Ack).ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_everything_dies_now_and_then() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let mut backend = lattice_nats_box::NatsBox::start().await.unwrap();
    let uri = backend.url.clone();
    // Short leases, so that what a dead provider had comes again soon.
    let target = [
        ("cluster_uri", uri.as_str()),
        ("queue", "jobs"),
        ("lease_ms", "10000"),
    ];
    let sender = lattice.link("sender", "default", &target).await;
    let source = [
        &target[..],
        &[
            ("backoff_ms", "20"),
            ("max_backoff_ms", "1000"),
            ("max_attempts", "0"),
            ("max_in_flight", "64"),
        ],
    ];
    lattice.link_handler("worker", &source.concat()).await;
    lattice.run_another::<QueueNats>().await;
    let handling = lattice.handle("worker").await;

    let seen = Seen::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let worker = tokio::spawn(work(handling, Arc::clone(&seen), Arc::clone(&calls)));
    let sending = tokio::spawn(send_all(sender.clone()));

    let (until, mut chance) = (Instant::now() + LIMIT, Chance(0x9e37_79b9_7f4a_7c15));
    let (mut kills, mut restarts) = (0, 0);
    while seen.lock().await.len() < COUNT {
        assert!(
            Instant::now() < until,
            "{} of {COUNT} came, {kills} kills, {restarts} restarts",
            seen.lock().await.len()
        );
        tokio::time::sleep(Duration::from_millis(300 + chance.below(500))).await;
        // In the second half all is left alone, so that it ends.
        if seen.lock().await.len() > COUNT / 2 || (kills, restarts) >= DEATHS {
            continue;
        }
        if restarts < DEATHS.1 && (kills >= DEATHS.0 || chance.below(3) == 0) {
            backend.restart().await.unwrap();
            restarts += 1;
        } else {
            let at = usize::try_from(chance.below(2)).unwrap();
            lattice.copies.swap_remove(at).kill();
            lattice.run_another::<QueueNats>().await;
            kills += 1;
        }
    }
    let again = sending.await.unwrap();
    let empty = |depth: &support::Depth| (depth.ready, depth.leased) == (0, Some(0));
    let depth = sender.until_depth("", empty).await;
    worker.abort();
    let seen = seen.lock().await;
    let twice: u32 = seen.values().map(|count| count - 1).sum();
    println!(
        "{COUNT} messages, {} calls of the handler, {kills} kills of a provider, {restarts} restarts of NATS, {again} sends again: {} came, {twice} once more",
        calls.load(Ordering::Relaxed),
        seen.len(),
    );
    assert_eq!((seen.len(), depth.dead), (COUNT, Some(0)));
    assert!(kills > 0 && restarts > 0, "nothing died");
}

async fn work(mut handling: support::Handling, seen: Seen, calls: Arc<AtomicUsize>) {
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    while let Some(asked) = handling.asked.recv().await {
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(handle(Arc::clone(&seen), asked, chance.below(50)));
    }
}
