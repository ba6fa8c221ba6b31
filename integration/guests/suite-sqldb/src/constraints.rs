//! Constraints that statements would violate.

use crate::bindings::lattice::sql::sql::Error;
use crate::bindings::lattice::sql::types::ConstraintKind;
use crate::kit::{Case, Run, Verdict, equal, execute, failed};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "a row that is there twice is refused by the constraint",
        unique,
    ),
    ("a missing value is refused by its column", not_null),
    ("a value that a check refuses is named", check),
    ("a row that another one needs is named", foreign_key),
];

/// Runs a statement that a constraint refuses. Its name, where the database tells it, has to hold
/// `name`.
fn violates(statement: &str, kind: ConstraintKind, name: Option<&str>) -> Verdict {
    let came = execute(statement, &[]);
    let Err(Error::Failed(error)) = came else {
        return Err(failed(format!(
            "`{statement}` gave {came:?}, wanted a violation"
        )));
    };
    let Some(constraint) = error.constraint else {
        return Err(failed(format!(
            "`{statement}` does not tell the constraint: {}",
            error.message
        )));
    };
    equal("the kind of the constraint", constraint.kind, kind)?;
    let told = constraint.name.unwrap_or_default();
    match name {
        Some(name) if !told.contains(name) => Err(failed(format!(
            "the constraint is called `{told}`, wanted `{name}` in it"
        ))),
        _ => Ok(()),
    }
}

fn unique(run: &Run<'_>) -> Verdict {
    let table = run.table(
        "unique",
        "a BIGINT PRIMARY KEY, code BIGINT, CONSTRAINT one_code UNIQUE (code)",
    )?;
    let name = &table.name;
    execute(&format!("INSERT INTO {name} VALUES (1, 1)"), &[])?;
    violates(
        &format!("INSERT INTO {name} VALUES (1, 2)"),
        ConstraintKind::Unique,
        None,
    )?;
    let twice = format!("INSERT INTO {name} VALUES (2, 1)");
    violates(&twice, ConstraintKind::Unique, Some("code"))?;
    equal("rows", table.count()?, 1)
}

fn not_null(run: &Run<'_>) -> Verdict {
    let table = run.table("not_null", "a BIGINT NOT NULL")?;
    let missing = format!("INSERT INTO {} (a) VALUES (NULL)", table.name);
    violates(&missing, ConstraintKind::NotNull, Some("a"))
}

fn check(run: &Run<'_>) -> Verdict {
    let table = run.table("check", "a BIGINT, CONSTRAINT positive_a CHECK (a > 0)")?;
    let negative = format!("INSERT INTO {} (a) VALUES (-1)", table.name);
    violates(&negative, ConstraintKind::Check, Some("positive_a"))
}

fn foreign_key(run: &Run<'_>) -> Verdict {
    let parent = run.table("parent", "a BIGINT PRIMARY KEY")?;
    // Dropped before its parent.
    let columns = format!(
        "b BIGINT, CONSTRAINT of_{0} FOREIGN KEY (b) REFERENCES {0} (a)",
        parent.name
    );
    let child = run.table("parent_child", &columns)?;
    let orphan = format!("INSERT INTO {} (b) VALUES (1)", child.name);
    // SQLite does not tell which one.
    let told = run.of("of_t_", "of_t_", "");
    violates(&orphan, ConstraintKind::ForeignKey, Some(told))?;
    execute(&format!("INSERT INTO {} (a) VALUES (1)", parent.name), &[])?;
    execute(&orphan, &[])?;
    let delete = format!("DELETE FROM {}", parent.name);
    violates(&delete, ConstraintKind::ForeignKey, Some(told))?;
    let (child_left, parent_left) = (child.count()?, parent.count()?);
    drop(child);
    equal("rows", (child_left, parent_left), (1, 1))
}
