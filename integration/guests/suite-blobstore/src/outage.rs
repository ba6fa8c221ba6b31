//! What holds over an outage of the store.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::blobstore::blobstore;
use crate::bindings::wasi::blobstore::container::Container;
use crate::statement::{Outcome, Statement, Told, away, broken};
use crate::world::{Step, expect, holds, id, read_all, same, write};

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
    Statement {
        name: "what was deleted or moved stays so over an outage",
        attempt: delete_or_move,
        check: gone_from_its_place,
    },
];

/// The size of an object: a few pieces.
const SIZE: usize = 150_000;

/// The byte that an object of a step is made of.
fn byte(step: u32) -> u8 {
    (step % 251) as u8
}

fn container_name(told: &Told<'_>) -> String {
    format!("{}-outage", told.run())
}

/// The container, which a store that forgets has to make again.
fn container(told: &Told<'_>) -> Result<Container, Failure> {
    let name = container_name(told);
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

/// The names of the object of a step, before and after it is moved.
fn places(step: u32) -> [String; 2] {
    [format!("here-{step}"), format!("there-{step}")]
}

fn delete_or_move(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let [here, there] = places(step);
    write_step(told, &here, step)?;
    if step % 2 == 0 {
        container(told)?.delete_object(&here).map_err(away)?;
        return Ok("deleted".to_owned());
    }
    let name = container_name(told);
    blobstore::move_object(&id(&name, &here), &id(&name, &there)).map_err(away)?;
    Ok("moved".to_owned())
}

/// Of an attempt that failed nobody knows how far it came.
fn gone_from_its_place(told: &Told<'_>, outcome: &Outcome<'_>) -> Step {
    let container = container(told)?;
    for (step, what) in outcome.told() {
        let [here, there] = places(step);
        let is_here = expect("has-object", container.has_object(&here))?;
        holds(&format!("`{here}` was {what} and is there"), !is_here)?;
        if what == "moved" {
            let data = expect(&format!("reading `{there}`"), read_all(&container, &there))?;
            let own = data.len() == SIZE && data.iter().all(|found| *found == byte(step));
            holds(&format!("`{there}` is not what was moved"), own)?;
        }
    }
    Ok(())
}
