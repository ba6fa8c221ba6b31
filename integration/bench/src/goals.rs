//! What the figures should be, and how far they are from it.

mod list;

use list::GOALS;

use crate::report::Report;
use crate::svg::short;

/// One goal.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) measured: Measured,
    pub(crate) limit: Limit,
    unit: &'static str,
    /// How many seconds the measure has to last to count in full.
    seconds: Option<f64>,
}

/// What of a run a goal is about.
#[derive(Debug)]
pub(crate) enum Measured {
    /// The value of a figure.
    Value(&'static str),
    /// One figure's value as a share of another's.
    Share(&'static str, &'static str),
    /// The least value of some figures as a share of another's.
    Least(&'static [&'static str], &'static str),
    /// One figure's latency of the slowest hundredth as a share of another's.
    Tail(&'static str, &'static str),
    /// CPU time per request.
    Cpu(&'static str),
    /// NATS messages per request.
    Messages(&'static str),
}

/// What is still good enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

use Limit::{AtLeast, AtMost};
use Measured::{Cpu, Least, Messages, Share, Tail, Value};

const fn goal(what: &'static str, measured: Measured, limit: Limit, unit: &'static str) -> Goal {
    Goal {
        what,
        measured,
        limit,
        unit,
        seconds: None,
    }
}

impl Goal {
    const fn over(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// Whether it is met, or by how much it is missed; and when the measure lasted too short.
    fn verdict(&self, report: &Report) -> String {
        let Some(measured) = self.measured.of(report) else {
            return "not measured".to_owned();
        };
        let verdict = self.limit.verdict(measured);
        let figure = report.get(self.measured.name(report));
        match (self.seconds, figure.and_then(|figure| figure.seconds)) {
            (Some(whole), Some(ran)) if ran < whole => {
                format!("{verdict}, in {ran:.0} of {whole} s")
            }
            (Some(whole), None) => format!("{verdict}, in some of {whole} s"),
            _ => verdict,
        }
    }
}

impl Measured {
    pub(crate) fn of(&self, report: &Report) -> Option<f64> {
        let share = |own: Option<f64>, base: Option<f64>| Some(own? / base?);
        let value = |name| report.get(name).map(|figure| figure.value);
        let tail = |name| report.get(name).and_then(|figure| figure.p99_us);
        match *self {
            Value(name) => value(name),
            Share(name, of) => share(value(name), value(of)),
            Least(names, of) => {
                let values: Option<Vec<f64>> = names.iter().map(|name| value(name)).collect();
                share(values?.into_iter().reduce(f64::min), value(of))
            }
            Tail(name, of) => share(tail(name), tail(of)),
            Cpu(name) => report.get(name)?.cpu_us,
            Messages(name) => report.get(name)?.messages,
        }
    }

    /// The figure that it is about; of several, the one with the least value.
    pub(crate) fn name(&self, report: &Report) -> &'static str {
        match *self {
            Value(name) | Share(name, _) | Tail(name, _) | Cpu(name) | Messages(name) => name,
            Least(names, _) => {
                let value = |name: &str| report.get(name).map_or(f64::NAN, |figure| figure.value);
                let least = names.iter().min_by(|a, b| value(a).total_cmp(&value(b)));
                least.copied().unwrap_or_default()
            }
        }
    }
}

impl Limit {
    /// Whether it is kept, by the digits that are shown: two messages and a heartbeat are two.
    fn keeps(self, measured: f64) -> bool {
        let measured = (measured * 100.0).round() / 100.0;
        match self {
            AtLeast(limit) => measured >= limit,
            AtMost(limit) => measured <= limit,
        }
    }

    fn verdict(self, measured: f64) -> String {
        let (AtLeast(limit) | AtMost(limit)) = self;
        match (self.keeps(measured), limit > 0.0) {
            (true, _) => "met".to_owned(),
            (false, true) => format!("**{:+.0} %**", (measured / limit - 1.0) * 100.0),
            (false, false) => format!("**{measured:+.0}**"),
        }
    }

    fn text(self) -> String {
        match self {
            AtLeast(limit) => format!("at least {limit}"),
            AtMost(limit) => format!("at most {limit}"),
        }
    }
}

/// All goals.
pub(crate) fn all() -> &'static [Goal] {
    GOALS
}

/// The figures that miss a goal.
pub(crate) fn missed(report: &Report) -> Vec<&'static str> {
    let misses = |goal: &&Goal| {
        let measured = goal.measured.of(report);
        measured.is_some_and(|measured| !goal.limit.keeps(measured))
    };
    let missing = GOALS.iter().filter(misses);
    missing.map(|goal| goal.measured.name(report)).collect()
}

/// The goals as lines of a Markdown table, with what was measured.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::from("| what | measure | goal | measured | |\n|---|---|---|---|---|\n");
    for goal in GOALS {
        let measured = goal.measured.of(report);
        let measured = measured.map_or_else(String::new, |m| with_unit(short(m), goal.unit));
        out += &format!(
            "| {} | `{}` | {} | {measured} | {} |\n",
            goal.what,
            goal.measured.name(report),
            with_unit(goal.limit.text(), goal.unit),
            goal.verdict(report),
        );
    }
    out
}

fn with_unit(text: String, unit: &str) -> String {
    match unit {
        "" => text,
        "x" => text + "x",
        unit => format!("{text} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Figure;
    use crate::report::tests::report;

    #[test]
    fn goals_are_met_missed_by_so_much_or_not_measured() {
        let mut run = report(&[
            ("bus_1", 100.0),
            ("component_call_1", 85.0),
            ("bus_16", 100.0),
            ("component_call_16", 60.0),
        ]);
        run.results[0].cpu_us = Some(1.0);
        let table = table(&run);
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("`component_call_1`").ends_with("| at least 0.8x | 0.85x | met |"));
        assert!(line("`component_call_16`").ends_with("| 0.60x | **-25 %** |"));
        assert!(line("`component_call_64`").ends_with("|  | not measured |"));
    }

    #[test]
    fn the_worst_of_several_is_judged_and_named() {
        let scale = [
            ("scale_1_host", 100.0),
            ("scale_2_hosts", 95.0),
            ("scale_4_hosts", 81.0),
            ("scale_8_hosts", 99.0),
        ];
        let goals = table(&report(&scale));
        let line = goals.lines().find(|line| line.contains("2, 4 and 8 hosts"));
        let judged = "| `scale_4_hosts` | at least 0.9x | 0.81x | **-10 %** |";
        assert!(line.unwrap().ends_with(judged), "{line:?}");
        let goals = table(&report(&scale[..3]));
        assert!(
            goals
                .lines()
                .any(|line| line.contains("4 and 8 hosts") && line.ends_with("not measured |"))
        );
    }

    #[test]
    fn a_measure_that_is_too_short_is_met_for_so_long() {
        let mut run = report(&[]);
        let storm = |time| Figure::new("abort_storm", 0.0, "left").over(Duration::from_secs(time));
        let line = |run: &Report| {
            let goals = table(run);
            let line = goals.lines().find(|line| line.contains("`abort_storm`"));
            line.unwrap().to_owned()
        };
        run.add(storm(60));
        assert!(line(&run).ends_with("| met, in 60 of 600 s |"));
        run.results[0] = storm(600);
        assert!(line(&run).ends_with("| met |"));
        run.results[0].seconds = None;
        assert!(line(&run).ends_with("| met, in some of 600 s |"));
    }

    #[test]
    fn limit_of_nothing_is_missed_by_what_is_left() {
        assert_eq!(AtMost(0.0).verdict(0.0), "met");
        assert_eq!(AtMost(0.0).verdict(3.0), "**+3**");
        assert_eq!(AtMost(2.0).verdict(2.004), "met");
        assert_eq!(AtMost(20.0).verdict(25.0), "**+25 %**");
    }
}
