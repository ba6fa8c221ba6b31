//! Queries and batches.

use crate::bindings::wasmcloud::postgres::query;
use crate::kit::{Case, Run, Verdict, count, equal, failed, refused, rows, text};
use crate::pg::{PgValue, QueryError};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "rows come in their order with the names of their columns",
        named,
    ),
    ("a query without rows gives none", none),
    ("what stands in a parameter is data", injected),
    ("a query that makes no sense is refused as one", senseless),
    ("parameters that do not fit are refused as such", unfit),
    ("more than a call may hold is refused by name", too_much),
    ("a batch runs all of its statements", batch),
    (
        "a batch of which a statement fails leaves nothing",
        half_a_batch,
    ),
    ("a transaction that a batch leaves open is refused and gone", left_open),
];

fn named(run: &Run) -> Verdict {
    let table = run.table("named", "id INT PRIMARY KEY, word TEXT")?;
    query::query_batch(&format!("INSERT INTO {table} VALUES (2, NULL), (1, 'one')"))?;
    let found = query::query(
        &format!("SELECT id, word AS \"A word\" FROM {table} ORDER BY id"),
        &[],
    )?;
    let names: Vec<Vec<_>> = found
        .iter()
        .map(|row| row.iter().map(|entry| entry.column_name.as_str()).collect())
        .collect();
    equal("names", &names, &vec![vec!["id", "A word"]; 2])?;
    let values: Vec<_> = found.iter().flatten().map(|entry| &entry.value).collect();
    let wanted = [
        PgValue::Int4(1),
        text("one"),
        PgValue::Int4(2),
        PgValue::Null,
    ];
    equal("values", &values, &wanted.iter().collect())
}

fn none(run: &Run) -> Verdict {
    let table = run.table("none", "id INT")?;
    equal(
        "rows",
        &rows(&format!("SELECT id FROM {table}"), &[])?.len(),
        &0,
    )?;
    // A statement that gives no rows is a query without rows.
    let done = rows(
        &format!("INSERT INTO {table} VALUES ($1)"),
        &[PgValue::Int4(1)],
    )?;
    equal("rows of an insertion", &done.len(), &0)?;
    equal("rows afterwards", &count(&table)?, &1)
}

fn injected(run: &Run) -> Verdict {
    let table = run.table("injected", "word TEXT")?;
    let bad = [
        format!("'; DROP TABLE {table}; --"),
        "$1".to_owned(),
        "\\' OR 1=1 --".to_owned(),
        "NULL".to_owned(),
    ];
    for word in &bad {
        rows(&format!("INSERT INTO {table} VALUES ($1)"), &[text(word)])?;
        let same = rows(
            &format!("SELECT word FROM {table} WHERE word = $1"),
            &[text(word)],
        )?;
        equal("what is found", &same, &vec![vec![text(word)]])?;
    }
    equal("rows", &count(&table)?, &4)
}

fn senseless(_run: &Run) -> Verdict {
    for bad in [
        "SELEC 1",
        "SELECT nothing_like_that",
        "SELECT * FROM no_such_table",
    ] {
        refused(bad, rows(bad, &[]), "invalid-query", |error| {
            matches!(error, QueryError::InvalidQuery(_))
        })?;
    }
    Ok(())
}

fn unfit(_run: &Run) -> Verdict {
    let cases = [
        ("SELECT $1::int4", vec![text("x")]),
        ("SELECT 1", vec![PgValue::Null]),
        ("SELECT $1::int4, $2::int4", vec![PgValue::Int4(1)]),
        ("SELECT $1::bit(20)", vec![PgValue::Bit((20, vec![0]))]),
    ];
    for (query, params) in cases {
        refused(query, rows(query, &params), "invalid-params", |error| {
            matches!(error, QueryError::InvalidParams(_))
        })?;
    }
    Ok(())
}

fn too_much(_run: &Run) -> Verdict {
    let much = "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)";
    refused(
        "a gigabyte",
        rows(much, &[]).map(|rows| rows.len()),
        "words about MiB",
        |error| matches!(error, QueryError::Unexpected(why) if why.contains("MiB")),
    )?;
    equal("rows afterwards", &rows("SELECT 1", &[])?.len(), &1)
}

fn batch(run: &Run) -> Verdict {
    let table = run.table("batch", "id INT")?;
    query::query_batch(&format!(
        "BEGIN; INSERT INTO {table} VALUES (1); INSERT INTO {table} VALUES (2); COMMIT;"
    ))?;
    equal("rows", &count(&table)?, &2)
}

fn half_a_batch(run: &Run) -> Verdict {
    let table = run.table("half", "id INT PRIMARY KEY")?;
    let text = format!("INSERT INTO {table} VALUES (1); INSERT INTO {table} VALUES (1);");
    if query::query_batch(&text).is_ok() {
        return Err(failed("a row is there twice, and nobody says so"));
    }
    equal("rows", &count(&table)?, &0)
}

fn left_open(run: &Run) -> Verdict {
    let table = run.table("open", "id INT")?;
    query::query_batch(&format!("INSERT INTO {table} VALUES (1)"))?;
    if query::query_batch(&format!("BEGIN; DELETE FROM {table};")).is_ok() {
        return Err(failed("it counts as done"));
    }
    // Whatever connection is taken.
    for _ in 0..20 {
        equal("rows", &count(&table)?, &1)?;
    }
    Ok(())
}
