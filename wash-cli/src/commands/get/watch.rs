//! `--watch`: the same answer again and again, until a signal.

use std::time::Duration;

use crate::error::Result;
use crate::output::{Output, Ui};
use crate::signals::Signals;

/// Shorter pauses would keep every host busy with answering.
const SHORTEST: Duration = Duration::from_millis(100);

/// Shows what `read` gives until a signal comes. On a terminal each answer replaces the one
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
                Ok(output) => ui.refresh(&output),
                Err(error) if seen => ui.notice(&error.to_string()),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            Ok(())
        };
        tokio::select! {
            done = round => done?,
            stop = signals.recv() => return Ok(Output::silent().exit_with(stop.exit())),
        }
        seen = true;
    }
}

/// Reads `5s`, `500ms`, `2m`, or a number of seconds.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        _ => return Err("give a pause such as `5s` or `500ms`".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "give a pause such as `5s` or `500ms`".to_owned())?;
    let pause = Duration::from_millis(number.saturating_mul(unit));
    if pause < SHORTEST {
        return Err(format!("the shortest pause is {SHORTEST:?}"));
    }
    Ok(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_units_and_a_lower_bound() {
        assert_eq!(pause("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(pause("3"), Ok(Duration::from_secs(3)));
        assert_eq!(pause("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(pause("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "0", "1ms", "5 s", "5h", "-1s", "fast"] {
            assert!(pause(text).is_err(), "{text}");
        }
    }
}
