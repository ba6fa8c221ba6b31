//! What not every backend can do: those that cannot refuse it by name.

use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::queue::types::{Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::kit::{Good as _, Kit, LONG_MS, body, text};
use crate::{Case, ensure, same};

pub(crate) const CASES: &[Case] = &[
    ("a-delayed-message-is-not-early", delayed),
    ("an-id-is-stored-once", dedup),
    ("groups-come-in-order-one-at-a-time", groups),
    ("messages-come-in-their-order", order),
    ("depth-counts-what-is-there", depth),
];

fn delayed(kit: &Kit) -> Result<(), Failure> {
    // The queue is there once something was sent.
    kit.send(&text("now"))?;
    let began = Instant::now();
    let sent = producer::send(&kit.queue, &text("later"), Some(3000));
    if kit.feature("delay").is_none() {
        return kit.refused("delay", sent);
    }
    let id = sent.good("send with a delay")?;
    let now = kit.one(LONG_MS)?;
    same!(body(&now), "now");
    kit.settle(&now, &Outcome::Ack)?;
    let later = kit.one(LONG_MS)?;
    let took = began.elapsed();
    same!((body(&later).as_str(), later.attempt), ("later", 1));
    same!(later.id, id);
    // Clocks differ, and some backends count whole seconds.
    ensure!(took >= Duration::from_millis(2000), "came after {took:?}");
    kit.settle(&later, &Outcome::Ack)
}

fn dedup(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("first"))?;
    same!(kit.all(1)?.len(), 1);
    let message = Message {
        dedup_id: Some("order-7".into()),
        ..text("one")
    };
    let first = producer::send(&kit.queue, &message, None);
    if kit.feature("dedup").is_none() {
        return kit.refused("dedup", first);
    }
    first.good("send")?;
    let second = Message {
        body: b"two".to_vec(),
        ..message
    };
    kit.send(&second)?;
    let got = kit.one(LONG_MS)?;
    same!(body(&got), "one");
    kit.settle(&got, &Outcome::Ack)?;
    same!(kit.receive(10, LONG_MS)?, Vec::new());
    Ok(())
}

fn groups(kit: &Kit) -> Result<(), Failure> {
    let of = |group: &str, n: u32| Message {
        group: Some(group.into()),
        dedup_id: None,
        ..text(&n.to_string())
    };
    kit.send(&text("first"))?;
    same!(kit.all(1)?.len(), 1);
    let first = producer::send(&kit.queue, &of("a", 0), None);
    if kit.feature("groups").is_none() {
        return kit.refused("groups", first);
    }
    first.good("send")?;
    kit.send(&of("b", 0))?;
    for n in 1..4 {
        kit.send(&of("a", n))?;
        kit.send(&of("b", n))?;
    }
    let until = Instant::now() + Duration::from_secs(20);
    let mut seen = [Vec::new(), Vec::new()];
    let mut retried = false;
    while seen.iter().any(|seen| seen.len() < 4) {
        ensure!(Instant::now() < until, "only {seen:?} came");
        let got = kit.receive(10, LONG_MS)?;
        for delivery in got {
            let is_b = delivery.message.group.as_deref() == Some("b");
            if !is_b && body(&delivery) == "1" && !retried {
                retried = true;
                kit.settle(&delivery, &Outcome::Retry(None))?;
                continue;
            }
            kit.settle(&delivery, &Outcome::Ack)?;
            seen[usize::from(is_b)].push(body(&delivery));
        }
    }
    same!(seen[0], ["0", "1", "2", "3"]);
    same!(seen[1], ["0", "1", "2", "3"]);
    Ok(())
}

fn order(kit: &Kit) -> Result<(), Failure> {
    for n in 0..20 {
        kit.send(&text(&format!("{n:02}")))?;
    }
    let got = kit.all(20)?;
    let got: Vec<_> = got.iter().map(body).collect();
    let expected: Vec<_> = (0..20).map(|n| format!("{n:02}")).collect();
    let mut sorted = got.clone();
    sorted.sort_unstable();
    same!(sorted, expected);
    if kit.feature("order") == Some("fifo") {
        same!(got, expected);
    }
    Ok(())
}

fn depth(kit: &Kit) -> Result<(), Failure> {
    for n in 0..3 {
        kit.send(&text(&n.to_string()))?;
    }
    let depth = consumer::depth_of(&kit.queue);
    let Some(how) = kit.feature("depth") else {
        return kit.refused("depth", depth);
    };
    same!(depth.good("count")?.ready, 3);
    let leased = kit.one(LONG_MS)?;
    if how == "exact" {
        let depth = consumer::depth_of(&kit.queue).good("count")?;
        same!((depth.ready, depth.leased), (2, Some(1)));
        same!((depth.delayed, depth.dead), (Some(0), Some(0)));
    }
    kit.settle(&leased, &Outcome::Ack)?;
    same!(kit.all(2)?.len(), 2);
    Ok(())
}
