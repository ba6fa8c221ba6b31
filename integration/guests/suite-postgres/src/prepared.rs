//! Prepared statements.

use crate::bindings::wasmcloud::postgres::prepared::{exec, prepare};
use crate::kit::{Case, Run, Verdict, count, equal, failed, refused, text};
use crate::pg::{PgValue, PreparedStatementExecError, QueryError, StatementPrepareError};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "a prepared statement tells how many rows it changed",
        counts,
    ),
    ("a prepared statement may be carried out often", often),
    (
        "what a prepared statement violates is told by name",
        violated,
    ),
    ("a token that nobody was given is unknown", unknown),
    ("a statement that makes no sense is not prepared", senseless),
];

fn given(prepared: Result<String, StatementPrepareError>) -> Result<String, crate::Failure> {
    prepared.map_err(|error| failed(format!("it is not prepared: {error:?}")))
}

fn done(done: Result<u64, PreparedStatementExecError>) -> Result<u64, crate::Failure> {
    done.map_err(|error| failed(format!("it is not carried out: {error:?}")))
}

fn counts(run: &Run) -> Verdict {
    let table = run.table("counts", "id INT, word TEXT")?;
    let insert = given(prepare(&format!(
        "INSERT INTO {table} SELECT n, $1 FROM generate_series(1, 3) AS n"
    )))?;
    equal("inserted", &done(exec(&insert, &[text("a")]))?, &3)?;
    let update = given(prepare(&format!(
        "UPDATE {table} SET word = $1 WHERE id > $2"
    )))?;
    equal(
        "updated",
        &done(exec(&update, &[PgValue::Null, PgValue::Int4(1)]))?,
        &2,
    )?;
    equal(
        "updated",
        &done(exec(&update, &[text("b"), PgValue::Int4(7)]))?,
        &0,
    )
}

fn often(run: &Run) -> Verdict {
    let table = run.table("often", "id INT")?;
    let insert = given(prepare(&format!("INSERT INTO {table} VALUES ($1)")))?;
    for id in 0..50 {
        equal("inserted", &done(exec(&insert, &[PgValue::Int4(id)]))?, &1)?;
    }
    equal("rows", &count(&table)?, &50)
}

fn violated(run: &Run) -> Verdict {
    let table = run.table("violated", "id INT CONSTRAINT only_once UNIQUE")?;
    let insert = given(prepare(&format!("INSERT INTO {table} VALUES ($1)")))?;
    done(exec(&insert, &[PgValue::Int4(1)]))?;
    refused(
        "the same again",
        exec(&insert, &[PgValue::Int4(1)]),
        "the constraint",
        |error| {
            let error = format!("{error:?}");
            error.contains("QueryError") && error.contains("only_once")
        },
    )?;
    refused(
        "no number",
        exec(&insert, &[text("x")]),
        "invalid-params",
        |error| {
            matches!(
                error,
                PreparedStatementExecError::QueryError(QueryError::InvalidParams(_))
            )
        },
    )?;
    equal("rows", &count(&table)?, &1)
}

fn unknown(_run: &Run) -> Verdict {
    refused(
        "a token",
        exec("nobody was given this", &[]),
        "unknown-prepared-query",
        |error| matches!(error, PreparedStatementExecError::UnknownPreparedQuery),
    )
}

fn senseless(_run: &Run) -> Verdict {
    refused("SELEC 1", prepare("SELEC 1"), "an error", |_| true)
}
