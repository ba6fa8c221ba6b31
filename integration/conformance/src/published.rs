//! What the table of `docs/capabilities.md` says of a run. A backend that has less than it had there
//! refuses more cases, by a name that it tells itself: no case fails of that.

use anyhow::{Context as _, Result, ensure};

use crate::ground::Form;
use crate::report::{Outcome, Row};
use crate::{Fault, Run};

const PAGE: &str = "docs/capabilities.md";
/// How many cells a row has, and where those of forms begin.
const CELLS: usize = 7;
const FORMS: usize = 2;

/// Whether a run found as much as the published table says of its like. Of faults that were left out
/// there, and of some cases of a suite, it says nothing.
///
/// # Errors
///
/// Fails when fewer cases hold or more are refused, and when the table has no such run.
pub fn as_published(run: &Run<'_>, outcome: &Outcome) -> Result<()> {
    if !run.filter.is_empty() {
        return Ok(());
    }
    let page = lattice_integration::workspace().join(PAGE);
    let page = std::fs::read_to_string(&page)
        .with_context(|| format!("could not read `{}`", page.display()))?;
    compare(&page, run, &Row::new(run, outcome))
}

fn compare(page: &str, run: &Run<'_>, found: &Row) -> Result<()> {
    let of = format!("{} over {}", found.capability, found.backend);
    let cell = cell(page, run).with_context(|| {
        format!(
            "`{PAGE}` has no row for {of}: write it with `cargo xtask conformance --publish {PAGE}`"
        )
    })?;
    if cell == "not run" && run.fault != Fault::None {
        return Ok(());
    }
    let (passed, refused) = (count(cell, "passed"), count(cell, "refused"));
    ensure!(
        passed > 0 && found.passed >= passed && found.refused <= refused,
        "{} passed and {} refused, where `{PAGE}` says `{cell}` of {of} ({}, {})",
        found.passed,
        found.refused,
        run.form.name(),
        run.fault.name()
    );
    Ok(())
}

/// The cell of a run in the table of a page.
fn cell<'a>(page: &'a str, run: &Run<'_>) -> Option<&'a str> {
    let column = match run.fault {
        Fault::None => FORMS + Form::ALL.iter().position(|form| *form == run.form)?,
        Fault::Killed => CELLS - 2,
        Fault::Slow => CELLS - 1,
    };
    page.lines().find_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let is_row =
            cells.len() == CELLS && cells[0] == run.capability.name && cells[1] == run.backend.name;
        is_row.then(|| cells[column])
    })
}

/// How many cases of a cell are so.
fn count(cell: &str, word: &str) -> usize {
    let counts = cell.split(", ").filter_map(|part| part.split_once(' '));
    let found = counts.filter(|(_, so)| *so == word).map(|(count, _)| count);
    found.filter_map(|count| count.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::CATALOG;
    use crate::suite::{Case, Verdict};

    const TABLE: &str = "\
| capability | backend | in the host | own process | other host | killed | slow |
| --- | --- | --- | --- | --- | --- | --- |
| key-value | nats | 2 passed, 1 refused | 3 passed | not run | 1 passed | not run |
";

    fn run(form: Form, fault: Fault) -> Run<'static> {
        Run {
            capability: &CATALOG[0],
            backend: &CATALOG[0].backends[0],
            form,
            fault,
            filter: "",
        }
    }

    fn compared(run: &Run<'_>, passed: usize, refused: usize) -> Result<()> {
        let case = |verdict| Case {
            name: "it holds".to_owned(),
            verdict,
        };
        let passed = std::iter::repeat_n(Verdict::Passed, passed);
        let refused = std::iter::repeat_n(Verdict::Refused("no".to_owned()), refused);
        let cases = passed.chain(refused).map(case).collect();
        compare(TABLE, run, &Row::new(run, &Outcome { cases }))
    }

    #[test]
    fn a_run_that_refuses_more_or_passes_less_than_published_is_an_error() {
        let inside = run(Form::InHost, Fault::None);
        compared(&inside, 2, 1).unwrap();
        compared(&inside, 4, 0).unwrap();
        compared(&inside, 1, 1).unwrap_err();
        compared(&inside, 2, 2).unwrap_err();
        let beside = run(Form::Process, Fault::None);
        compared(&beside, 3, 0).unwrap();
        compared(&beside, 3, 1).unwrap_err();
        let killed = run(Form::Process, Fault::Killed);
        compared(&killed, 1, 0).unwrap();
        compared(&killed, 0, 1).unwrap_err();
    }

    #[test]
    fn what_is_not_published_is_said_but_for_faults() {
        compared(&run(Form::Process, Fault::Slow), 1, 0).unwrap();
        compared(&run(Form::Remote, Fault::None), 3, 0).unwrap_err();
        let mut other = run(Form::InHost, Fault::None);
        other.backend = &CATALOG[0].backends[1];
        let error = compared(&other, 3, 0).unwrap_err().to_string();
        assert!(error.contains("has no row for key-value over"), "{error}");
    }
}
