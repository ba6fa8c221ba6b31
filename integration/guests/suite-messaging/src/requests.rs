//! Requests and their answers.

use std::time::Duration;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::kit::Kit;
use crate::{Case, ensure, wire};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a request is answered by a handler", answered),
    ("each of many requests gets its own answer", many),
    (
        "a handler sees the subject and that an answer is wanted",
        about,
    ),
    (
        "a request that is not answered ends in time with an error",
        silent,
    ),
    ("an error of a handler is no answer", no_answer),
    ("a request that nobody listens for is an error", nobody),
];

fn answered(kit: &Kit) -> Result<(), Failure> {
    let answer = kit.ask("suite.ask.echo", b"hello")?;
    ensure!(answer == b"hello", "got {answer:?}");
    Ok(())
}

fn many(kit: &Kit) -> Result<(), Failure> {
    for number in 0..50 {
        let body = format!("number {number}");
        let answer = kit.ask("suite.ask.echo", body.as_bytes())?;
        ensure!(answer == body.as_bytes(), "got {answer:?} for {body:?}");
    }
    Ok(())
}

fn about(kit: &Kit) -> Result<(), Failure> {
    let answer = kit.ask("suite.ask.about", b"")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let wanted = format!(
        "subject=suite.ask.about reply-to={}",
        wire::REPLY_TO_OF_REQUESTS
    );
    ensure!(answer == wanted, "got {answer:?}");
    Ok(())
}

fn silent(kit: &Kit) -> Result<(), Failure> {
    // Whatever has to be made for the first request is made.
    kit.ask("suite.ask.echo", b"")?;
    let refusal = kit.ask_in_vain("suite.ask.silent", 500)?;
    let (words, after) = (refusal.words, refusal.after);
    ensure!(
        words.contains("suite.ask.silent"),
        "the subject is not named: {words}"
    );
    ensure!(
        after >= Duration::from_millis(400),
        "it took only {after:?}: {words}"
    );
    ensure!(after < Duration::from_secs(5), "it took {after:?}");
    Ok(())
}

fn no_answer(kit: &Kit) -> Result<(), Failure> {
    kit.ask("suite.ask.echo", b"")?;
    kit.ask_in_vain("suite.ask.error", 500).map(drop)
}

fn nobody(kit: &Kit) -> Result<(), Failure> {
    kit.ask("suite.ask.echo", b"")?;
    let refusal = kit.ask_in_vain("suite.ask.nobody", 2000)?;
    let (words, after) = (refusal.words, refusal.after);
    ensure!(
        words.contains("suite.ask.nobody"),
        "the subject is not named: {words}"
    );
    if kit.feature("request") == Some("no-responders") {
        let soon = Duration::from_millis(1500);
        ensure!(
            after < soon,
            "the broker knows, but it took {after:?}: {words}"
        );
    }
    Ok(())
}
