//! Writing a run into the documentation.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::catalog::{IN_FLIGHT, Operation, SUBJECTS, Subject, Way, figure_name};
use crate::report::{Figure, Report};
use crate::svg::short;

/// Names below the folder of the documentation.
const JSON: &str = "performance-capabilities.json";
const PAGE: &str = "performance.md";

/// What stands around the part of the page that is written by this.
const BEGIN: &str =
    "<!-- capabilities: written by `cargo xtask bench --capabilities --publish` -->";
const END: &str = "<!-- end of capabilities -->";

/// Writes the figures and the part of the page below `docs`.
///
/// # Errors
///
/// Fails when a file cannot be written or the page has no place for the part.
pub(crate) fn publish(docs: &Path, report: &Report) -> Result<()> {
    let page = docs.join(PAGE);
    let old = fs::read_to_string(&page)
        .with_context(|| format!("could not read `{}`", page.display()))?;
    let new = replace(&old, &section(report))
        .with_context(|| format!("`{}` has no place for capabilities", page.display()))?;
    write(&docs.join(JSON), &report.json()?)?;
    write(&page, &new)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write `{}`", path.display()))
}

fn replace(page: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))
}

fn section(report: &Report) -> String {
    let mut out = format!("{}\n\n", report.origin());
    out += "| capability | backend | operation | in flight | client | in the host | a process | \
            goal | | CPU: client, in the host, a process |\n\
            |---|---|---|---:|---:|---:|---:|---|---|---:|\n";
    let mut clients = String::new();
    for subject in SUBJECTS {
        let lines: String = lines(report, subject);
        if !lines.is_empty() {
            let (capability, backend) = (subject.capability, subject.backend);
            clients += &format!("| {capability} | {backend} | {} |\n", subject.client);
        }
        out += &lines;
    }
    out += "\nWhat each is compared with:\n\n| capability | backend | client |\n|---|---|---|\n";
    out + &clients
}

fn lines(report: &Report, subject: &Subject) -> String {
    let operations = subject.operations.iter();
    let lines = operations.flat_map(|operation| {
        IN_FLIGHT.map(|in_flight| line(report, subject, operation, in_flight))
    });
    lines.flatten().collect()
}

/// The share that is left of what a way is compared with.
fn share(figure: Option<&Figure>) -> String {
    let ratio = figure.and_then(|figure| figure.ratio);
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

/// One operation; nothing where it was not measured.
fn line(
    report: &Report,
    subject: &Subject,
    operation: &Operation,
    in_flight: usize,
) -> Option<String> {
    let of = |way| report.get(&figure_name(subject, operation, in_flight, way));
    let (native, inside) = (of(Way::Native)?, of(Way::InHost)?);
    let base = subject.backing.base();
    let mut client = format!("{}/s", short(native.value));
    if let Some(sdk) = of(Way::Sdk) {
        client += &format!("; provider {}/s", short(sdk.value));
    }
    let goal = subject.backing.goal();
    let verdict = match inside.ratio {
        // By the digits that are shown.
        Some(ratio) if (ratio * 100.0).round() / 100.0 >= goal => "met".to_owned(),
        Some(ratio) => format!("**{:+.0} %**", (ratio / goal - 1.0) * 100.0),
        None => "not measured".to_owned(),
    };
    let of_what = if base == Way::Sdk {
        "provider"
    } else {
        "client"
    };
    let cpu = |way| {
        let cpu = of(way).and_then(|figure| figure.cpu_us);
        cpu.map_or_else(|| "-".to_owned(), short)
    };
    let cpu = [Way::Native, Way::InHost, Way::Process].map(cpu).join(", ");
    Some(format!(
        "| {} | {} | {} | {in_flight} | {client} | {} | {} | {goal} of the {of_what} | {verdict} | {cpu} us |\n",
        subject.capability,
        subject.backend,
        operation.name,
        share(Some(inside)),
        share(of(Way::Process)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    /// A run of two operations, one of each kind of backend.
    fn run() -> Report {
        let mut run = report(&[
            ("key-value_redis_get_1_native", 10_000.0),
            ("blobs_folder_read-4-KiB_16_native", 9_000.0),
            ("blobs_folder_read-4-KiB_16_sdk", 8_000.0),
        ]);
        for figure in &mut run.results {
            figure.cpu_us = Some(12.34);
        }
        for (name, value, ratio) in [
            ("key-value_redis_get_1_in-host", 7_000.0, 0.7),
            ("key-value_redis_get_1_process", 4_000.0, 0.4),
            ("blobs_folder_read-4-KiB_16_in-host", 4_000.0, 0.5),
        ] {
            let mut figure = Figure::new(name, value, "req/s");
            figure.ratio = Some(ratio);
            run.add(figure);
        }
        run
    }

    #[test]
    fn an_operation_is_met_or_missed_by_so_much() {
        let section = section(&run());
        let redis = "| key-value | redis | get | 1 | 10,000/s | 0.70 | 0.40 | 0.5 of the client | \
                     met | 12.3, -, - us |";
        assert!(section.contains(redis), "{section}");
        let folder = "| blobs | folder | read 4 KiB | 16 | 9,000/s; provider 8,000/s | 0.50 |  | \
                      0.9 of the provider | **-44 %** |";
        assert!(section.contains(folder), "{section}");
        assert!(
            section.contains("| blobs | folder | tokio::fs"),
            "{section}"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_line() {
        let section = section(&run());
        assert!(!section.contains("| queue |"), "{section}");
        assert!(!section.contains("| set |"), "{section}");
    }

    #[test]
    fn the_part_replaces_what_stood_there() {
        let docs = tempfile::tempdir().unwrap();
        let page = docs.path().join(PAGE);
        fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        publish(docs.path(), &run()).unwrap();
        publish(docs.path(), &run()).unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with("\nafter\n"),
            "{text}"
        );
        assert!(!text.contains("\nold\n"), "{text}");
        assert_eq!(text.matches("Commit `abc1234`").count(), 1, "{text}");
        assert!(Report::read(&docs.path().join(JSON)).is_ok());
    }

    #[test]
    fn a_page_without_a_place_is_refused() {
        let docs = tempfile::tempdir().unwrap();
        fs::write(docs.path().join(PAGE), "no place\n").unwrap();
        let error = publish(docs.path(), &run()).unwrap_err().to_string();
        assert!(error.contains("no place for capabilities"), "{error}");
    }

    #[test]
    fn the_committed_page_has_a_place() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");
        let page = fs::read_to_string(page).unwrap();
        assert!(replace(&page, "new").is_some());
    }
}
