//! Rows that come piece by piece.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::sql::sql::{self, Error, Isolation, Value};
use crate::kit::{Case, Run, Table, Verdict, begin, equal, execute_in, page, refused, whole};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "rows come in pages, each of them once and in order",
        in_order,
    ),
    ("a page that holds all rows has no cursor", one_page),
    ("a page of long rows ends early", long_rows),
    ("a cursor that was closed is gone", closed),
    ("a cursor of nobody is gone", unknown),
    (
        "pages of a transaction go on beside its other statements",
        in_transaction,
    ),
    ("cursors end with their transaction", ends_with_transaction),
];

const ROWS: i64 = 2500;

/// A table with the numbers from 0 on.
fn numbers(run: &Run<'_>, name: &str, count: i64) -> Result<Table, Failure> {
    let table = run.table(name, "a BIGINT")?;
    let rows: Vec<_> = (0..count).map(|number| vec![Value::Int(number)]).collect();
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    sql::execute_many("", None, &insert, &rows)?;
    Ok(table)
}

fn ordered(table: &Table) -> String {
    format!("SELECT a FROM {} ORDER BY a", table.name)
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::CursorGone)
}

fn in_order(run: &Run<'_>) -> Verdict {
    let table = numbers(run, "pages", ROWS)?;
    let mut rows = page(None, &ordered(&table), 400)?;
    let mut seen = Vec::new();
    loop {
        equal(
            "rows of a page are at most as many as asked for",
            rows.rows.len() <= 400,
            true,
        )?;
        equal("columns of a page", rows.columns.len(), 1)?;
        seen.extend(rows.rows.iter().flatten().filter_map(whole));
        let Some(cursor) = rows.cursor else {
            break;
        };
        rows = sql::fetch("", &cursor, 400)?;
    }
    equal("all rows", seen.len(), 2500)?;
    equal("in order", seen, (0..ROWS).collect())
}

fn one_page(run: &Run<'_>) -> Verdict {
    let table = numbers(run, "one_page", 10)?;
    for most in [10, 11, 0] {
        let rows = page(None, &ordered(&table), most)?;
        equal("rows", rows.rows.len(), 10)?;
        equal("the cursor", rows.cursor, None)?;
    }
    Ok(())
}

fn long_rows(run: &Run<'_>) -> Verdict {
    let table = run.table("long", run.of("a BYTEA", "a LONGBLOB", "a BLOB"))?;
    let rows: Vec<_> = (0..20)
        .map(|_| vec![Value::Bytes(vec![7; 100_000])])
        .collect();
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    sql::execute_many("", None, &insert, &rows)?;
    let mut came = page(None, &format!("SELECT a FROM {}", table.name), 1000)?;
    equal(
        "a page is no longer than it may be",
        came.rows.len() < 20,
        true,
    )?;
    let mut seen = came.rows.len();
    while let Some(cursor) = came.cursor {
        came = sql::fetch("", &cursor, 1000)?;
        seen += came.rows.len();
    }
    equal("all rows", seen, 20)
}

fn closed(run: &Run<'_>) -> Verdict {
    let table = numbers(run, "closed", 100)?;
    let rows = page(None, &ordered(&table), 10)?;
    let cursor = rows.cursor.unwrap_or_default();
    sql::close("", &cursor)?;
    // What is gone is closed already.
    sql::close("", &cursor)?;
    refused(
        "a closed cursor",
        sql::fetch("", &cursor, 10),
        "cursor-gone",
        is_gone,
    )
}

fn unknown(_: &Run<'_>) -> Verdict {
    let name = "cursor-0123456789abcdef-00000000000000000000000000000000";
    refused(
        "no cursor",
        sql::fetch("", name, 10),
        "cursor-gone",
        is_gone,
    )?;
    Ok(sql::close("", name)?)
}

fn in_transaction(run: &Run<'_>) -> Verdict {
    let table = numbers(run, "beside", 1000)?;
    let tx = begin(Isolation::Default)?;
    let first = page(Some(&tx), &ordered(&table), 10)?;
    let second = page(Some(&tx), &ordered(&table), 20)?;
    let insert = format!("INSERT INTO {} (a) VALUES (5000)", table.name);
    execute_in(&tx, &insert, &[])?;
    for rows in [first, second] {
        let mut seen = rows.rows.len();
        let mut cursor = rows.cursor;
        while let Some(name) = cursor {
            let rows = sql::fetch("", &name, 300)?;
            seen += rows.rows.len();
            cursor = rows.cursor;
        }
        equal("rows of a cursor that was open", seen, 1000)?;
    }
    sql::commit("", &tx)?;
    equal("rows", table.count()?, 1001)
}

fn ends_with_transaction(run: &Run<'_>) -> Verdict {
    let table = numbers(run, "ends", 100)?;
    let tx = begin(Isolation::Default)?;
    let rows = page(Some(&tx), &ordered(&table), 10)?;
    sql::commit("", &tx)?;
    let cursor = rows.cursor.unwrap_or_default();
    refused(
        "a cursor after its transaction",
        sql::fetch("", &cursor, 10),
        "cursor-gone",
        is_gone,
    )
}
