//! What holds over an outage of the broker.

use std::collections::HashSet;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::kit::Kit;
use crate::statement::{Outcome, Statement, Told, away, broken};
use crate::wire;

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "a message that was taken is handled, whatever goes down",
        attempt: publish,
        check: handled,
    },
    Statement {
        name: "requests are answered after an outage as before",
        attempt: ask,
        check: answered,
    },
];

/// How long a request waits, which is shorter than an outage.
const ASK_MS: u32 = 2000;

fn publish(_: &Told<'_>, step: u32) -> Result<String, Failure> {
    let body = format!("message {step}");
    wire::publish("suite.kept.outage", body.as_bytes()).map_err(away)?;
    Ok(body)
}

fn handled(told: &Told<'_>, outcome: &Outcome<'_>) -> Result<(), Failure> {
    let seen: HashSet<&str> = outcome.seen.iter().map(String::as_str).collect();
    let came = |(_, body): &(u32, &str)| seen.contains(body);
    if Kit::new(told.0.to_vec()).keeps().is_err() {
        // What is not kept may be lost, but the last ones find a broker and a handler.
        let last: Vec<_> = outcome.told().collect();
        let last = last.iter().rev().take(8);
        return match last.clone().any(came) {
            true => Ok(()),
            false => Err(broken(format!("none of the last {} came", last.count()))),
        };
    }
    let lost: Vec<_> = outcome.told().filter(|told| !came(told)).collect();
    match lost.first() {
        None => Ok(()),
        Some((step, _)) => Err(broken(format!(
            "{} of {} messages did not come, the first is {step}",
            lost.len(),
            outcome.told().count()
        ))),
    }
}

fn ask(_: &Told<'_>, step: u32) -> Result<String, Failure> {
    let body = format!("request {step}");
    let answer = wire::request("suite.ask.echo", body.as_bytes(), ASK_MS).map_err(away)?;
    match answer.body == body.as_bytes() {
        true => Ok(String::new()),
        false => Err(broken(format!("request {step} got another's answer"))),
    }
}

fn answered(told: &Told<'_>, _: &Outcome<'_>) -> Result<(), Failure> {
    ask(told, u32::MAX).map(drop)
}
