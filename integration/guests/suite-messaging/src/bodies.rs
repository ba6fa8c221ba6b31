//! Bodies and subjects.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::kit::Kit;
use crate::{Case, ensure, wire};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("an empty body arrives and comes back", empty),
    ("any bytes arrive and come back", any_bytes),
    ("a body of 1 MiB arrives and comes back whole", whole),
    ("a body at the limit arrives and comes back whole", at_limit),
    ("a body over the limit is refused by name", too_large),
    ("an empty subject is refused by name", no_subject),
    (
        "publishing where nobody listens fails by name or not at all",
        nobody,
    ),
];

const MIB: usize = 1024 * 1024;

fn empty(kit: &Kit) -> Result<(), Failure> {
    let answer = kit.ask("suite.ask.echo", b"")?;
    ensure!(answer.is_empty(), "got {answer:?}");
    Ok(())
}

fn any_bytes(kit: &Kit) -> Result<(), Failure> {
    let body: Vec<u8> = (0..=255).collect();
    let answer = kit.ask("suite.ask.echo", &body)?;
    ensure!(answer == body, "got {answer:?}");
    Ok(())
}

fn whole(kit: &Kit) -> Result<(), Failure> {
    let size = kit.largest().map_or(MIB, |largest| largest.min(MIB));
    let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let answer = kit.ask("suite.ask.echo", &body)?;
    ensure!(answer.len() == size, "got {} bytes of {size}", answer.len());
    ensure!(answer == body, "the bytes are others");
    ensure!(
        size == MIB,
        "the largest body is {size} bytes, less than 1 MiB"
    );
    Ok(())
}

/// Bodies larger than this are not tried.
const LARGEST_TRIED: usize = 4 * MIB;

fn at_limit(kit: &Kit) -> Result<(), Failure> {
    let Some(largest) = kit.largest().filter(|largest| *largest <= LARGEST_TRIED) else {
        return Err(Failure::Refused(format!(
            "bodies may be longer than the {LARGEST_TRIED} bytes that this guest makes"
        )));
    };
    let body: Vec<u8> = (0..largest).map(|at| (at % 251) as u8).collect();
    let answer = kit.ask("suite.ask.echo", &body)?;
    ensure!(answer == body, "got {} bytes of {largest}", answer.len());
    Ok(())
}

fn too_large(kit: &Kit) -> Result<(), Failure> {
    let Some(largest) = kit.largest() else {
        let what = "the backend tells no `max-message-bytes`".to_owned();
        return Err(Failure::Refused(what));
    };
    let body = vec![0; largest + 1];
    let Err(words) = wire::publish("suite.ask.silent", &body) else {
        let what = format!("{} bytes were taken, the limit is {largest}", body.len());
        return Err(Failure::Failed(what));
    };
    let names = words.contains("limit") && words.contains("suite.ask.silent");
    ensure!(names, "the refusal says neither limit nor subject: {words}");
    let answer = kit.ask("suite.ask.echo", b"still there")?;
    ensure!(answer == b"still there", "got {answer:?}");
    Ok(())
}

fn no_subject(_kit: &Kit) -> Result<(), Failure> {
    let Err(words) = wire::publish("", b"") else {
        return Err(Failure::Failed("an empty subject was taken".to_owned()));
    };
    ensure!(
        words.contains("cannot be published"),
        "the words are: {words}"
    );
    Ok(())
}

fn nobody(_kit: &Kit) -> Result<(), Failure> {
    match wire::publish("suite.nobody", b"") {
        Err(words) if !words.contains("suite.nobody") => Err(Failure::Failed(format!(
            "the subject is not named: {words}"
        ))),
        _ => Ok(()),
    }
}
