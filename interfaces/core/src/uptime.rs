//! Durations in the words of the inventory, such as `2m 5s`.

use std::time::Duration;

/// Seconds in a Julian year and a twelfth of it, as 1.x hosts count them.
const UNITS: [(u64, &str, &str); 6] = [
    (31_557_600, "year", "years"),
    (2_630_016, "month", "months"),
    (86_400, "day", "days"),
    (3_600, "h", "h"),
    (60, "m", "m"),
    (1, "s", "s"),
];

/// Formats whole seconds, largest unit first; `0s` for less than one.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lattice_core::uptime::human(Duration::from_secs(125)), "2m 5s");
/// ```
#[must_use]
pub fn human(uptime: Duration) -> String {
    let mut left = uptime.as_secs();
    let mut parts = Vec::new();
    for (size, one, many) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 {
            parts.push(format!("{count}{}", if count == 1 { one } else { many }));
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_reads_like_the_recording() {
        for (secs, text) in [
            (0, "0s"),
            (3, "3s"),
            (60, "1m"),
            (125, "2m 5s"),
            (3_600, "1h"),
            (90_061, "1day 1h 1m 1s"),
            (180_000, "2days 2h"),
            (31_557_600 + 2 * 2_630_016, "1year 2months"),
        ] {
            assert_eq!(human(Duration::from_secs(secs)), text);
        }
        assert_eq!(human(Duration::from_millis(1_999)), "1s");
    }
}
