//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The value as a share of that of `of`.
    pub(crate) ratio: Option<f64>,
    pub(crate) of: Option<String>,
    /// CPU time per request, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// NATS messages per request.
    pub(crate) messages: Option<f64>,
    /// Subscriptions made or dropped per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscriptions: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: &str, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            unit,
            ratio: None,
            of: None,
            cpu_us: None,
            messages: None,
            subscriptions: None,
        }
    }
}

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: String,
    machine: String,
    results: Vec<Figure>,
}

impl Report {
    pub(crate) fn new() -> Result<Self> {
        let git = std::process::Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .output();
        let commit = git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        Ok(Self {
            commit: commit.unwrap_or_default(),
            machine: machine()?,
            results: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.results.push(figure);
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// One line per figure.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("commit {} on {}\n\n", self.commit, self.machine);
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
        let _ = writeln!(
            out,
            "{:<22} {:>12} {:<6} {:>7} {:<18} {:>8} {:>9} {:>6}",
            "measure", "value", "unit", "ratio", "of", "cpu us", "messages", "subs"
        );
        for f in &self.results {
            let _ = writeln!(
                out,
                "{:<22} {:>12.1} {:<6} {:>7} {:<18} {:>8} {:>9} {:>6}",
                f.name,
                f.value,
                f.unit,
                number(f.ratio),
                f.of.as_deref().unwrap_or("-"),
                number(f.cpu_us),
                number(f.messages),
                number(f.subscriptions),
            );
        }
        out
    }
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
