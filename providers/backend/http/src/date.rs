//! Points in time as services write them.

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Such as `Fri, 24 May 2013 00:00:00 GMT`.
#[must_use]
pub fn http_date(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!(
        "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT",
        DAYS[usize::from(at.weekday().number_days_from_monday())],
        MONTHS[usize::from(u8::from(month) - 1)],
    )
}

/// Such as `20130524T000000Z`.
#[must_use]
pub fn compact(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let month = u8::from(month);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads either form that services use: that of HTTP and that of RFC 3339.
#[must_use]
pub fn read(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let read = OffsetDateTime::parse(text, &Rfc3339);
    read.or_else(|_| OffsetDateTime::parse(text, &Rfc2822)).ok()
}

/// Seconds since 1970 of a text that [`read`] takes; those before count as zero.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    Some(u64::try_from(read(text)?.unix_timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_written_as_services_expect() {
        let at = OffsetDateTime::from_unix_timestamp(1_369_353_600).unwrap();
        assert_eq!(http_date(at), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(compact(at), "20130524T000000Z");
        assert_eq!(seconds("2013-05-24T00:00:00.000Z"), Some(1_369_353_600));
        assert_eq!(seconds("soon"), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(at in 0_i64..4_000_000_000) {
            let at = OffsetDateTime::from_unix_timestamp(at).unwrap();
            prop_assert_eq!(read(&http_date(at)), Some(at));
        }
    }
}
