//! When jobs are due.

use chrono::{DateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use lattice_provider_sdk::schedule::{ScheduleError, Trigger};

/// The shortest time between two ticks, in milliseconds.
pub const RESOLUTION_MS: u64 = 100;
/// The latest time that can be reckoned with: far beyond what calendars are good for.
const LATEST_MS: u64 = 8_000_000_000_000_000 / 1000;
/// How many ticks are counted one by one. Who was away for longer is told of so many.
const MOST_COUNTED: u32 = 10_000;

/// A trigger that can be reckoned with. Times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Plan {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Cron { cron: Box<Cron>, zone: Tz },
    Every { period: u64, from: u64 },
    At { time: u64 },
}

/// The tick that is told of all that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// When it is due.
    pub due: u64,
    /// How many were due before it.
    pub skipped: u32,
}

fn invalid(why: impl Into<String>) -> ScheduleError {
    ScheduleError::InvalidTrigger(why.into())
}

impl Plan {
    /// Reads a trigger; `from` is when the job was put.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::InvalidTrigger`] and [`ScheduleError::InvalidJob`] say what is wrong.
    pub fn read(trigger: &Trigger, zone: Option<&str>, from: u64) -> Result<Self, ScheduleError> {
        let tz = match zone {
            Some(name) => name.parse().map_err(|_| {
                let why =
                    format!("there is no time zone `{name}`, expected one as `Europe/Berlin`");
                ScheduleError::InvalidJob(why)
            })?,
            None => Tz::UTC,
        };
        let kind = match trigger {
            Trigger::Cron(text) => Kind::Cron {
                cron: Box::new(cron(text)?),
                zone: tz,
            },
            _ if zone.is_some() => {
                let why = "a time zone is of use to a cron trigger only";
                return Err(ScheduleError::InvalidJob(why.to_owned()));
            }
            Trigger::EveryMs(period) => {
                if !(RESOLUTION_MS..=LATEST_MS).contains(period) {
                    return Err(invalid(format!(
                        "every {period} ms is not between {RESOLUTION_MS} and {LATEST_MS}"
                    )));
                }
                let period = *period;
                Kind::Every { period, from }
            }
            Trigger::AtMs(time) => {
                if *time > LATEST_MS {
                    return Err(invalid(format!("{time} ms is later than {LATEST_MS}")));
                }
                Kind::At { time: *time }
            }
        };
        let plan = Self { kind };
        if plan.first(from).is_none() {
            return Err(invalid("it is never due"));
        }
        Ok(plan)
    }

    /// The first tick of a job that is put now.
    #[must_use]
    pub fn first(&self, now: u64) -> Option<u64> {
        match &self.kind {
            Kind::At { time } => Some(*time),
            _ => self.after(now),
        }
    }

    /// The first tick after a time.
    #[must_use]
    pub fn after(&self, time: u64) -> Option<u64> {
        match &self.kind {
            Kind::Cron { cron, zone } => next(cron, *zone, time),
            Kind::Every { period, from } => {
                let since = time.saturating_sub(*from);
                let next = from.saturating_add((since / period + 1).saturating_mul(*period));
                Some(if time < *from {
                    from.saturating_add(*period)
                } else {
                    next
                })
            }
            Kind::At { time: at } => (*at > time).then_some(*at),
        }
    }

    /// The last tick that is due, when the one at `due` is the first of them.
    #[must_use]
    pub fn latest(&self, due: u64, now: u64) -> Latest {
        match &self.kind {
            Kind::Every { period, .. } => {
                let skipped = now.saturating_sub(due) / period;
                Latest {
                    due: due + skipped * period,
                    skipped: u32::try_from(skipped).unwrap_or(u32::MAX),
                }
            }
            Kind::At { .. } => Latest { due, skipped: 0 },
            Kind::Cron { cron, zone } => {
                let mut latest = Latest { due, skipped: 0 };
                while latest.skipped < MOST_COUNTED {
                    match self.after(latest.due) {
                        Some(next) if next <= now => {
                            latest.due = next;
                            latest.skipped += 1;
                        }
                        _ => return latest,
                    }
                }
                latest.due = previous(cron, *zone, now).unwrap_or(latest.due);
                latest
            }
        }
    }
}

fn cron(text: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let parsed = parser.parse(text.trim());
    parsed.map_err(|error| invalid(format!("`{text}` is no cron pattern: {error}")))
}

/// Nothing later than [`LATEST_MS`]: at the end of its calendar `chrono` panics.
fn in_zone(zone: Tz, time: u64) -> Option<DateTime<Tz>> {
    let time = Some(time).filter(|time| *time <= LATEST_MS)?;
    let utc = Utc
        .timestamp_millis_opt(i64::try_from(time).ok()?)
        .single()?;
    Some(utc.with_timezone(&zone))
}

fn millis(time: &DateTime<Tz>) -> Option<u64> {
    u64::try_from(time.timestamp_millis()).ok()
}

fn next(cron: &Cron, zone: Tz, after: u64) -> Option<u64> {
    let mut from = in_zone(zone, after)?;
    // A pattern that finds nothing later than where it begins would be searched for ever.
    for _ in 0..3 {
        let found = cron.find_next_occurrence(&from, false).ok()?;
        let time = millis(&found)?;
        if time > after {
            return Some(time);
        }
        from += chrono::Duration::seconds(1);
    }
    None
}

fn previous(cron: &Cron, zone: Tz, until: u64) -> Option<u64> {
    let from = in_zone(zone, until)?;
    let found = cron.find_previous_occurrence(&from, true).ok()?;
    millis(&found).filter(|time| *time <= until)
}

#[cfg(test)]
mod tests;
