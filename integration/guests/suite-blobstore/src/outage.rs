//! What holds over an outage of the store.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::blobstore::blobstore;
use crate::bindings::wasi::blobstore::container::Container;
use crate::statement::{Outcome, Statement, Told, away, broken};
use crate::world::{Step, expect, holds, read_all, same, write};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "an object is whole or absent after an outage, and there when it was acknowledged",
        attempt: write_one,
        check: whole_or_absent,
    },
    Statement {
        name: "an object that an outage broke into has one of its values",
        attempt: write_again,
        check: one_of_its_values,
    },
];

/// The size of an object: a few pieces.
const SIZE: usize = 150_000;

/// The byte that an object of a step is made of.
fn byte(step: u32) -> u8 {
    (step % 251) as u8
}

/// The container, which a store that forgets has to make again.
fn container(told: &Told<'_>) -> Result<Container, Failure> {
    let name = format!("{}-outage", told.run());
    if blobstore::container_exists(&name).map_err(away)? {
        return blobstore::get_container(&name).map_err(away);
    }
    // Another attempt may have been faster.
    blobstore::create_container(&name)
        .or_else(|_| blobstore::get_container(&name))
        .map_err(away)
}

fn write_step(told: &Told<'_>, name: &str, step: u32) -> Result<String, Failure> {
    write(&container(told)?, name, &vec![byte(step); SIZE]).map_err(away)?;
    Ok(String::new())
}

fn write_one(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    write_step(told, &format!("one-{step}"), step)
}

fn whole_or_absent(told: &Told<'_>, outcome: &Outcome<'_>) -> Step {
    let container = container(told)?;
    for attempt in outcome.attempts {
        let name = format!("one-{}", attempt.step);
        let there = expect("has-object", container.has_object(&name))?;
        if !there && attempt.told.is_none() {
            continue;
        }
        holds(
            &format!("`{name}` was acknowledged and is not there"),
            there,
        )?;
        let data = expect(&format!("reading `{name}`"), read_all(&container, &name))?;
        same(&format!("the size of `{name}`"), data.len(), SIZE)?;
        let own = data.iter().all(|found| *found == byte(attempt.step));
        holds(&format!("`{name}` has bytes of another"), own)?;
    }
    Ok(())
}

fn write_again(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    write_step(told, "again", step)
}

fn one_of_its_values(told: &Told<'_>, outcome: &Outcome<'_>) -> Step {
    let data = expect("reading `again`", read_all(&container(told)?, "again"))?;
    same("the size of `again`", data.len(), SIZE)?;
    let first = data.first().copied().unwrap_or_default();
    holds("it is a mixture", data.iter().all(|found| *found == first))?;
    let known = outcome
        .attempts
        .iter()
        .any(|attempt| byte(attempt.step) == first);
    if known || outcome.forgets {
        return Ok(());
    }
    Err(broken("nobody wrote what is there"))
}
