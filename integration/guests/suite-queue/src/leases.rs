//! Who has a message, and until when.

use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::queue::consumer;
use crate::bindings::lattice::queue::types::{Error, Outcome};
use crate::kit::{Good as _, Kit, LONG_MS, body, text};
use crate::{Case, ensure, same};

pub(crate) const CASES: &[Case] = &[
    ("a-leased-message-is-given-to-nobody-else", nobody_else),
    ("a-worker-that-crashes-loses-its-message-to-the-next", crash),
    ("an-expired-receipt-is-refused-by-name", expired),
    ("a-settled-receipt-is-expired", settled),
    ("an-extended-lease-lasts", extended),
    ("a-retry-comes-at-once-and-counts", counts),
    ("a-retry-with-a-delay-waits", waits),
];

fn nobody_else(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("mine"))?;
    let mine = kit.one(LONG_MS)?;
    same!(kit.receive(10, LONG_MS)?, Vec::new());
    kit.settle(&mine, &Outcome::Ack)
}

fn crash(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("again"))?;
    let first = kit.one(1000)?;
    let second = kit.one(LONG_MS)?;
    same!(body(&second), "again");
    // What was given to a receive that had just ended may count too.
    ensure!(
        first.attempt == 1 && second.attempt >= 2,
        "attempts {} and {}",
        first.attempt,
        second.attempt
    );
    same!(second.id, first.id);
    ensure!(
        first.receipt != second.receipt,
        "both have the same receipt"
    );
    kit.settle(&second, &Outcome::Ack)
}

fn expired(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("late"))?;
    let first = kit.one(1000)?;
    let second = kit.one(LONG_MS)?;
    for how in [
        Outcome::Ack,
        Outcome::Retry(None),
        Outcome::Reject("late".into()),
    ] {
        same!(kit.try_settle(&first, &how), Err(Error::ReceiptExpired));
    }
    let extended = consumer::extend(&kit.queue, &first.receipt, 5000);
    same!(extended, Err(Error::ReceiptExpired));
    // The other worker's is none the worse for it.
    kit.settle(&second, &Outcome::Ack)
}

fn settled(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("once"))?;
    let got = kit.one(LONG_MS)?;
    kit.settle(&got, &Outcome::Ack)?;
    same!(
        kit.try_settle(&got, &Outcome::Ack),
        Err(Error::ReceiptExpired)
    );
    Ok(())
}

fn extended(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("long"))?;
    let got = kit.one(2000)?;
    let leased = Instant::now();
    consumer::extend(&kit.queue, &got.receipt, 20_000).good("extend")?;
    while leased.elapsed() < Duration::from_millis(3500) {
        same!(kit.receive(1, LONG_MS)?, Vec::new());
    }
    kit.settle(&got, &Outcome::Ack)
}

/// A broker that keeps what it sent to itself, and so knows only what is ready, may also count a
/// message that it sent as a receive ended, and that came to nobody.
pub(crate) fn is_attempt(kit: &Kit, got: u32, wanted: u32) -> Result<(), Failure> {
    if kit.feature("depth") == Some("ready-only") {
        ensure!(got >= wanted, "attempt {got}, wanted {wanted} at least");
        return Ok(());
    }
    same!(got, wanted);
    Ok(())
}

fn counts(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("again"))?;
    let mut before = 0;
    for attempt in 1..=4 {
        let got = kit.one(LONG_MS)?;
        ensure!(
            got.attempt > before,
            "attempt {} after {before}",
            got.attempt
        );
        is_attempt(kit, got.attempt, attempt)?;
        before = got.attempt;
        let how = match attempt {
            4 => Outcome::Ack,
            _ => Outcome::Retry(None),
        };
        kit.settle(&got, &how)?;
    }
    Ok(())
}

fn waits(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("later"))?;
    let got = kit.one(LONG_MS)?;
    let began = Instant::now();
    kit.settle(&got, &Outcome::Retry(Some(2000)))?;
    let again = kit.one(LONG_MS)?;
    let took = began.elapsed();
    same!(body(&again).as_str(), "later");
    is_attempt(kit, again.attempt, 2)?;
    // Clocks differ, and some backends count whole seconds.
    ensure!(
        took >= Duration::from_millis(1000),
        "came again after {took:?}"
    );
    kit.settle(&again, &Outcome::Ack)
}
