//! What holds over an outage of the queue.

use std::collections::{HashMap, HashSet};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::lattice::queue::types::{Error, Outcome as Settled};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::kit::{body, text};
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "a message that was sent comes at least once, whatever goes down",
        attempt: send_or_receive,
        check: all_came,
    },
    Statement {
        name: "a message that was rejected is a dead letter, whatever goes down",
        attempt: send_or_reject,
        check: all_are_dead_letters,
    },
];

/// How long a message is leased: what an outage took from its worker comes again soon.
const LEASE_MS: u32 = 2000;
const WAIT_MS: u32 = 200;

fn queue(told: &Told<'_>) -> String {
    format!("suite-{}-outage", told.run())
}

fn send_or_receive(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    if step % 3 == 2 {
        receive(&queue(told), "", 5)?;
        return Ok(String::new());
    }
    let body = format!("message {step}");
    producer::send(&queue(told), &text(&body), None).map_err(away)?;
    Ok(body)
}

/// Receives some and acknowledges them once the witness has seen them as `what`; tells how many came.
fn receive(queue: &str, what: &str, max: u32) -> Result<usize, Failure> {
    let got = match consumer::receive(queue, max, WAIT_MS, Some(LEASE_MS)) {
        // Nothing was sent there so far.
        Err(Error::NoSuchQueue) => return Ok(0),
        got => got.map_err(away)?,
    };
    for delivery in &got {
        witness::saw(&format!("{what}{}", body(delivery))).map_err(away)?;
        match consumer::settle(queue, &delivery.receipt, &Settled::Ack) {
            // It took so long that it comes again.
            Ok(()) | Err(Error::ReceiptExpired) => {}
            Err(error) => return Err(away(error)),
        }
    }
    Ok(got.len())
}

fn all_came(told: &Told<'_>, outcome: &Outcome<'_>) -> Result<(), Failure> {
    // Asked again, the check sees what the witness was told of by now.
    while receive(&queue(told), "", 10)? > 0 {}
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
        _ => Err(broken(format!(
            "{often} messages came more than five times"
        ))),
    }
}

/// What the witness sees dead letters as.
const DEAD: &str = "dead ";

/// The queue of what is rejected.
fn unwanted(told: &Told<'_>) -> String {
    format!("suite-{}-unwanted", told.run())
}

fn can_reject(told: &Told<'_>) -> bool {
    told.setting("feature:dead-letter").is_some()
}

/// Sends a message, or rejects some and tells which of them are dead letters now.
fn send_or_reject(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let queue = unwanted(told);
    if !can_reject(told) {
        return Ok(String::new());
    }
    if step % 3 != 2 {
        producer::send(&queue, &text(&format!("unwanted {step}")), None).map_err(away)?;
        return Ok(String::new());
    }
    let mut rejected = Vec::new();
    for delivery in consumer::receive(&queue, 5, WAIT_MS, Some(LEASE_MS)).map_err(away)? {
        let how = Settled::Reject("nobody wants it".to_owned());
        match consumer::settle(&queue, &delivery.receipt, &how) {
            Ok(()) => rejected.push(format!("{DEAD}{}", body(&delivery))),
            // It took so long that it comes again.
            Err(Error::ReceiptExpired) => {}
            Err(error) => return Err(away(error)),
        }
    }
    Ok(rejected.join("\n"))
}

fn all_are_dead_letters(told: &Told<'_>, outcome: &Outcome<'_>) -> Result<(), Failure> {
    if !can_reject(told) {
        return Err(Failure::Refused(
            "the queue tells no `dead-letter`".to_owned(),
        ));
    }
    let dead = format!("{}-dead", unwanted(told));
    while receive(&dead, DEAD, 10)? > 0 {}
    let seen: HashSet<&str> = outcome.seen.iter().map(String::as_str).collect();
    let rejected = outcome.told().flat_map(|(_, rejected)| rejected.lines());
    let lost: Vec<_> = rejected.filter(|letter| !seen.contains(letter)).collect();
    match lost.first() {
        None => Ok(()),
        Some(first) => Err(broken(format!(
            "{} rejected messages are no dead letters, the first is `{first}`",
            lost.len()
        ))),
    }
}
