//! What a run found, as a file and as a page.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::Run;
use crate::catalog::{Backend, CATALOG, Capability};
use crate::fault::Fault;
use crate::ground::Form;
use crate::suite::{Case, Verdict};

/// What became of the cases of one suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the order in which they ran.
    pub cases: Vec<Case>,
}

impl Outcome {
    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.verdict)).count()
    }

    /// Each case that failed, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let failed = self.cases.iter().filter_map(|case| match &case.verdict {
            Verdict::Failed(why) => Some(format!("{}: {why}", case.name)),
            _ => None,
        });
        failed.collect()
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Such as `key-value`.
    pub capability: String,
    /// Such as `redis`.
    pub backend: String,
    /// Such as `in-host`.
    pub form: String,
    /// What befell the backend; none where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How many cases hold.
    pub passed: usize,
    /// How many do not.
    pub failed: usize,
    /// How many are about what the backend does not have, and says so.
    pub refused: usize,
}

impl Row {
    /// Counts an outcome.
    #[must_use]
    pub fn new(run: &Run<'_>, outcome: &Outcome) -> Self {
        let fault = Some(run.fault.name()).filter(|_| run.fault != Fault::None);
        Self {
            capability: run.capability.name.to_owned(),
            backend: run.backend.name.to_owned(),
            form: run.form.name().to_owned(),
            fault: fault.map(str::to_owned),
            passed: outcome.count(|verdict| *verdict == Verdict::Passed),
            failed: outcome.count(|verdict| matches!(verdict, Verdict::Failed(_))),
            refused: outcome.count(|verdict| matches!(verdict, Verdict::Refused(_))),
        }
    }

    /// Whether no case was run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passed + self.failed + self.refused == 0
    }
}

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of what it was run, as `git describe` tells it; of several runs each once, with commas. Empty where it
    /// is not known, as in reports of before it was told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// One for each backend and form.
    pub results: Vec<Row>,
}

impl Report {
    /// An empty one of what is checked out now.
    #[must_use]
    pub fn now() -> Self {
        let mut git = std::process::Command::new("git");
        git.args(["describe", "--always", "--dirty"]);
        let told = git.current_dir(lattice_integration::workspace()).output();
        // Without git it is not known.
        let commit = told.map_or_else(
            |_| String::new(),
            |told| String::from_utf8_lossy(&told.stdout).trim().to_owned(),
        );
        Self {
            commit,
            results: Vec::new(),
        }
    }

    /// Takes what another run has found.
    pub fn add(&mut self, other: Self) {
        for commit in other.commit.split(", ").filter(|it| !it.is_empty()) {
            if self.commit.split(", ").all(|known| known != commit) {
                let comma = if self.commit.is_empty() { "" } else { ", " };
                let _ = write!(self.commit, "{comma}{commit}");
            }
        }
        self.results.extend(other.results);
    }

    /// Whether something was run and none of it failed. Each suite has to have run a case, or any of
    /// them where only those were wanted whose names contain `filter`.
    #[must_use]
    pub fn holds(&self, filter: &str) -> bool {
        let mut ran = self.results.iter().map(|row| !row.is_empty());
        let has_run = match filter.is_empty() {
            true => !self.results.is_empty() && ran.all(|ran| ran),
            false => ran.any(|ran| ran),
        };
        has_run && self.results.iter().all(|row| row.failed == 0)
    }

    /// What the page shows: the table, and of what it was run.
    #[must_use]
    pub fn shown(&self) -> String {
        let table = self.table();
        match self.commit.replace(", ", "`, `") {
            commits if commits.is_empty() => table,
            commits => format!("{table}\nRun of `{commits}`.\n"),
        }
    }

    /// The table of the page: a line for each backend, a column for each form and each fault.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| capability | backend | in the host | own process | other host | killed | slow |\n",
        );
        text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for capability in CATALOG {
            for backend in capability.backends {
                let row = |form: Form, fault| self.row(capability, backend, form, fault);
                let forms = Form::ALL.map(|form| match backend.forms().contains(&form) {
                    true => cell(row(form, Fault::None)),
                    false => "-".to_owned(),
                });
                let befallen = |fault: Fault| match fault.cannot(capability, backend, Form::Process)
                {
                    // The same in each form: one of them was run.
                    None => cell(Form::ALL.into_iter().find_map(|form| row(form, fault))),
                    Some(_) => "-".to_owned(),
                };
                let faults = [Fault::Killed, Fault::Slow].map(befallen);
                let cells = [&forms[..], &faults].concat().join(" | ");
                let _ = writeln!(text, "| {} | {} | {cells} |", capability.name, backend.name);
            }
        }
        text
    }

    fn row(
        &self,
        capability: &Capability,
        backend: &Backend,
        form: Form,
        fault: Fault,
    ) -> Option<&Row> {
        let fault = Some(fault.name()).filter(|_| fault != Fault::None);
        self.results.iter().find(|row| {
            row.capability == capability.name
                && row.backend == backend.name
                && row.form == form.name()
                && row.fault.as_deref() == fault
        })
    }
}

fn cell(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return "not run".to_owned();
    };
    let mut cell = format!("{} passed", row.passed);
    for (count, word) in [(row.refused, "refused"), (row.failed, "**failed**")] {
        if count > 0 {
            let _ = write!(cell, ", {count} {word}");
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_cases_does_not_hold() {
        let row = |passed, failed| Row {
            capability: "key-value".to_owned(),
            backend: "nats".to_owned(),
            form: "in-host".to_owned(),
            fault: None,
            passed,
            failed,
            refused: 0,
        };
        let report = |results: &[(usize, usize)]| Report {
            results: results.iter().map(|&(p, f)| row(p, f)).collect(),
            ..Report::default()
        };
        assert!(!report(&[]).holds(""));
        assert!(!report(&[(1, 0), (0, 0)]).holds(""));
        assert!(!report(&[(1, 0), (1, 1)]).holds(""));
        assert!(report(&[(1, 0), (2, 0)]).holds(""));
        // Not every suite has a case of that name.
        assert!(report(&[(1, 0), (0, 0)]).holds("name"));
        assert!(!report(&[(0, 0)]).holds("name"));
        assert!(!report(&[(1, 1), (0, 0)]).holds("name"));
    }

    #[test]
    fn a_report_is_counted_and_shown() {
        let case = |verdict| Case {
            name: "it holds".to_owned(),
            verdict,
        };
        let outcome = Outcome {
            cases: vec![
                case(Verdict::Passed),
                case(Verdict::Refused("no".to_owned())),
                case(Verdict::Failed("odd".to_owned())),
            ],
        };
        assert_eq!(outcome.failures(), ["it holds: odd"]);
        let mut run = Run {
            capability: &CATALOG[0],
            backend: &CATALOG[0].backends[0],
            form: Form::InHost,
            fault: Fault::None,
            filter: "",
        };
        let row = Row::new(&run, &outcome);
        let mut report = Report {
            results: vec![row],
            ..Report::default()
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(
            json,
            r#"{"results":[{"capability":"key-value","backend":"nats","form":"in-host","passed":1,"failed":1,"refused":1}]}"#
        );
        let line = "| key-value | nats | 1 passed, 1 refused, 1 **failed** | not run | not run | not run |";
        assert!(report.table().contains(line), "{}", report.table());
        run.fault = Fault::Killed;
        report.results = vec![Row::new(&run, &outcome)];
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""fault":"killed""#), "{json}");
        let line = "| not run | not run | not run | 1 passed, 1 refused, 1 **failed** | not run |";
        assert!(report.table().contains(line), "{}", report.table());
    }

    #[test]
    fn a_report_tells_of_what_it_was_run() {
        assert!(!Report::now().commit.contains(", "));
        let of = |commit: &str| Report {
            commit: commit.to_owned(),
            results: Vec::new(),
        };
        assert_eq!(of("").shown(), of("").table());
        let mut all = Report::default();
        for commit in ["", "abc1234", "def5678-dirty", "abc1234"] {
            all.add(of(commit));
        }
        assert_eq!(all.commit, "abc1234, def5678-dirty");
        all.add(of("def5678-dirty, 0123abc"));
        let shown = all.shown();
        let line = "\n\nRun of `abc1234`, `def5678-dirty`, `0123abc`.\n";
        assert!(shown.ends_with(line), "{shown}");
        let json = serde_json::to_string(&all).unwrap();
        let told = r#""commit":"abc1234, def5678-dirty, 0123abc""#;
        assert!(json.contains(told), "{json}");
        // One of before it was told.
        let old: Report = serde_json::from_str(r#"{"results":[]}"#).unwrap();
        assert_eq!(old, Report::default());
    }
}
