//! What the component does when it is told of a message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Suite;
use crate::bindings::exports::wasmcloud::messaging::handler::Guest;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::wasmcloud::messaging::consumer;
use crate::bindings::wasmcloud::messaging::types::BrokerMessage;
use crate::kit::{message, split};

/// How often the witness is told again.
const WITNESS_TRIES: usize = 10;

impl Guest for Suite {
    fn handle_message(msg: BrokerMessage) -> Result<(), String> {
        // A key, or what else a broker adds, is no part of the name.
        let name = msg.subject.split('#').next().unwrap_or_default();
        match name {
            "suite.ask.echo" => answer(&msg, &msg.body),
            "suite.ask.about" => answer(&msg, about(&msg).as_bytes()),
            "suite.ask.silent" => Ok(()),
            "suite.ask.error" => Err("the handler says no".to_owned()),
            "suite.ask.relay" => relay(&msg),
            "suite.kept.note" | "suite.kept.dead" => pass_on(name, &msg.body),
            "suite.kept.outage" => witnessed(&msg.body),
            "suite.kept.load" => {
                trap_now_and_then();
                witnessed(&msg.body)
            }
            "suite.kept.flaky" => flaky(&msg.body),
            "suite.kept.error" => Err("the handler says no".to_owned()),
            "suite.kept.trap" => panic!("the handler traps"),
            // What comes of a dead-letter queue has the name of that in some brokers.
            other if other.ends_with("dead") => pass_on("suite.kept.dead", &msg.body),
            other => Err(format!(
                "`{other}` is nothing that this component is told of"
            )),
        }
    }
}

/// What a handler sees of a message.
fn about(msg: &BrokerMessage) -> String {
    let reply_to = msg.reply_to.is_some();
    format!("subject={} reply-to={reply_to}", msg.subject)
}

/// Answers the one who asked.
fn answer(msg: &BrokerMessage, body: &[u8]) -> Result<(), String> {
    match &msg.reply_to {
        Some(reply_to) => consumer::publish(&message(reply_to, body)),
        None => Err("the message asks for no answer".to_owned()),
    }
}

/// Publishes to another subject, and tells it where the answer goes.
fn relay(msg: &BrokerMessage) -> Result<(), String> {
    let reply_to = msg.reply_to.as_deref().ok_or("no answer is wanted")?;
    let (to, rest) = split(&msg.body)?;
    let body = [reply_to.as_bytes(), b"\n", rest].concat();
    consumer::publish(&message(to, &body))
}

/// Answers the one who asked for a relay.
fn pass_on(name: &str, body: &[u8]) -> Result<(), String> {
    let (reply_to, rest) = split(body)?;
    let told = [name.as_bytes(), b":", rest].concat();
    // Who asked may be gone since an earlier run, which is no reason to be told again.
    if let Err(error) = consumer::publish(&message(reply_to, &told)) {
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
fn witnessed(body: &[u8]) -> Result<(), String> {
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
