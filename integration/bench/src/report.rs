//! What was measured, as a table and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Of how many rounds a median is one that the goals are about.
pub(crate) const ENOUGH_ROUNDS: usize = 5;

/// One figure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The value as a share of that of `of`.
    pub(crate) ratio: Option<f64>,
    pub(crate) of: Option<String>,
    /// CPU time per request, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// NATS messages per request.
    pub(crate) messages: Option<f64>,
    /// Subscriptions made or dropped per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscriptions: Option<f64>,
    /// The latency that one request in a hundred exceeds, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    /// How long it ran, where that is a matter of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: &str, value: f64, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            ..Self::default()
        }
    }

    /// Notes how long it ran.
    pub(crate) fn over(mut self, time: Duration) -> Self {
        self.seconds = Some(time.as_secs_f64());
        self
    }

    /// Whether a larger value is a better one: only throughput is.
    pub(crate) fn more_is_better(&self) -> bool {
        self.unit.starts_with("req/")
    }

    /// The value as a share of that of `base`. A value that is a time per call is set against the
    /// CPU time of a request when the other value is a throughput.
    pub(crate) fn share_of(&self, base: &Self) -> Option<f64> {
        let base = match (self.unit.as_str(), base.unit.as_str()) {
            (own, other) if own == other => base.value,
            ("us", _) => base.cpu_us?,
            _ => return None,
        };
        (base > 0.0).then(|| self.value / base)
    }
}

/// Everything measured in one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) commit: String,
    pub(crate) machine: String,
    /// How many rounds the medians are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rounds: Option<usize>,
    /// How long each measurement of a round ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    pub(crate) results: Vec<Figure>,
    /// What a reader of the table should know.
    #[serde(skip)]
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// An empty report of this commit and machine.
    pub(crate) fn new(rounds: usize, time: Duration) -> Result<Self> {
        let git = std::process::Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .output();
        let commit = git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        Ok(Self {
            commit: commit.unwrap_or_default(),
            machine: machine()?,
            rounds: Some(rounds),
            seconds: Some(time.as_secs_f64()),
            results: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Reads the report of an earlier run.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`{}` holds no figures", path.display()))
    }

    /// The figure of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Figure> {
        self.results.iter().find(|figure| figure.name == name)
    }

    /// Adds a figure that is compared with nothing.
    pub(crate) fn add(&mut self, figure: Figure) {
        self.results.push(figure);
    }

    /// Adds a figure with its ratio to the first of `of` that was measured.
    pub(crate) fn add_against(&mut self, mut figure: Figure, of: &[&str]) {
        if let Some(base) = of.iter().find_map(|name| self.get(name)) {
            figure.ratio = figure.share_of(base);
            figure.of = figure.ratio.map(|_| base.name.clone());
        }
        self.add(figure);
    }

    /// What was measured, where, and how long: a page with fewer rounds than it should have says so.
    pub(crate) fn origin(&self) -> String {
        let mut out = format!("Commit `{}` on {}. ", self.commit, self.machine);
        let seconds = self.seconds.unwrap_or_default();
        out += &match self.rounds {
            Some(rounds) if rounds >= ENOUGH_ROUNDS => {
                format!("Medians of {rounds} rounds of {seconds} s.")
            }
            Some(rounds) => format!(
                "**Medians of {rounds} rounds of {seconds} s, not of {ENOUGH_ROUNDS} as they \
                 should be.**"
            ),
            None => "**It is not known of how many rounds the medians are.**".to_owned(),
        };
        out
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// One line per figure.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("commit {} on {}\n\n", self.commit, self.machine);
        let _ = writeln!(
            out,
            "{:<24} {:>12} {:<6} {:>7} {:<20} {:>8} {:>8} {:>9} {:>6}",
            "measure", "value", "unit", "ratio", "of", "cpu us", "p99 us", "messages", "subs"
        );
        for f in &self.results {
            let _ = writeln!(
                out,
                "{:<24} {:>12.1} {:<6} {:>7} {:<20} {:>8} {:>8} {:>9} {:>6}",
                f.name,
                f.value,
                f.unit,
                number(f.ratio, 2),
                f.of.as_deref().unwrap_or("-"),
                number(f.cpu_us, 2),
                number(f.p99_us, 0),
                number(f.messages, 2),
                number(f.subscriptions, 2),
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "\nnote: {note}");
        }
        out
    }
}

/// A number with so many digits, or a dash.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

fn machine() -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} x {model}, Linux {}", kernel.trim()))
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report of throughput figures.
    pub(crate) fn report(values: &[(&str, f64)]) -> Report {
        Report {
            commit: "abc1234".to_owned(),
            machine: "2 x Some CPU, Linux 6".to_owned(),
            rounds: Some(ENOUGH_ROUNDS),
            seconds: Some(3.0),
            results: values
                .iter()
                .map(|(name, value)| Figure::new(name, *value, "req/s"))
                .collect(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn ratio_is_against_the_first_that_was_measured() {
        let mut report = report(&[("second", 200.0), ("third", 50.0)]);
        report.add_against(
            Figure::new("own", 100.0, "req/s"),
            &["first", "second", "third"],
        );
        let own = report.get("own").unwrap();
        assert_eq!((own.ratio, own.of.as_deref()), (Some(0.5), Some("second")));
    }

    #[test]
    fn time_per_call_is_set_against_cpu_time() {
        let mut bus = Figure::new("bus", 1000.0, "req/s");
        bus.cpu_us = Some(20.0);
        assert_eq!(Figure::new("call", 5.0, "us").share_of(&bus), Some(0.25));
        assert_eq!(Figure::new("start", 5.0, "ms").share_of(&bus), None);
    }

    #[test]
    fn too_few_rounds_are_told() {
        let mut report = report(&[]);
        let full = "Commit `abc1234` on 2 x Some CPU, Linux 6. Medians of 5 rounds of 3 s.";
        assert_eq!(report.origin(), full);
        (report.rounds, report.seconds) = (Some(2), Some(0.2));
        let few = "**Medians of 2 rounds of 0.2 s, not of 5 as they should be.**";
        assert!(report.origin().ends_with(few), "{}", report.origin());
        report.rounds = None;
        assert!(report.origin().contains("not known"));
    }

    #[test]
    fn table_has_a_line_for_each_figure_and_note() {
        let mut report = report(&[("one", 1.0)]);
        let mut tail = Figure::new("two", 2.0, "ms");
        tail.p99_us = Some(77.0);
        report.add(tail);
        report.notes.push("something is left out".to_owned());
        let table = report.table();
        assert!(table.contains("p99 us"), "{table}");
        assert!(
            table.contains("\none ") && table.contains("\ntwo "),
            "{table}"
        );
        assert!(table.contains(" 77 "), "{table}");
        assert!(
            table.ends_with("\nnote: something is left out\n"),
            "{table}"
        );
    }

    #[test]
    fn json_is_read_back_with_and_without_later_fields() {
        let mut written = report(&[("one", 1.0)]);
        written.results[0].p99_us = Some(5.0);
        let read: Report = serde_json::from_str(&written.json().unwrap()).unwrap();
        assert_eq!(read.get("one").unwrap().p99_us, Some(5.0));
        let old = r#"{"commit":"c","machine":"m","results":[{"name":"n","value":1.0,"unit":"ms",
            "ratio":null,"of":null,"cpu_us":null,"messages":null}]}"#;
        let read: Report = serde_json::from_str(old).unwrap();
        assert_eq!(read.get("n").unwrap().p99_us, None);
        assert_eq!((read.rounds, read.seconds), (None, None));
    }
}
