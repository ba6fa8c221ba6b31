//! The component is called for what comes to a queue.
//!
//! The driver links the provider to the component as well, with three attempts, for the queue that the
//! setting `handled` names. See `handler` for what becomes of a message there.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::lattice::queue::types::{Depth, Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::handler::{ACK, AGAIN, AGAIN_MS, THEN, TRAP};
use crate::kit::{Good as _, Kit, LONG_MS, attribute, body, text};
use crate::leases::is_attempt;
use crate::{Case, ensure, same};

pub(crate) const CASES: &[Case] = &[
    ("what-a-handler-acknowledges-is-gone", acknowledged),
    (
        "what-a-handler-traps-on-is-a-dead-letter-with-its-cause",
        trapped,
    ),
    ("a-handler-may-have-a-message-come-later", later),
];

/// Longer than a backend waits that is asked seldom.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// One call of the handler.
pub(crate) struct Called {
    attempt: u32,
    at_ms: u64,
}

/// The calls for a message that the witness was told of.
pub(crate) fn seen(name: &str) -> Vec<Called> {
    let called = |line: &String| {
        let mut words = line.strip_prefix(name)?.strip_prefix(' ')?.split(' ');
        Some(Called {
            attempt: words.next()?.parse().ok()?,
            at_ms: words.next()?.parse().ok()?,
        })
    };
    witness::told().iter().filter_map(called).collect()
}

fn handled(kit: &Kit) -> Result<&str, Failure> {
    let queue = kit.setting("handled");
    queue.ok_or_else(|| Failure::Refused("the driver has no queue handled".into()))
}

fn send(queue: &str, name: &str, then: &str) -> Result<(), Failure> {
    let message = Message {
        attributes: vec![(THEN.into(), then.into())],
        ..text(name)
    };
    producer::send(queue, &message, None).good("send").map(drop)
}

/// Waits until the handler was called so often.
fn until_seen(name: &str, count: usize) -> Result<Vec<Called>, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = seen(name);
        if seen.len() >= count {
            return Ok(seen);
        }
        ensure!(
            Instant::now() < until,
            "{} calls for `{name}`, wanted {count}",
            seen.len()
        );
        sleep(LOOK);
    }
}

/// Waits until what is in a queue, as far as its backend knows, is so.
fn until_depth(queue: &str, is_so: fn(&Depth) -> bool) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let depth = consumer::depth_of(queue).good("count")?;
        if is_so(&depth) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "there is still {depth:?}");
        sleep(LOOK);
    }
}

fn is_empty(depth: &Depth) -> bool {
    let others = [depth.leased, depth.delayed].into_iter().flatten();
    depth.ready + others.sum::<u64>() == 0
}

fn acknowledged(kit: &Kit) -> Result<(), Failure> {
    let queue = handled(kit)?;
    let names = ["good-0", "good-1", "good-2"];
    for name in names {
        send(queue, name, ACK)?;
    }
    for name in names {
        until_seen(name, 1)?;
    }
    until_depth(queue, is_empty)?;
    for name in names {
        let seen = seen(name);
        same!(seen.len(), 1);
        is_attempt(kit, seen[0].attempt, 1)?;
    }
    Ok(())
}

fn trapped(kit: &Kit) -> Result<(), Failure> {
    let queue = handled(kit)?;
    send(queue, "bad", TRAP)?;
    // Before there is one its queue may not be there.
    until_depth(queue, |depth| depth.dead != Some(0))?;
    let dead_queue = format!("{queue}-dead");
    let dead = kit.one_of(&dead_queue, LONG_MS)?;
    same!(body(&dead), "bad");
    same!(attribute(&dead.message, THEN), Some(TRAP));
    let reason = attribute(&dead.message, "dead-letter-reason").unwrap_or_default();
    let attempts: Vec<_> = seen("bad").iter().map(|call| call.attempt).collect();
    // A broker that keeps what it sent to itself may count one too many, which is no call.
    if kit.feature("depth") != Some("ready-only") {
        same!(attempts, [1, 2, 3]);
        let attempts = attribute(&dead.message, "dead-letter-attempts");
        same!(attempts, Some("3"));
        let cause = reason.strip_prefix("attempt 3, the last one: ");
        ensure!(cause.is_some_and(|cause| !cause.is_empty()), "{reason:?}");
    }
    ensure!(
        !reason.is_empty() && attempts.len() <= 3,
        "{reason:?} after {attempts:?}"
    );
    consumer::settle(&dead_queue, &dead.receipt, &Outcome::Ack).good("settle a dead letter")?;
    until_depth(queue, is_empty)
}

fn later(kit: &Kit) -> Result<(), Failure> {
    let queue = handled(kit)?;
    send(queue, "late", AGAIN)?;
    let seen = until_seen("late", 2)?;
    is_attempt(kit, seen[0].attempt, 1)?;
    is_attempt(kit, seen[1].attempt, 2)?;
    let after = seen[1].at_ms.saturating_sub(seen[0].at_ms);
    // Clocks differ, and some backends count whole seconds.
    let least = u64::from(AGAIN_MS / 2);
    ensure!(after >= least, "came again after {after} ms");
    until_depth(queue, is_empty)
}
