//! What the component does when it is told of a message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::lattice::conformance::witness;
use crate::kit::split;
use crate::wire::{self, Arrived};

/// How often the witness is told again.
const WITNESS_TRIES: usize = 10;

/// Does it; an error is one of the handler.
pub(crate) fn handle(message: &Arrived) -> Result<(), String> {
    let subject = message.subject();
    // A key, or what else a broker adds, is no part of the name.
    let name = subject.split('#').next().unwrap_or_default();
    let body = message.body();
    match name {
        "suite.ask.echo" => message.answer(&body),
        "suite.ask.about" => {
            let reply_to = message.reply_to();
            message.answer(format!("subject={subject} reply-to={reply_to}").as_bytes())
        }
        "suite.ask.silent" => Ok(()),
        "suite.ask.error" => Err("the handler says no".to_owned()),
        "suite.ask.relay" => {
            let (to, rest) = split(&body)?;
            message.relay(to, rest)
        }
        "suite.kept.note" | "suite.kept.dead" => pass_on(name, &body),
        "suite.kept.outage" => witnessed(&body),
        "suite.kept.load" => {
            trap_now_and_then();
            witnessed(&body)
        }
        "suite.kept.flaky" => flaky(&body),
        "suite.kept.error" => Err("the handler says no".to_owned()),
        "suite.kept.trap" => panic!("the handler traps"),
        // What comes of a dead-letter queue has the name of that in some brokers.
        other if other.ends_with("dead") => pass_on("suite.kept.dead", &body),
        other => Err(format!(
            "`{other}` is nothing that this component is told of"
        )),
    }
}

/// Tells the one who asked for a relay.
fn pass_on(name: &str, body: &[u8]) -> Result<(), String> {
    let (place, rest) = split(body)?;
    let told = [name.as_bytes(), b":", rest].concat();
    // Who asked may be gone since an earlier run, which is no reason to be told again.
    if let Err(error) = wire::pass_on(place, &told) {
        eprintln!("could not answer: {error}");
    }
    Ok(())
}

/// Fails until a time that the body says, in milliseconds.
fn flaky(body: &[u8]) -> Result<(), String> {
    let (_, rest) = split(body)?;
    let until: u128 = std::str::from_utf8(rest)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or("the body says no time")?;
    if now_ms() < until {
        return Err("not yet".to_owned());
    }
    pass_on("suite.kept.flaky", body)
}

/// Traps at a time that nobody knows beforehand.
fn trap_now_and_then() {
    assert!(now_ms() % 40 != 0, "the handler traps");
}

/// Tells the witness, which may be out of reach for a while.
pub(crate) fn witnessed(body: &[u8]) -> Result<(), String> {
    let what = String::from_utf8_lossy(body);
    let mut told = witness::saw(&what);
    for _ in 0..WITNESS_TRIES {
        if told.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        told = witness::saw(&what);
    }
    told
}

/// The time in milliseconds.
pub(crate) fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}
