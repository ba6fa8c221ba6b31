//! `--watch`: the same answer again and again, until a signal.

use std::time::Duration;

use crate::error::Result;
use crate::output::{Output, Ui};
use crate::signals::Signals;

/// Shorter pauses would keep every host busy with answering.
const SHORTEST: Duration = Duration::from_millis(100);

/// Shows what `read` gives until a signal comes, or nobody reads any more. On a terminal each answer replaces the one
/// before; elsewhere they follow one another, in JSON as one document each.
pub(super) async fn repeat(
    pause: Duration,
    ui: &Ui,
    mut read: impl AsyncFnMut() -> Result<Output>,
) -> Result<Output> {
    let mut signals = Signals::listen()?;
    let mut seen = false;
    loop {
        let round = async {
            let answer = read().await;
            // What worked once is worth another try: the lattice may be back soon.
            match answer {
                Ok(output) if !ui.refresh(&output)? => return Ok(false),
                Ok(_) => {}
                Err(error) if seen => ui.notice(&error.to_string()),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            Ok(true)
        };
        tokio::select! {
            read = round => if !read? {
                return Ok(Output::silent());
            },
            stop = signals.recv() => return Ok(Output::silent().exit_with(stop.exit())),
        }
        seen = true;
    }
}

/// Reads `5s`, `500ms`, `2m`, `1h` and such with several parts, or a number of milliseconds, which
/// is what 1.x takes one for.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    let wrong = || "give a pause such as `5s`, `500ms` or `1h`".to_owned();
    let mut rest = text.trim();
    let mut pause = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let (unit, after) = after.split_at(unit);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let one = milliseconds(unit).ok_or_else(wrong)?;
        pause = pause.saturating_add(Duration::from_millis(number.saturating_mul(one)));
        rest = after.trim_start();
    }
    if pause < SHORTEST {
        return Err(format!("the shortest pause is {SHORTEST:?}"));
    }
    Ok(pause)
}

fn milliseconds(unit: &str) -> Option<u64> {
    match unit {
        "" | "ms" | "msec" | "millis" => Some(1),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1000),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60_000),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_units_and_a_lower_bound() {
        assert_eq!(pause("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(pause("5000"), Ok(Duration::from_secs(5)));
        assert_eq!(pause("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(pause("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(pause("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "0", "1ms", "s", "5d", "-1s", "fast", "5s,"] {
            assert!(pause(text).is_err(), "{text}");
        }
    }
}
