//! What holds over an outage of the database.

use std::collections::HashSet;

use crate::bindings::wasmcloud::postgres::query;
use crate::kit::{Verdict, equal, rows};
use crate::pg::PgValue;
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[Statement {
    name: "a row that was acknowledged is there after an outage, and none is there twice",
    attempt: insert,
    check: rows_stay,
}];

fn table(told: &Told<'_>) -> String {
    format!("o_{}_rows", told.run())
}

fn insert(told: &Told<'_>, step: u32) -> Result<String, crate::Failure> {
    let table = table(told);
    if step == 0 {
        query::query_batch(&format!("CREATE TABLE {table} (step INT)")).map_err(away)?;
        return Ok("the table".to_owned());
    }
    let value = PgValue::Int8(step.into());
    let insert = format!("INSERT INTO {table} VALUES ($1)");
    query::query(&insert, &[value]).map_err(away)?;
    Ok(step.to_string())
}

fn rows_stay(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let found = rows(&format!("SELECT step FROM {}", table(told)), &[])?;
    let mut there = HashSet::new();
    for value in found.into_iter().flatten() {
        let PgValue::Int4(step) = value else {
            return Err(broken(format!("a step is {value:?}")));
        };
        equal("a step that was not there yet", &there.insert(step), &true)?;
    }
    let mut told = outcome.told().filter(|(step, _)| *step > 0);
    match told.find(|(step, _)| !there.contains(&i32::try_from(*step).unwrap_or(-1))) {
        Some((step, _)) => Err(broken(format!(
            "step {step} was acknowledged and is not there"
        ))),
        None => Ok(()),
    }
}
