//! What the figures should be, and how far they are from it.

use crate::report::Report;
use crate::svg::short;

/// One goal.
#[derive(Debug)]
struct Goal {
    what: &'static str,
    measured: Measured,
    limit: Limit,
    unit: &'static str,
}

/// What of a run a goal is about.
#[derive(Debug)]
enum Measured {
    /// The value of a figure.
    Value(&'static str),
    /// One figure's value as a share of another's.
    Share(&'static str, &'static str),
    /// One figure's latency of the slowest hundredth as a share of another's.
    Tail(&'static str, &'static str),
    /// CPU time per request.
    Cpu(&'static str),
    /// NATS messages per request.
    Messages(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

use Limit::{AtLeast, AtMost};
use Measured::{Cpu, Messages, Share, Tail, Value};

const fn goal(what: &'static str, measured: Measured, limit: Limit, unit: &'static str) -> Goal {
    Goal {
        what,
        measured,
        limit,
        unit,
    }
}

const GOALS: &[Goal] = &[
    goal(
        "HTTP to a component, all in the host, against `wasmtime serve`, 32 connections",
        Share("http_component_local", "wasmtime_serve"),
        AtLeast(3.0),
        "x",
    ),
    goal(
        "the same, 8 connections",
        Share("http_component_local_8", "wasmtime_serve_8"),
        AtLeast(3.0),
        "x",
    ),
    goal(
        "its p99 against that of `wasmtime serve`, 32 connections",
        Tail("http_component_local", "wasmtime_serve"),
        AtMost(1.0),
        "x",
    ),
    goal(
        "its p99 against that of `wasmtime serve`, 8 connections",
        Tail("http_component_local_8", "wasmtime_serve_8"),
        AtMost(1.0),
        "x",
    ),
    goal(
        "its CPU time per request",
        Cpu("http_component_local"),
        AtMost(17.0),
        "us",
    ),
    goal(
        "HTTP to a component, all in the host, against plain hyper",
        Share("http_component_local", "hyper_hello"),
        AtLeast(0.5),
        "x",
    ),
    goal(
        "the same with instance reuse, against it without",
        Share("http_component_reuse", "http_component_local"),
        AtLeast(1.2),
        "x",
    ),
    goal(
        "HTTP and one increment, all in the host, against HTTP alone",
        Share("http_counter_local", "http_component_local"),
        AtLeast(0.85),
        "x",
    ),
    goal(
        "its CPU time per request",
        Cpu("http_counter_local"),
        AtMost(20.0),
        "us",
    ),
    goal(
        "HTTP provider in a process of its own, over NATS: CPU time per request",
        Cpu("http_component_bus"),
        AtMost(45.0),
        "us",
    ),
    goal(
        "its NATS messages per request",
        Messages("http_component_bus"),
        AtMost(2.0),
        "",
    ),
    goal(
        "the same over the Unix socket: CPU time per request",
        Cpu("http_component_socket"),
        AtMost(35.0),
        "us",
    ),
    goal(
        "HTTP and Redis providers in processes of their own, over NATS: CPU time per request",
        Cpu("http_counter_bus"),
        AtMost(80.0),
        "us",
    ),
    goal(
        "its NATS messages per request",
        Messages("http_counter_bus"),
        AtMost(4.0),
        "",
    ),
    goal(
        "component call over NATS against bare request and reply, 1 in flight",
        Share("component_call_1", "bus_1"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 16 in flight",
        Share("component_call_16", "bus_16"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 64 in flight",
        Share("component_call_64", "bus_64"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "call over NATS that proves who makes it against one that does not, 64 in flight",
        Share("component_call_proven", "component_call"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "the same, 1 in flight",
        Share("component_call_proven_1", "component_call_1"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "64 KiB `list<u8>` from component to component in one process",
        Value("list_64k_local"),
        AtMost(20.0),
        "us",
    ),
    goal(
        "64 KiB `list<u8>` over NATS against bare NATS with that size",
        Share("list_64k_bus", "bus_64k"),
        AtLeast(0.7),
        "x",
    ),
    goal(
        "component to component in one process, instantiation included",
        Value("component_to_component"),
        AtMost(10.0),
        "us",
    ),
    goal(
        "cold start with cached code, file to first answer",
        Value("cold_start_cached"),
        AtMost(5.0),
        "ms",
    ),
    goal(
        "restart of a host with 50 components",
        Value("restart_50"),
        AtMost(200.0),
        "ms",
    ),
    goal(
        "host with 10,000 idle components",
        Value("idle_10000_total"),
        AtMost(1024.0),
        "MiB",
    ),
    goal(
        "an active component beside them against it alone",
        Share("idle_10000_active", "idle_0_active"),
        AtLeast(0.95),
        "x",
    ),
    goal(
        "calls per CPU second of 8 hosts against 1",
        Share("scale_8_hosts", "scale_1_host"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "goodput at three times the capacity against the peak",
        Share("overload_goodput", "overload_peak"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "recovery after five times the capacity",
        Value("overload_recovery"),
        AtMost(2000.0),
        "ms",
    ),
    goal(
        "p99 of accepted requests at three times the capacity against half of it",
        Share("overload_p99", "overload_p99_unloaded"),
        AtMost(3.0),
        "x",
    ),
    goal(
        "left after clients have left in mid-request: subscriptions, files, permits",
        Value("abort_storm"),
        AtMost(0.0),
        "",
    ),
    goal(
        "traces exported, one request in a hundred, against none",
        Share("tracing_sampled", "tracing_off"),
        AtLeast(0.95),
        "x",
    ),
];

impl Measured {
    fn of(&self, report: &Report) -> Option<f64> {
        let share = |own: Option<f64>, base: Option<f64>| Some(own? / base?);
        let value = |name| report.get(name).map(|figure| figure.value);
        let tail = |name| report.get(name).and_then(|figure| figure.p99_us);
        match *self {
            Value(name) => value(name),
            Share(name, of) => share(value(name), value(of)),
            Tail(name, of) => share(tail(name), tail(of)),
            Cpu(name) => report.get(name)?.cpu_us,
            Messages(name) => report.get(name)?.messages,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Value(name) | Share(name, _) | Tail(name, _) | Cpu(name) | Messages(name) => name,
        }
    }
}

impl Limit {
    /// Whether it is kept, by the digits that are shown: two messages and a heartbeat are two.
    fn verdict(self, measured: f64) -> String {
        let measured = (measured * 100.0).round() / 100.0;
        let (kept, limit) = match self {
            AtLeast(limit) => (measured >= limit, limit),
            AtMost(limit) => (measured <= limit, limit),
        };
        match (kept, limit > 0.0) {
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

/// The goals as lines of a Markdown table, with what was measured.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::from("| what | measure | goal | measured | |\n|---|---|---|---|---|\n");
    for goal in GOALS {
        let (measured, verdict) = match goal.measured.of(report) {
            Some(measured) => (
                with_unit(short(measured), goal.unit),
                goal.limit.verdict(measured),
            ),
            None => (String::new(), "not measured".to_owned()),
        };
        out += &format!(
            "| {} | `{}` | {} | {measured} | {verdict} |\n",
            goal.what,
            goal.measured.name(),
            with_unit(goal.limit.text(), goal.unit),
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
    use super::*;
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
    fn limit_of_nothing_is_missed_by_what_is_left() {
        assert_eq!(AtMost(0.0).verdict(0.0), "met");
        assert_eq!(AtMost(0.0).verdict(3.0), "**+3**");
        assert_eq!(AtMost(2.0).verdict(2.004), "met");
        assert_eq!(AtMost(20.0).verdict(25.0), "**+25 %**");
    }
}
