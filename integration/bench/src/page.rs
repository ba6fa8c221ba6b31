//! Writing a run into the documentation: its JSON, charts, and the tables of the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::goals;
use crate::measures::{MEASURES, Work};
use crate::report::{Figure, Report, number};
use crate::svg::{Bar, Chart, short};

/// Names below the folder of the documentation.
const JSON: &str = "performance.json";
const PAGE: &str = "performance.md";
const CHARTS: &str = "performance";

/// What stands around the part of the page that is written by this.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --publish` -->";
const END: &str = "<!-- end of figures -->";

/// The part of the page that says, by hand, why a goal is missed.
const MISSED: &str = "\n## Where goals are missed\n";

/// What a chart shows of a figure.
type Quantity = fn(&Figure) -> Option<f64>;

/// File name, title, unit, and what of which figures.
const PLOTS: [(&str, &str, &str, Quantity); 5] = [
    (
        "throughput",
        "Throughput",
        "requests per second",
        |figure| {
            let in_rounds = MEASURES.iter().any(|m| m.name == figure.name);
            (in_rounds && figure.unit == "req/s").then_some(figure.value)
        },
    ),
    (
        "cpu",
        "CPU time per request or call",
        "microseconds",
        |figure| {
            let in_rounds = MEASURES.iter().any(|m| m.name == figure.name);
            figure.cpu_us.filter(|_| in_rounds)
        },
    ),
    (
        "tail",
        "Latency that one in a hundred exceeds",
        "microseconds",
        |figure| {
            let http = MEASURES.iter().any(|measure| {
                measure.name == figure.name && matches!(measure.work, Work::Get { .. })
            });
            figure.p99_us.filter(|_| http)
        },
    ),
    ("start", "Start", "milliseconds", |figure| {
        let start = ["cold_start", "cold_start_cached", "restart_50"];
        start
            .contains(&figure.name.as_str())
            .then_some(figure.value)
    }),
    (
        "overload",
        "Good answers at multiples of the capacity",
        "per second",
        |figure| {
            figure
                .name
                .starts_with("overload_at_")
                .then_some(figure.value)
        },
    ),
];

/// Writes everything below `docs`; gives the figures that miss a goal without the page saying why.
///
/// # Errors
///
/// Fails when a file cannot be written or the page has no place for the figures.
pub(crate) fn publish(docs: &Path, report: &Report) -> Result<BTreeSet<&'static str>> {
    let page = docs.join(PAGE);
    let old = fs::read_to_string(&page)
        .with_context(|| format!("could not read `{}`", page.display()))?;
    let charts = charts(report);
    let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
    let new = replace(&old, &section(report, &names))
        .with_context(|| format!("`{}` has no place for figures", page.display()))?;
    let folder = docs.join(CHARTS);
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not create `{}`", folder.display()))?;
    for (name, chart) in &charts {
        write(&folder.join(format!("{name}.svg")), chart)?;
    }
    write(&docs.join(JSON), &report.json()?)?;
    write(&page, &new)?;
    Ok(unexplained(&new, report))
}

/// The figures that miss a goal and are not named where the page says why.
fn unexplained(page: &str, report: &Report) -> BTreeSet<&'static str> {
    let after = page.split_once(MISSED).map_or("", |(_, after)| after);
    let part = after.split("\n## ").next().unwrap_or_default();
    let missed = goals::missed(report).into_iter();
    missed
        .filter(|name| !part.contains(&format!("`{name}`")))
        .collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write `{}`", path.display()))
}

/// The charts that have something to show, by name.
fn charts(report: &Report) -> Vec<(&'static str, String)> {
    let chart = |(name, title, unit, quantity): (_, &str, _, Quantity)| {
        let bars: Vec<_> = report
            .results
            .iter()
            .filter_map(|figure| Some((figure, quantity(figure)?)))
            .map(|(figure, value)| Bar {
                label: figure.name.clone(),
                value,
                baseline: is_baseline(&figure.name),
            })
            .collect();
        let chart = Chart {
            title: title.to_owned(),
            unit,
            bars,
        };
        (!chart.bars.is_empty()).then(|| (name, chart.render()))
    };
    PLOTS.into_iter().filter_map(chart).collect()
}

/// Whether no lattice takes part.
fn is_baseline(name: &str) -> bool {
    ["bus_", "hyper_", "wasmtime_"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// The part of the page that is written anew.
fn section(report: &Report, charts: &[&str]) -> String {
    let mut out = format!(
        "{}{}\n\n### Goals\n\n{}\n### Figures\n\n{}",
        report.origin(),
        lengths(report),
        goals::table(report),
        figures(report)
    );
    for name in charts {
        out += &format!("\n![{name}]({CHARTS}/{name}.svg)\n");
    }
    out
}

/// How long those ran whose length is a matter of their own.
fn lengths(report: &Report) -> String {
    let long = ["overload_goodput", "abort_storm"].into_iter();
    let long = long.filter_map(|name| Some((name, report.get(name)?.seconds?)));
    long.map(|(name, seconds)| format!(" `{name}` is over {} s in all.", seconds.round()))
        .collect()
}

/// All figures as a Markdown table.
fn figures(report: &Report) -> String {
    let mut out = String::from(
        "| measure | value | ratio | CPU per request | p99 | messages |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let us = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{} us", short(v)));
    for figure in &report.results {
        let ratio = figure.ratio.zip(figure.of.as_ref());
        let ratio = ratio.map_or_else(String::new, |(r, of)| format!("{r:.2} of `{of}`"));
        out += &format!(
            "| `{}` | {} {} | {ratio} | {} | {} | {} |\n",
            figure.name,
            short(figure.value),
            figure.unit,
            us(figure.cpu_us),
            us(figure.p99_us),
            number(figure.messages, 2).replace('-', "")
        );
    }
    out
}

/// Puts `section` between the markers.
fn replace(page: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    fn docs(page: &str) -> tempfile::TempDir {
        let docs = tempfile::tempdir().unwrap();
        fs::write(docs.path().join(PAGE), page).unwrap();
        docs
    }

    #[test]
    fn figures_replace_what_stood_between_the_markers() {
        let docs = docs(&format!("before\n{BEGIN}\nold\n{END}\nafter\n"));
        let mut run = report(&[("bus_request_reply", 65_432.1)]);
        run.results[0].cpu_us = Some(12.34);
        let minute = std::time::Duration::from_secs(60);
        run.add(Figure::new("abort_storm", 0.0, "left").over(minute));
        publish(docs.path(), &run).unwrap();
        // Twice, as the markers have to stay.
        publish(docs.path(), &run).unwrap();
        let page = fs::read_to_string(docs.path().join(PAGE)).unwrap();
        assert!(
            page.starts_with("before\n") && page.ends_with("\nafter\n"),
            "{page}"
        );
        assert!(!page.contains("\nold\n"), "{page}");
        let origin = "Medians of 5 rounds of 3 s. `abort_storm` is over 60 s in all.\n";
        assert!(page.contains(origin), "{page}");
        let line = "| `bus_request_reply` | 65,432 req/s |  | 12.3 us |  |  |";
        assert_eq!(page.matches(line).count(), 1, "{page}");
        assert!(
            page.contains("![throughput](performance/throughput.svg)"),
            "{page}"
        );
        let json = Report::read(&docs.path().join(JSON)).unwrap();
        assert_eq!(json.results.len(), 2);
    }

    #[test]
    fn a_missed_goal_has_to_be_named() {
        let page = "## Measures\n`bus_1`\n\n## Where goals are missed\n- `component_call_16`\n\n\
                    ## Figures\n`component_call_1`\n";
        let run = report(&[
            ("bus_1", 10.0),
            ("component_call_1", 1.0),
            ("bus_16", 10.0),
            ("component_call_16", 1.0),
            ("bus_64", 10.0),
            ("component_call_64", 9.0),
        ]);
        let names = unexplained(page, &run);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["component_call_1"]);
    }

    #[test]
    fn the_committed_page_names_every_goal_that_its_figures_miss() {
        let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
        let page = fs::read_to_string(docs.join(PAGE)).unwrap();
        let report = Report::read(&docs.join(JSON)).unwrap();
        let names = unexplained(&page, &report);
        assert!(
            names.is_empty(),
            "goals are missed that the page does not name: {names:?}"
        );
    }

    #[test]
    fn only_charts_with_bars_are_written() {
        let docs = docs(&format!("{BEGIN}{END}"));
        publish(docs.path(), &report(&[("hyper_hello", 1.0)])).unwrap();
        let charts = fs::read_dir(docs.path().join(CHARTS)).unwrap();
        let names: Vec<_> = charts.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["throughput.svg"]);
    }

    #[test]
    fn page_without_markers_is_left_alone() {
        let docs = docs("no markers");
        let error = publish(docs.path(), &report(&[])).unwrap_err().to_string();
        assert!(error.contains("no place for figures"), "{error}");
        assert!(!docs.path().join(JSON).exists());
    }
}
