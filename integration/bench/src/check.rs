//! Comparing a run with the one that is committed.
//!
//! Ratios hold on another machine and are compared with each other. What has none is held to its
//! goal, or to what is committed when that misses it: a time or a tail comes and goes by more than
//! a ratio does as long as it is well within its goal.

use std::collections::HashSet;

use anyhow::{Result, bail, ensure};

use crate::goals::{self, Goal, Limit, Measured};
use crate::report::{Figure, Report};

/// How much worse a figure may be than the committed one.
const TOLERATED: f64 = 0.15;

/// What a comparison has found.
#[derive(Debug, Default)]
struct Comparison {
    compared: usize,
    /// One line for each figure that got worse or is missing.
    falls: Vec<String>,
    /// Committed figures that this run was not to measure.
    left_out: Vec<String>,
    /// Those whose value has been compared.
    covered: HashSet<String>,
}

/// Compares a run with an earlier one; `expects` says which figures it should have.
///
/// # Errors
///
/// Fails with each figure that fell by more than 15 % or is missing, or when there was nothing to
/// compare.
pub(crate) fn check(
    committed: &Report,
    now: &Report,
    expects: &impl Fn(&str) -> bool,
) -> Result<String> {
    let found = Comparison::of(committed, now, expects);
    if !found.falls.is_empty() {
        bail!(
            "worse than at commit {} by more than {:.0} %, or missing:\n{}",
            committed.commit,
            TOLERATED * 100.0,
            found.falls.join("\n")
        );
    }
    ensure!(
        found.compared > 0,
        "none of the measures has a committed figure to compare with"
    );
    let mut message = format!(
        "{} figures are no more than {:.0} % worse than the committed ones",
        found.compared,
        TOLERATED * 100.0
    );
    if !found.left_out.is_empty() {
        message += &format!("; not measured: {}", found.left_out.join(", "));
    }
    Ok(message)
}

impl Comparison {
    fn of(committed: &Report, now: &Report, expects: &impl Fn(&str) -> bool) -> Self {
        let mut found = Self::default();
        found.presence(committed, now, expects);
        for figure in &now.results {
            found.ratio(committed, figure);
        }
        for goal in goals::all() {
            found.goal(committed, now, goal);
        }
        for figure in &now.results {
            found.memory(committed, figure);
        }
        found
    }

    /// Counts a comparison whose worst value that passes is `bound`; `line` tells of a fall.
    fn hold(&mut self, now: f64, bound: Limit, line: impl FnOnce() -> String) {
        self.compared += 1;
        let kept = match bound {
            Limit::AtLeast(least) => now >= least,
            Limit::AtMost(most) => now <= most,
        };
        if !kept {
            self.falls.push(format!("  {}", line()));
        }
    }

    fn presence(&mut self, committed: &Report, now: &Report, expects: &impl Fn(&str) -> bool) {
        for figure in &committed.results {
            let name = &figure.name;
            if now.get(name).is_some() {
                continue;
            }
            if expects(name) {
                self.falls.push(format!("  {name}: not measured"));
            } else {
                self.left_out.push(name.clone());
            }
        }
    }

    fn ratio(&mut self, committed: &Report, figure: &Figure) {
        let (Some(ratio), Some(of)) = (figure.ratio, &figure.of) else {
            return;
        };
        // Computed again, as the committed ratio may be against something else.
        let old = committed.get(&figure.name).zip(committed.get(of));
        let Some(old) = old.and_then(|(old, base)| old.share_of(base)) else {
            return;
        };
        self.covered.insert(figure.name.clone());
        let bound = tolerated(old, figure.more_is_better());
        self.hold(ratio, bound, || {
            format!("{}: {ratio:.3} of {of}, committed {old:.3}", figure.name)
        });
    }

    /// Compares what a goal is about where no ratio does.
    fn goal(&mut self, committed: &Report, now: &Report, goal: &Goal) {
        let name = goal.measured.name(now);
        let (value, old) = (goal.measured.of(now), goal.measured.of(committed));
        if value.is_none() && old.is_some() && is_there(&goal.measured, now) {
            let line = format!("  {name}: {}: not measured", goal.what);
            self.falls.push(line);
        }
        let Some((value, old)) = value.zip(old) else {
            return;
        };
        match goal.measured {
            // Each of them has a ratio of its own.
            Measured::Least(..) => {}
            Measured::Share(_, of) => {
                let same = now.get(name).and_then(|figure| figure.of.as_deref()) == Some(of);
                if !(same && self.covered.contains(name)) {
                    let more = matches!(goal.limit, Limit::AtLeast(_));
                    self.hold(value, tolerated(old, more), || {
                        format!("{name}: {value:.3} of {of}, committed {old:.3}")
                    });
                }
            }
            Measured::Cpu(_) => self.cpu(committed, now, name),
            Measured::Value(_) if self.covered.contains(name) => {}
            Measured::Value(_) | Measured::Messages(_) | Measured::Tail(..) => {
                if matches!(goal.measured, Measured::Value(_)) {
                    self.covered.insert(name.to_owned());
                }
                let (bound, what) = (goal_or_committed(goal.limit, old), goal.what);
                self.hold(value, bound, || {
                    format!("{name}: {what}: {value:.2}, committed {old:.2}")
                });
            }
        }
    }

    /// Compares CPU time as a share of that of what the figure is compared with.
    fn cpu(&mut self, committed: &Report, now: &Report, name: &str) {
        let of = now.get(name).and_then(|figure| figure.of.as_deref());
        let share = |run: &Report| Some(run.get(name)?.cpu_us? / run.get(of?)?.cpu_us?);
        let Some((value, old)) = share(now).zip(share(committed)) else {
            return;
        };
        let of = of.unwrap_or_default();
        self.hold(value, tolerated(old, false), || {
            format!("{name}: {value:.3} of the CPU time of {of}, committed {old:.3}")
        });
    }

    /// Compares memory that nothing else has compared: it does not depend on how fast a machine is.
    fn memory(&mut self, committed: &Report, figure: &Figure) {
        let (name, value) = (&figure.name, figure.value);
        if !["KiB", "MiB"].contains(&&*figure.unit) || self.covered.contains(name) {
            return;
        }
        let Some(old) = committed.get(name).map(|old| old.value) else {
            return;
        };
        self.hold(value, tolerated(old, false), || {
            format!("{name}: {value:.2} {}, committed {old:.2}", figure.unit)
        });
    }
}

/// Whether a run has the figures of which a goal is about one number among others, such as CPU time.
fn is_there(measured: &Measured, now: &Report) -> bool {
    let has = |name| now.get(name).is_some();
    match *measured {
        Measured::Tail(name, of) => has(name) && has(of),
        Measured::Cpu(name) | Measured::Messages(name) => has(name),
        // Of the value itself, whoever lacks a figure is told already.
        Measured::Value(_) | Measured::Share(..) | Measured::Least(..) => false,
    }
}

/// The worst share that is no fall.
fn tolerated(committed: f64, more_is_better: bool) -> Limit {
    if more_is_better {
        Limit::AtLeast(committed * (1.0 - TOLERATED))
    } else {
        Limit::AtMost(committed / (1.0 - TOLERATED))
    }
}

/// The worst value that is no fall: the goal, or near the committed value when that misses it.
fn goal_or_committed(goal: Limit, committed: f64) -> Limit {
    match (
        goal,
        tolerated(committed, matches!(goal, Limit::AtLeast(_))),
    ) {
        (Limit::AtLeast(goal), Limit::AtLeast(near)) => Limit::AtLeast(goal.min(near)),
        (Limit::AtMost(goal), Limit::AtMost(near)) => Limit::AtMost(goal.max(near)),
        (goal, _) => goal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;
    use crate::report::tests::report;

    /// Throughput and start times, each with one it is compared with.
    fn run(bus: f64, call: f64, cold: f64, cached: f64) -> Report {
        let mut run = report(&[("bus", bus)]);
        run.add_against(Figure::new("call", call, "req/s"), &["bus"]);
        run.add(Figure::new("cold", cold, "ms"));
        run.add_against(Figure::new("cached", cached, "ms"), &["cold"]);
        run
    }

    fn check(committed: &Report, now: &Report) -> Result<String> {
        super::check(committed, now, &|_| true)
    }

    fn fails(committed: &Report, now: &Report) -> String {
        check(committed, now).unwrap_err().to_string()
    }

    #[test]
    fn slower_machine_with_the_same_ratios_is_no_fall() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let message = check(&committed, &run(100.0, 80.0, 1000.0, 100.0)).unwrap();
        assert!(message.starts_with("2 figures"), "{message}");
    }

    #[test]
    fn fall_within_what_is_tolerated_passes() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        check(&committed, &run(1000.0, 681.0, 100.0, 11.7)).unwrap();
    }

    #[test]
    fn each_fall_is_named() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let error = fails(&committed, &run(1000.0, 679.0, 100.0, 12.0));
        for fall in [
            "call: 0.679 of bus, committed 0.800",
            "cached: 0.120 of cold, committed 0.100",
        ] {
            assert!(error.contains(fall), "{error}");
        }
    }

    #[test]
    fn ratio_against_something_else_is_computed_again() {
        let mut committed = report(&[("wasmtime", 100.0), ("hyper", 1000.0)]);
        committed.add_against(Figure::new("own", 500.0, "req/s"), &["wasmtime"]);
        let mut now = report(&[("hyper", 1000.0)]);
        now.add_against(Figure::new("own", 400.0, "req/s"), &["hyper"]);
        let error = super::check(&committed, &now, &|name| name != "wasmtime").unwrap_err();
        let fall = "\n  own: 0.400 of hyper, committed 0.500";
        assert!(error.to_string().ends_with(fall), "{error}");
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        let error = fails(&report(&[]), &run(1.0, 1.0, 1.0, 1.0));
        assert!(error.contains("none of the measures"), "{error}");
    }

    #[test]
    fn what_is_missing_fails_unless_it_was_left_out() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let mut now = run(1000.0, 800.0, 100.0, 10.0);
        now.results.retain(|figure| figure.name != "cached");
        let error = fails(&committed, &now);
        assert!(error.ends_with("\n  cached: not measured"), "{error}");
        let message = super::check(&committed, &now, &|name| name != "cached").unwrap();
        assert!(message.ends_with("; not measured: cached"), "{message}");
    }

    #[test]
    fn a_value_without_a_ratio_is_held_to_its_goal() {
        let of = |left: f64, recovery: f64| {
            let mut run = report(&[]);
            run.add(Figure::new("abort_storm", left, "left"));
            run.add(Figure::new("overload_recovery", recovery, "ms"));
            run
        };
        check(&of(0.0, 800.0), &of(0.0, 1900.0)).unwrap();
        let error = fails(&of(0.0, 800.0), &of(1.0, 2100.0));
        assert!(error.contains("  abort_storm: left after"), "{error}");
        assert!(error.contains("  overload_recovery: "), "{error}");
        // What misses its goal already has only to stay as it is.
        check(&of(20.0, 3000.0), &of(21.0, 3300.0)).unwrap();
        assert!(fails(&of(20.0, 3000.0), &of(20.0, 3600.0)).contains("3600.00"));
    }

    #[test]
    fn cpu_time_messages_and_memory_are_compared_as_far_as_the_machine_is_not() {
        let of = |cpu: f64, messages: f64, memory: f64| {
            let mut run = report(&[("bus_request_reply", 1000.0)]);
            run.results[0].cpu_us = Some(10.0);
            let mut bus = Figure::new("http_component_bus", 200.0, "req/s");
            (bus.cpu_us, bus.messages) = (Some(cpu), Some(messages));
            run.add_against(bus, &["bus_request_reply"]);
            run.add(Figure::new("idle_host", memory, "MiB"));
            run
        };
        let committed = of(70.0, 2.0, 35.0);
        check(&committed, &of(80.0, 2.0, 40.0)).unwrap();
        let error = fails(&committed, &of(90.0, 4.0, 50.0));
        for fall in [
            "http_component_bus: 9.000 of the CPU time of bus_request_reply, committed 7.000",
            "its NATS messages per request: 4.00, committed 2.00",
            "idle_host: 50.00 MiB, committed 35.00",
        ] {
            assert!(error.contains(fall), "{error}");
        }
    }

    #[test]
    fn a_number_that_a_figure_has_lost_is_a_fall() {
        let of = |number: Option<f64>| {
            let mut run = report(&[("bus_request_reply", 1000.0), ("wasmtime_serve", 100.0)]);
            run.results[1].p99_us = Some(10.0);
            let mut bus = Figure::new("http_component_bus", 200.0, "req/s");
            (bus.cpu_us, bus.messages) = (number, number);
            run.add_against(bus, &["bus_request_reply"]);
            let mut local = Figure::new("http_component_local", 300.0, "req/s");
            local.p99_us = number;
            run.add_against(local, &["wasmtime_serve"]);
            run
        };
        check(&of(Some(1.0)), &of(Some(1.0))).unwrap();
        check(&of(None), &of(None)).unwrap();
        let error = fails(&of(Some(1.0)), &of(None));
        for lost in [
            "  http_component_bus: its NATS messages per request: not measured",
            "  http_component_bus: HTTP provider in a process of its own, over NATS: CPU time per request: not",
            "  http_component_local: its p99 against that of `wasmtime serve`, 32 connections: not",
        ] {
            assert!(error.contains(lost), "{error}");
        }
    }

    #[test]
    fn the_committed_figures_are_no_worse_than_themselves() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.json");
        let read = || Report::read(std::path::Path::new(path)).unwrap();
        check(&read(), &read()).unwrap();
        for figure in read().results {
            let mut now = read();
            now.results.retain(|other| other.name != figure.name);
            let missing = format!("  {}: not measured", figure.name);
            assert!(fails(&read(), &now).contains(&missing), "{missing}");
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_a_fall() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let error = fails(&committed, &run(1000.0, f64::NAN, 100.0, 10.0));
        assert!(error.contains("call: NaN of bus"), "{error}");
    }
}
