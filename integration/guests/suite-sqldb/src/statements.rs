//! Statements, their placeholders and what is wrong with them.

use crate::bindings::lattice::sql::sql::{self, Dialect, Error, Value};
use crate::kit::{Case, Run, Verdict, equal, execute, query, refused, text, whole};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("placeholders are question marks or numbers", placeholders),
    ("placeholders inside of quotes are none", quoted),
    ("both kinds of placeholders at once are refused", both_kinds),
    ("values that are too few or too many are refused", counts),
    ("two statements in one are refused", two_statements),
    ("statements do not begin transactions", control),
    ("what a statement changed is counted", affected),
    ("what a statement returns may be queried", returning),
    ("columns have their names", columns),
    ("an error of the database has its code", unknown_table),
    (
        "a database that the link does not have is refused by name",
        unknown_database,
    ),
    ("the database of the link has several names", own_names),
    ("the dialect is the one that the provider tells", dialect),
];

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::InvalidParameter(_))
}

fn placeholders(run: &Run<'_>) -> Verdict {
    let table = run.table("marks", "a BIGINT, b BIGINT")?;
    let name = &table.name;
    let values = [Value::Int(1), Value::Int(2)];
    execute(&format!("INSERT INTO {name} (a, b) VALUES (?, ?)"), &values)?;
    execute(
        &format!("INSERT INTO {name} (b, a) VALUES ($1, $2)"),
        &values,
    )?;
    execute(
        &format!("INSERT INTO {name} (a, b) VALUES ($2, $2)"),
        &values[..0],
    )
    .err();
    let again = [Value::Int(7)];
    execute(
        &format!("INSERT INTO {name} (a, b) VALUES ($1, $1)"),
        &again,
    )?;
    let rows = query(&format!("SELECT a, b FROM {name} ORDER BY a, b"), &[])?;
    let wanted = [[1, 2], [2, 1], [7, 7]].map(|row| row.map(Value::Int).to_vec());
    equal("the rows", format!("{rows:?}"), format!("{wanted:?}"))
}

fn quoted(run: &Run<'_>) -> Verdict {
    let column = run.of("TEXT", "VARCHAR(50)", "TEXT");
    let table = run.table("quoted", &format!("a {column}"))?;
    let insert = "INSERT INTO x (a) /* ? $1 */ VALUES ('? $1 '' ; -- no comment') -- ?\n";
    execute(&insert.replace('x', &table.name), &[])?;
    let select = format!("SELECT a FROM {} WHERE a LIKE '?%' AND a <> ?", table.name);
    let rows = query(&select, &[text("?")])?;
    let wanted = [[text("? $1 ' ; -- no comment")]];
    equal("the text", format!("{rows:?}"), format!("{wanted:?}"))
}

fn both_kinds(run: &Run<'_>) -> Verdict {
    if run.dialect == Dialect::Postgres {
        // There a question mark beside a number is an operator, which is no kind of mixing.
        return Ok(());
    }
    let values = [Value::Int(1), Value::Int(2)];
    let came = query("SELECT ?, $1", &values);
    refused("a mixture", came, "invalid-parameter", is_invalid)
}

fn counts(run: &Run<'_>) -> Verdict {
    let table = run.table("counts", "a BIGINT")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    for values in [&[][..], &[Value::Int(1), Value::Int(2)]] {
        let came = execute(&insert, values);
        refused(
            "another number of values",
            came,
            "invalid-parameter",
            is_invalid,
        )?;
    }
    let came = query(
        "SELECT $1, $3",
        &[Value::Int(1), Value::Int(2), Value::Int(3)],
    );
    refused(
        "a number that is left out",
        came,
        "invalid-parameter",
        is_invalid,
    )?;
    equal("rows", table.count()?, 0)
}

fn two_statements(run: &Run<'_>) -> Verdict {
    let table = run.table("two", "a BIGINT")?;
    let both = "INSERT INTO x (a) VALUES (1); INSERT INTO x (a) VALUES (2)";
    let came = execute(&both.replace('x', &table.name), &[]);
    refused("two statements", came, "invalid-parameter", is_invalid)?;
    equal("rows", table.count()?, 0)?;
    let one = "INSERT INTO x (a) VALUES (1); -- the end";
    execute(&one.replace('x', &table.name), &[])?;
    equal("rows", table.count()?, 1)
}

fn control(_: &Run<'_>) -> Verdict {
    for statement in [
        "BEGIN",
        "start transaction",
        " /* x */ COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
    ] {
        let came = execute(statement, &[]);
        refused(statement, came, "invalid-parameter", is_invalid)?;
    }
    Ok(())
}

fn affected(run: &Run<'_>) -> Verdict {
    let table = run.table("affected", "a BIGINT, b BIGINT")?;
    let name = &table.name;
    let done = execute(
        &format!("INSERT INTO {name} (a, b) VALUES (1, 0), (2, 0), (3, 0)"),
        &[],
    )?;
    equal("inserted", done.affected, 3)?;
    let done = execute(&format!("UPDATE {name} SET b = 1 WHERE a > 1"), &[])?;
    equal("updated", done.affected, 2)?;
    let done = execute(&format!("DELETE FROM {name} WHERE a = 9"), &[])?;
    equal("deleted", done.affected, 0)?;
    let done = execute(&format!("SELECT a FROM {name}"), &[])?;
    equal("selected", done.affected, 0)
}

fn returning(run: &Run<'_>) -> Verdict {
    let table = run.table("returning", "a BIGINT")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?), (?) RETURNING a", table.name);
    let rows = query(&insert, &[Value::Int(4), Value::Int(5)])?;
    let came: Vec<_> = rows.iter().flatten().filter_map(whole).collect();
    equal("returned", came, vec![4, 5])?;
    equal("rows", table.count()?, 2)
}

fn columns(run: &Run<'_>) -> Verdict {
    let table = run.table("columns", "a BIGINT, b DOUBLE PRECISION")?;
    let select = format!("SELECT a AS first, b FROM {}", table.name);
    let rows = sql::query("", None, &select, &[], 0)?;
    let names: Vec<_> = rows
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    equal("names", names, vec!["first", "b"])?;
    equal("rows", rows.rows.len(), 0)
}

fn unknown_table(_: &Run<'_>) -> Verdict {
    let came = query("SELECT a FROM there_is_no_such_table", &[]);
    refused(
        "an unknown table",
        came,
        "failed with a code",
        |error| matches!(error, Error::Failed(error) if !error.code.is_empty() && !error.message.is_empty()),
    )?;
    let came = query("SELEC 1", &[]);
    refused("a misspelt statement", came, "failed", |error| {
        matches!(error, Error::Failed(_))
    })
}

fn unknown_database(_: &Run<'_>) -> Verdict {
    for name in ["no-such-database", "../default", "/etc/passwd"] {
        let came = sql::execute(name, None, "SELECT 1", &[]);
        refused(name, came, "no-such-database", |error| {
            matches!(error, Error::NoSuchDatabase)
        })?;
        let came = sql::begin(name, sql::Isolation::Default, 0);
        refused(name, came, "no-such-database", |error| {
            matches!(error, Error::NoSuchDatabase)
        })?;
    }
    Ok(())
}

fn own_names(run: &Run<'_>) -> Verdict {
    let table = run.table("names", "a BIGINT")?;
    for name in ["", "default"] {
        let insert = format!("INSERT INTO {} (a) VALUES (1)", table.name);
        sql::execute(name, None, &insert, &[])?;
    }
    equal("rows", table.count()?, 2)
}

fn dialect(run: &Run<'_>) -> Verdict {
    let Some(told) = run.feature("dialect") else {
        return Ok(());
    };
    let dialect = run.of("postgres", "mysql", "sqlite");
    equal("the dialect", dialect, told)
}
