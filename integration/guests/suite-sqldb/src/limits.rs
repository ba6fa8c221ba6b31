//! As much as is told, and more.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::sql::sql::{self, Error, Isolation, Value};
use crate::kit::{Case, Run, Table, Verdict, begin, equal, execute, failed, page, query, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "a page has as many rows as it may have, and no more",
        page_rows,
    ),
    (
        "a page has as many bytes as it may have, or one row",
        page_bytes,
    ),
    ("a statement has as many values as it may have", parameters),
    (
        "a statement with more values is refused by name",
        more_parameters,
    ),
    (
        "more transactions than may be open are refused by name",
        transactions,
    ),
    ("more cursors than may be open are refused by name", cursors),
];

/// How often it is tried to have as many open as may be: on a busy machine the first may be over,
/// since nobody uses them, before the last is begun.
const ROUNDS: usize = 3;

fn limit(run: &Run<'_>, name: &str) -> Result<usize, Failure> {
    let told = run.feature(name);
    let limit = told.and_then(|limit| limit.parse().ok());
    limit.ok_or_else(|| failed(format!("the provider tells `{name}` as {told:?}")))
}

/// A table with as many rows.
fn numbers(run: &Run<'_>, name: &str, count: usize) -> Result<Table, Failure> {
    let table = run.table(name, "a BIGINT")?;
    execute(&format!("INSERT INTO {} (a) VALUES (0)", table.name), &[])?;
    let mut there = 1;
    while there < count {
        let more = (count - there).min(there);
        let double = format!(
            "INSERT INTO {0} (a) SELECT a FROM {0} LIMIT {more}",
            table.name
        );
        execute(&double, &[])?;
        there += more;
    }
    Ok(table)
}

fn page_rows(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-page-rows")?;
    let table = numbers(run, "many", most + 1)?;
    let asked = u32::try_from(most).unwrap_or(u32::MAX);
    for asked in [asked, asked.saturating_add(1), u32::MAX] {
        let rows = page(None, &format!("SELECT a FROM {}", table.name), asked)?;
        equal("rows of the first page", rows.rows.len(), most)?;
        let rest = sql::fetch("", &rows.cursor.unwrap_or_default(), asked)?;
        equal("rows of the second page", rest.rows.len(), 1)?;
        equal("its cursor", rest.cursor, None)?;
    }
    Ok(())
}

fn page_bytes(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-page-bytes")?;
    let table = run.table("wide", run.of("a BYTEA", "a LONGBLOB", "a BLOB"))?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    // Rows of which two fit no page, each of which is more than one may have.
    for _ in 0..3 {
        execute(&insert, &[Value::Bytes(vec![7; most + 1])])?;
    }
    let mut rows = page(None, &format!("SELECT a FROM {}", table.name), 10)?;
    let mut pages = 1;
    loop {
        equal("rows of a page", rows.rows.len(), 1)?;
        let Some(cursor) = rows.cursor else { break };
        rows = sql::fetch("", &cursor, 10)?;
        if rows.rows.is_empty() {
            break;
        }
        pages += 1;
    }
    equal("pages", pages, 3)
}

/// A question whether one is among so many values.
fn among(count: usize) -> (String, Vec<Value>) {
    let marks = vec!["?"; count].join(", ");
    let values = (0..count).map(|value| Value::Int(value as i64 + 1));
    (format!("IN ({marks})"), values.collect())
}

fn parameters(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-parameters")?;
    let table = run.table("params", "a BIGINT")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    execute(&insert, &[Value::Int(most as i64)])?;
    let (among, values) = among(most);
    let select = format!("SELECT a FROM {} WHERE a {among}", table.name);
    let rows = query(&select, &values)?;
    equal("rows", rows.len(), 1)
}

fn more_parameters(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-parameters")?;
    let table = run.table("more_params", "a BIGINT")?;
    let (among, values) = among(most + 1);
    let select = format!("SELECT a FROM {} WHERE a {among}", table.name);
    let came = query(&select, &values);
    refused(
        "more values",
        came,
        "invalid-parameter with the limit",
        |error| matches!(error, Error::InvalidParameter(why) if why.contains(&most.to_string())),
    )?;
    equal("rows afterwards", table.count()?, 0)
}

/// One that is refused because of those that are open; a database with one writer says to try again.
fn is_full(error: &Error) -> bool {
    match error {
        Error::Busy(why) => !why.is_empty(),
        Error::TryAgain(why) => !why.message.is_empty(),
        _ => false,
    }
}

/// Opens one after the other until one is refused, which has to come before there are more than may
/// be; then closes them.
fn fill(most: usize, open: impl Fn() -> Result<String, Error>, close: impl Fn(&str)) -> Verdict {
    let mut last = Ok(());
    for _ in 0..ROUNDS {
        let mut names = Vec::new();
        let more = loop {
            match open() {
                Ok(name) => names.push(name),
                Err(error) => break Err(error),
            }
            if names.len() > most {
                break Ok(names.len());
            }
        };
        names.iter().for_each(|name| close(name));
        last = refused("how many are open", more, "busy", is_full);
        if last.is_ok() {
            // There is room again.
            close(&open()?);
            return Ok(());
        }
    }
    last
}

fn transactions(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-transactions")?;
    let roll_back = |name: &str| {
        // It may be over already.
        let _over = sql::rollback("", name);
    };
    fill(most, || begin(Isolation::Default), roll_back)
}

fn cursors(run: &Run<'_>) -> Verdict {
    let most = limit(run, "max-cursors")?;
    let table = numbers(run, "cursors", 100)?;
    let select = format!("SELECT a FROM {}", table.name);
    let open = || Ok(page(None, &select, 1)?.cursor.unwrap_or_default());
    let close = |name: &str| {
        // What is gone is closed already.
        let _closed = sql::close("", name);
    };
    fill(most, open, close)
}
