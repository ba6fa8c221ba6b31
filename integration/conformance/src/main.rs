//! Runs the suites and says what they found.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool talks to its user on stdout"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lattice_conformance::{CATALOG, Case, Fault, Form, Outcome, Report, Row, Run, Verdict, find};

/// What a page has around its table.
const BEGIN: &str = "<!-- conformance: written by `cargo xtask conformance --publish` -->\n";
const END: &str = "<!-- end of conformance -->\n";

/// Runs the suite of each capability over every backend and every form of its provider.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask conformance")]
struct Program {
    /// Only this capability, such as key-value.
    #[arg(long)]
    capability: Option<String>,
    /// Only this backend, such as redis.
    #[arg(long)]
    backend: Option<String>,
    /// Only this form of the provider: in-host, process, remote.
    #[arg(long, value_parser = form)]
    form: Option<Form>,
    /// What befalls the backend: none, killed, slow. May be given more than once.
    #[arg(long, value_parser = fault, default_value = "none")]
    fault: Vec<Fault>,
    /// Only cases whose names contain this.
    #[arg(long, default_value = "")]
    case: String,
    /// Run nothing and take what earlier runs have written; may be repeated.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Write what was found to a file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the table into a page between its two marks.
    #[arg(long, value_name = "PAGE")]
    publish: Option<PathBuf>,
}

fn form(text: &str) -> Result<Form, String> {
    let found = Form::ALL.into_iter().find(|form| form.name() == text);
    found.ok_or_else(|| "the forms are in-host, process, remote".to_owned())
}

fn fault(text: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
    found.ok_or_else(|| "the faults are none, killed, slow".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match all(Program::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments name; says whether all of it holds.
async fn all(program: Program) -> Result<bool> {
    let report = match program.from.is_empty() {
        true => found_now(&program).await?,
        false => found_before(&program.from)?,
    };
    ensure!(
        !report.results.is_empty(),
        "nothing was run: no backend that was asked for has such a form and meets such a fault"
    );
    if let Some(file) = &program.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text)
            .with_context(|| format!("could not write `{}`", file.display()))?;
    }
    if let Some(page) = &program.publish {
        publish(page, &report)?;
    }
    Ok(report.holds(&program.case))
}

/// What earlier runs have found.
fn found_before(files: &[PathBuf]) -> Result<Report> {
    let mut report = Report::default();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("could not read `{}`", file.display()))?;
        let read: Report = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is not what `--json` writes", file.display()))?;
        report.add(read);
    }
    Ok(report)
}

async fn found_now(program: &Program) -> Result<Report> {
    let chosen = find(program.capability.as_deref(), program.backend.as_deref());
    ensure!(
        !chosen.is_empty(),
        "there is no such backend; there are {}",
        names()
    );
    let mut report = Report::now();
    for fault in &program.fault {
        for (capability, backend) in &chosen {
            for form in backend.forms() {
                if program.form.is_some_and(|wanted| wanted != *form) {
                    continue;
                }
                let run = Run {
                    capability,
                    backend,
                    form: *form,
                    fault: *fault,
                    filter: &program.case,
                };
                report.results.extend(one(&run).await);
            }
        }
    }
    Ok(report)
}

/// Runs one suite and shows what it found. One that cannot even begin is a failure like others, and
/// the rest goes on.
async fn one(run: &Run<'_>) -> Option<Row> {
    if let Some(why) = run.fault.cannot(run.capability, run.backend, run.form) {
        let (capability, backend) = (run.capability.name, run.backend.name);
        let (form, fault) = (run.form.name(), run.fault.name());
        println!("{capability:<10} {backend:<10} {form:<8} cannot be {fault}: {why}");
        return None;
    }
    let outcome = run.carry_out().await.unwrap_or_else(|error| Outcome {
        cases: vec![Case {
            name: "the suite begins".to_owned(),
            verdict: Verdict::Failed(format!("{error:#}")),
        }],
    });
    let row = Row::new(run, &outcome);
    show(&row, &outcome);
    Some(row)
}

fn names() -> String {
    let names = CATALOG.iter().map(|capability| {
        let backends: Vec<_> = capability.backends.iter().map(|b| b.name).collect();
        format!("{} ({})", capability.name, backends.join(", "))
    });
    names.collect::<Vec<_>>().join(", ")
}

fn show(row: &Row, outcome: &Outcome) {
    println!(
        "{:<10} {:<10} {:<8} {}{} passed, {} failed, {} refused",
        row.capability,
        row.backend,
        row.form,
        row.fault
            .as_ref()
            .map_or_else(String::new, |fault| format!("{fault}: ")),
        row.passed,
        row.failed,
        row.refused
    );
    if outcome.cases.is_empty() {
        println!("  no case was run");
    }
    for case in &outcome.cases {
        match &case.verdict {
            Verdict::Passed => {}
            Verdict::Failed(why) => println!("  FAILED  {}: {why}", case.name),
            Verdict::Refused(why) => println!("  refused {}: {why}", case.name),
        }
    }
}

fn publish(page: &std::path::Path, report: &Report) -> Result<()> {
    let text = std::fs::read_to_string(page)
        .with_context(|| format!("could not read `{}`", page.display()))?;
    let marks = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = marks.with_context(|| {
        format!(
            "`{}` has no marks for the table: {BEGIN}{END}",
            page.display()
        )
    })?;
    let text = format!("{before}{BEGIN}\n{}\n{END}{after}", report.shown());
    std::fs::write(page, text).with_context(|| format!("could not write `{}`", page.display()))
}
