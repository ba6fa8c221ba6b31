//! What the component does when it is called with a delivery: it tells the witness.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Suite;
use crate::bindings::exports::lattice::queue::handler::{Delivery, Guest, Outcome};
use crate::bindings::lattice::conformance::witness;
use crate::handled::seen;
use crate::kit::{attribute, body};

/// The attribute by which a message of a case says what becomes of it once it was told of.
pub(crate) const THEN: &str = "then";
/// Its values: acknowledged, a trap each time, and asked for again after the first time.
pub(crate) const ACK: &str = "ack";
pub(crate) const TRAP: &str = "trap";
pub(crate) const AGAIN: &str = "again";
/// After which time that comes again.
pub(crate) const AGAIN_MS: u32 = 2000;

/// When a witness that is out of reach may be back.
const LATER_MS: u32 = 200;

impl Guest for Suite {
    fn handle(_: String, delivery: Delivery) -> Outcome {
        match attribute(&delivery.message, THEN) {
            Some(then) => as_told(then, &delivery),
            None => of_the_load(&delivery),
        }
    }
}

/// Tells of a message of a case and does what it says.
fn as_told(then: &str, delivery: &Delivery) -> Outcome {
    let name = body(delivery);
    let told = format!("{name} {} {}", delivery.attempt, now_ms());
    if witness::saw(&told).is_err() {
        return Outcome::Retry(Some(LATER_MS));
    }
    assert!(then != TRAP, "as the message says");
    match then == AGAIN && seen(&name).len() == 1 {
        true => Outcome::Retry(Some(AGAIN_MS)),
        false => Outcome::Ack,
    }
}

/// Tells of a message of which there are thousands.
fn of_the_load(delivery: &Delivery) -> Outcome {
    // At a time that nobody knows beforehand.
    assert!(now_ms() % 40 != 0, "the handler traps");
    match witness::saw(&body(delivery)) {
        Ok(()) => Outcome::Ack,
        Err(_) => Outcome::Retry(Some(LATER_MS)),
    }
}

fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}
