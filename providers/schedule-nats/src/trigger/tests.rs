//! Golden ticks around changes of the clock, and what holds for all of them.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(text).unwrap();
    u64::try_from(time.timestamp_millis()).unwrap()
}

fn plan(cron: &str, zone: &str) -> Plan {
    Plan::read(&Trigger::Cron(cron.to_owned()), Some(zone), 0).unwrap()
}

/// The ticks of a pattern after a time, as they are in UTC.
fn ticks(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let plan = plan(cron, zone);
    let mut time = at(after);
    let mut ticks = Vec::new();
    while ticks.len() < count {
        time = plan.after(time).unwrap();
        let utc = Utc.timestamp_millis_opt(time.try_into().unwrap()).unwrap();
        ticks.push(utc.format("%m-%d %H:%M:%S").to_string());
    }
    ticks
}

#[test]
fn times_at_the_end_of_all_numbers_do_no_harm() {
    for from in [u64::MAX, u64::MAX - 1, 8_210_266_876_799_999] {
        let every = Plan::read(&Trigger::EveryMs(1000), None, from).unwrap();
        assert!(every.after(0).is_some() && every.after(u64::MAX).is_some());
        assert!(every.latest(u64::MAX, u64::MAX).due >= from);
        let cron = Trigger::Cron("* * * * * *".to_owned());
        assert!(Plan::read(&cron, Some("Pacific/Kiritimati"), from).is_err());
    }
    let each_day = plan("0 8 * * *", "Pacific/Kiritimati");
    assert_eq!(each_day.after(u64::MAX), None);
    assert!(each_day.after(LATEST_MS).is_some());
}

/// In Berlin the clock went from 2:00 to 3:00 on 2025-03-30, which was 1:00 in UTC.
#[test]
fn what_falls_into_a_gap_is_due_right_after_it() {
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2025-03-28T12:00:00Z", 3),
        ["03-29 01:30:00", "03-30 01:00:00", "03-31 00:30:00"]
    );
    // In New York from 2:00 to 3:00 on 2025-03-09, which was 7:00 in UTC.
    assert_eq!(
        ticks("15 2 9 3 *", "America/New_York", "2025-01-01T00:00:00Z", 1),
        ["03-09 07:00:00"]
    );
    // Lord Howe moves by half an hour only: from 2:00 to 2:30 on 2025-10-05.
    assert_eq!(
        ticks(
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2025-10-03T20:00:00Z",
            2
        ),
        ["10-04 15:30:00", "10-05 15:10:00"]
    );
}

#[test]
fn what_is_due_every_so_often_goes_on_through_a_gap() {
    assert_eq!(
        ticks("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:15:00Z", 4),
        [
            "03-30 00:30:00",
            "03-30 01:00:00",
            "03-30 01:30:00",
            "03-30 02:00:00"
        ]
    );
}

/// In Berlin the clock went from 3:00 back to 2:00 on 2025-10-26, which was 1:00 in UTC.
#[test]
fn what_comes_twice_is_due_the_first_time() {
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", 2),
        ["10-26 00:30:00", "10-27 01:30:00"]
    );
}

#[test]
fn what_is_due_every_so_often_goes_on_through_an_overlap() {
    assert_eq!(
        ticks("*/30 * * * *", "Europe/Berlin", "2025-10-26T00:15:00Z", 5),
        [
            "10-26 00:30:00",
            "10-26 01:00:00",
            "10-26 01:30:00",
            "10-26 02:00:00",
            "10-26 02:30:00"
        ]
    );
}

#[test]
fn six_fields_begin_with_seconds() {
    assert_eq!(
        ticks("*/20 59 23 31 12 *", "UTC", "2025-12-31T23:59:10Z", 3),
        ["12-31 23:59:20", "12-31 23:59:40", "12-31 23:59:00"]
    );
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let read = |trigger: Trigger, zone: Option<&str>| Plan::read(&trigger, zone, 0).unwrap_err();
    let cron = |text: &str| Trigger::Cron(text.to_owned());
    for text in ["", "* * * *", "60 * * * *", "a b c d e", "* * * * * * *"] {
        let error = read(cron(text), None);
        assert!(
            matches!(error, ScheduleError::InvalidTrigger(_)),
            "{text}: {error:?}"
        );
    }
    assert!(read(cron("0 0 30 2 *"), None).text().contains("never"));
    let error = read(cron("* * * * *"), Some("Mars/Base"));
    assert!(error.text().contains("Mars/Base"), "{error:?}");
    let error = read(Trigger::EveryMs(1000), Some("UTC"));
    assert!(matches!(error, ScheduleError::InvalidJob(_)), "{error:?}");
    for ms in [0, 99, u64::MAX] {
        assert!(
            read(Trigger::EveryMs(ms), None)
                .text()
                .contains("not between")
        );
    }
    assert!(read(Trigger::AtMs(u64::MAX), None).text().contains("later"));
}

#[test]
fn one_time_comes_once() {
    let plan = Plan::read(&Trigger::AtMs(5000), None, 9000).unwrap();
    assert_eq!(plan.first(9000), Some(5000));
    assert_eq!(plan.after(5000), None);
    let latest = plan.latest(5000, 99_000);
    assert_eq!((latest.due, latest.skipped), (5000, 0));
}

#[test]
fn who_was_away_for_long_is_told_of_the_last_tick() {
    let seconds = plan("* * * * * *", "UTC");
    let day = 86_400_000;
    let latest = seconds.latest(1000, day + 500);
    assert_eq!((latest.due, latest.skipped), (day, MOST_COUNTED));
    let every = Plan::read(&Trigger::EveryMs(1000), None, 500).unwrap();
    assert_eq!(every.first(500), Some(1500));
    let latest = every.latest(1500, 10_499);
    assert_eq!((latest.due, latest.skipped), (9500, 8));
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
];
const PATTERNS: [&str; 7] = [
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0 0 * * sun",
    "15,45 1-3 * * *",
    "59 23 L * *",
    "*/13 */5 * * * *",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ticks_come_one_after_the_other(
        zone in 0..ZONES.len(),
        pattern in 0..PATTERNS.len(),
        from in 0_u64..4_000_000_000_000,
        steps in 1_u32..20,
    ) {
        let plan = plan(PATTERNS[pattern], ZONES[zone]);
        let first = plan.after(from).unwrap();
        prop_assert!(first > from);
        let mut last = first;
        for _ in 0..steps {
            let next = plan.after(last).unwrap();
            prop_assert!(next > last);
            last = next;
        }
        // Seen from any time before the next, it is the same one that is told, and as many before.
        let next = plan.after(last).unwrap();
        for now in [last, next - 1] {
            prop_assert_eq!(plan.latest(first, now), Latest { due: last, skipped: steps });
        }
    }

    #[test]
    fn every_tick_of_a_period_is_on_its_grid(
        from in 0_u64..4_000_000_000_000,
        period in 100_u64..1_000_000_000,
        later in 0_u64..1_000_000_000_000,
    ) {
        let plan = Plan::read(&Trigger::EveryMs(period), None, from).unwrap();
        let next = plan.after(from + later).unwrap();
        prop_assert_eq!((next - from) % period, 0);
        prop_assert!(next > from + later && next <= from + later + period);
        let first = plan.first(from).unwrap();
        prop_assert_eq!(first, from + period);
    }
}
