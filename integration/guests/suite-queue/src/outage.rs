//! What holds over an outage of the queue.

use std::collections::{HashMap, HashSet};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::lattice::queue::types::{Error, Outcome as Settled};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::kit::{body, text};
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[Statement {
    name: "a message that was sent comes at least once, whatever goes down",
    attempt: send_or_receive,
    check: all_came,
}];

/// How long a message is leased: what an outage took from its worker comes again soon.
const LEASE_MS: u32 = 2000;
const WAIT_MS: u32 = 200;

fn queue(told: &Told<'_>) -> String {
    format!("suite-{}-outage", told.run())
}

fn send_or_receive(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    if step % 3 == 2 {
        receive(told, 5)?;
        return Ok(String::new());
    }
    let body = format!("message {step}");
    producer::send(&queue(told), &text(&body), None).map_err(away)?;
    Ok(body)
}

/// Receives some and acknowledges them once the witness has seen them; tells how many came.
fn receive(told: &Told<'_>, max: u32) -> Result<usize, Failure> {
    let queue = queue(told);
    let got = consumer::receive(&queue, max, WAIT_MS, Some(LEASE_MS)).map_err(away)?;
    for delivery in &got {
        witness::saw(&body(delivery)).map_err(away)?;
        match consumer::settle(&queue, &delivery.receipt, &Settled::Ack) {
            // It took so long that it comes again.
            Ok(()) | Err(Error::ReceiptExpired) => {}
            Err(error) => return Err(away(error)),
        }
    }
    Ok(got.len())
}

fn all_came(told: &Told<'_>, outcome: &Outcome<'_>) -> Result<(), Failure> {
    // Asked again, the check sees what the witness was told of by now.
    while receive(told, 10)? > 0 {}
    let seen: HashSet<&str> = outcome.seen.iter().map(String::as_str).collect();
    let sent = outcome.told().filter(|(_, body)| !body.is_empty());
    let lost: Vec<_> = sent.filter(|(_, body)| !seen.contains(body)).collect();
    if let Some((step, _)) = lost.first() {
        return Err(broken(format!(
            "{} messages did not come, the first is {step}",
            lost.len()
        )));
    }
    let mut times: HashMap<&str, usize> = HashMap::new();
    for body in outcome.seen {
        *times.entry(body).or_default() += 1;
    }
    let often = times.values().filter(|times| **times > 5).count();
    match often {
        0 => Ok(()),
        _ => Err(broken(format!("{often} messages came more than five times"))),
    }
}
