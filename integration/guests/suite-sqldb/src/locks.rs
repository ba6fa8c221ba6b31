//! Transactions that are in each other's way.

use crate::bindings::lattice::sql::sql::{self, Error, Isolation};
use crate::kit::{Case, Run, Verdict, begin, equal, execute, execute_in, failed, number, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "who waits for a lock for too long is told to try again",
        waiting,
    ),
    ("what cannot be serialized is to be tried again", serialized),
];

fn is_again(error: &Error) -> bool {
    matches!(error, Error::TryAgain(_))
}

fn waiting(run: &Run<'_>) -> Verdict {
    let table = run.table("waiting", "a BIGINT")?;
    execute(&format!("INSERT INTO {} (a) VALUES (0)", table.name), &[])?;
    let add = format!("UPDATE {} SET a = a + 1", table.name);
    let tx = begin(Isolation::Default)?;
    execute_in(&tx, &add, &[])?;
    refused(
        "a statement beside",
        execute(&add, &[]),
        "try-again",
        is_again,
    )?;
    sql::commit("", &tx)?;
    execute(&add, &[])?;
    equal(
        "the sum",
        number(None, &format!("SELECT a FROM {}", table.name))?,
        2,
    )
}

/// Two transactions that each read a number and write one more. Where both got through, one of the
/// two would be lost.
fn serialized(run: &Run<'_>) -> Verdict {
    let table = run.table("serialized", "a BIGINT")?;
    let name = &table.name;
    execute(&format!("INSERT INTO {name} (a) VALUES (0)"), &[])?;
    let read = format!("SELECT a FROM {name}");
    let write = format!("UPDATE {name} SET a = 1");
    let first = begin(Isolation::Serializable)?;
    let step = || -> Result<(), Error> {
        sql::query("", Some(&first), &read, &[], 0)?;
        let second = sql::begin("", Isolation::Serializable, 0)?;
        let done = both(&first, &second, &read, &write);
        if done.is_err() {
            sql::rollback("", &second).or_else(gone)?;
        }
        done
    };
    let came = step();
    refused(
        "two that read and write the same",
        came,
        "try-again",
        is_again,
    )?;
    sql::rollback("", &first).or_else(gone)?;
    let tx = begin(Isolation::Serializable)?;
    let before = number(Some(&tx), &read)?;
    execute_in(&tx, &format!("UPDATE {name} SET a = a + 1"), &[])?;
    sql::commit("", &tx)?;
    match number(None, &read)? - before {
        1 => Ok(()),
        added => Err(failed(format!("one more is {added} more"))),
    }
}

/// Both write after both have read, and both commit.
fn both(first: &str, second: &str, read: &str, write: &str) -> Result<(), Error> {
    sql::query("", Some(second), read, &[], 0)?;
    execute_in(first, write, &[])?;
    sql::commit("", first)?;
    execute_in(second, write, &[])?;
    sql::commit("", second)
}

/// What has ended already needs no end.
fn gone(error: Error) -> Result<(), Error> {
    match error {
        Error::TransactionGone => Ok(()),
        other => Err(other),
    }
}
