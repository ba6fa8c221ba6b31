//! What the component does when it is called with a delivery: it tells the witness.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Suite;
use crate::bindings::exports::lattice::queue::handler::{Delivery, Guest, Outcome};
use crate::bindings::lattice::conformance::witness;
use crate::kit::body;

/// When a witness that is out of reach may be back.
const LATER_MS: u32 = 200;

impl Guest for Suite {
    fn handle(_: String, delivery: Delivery) -> Outcome {
        trap_now_and_then();
        match witness::saw(&body(&delivery)) {
            Ok(()) => Outcome::Ack,
            Err(_) => Outcome::Retry(Some(LATER_MS)),
        }
    }
}

/// Traps at a time that nobody knows beforehand.
fn trap_now_and_then() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis());
    assert!(now_ms % 40 != 0, "the handler traps");
}
