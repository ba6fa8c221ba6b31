//! Comparing a run with the one that is committed.

use anyhow::{Result, bail, ensure};

use crate::report::Report;

/// How much worse a ratio may be than the committed one.
const TOLERATED: f64 = 0.15;

/// A ratio that got worse.
#[derive(Debug, PartialEq)]
struct Fall {
    name: String,
    of: String,
    committed: f64,
    now: f64,
}

/// What a comparison has found.
#[derive(Debug, Default)]
struct Comparison {
    compared: usize,
    falls: Vec<Fall>,
}

/// Compares ratios, which hold on other machines too.
///
/// # Errors
///
/// Fails with each measure that fell by more than 15 %, or when there was nothing to compare.
pub(crate) fn check(committed: &Report, now: &Report) -> Result<String> {
    let comparison = compare(committed, now);
    ensure!(
        comparison.compared > 0,
        "none of the measures has a committed ratio to compare with"
    );
    if comparison.falls.is_empty() {
        return Ok(format!(
            "{} ratios are no more than {:.0} % below the committed ones",
            comparison.compared,
            TOLERATED * 100.0
        ));
    }
    let lines = comparison.falls.iter().map(Fall::line);
    bail!(
        "fell by more than {:.0} % since commit {}:\n{}",
        TOLERATED * 100.0,
        committed.commit,
        lines.collect::<Vec<_>>().join("\n")
    )
}

impl Fall {
    fn line(&self) -> String {
        format!(
            "  {}: {:.3} of {}, committed {:.3}",
            self.name, self.now, self.of, self.committed
        )
    }
}

fn compare(committed: &Report, now: &Report) -> Comparison {
    let mut comparison = Comparison::default();
    for figure in &now.results {
        let (Some(ratio), Some(of)) = (figure.ratio, &figure.of) else {
            continue;
        };
        // Computed again, as the committed ratio may be against something else.
        let old = committed.get(&figure.name).zip(committed.get(of));
        let Some(old) = old.and_then(|(old, base)| old.share_of(base)) else {
            continue;
        };
        comparison.compared += 1;
        let kept = if figure.more_is_better() {
            ratio / old
        } else {
            old / ratio
        };
        if kept < 1.0 - TOLERATED {
            comparison.falls.push(Fall {
                name: figure.name.clone(),
                of: of.clone(),
                committed: old,
                now: ratio,
            });
        }
    }
    comparison
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

    #[test]
    fn slower_machine_with_the_same_ratios_is_no_fall() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let message = check(&committed, &run(100.0, 80.0, 1000.0, 100.0)).unwrap();
        assert!(message.starts_with("2 ratios"), "{message}");
    }

    #[test]
    fn fall_within_what_is_tolerated_passes() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        check(&committed, &run(1000.0, 681.0, 100.0, 11.7)).unwrap();
    }

    #[test]
    fn each_fall_is_named() {
        let committed = run(1000.0, 800.0, 100.0, 10.0);
        let error = check(&committed, &run(1000.0, 679.0, 100.0, 12.0))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("call: 0.679 of bus, committed 0.800"),
            "{error}"
        );
        assert!(
            error.contains("cached: 0.120 of cold, committed 0.100"),
            "{error}"
        );
    }

    #[test]
    fn ratio_against_something_else_is_computed_again() {
        let mut committed = report(&[("wasmtime", 100.0), ("hyper", 1000.0)]);
        committed.add_against(Figure::new("own", 500.0, "req/s"), &["wasmtime"]);
        let mut now = report(&[("hyper", 1000.0)]);
        now.add_against(Figure::new("own", 400.0, "req/s"), &["hyper"]);
        let falls = compare(&committed, &now).falls;
        assert_eq!(falls.len(), 1);
        assert_eq!((falls[0].committed, falls[0].now), (0.5, 0.4));
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        let error = check(&report(&[]), &run(1.0, 1.0, 1.0, 1.0)).unwrap_err();
        assert!(error.to_string().contains("none of the measures"));
    }
}
