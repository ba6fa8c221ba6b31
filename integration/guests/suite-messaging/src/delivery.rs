//! What becomes of messages that are published.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::handler::now_ms;
use crate::kit::Kit;
use crate::{Case, ensure};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("what a handler publishes arrives at another", noted),
    ("a handler that fails is told again", again),
    ("what a handler refuses becomes a dead letter", refused),
    ("what a handler traps at becomes a dead letter", trapped),
    ("a message that fails does not hold up others", in_between),
];

fn noted(kit: &Kit) -> Result<(), Failure> {
    let answer = kit.relay("suite.kept.note", "a note")?;
    ensure!(answer == "suite.kept.note:a note", "got {answer:?}");
    Ok(())
}

fn again(kit: &Kit) -> Result<(), Failure> {
    kit.keeps()?;
    let until = (now_ms() + 200).to_string();
    let answer = kit.relay("suite.kept.flaky", &until)?;
    ensure!(
        answer == format!("suite.kept.flaky:{until}"),
        "got {answer:?}"
    );
    Ok(())
}

fn dead_letter(kit: &Kit, subject: &str) -> Result<(), Failure> {
    kit.keeps()?;
    if kit.feature("dead-letter").is_none() {
        let what = "the backend tells no `dead-letter`".to_owned();
        return Err(Failure::Refused(what));
    }
    let answer = kit.relay(subject, "bad")?;
    ensure!(answer == "suite.kept.dead:bad", "got {answer:?}");
    Ok(())
}

fn refused(kit: &Kit) -> Result<(), Failure> {
    dead_letter(kit, "suite.kept.error")
}

fn trapped(kit: &Kit) -> Result<(), Failure> {
    dead_letter(kit, "suite.kept.trap")
}

fn in_between(kit: &Kit) -> Result<(), Failure> {
    kit.ask_in_vain("suite.ask.error", 100)?;
    let answer = kit.ask("suite.ask.echo", b"next")?;
    ensure!(answer == b"next", "got {answer:?}");
    let answer = kit.relay("suite.kept.note", "still")?;
    ensure!(answer == "suite.kept.note:still", "got {answer:?}");
    Ok(())
}
