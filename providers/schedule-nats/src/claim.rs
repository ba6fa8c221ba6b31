//! What is to be done about a job now: the rules, without doing anything.

use lattice_provider_sdk::schedule::{ScheduleError, Tick};

use crate::firing::LONGEST_RETRY_MS;
use crate::record::{Record, Running, Tried};

/// After how much silence, in milliseconds, whoever tells of a tick is taken to be gone. It writes
/// the record again every second.
pub(crate) const GONE_AFTER: u64 = 4000;

/// After how much silence, in milliseconds and beside the period of a job, nobody has a clock by which its
/// next tick will be due in time.
const SET_BACK_AFTER: u64 = 30_000;

/// Who would take a tick, and how.
#[derive(Debug, Clone)]
pub(crate) struct Taker {
    pub(crate) by: String,
    /// Whether lost ticks are told again.
    pub(crate) again: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before that time.
    Wait(u64),
    /// The tick is told by the one whose change of the record is accepted.
    Take(Box<Taken>),
    /// The job is done and its record can go.
    Clear,
    /// The job is done and its record stays.
    Rest,
}

/// A tick, and what the record has to become to take it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) record: Record,
    pub(crate) tick: Tick,
}

/// Decides about a job of which nothing has been heard for `quiet` milliseconds: so long this
/// copy has seen the record as it is. No clock of another machine counts for that.
///
/// # Errors
///
/// The job's trigger cannot be read, as one of a newer version may be.
pub(crate) fn step(
    record: &Record,
    now: u64,
    quiet: u64,
    taker: &Taker,
) -> Result<Step, ScheduleError> {
    if let Some(running) = &record.running {
        if quiet < GONE_AFTER {
            return Ok(Step::Wait(now + GONE_AFTER - quiet));
        }
        // Whoever told it is gone.
        if taker.again && !running.replaced {
            let (due, next) = (running.due, record.next);
            return Ok(take(record, due, record.lost, next, record.tried, taker));
        }
    }
    let Some(next) = record.next else {
        return Ok(if record.stays {
            Step::Rest
        } else {
            Step::Clear
        });
    };
    let next = match by_clock_set_back(record, next, now, quiet) {
        Some(due) => due,
        None if now < next => return Ok(Step::Wait(next)),
        None => next,
    };
    due_since(record, next, now, taker)
}

/// What is to be done about a job whose ticks have been due since `next`: the latest of them counts.
fn due_since(record: &Record, next: u64, now: u64, taker: &Taker) -> Result<Step, ScheduleError> {
    let plan = record.plan()?;
    let latest = plan.latest(next, now);
    let after = match record.period() {
        // When the job was put may be to come.
        Some(period) => Some(latest.due.saturating_add(period)),
        None => plan.after(latest.due),
    };
    let running = record.running.as_ref();
    let is_lost = running.is_some_and(|running| !running.replaced);
    if !is_lost
        && latest.skipped == 0
        && let Some(again) = put_off(record, now)
    {
        return Ok(Step::Wait(after.map_or(again, |after| after.min(again))));
    }
    let (missed, tried) = before_it(record, is_lost, latest.skipped);
    Ok(take(record, latest.due, missed, after, tried, taker))
}

/// Until when a tick waits that could not be told: by the clock of the copy that failed, of which one that is
/// ahead does not hold the job up.
fn put_off(record: &Record, now: u64) -> Option<u64> {
    let again = record.tried.again;
    let in_reach = again <= now.saturating_add(LONGEST_RETRY_MS);
    (now < again && in_reach).then_some(again)
}

/// How many ticks before the one that is due were missed, and what was tried with it. `is_lost` says that the
/// one before was being told by somebody who is gone; `skipped` were due since and are over.
fn before_it(record: &Record, is_lost: bool, skipped: u32) -> (u32, Tried) {
    let lost = record.lost.saturating_add(skipped);
    match (is_lost, skipped) {
        // What was tried was tried with the lost one.
        (true, _) => (lost.saturating_add(1), Tried::default()),
        (false, 0) => (lost, record.tried),
        // The next tick is over. The component may have heard of it, with all that was missed before.
        (false, skipped) => {
            let tried = Tried {
                attempts: 0,
                ..record.tried
            };
            match record.tried.attempts {
                0 => (lost, tried),
                _ => (skipped - 1, tried),
            }
        }
    }
}

/// The tick that is due now though the next one is said to be far: the clock by which that was said was set
/// back since. While another copy goes by one that is ahead, each of its ticks is heard of.
fn by_clock_set_back(record: &Record, next: u64, now: u64, quiet: u64) -> Option<u64> {
    let period = record.period().filter(|period| *period > 0)?;
    let ahead = next.saturating_sub(now);
    let is_set_back = ahead > period && quiet >= period.saturating_add(SET_BACK_AFTER);
    is_set_back.then(|| next.saturating_sub(ahead.div_ceil(period).saturating_mul(period)))
}

fn take(
    record: &Record,
    due: u64,
    missed: u32,
    next: Option<u64>,
    tried: Tried,
    taker: &Taker,
) -> Step {
    let tick = Tick {
        job: record.job.clone(),
        due_ms: due,
        missed,
        payload: record.payload(),
    };
    let mut record = record.clone();
    record.next = next;
    record.tried = tried;
    record.running = Some(Running {
        due,
        by: taker.by.clone(),
        replaced: false,
    });
    // For the one who comes next, if this one dies.
    record.lost = missed;
    Step::Take(Box::new(Taken { record, tick }))
}

/// How the telling of a tick has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no more to be done about it.
    Over,
    /// It is to be told again, by whoever takes it then.
    Later(Tried),
}

/// What the record becomes when a tick was told, or could not be: `None` when it is another's by
/// now, or was put anew.
pub(crate) fn settled(record: &Record, by: &str, end: End) -> Option<Record> {
    let mut settled = record.clone();
    let running = settled.running.take();
    let running = running.filter(|running| running.by == by)?;
    match end {
        // As if nobody had taken it.
        End::Later(tried) if !running.replaced => {
            settled.next = Some(running.due);
            settled.tried = tried;
        }
        // One of a time for which the job is not put any more is not told again.
        End::Over | End::Later(_) => {
            settled.lost = 0;
            settled.tried = Tried::default();
        }
    }
    Some(settled)
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::schedule::{Job, Trigger};

    use super::*;
    use crate::key::Owner;

    fn record(trigger: Trigger, now: u64) -> Record {
        let owner = Owner {
            component: "cart".to_owned(),
            link: "default".to_owned(),
        };
        let job = Job {
            name: "a".to_owned(),
            trigger,
            time_zone: None,
            payload: "x".into(),
        };
        Record::new(&owner, job, now, None).unwrap()
    }

    fn taker(by: &str, again: bool) -> Taker {
        Taker {
            by: by.to_owned(),
            again,
        }
    }

    fn later(attempts: u32, again: u64) -> End {
        End::Later(Tried {
            attempts,
            unheard: 1,
            again,
        })
    }

    fn taken(record: &Record, now: u64, by: &str) -> Taken {
        match step(record, now, GONE_AFTER, &taker(by, false)).unwrap() {
            Step::Take(taken) => *taken,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tick_is_taken_when_it_is_due_and_moves_the_job_on() {
        let first = record(Trigger::EveryMs(1000), 0);
        assert_eq!(
            step(&first, 999, 0, &taker("a", false)),
            Ok(Step::Wait(1000))
        );
        let taken = taken(&first, 1003, "a");
        assert_eq!((taken.tick.due_ms, taken.tick.missed), (1000, 0));
        assert_eq!(taken.record.next, Some(2000));
        let wait = step(&taken.record, 1400, 100, &taker("b", false));
        assert_eq!(wait, Ok(Step::Wait(1300 + GONE_AFTER)));
        assert_eq!(settled(&taken.record, "b", End::Over), None);
        let done = settled(&taken.record, "a", End::Over).unwrap();
        assert_eq!(
            step(&done, 1400, 0, &taker("b", false)),
            Ok(Step::Wait(2000))
        );
    }

    #[test]
    fn what_nobody_was_told_of_is_counted() {
        let first = record(Trigger::EveryMs(1000), 0);
        let late = taken(&first, 5100, "a");
        assert_eq!((late.tick.due_ms, late.tick.missed), (5000, 4));
        let unheard = settled(&late.record, "a", later(0, 5700)).unwrap();
        let next = taken(&unheard, 6000, "b");
        assert_eq!((next.tick.due_ms, next.tick.missed), (6000, 5));
        let heard = settled(&next.record, "b", End::Over).unwrap();
        assert_eq!(taken(&heard, 7000, "a").tick.missed, 0);
    }

    #[test]
    fn a_clock_that_is_far_ahead_holds_no_tick_up() {
        let first = taken(&record(Trigger::EveryMs(1000), 0), 1000, "a");
        let days = 3 * 24 * 60 * 60 * 1000;
        let put_back = settled(&first.record, "a", later(0, 1000 + days)).unwrap();
        assert_eq!(taken(&put_back, 1100, "b").tick, first.tick);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_job() {
        let day = 24 * 60 * 60 * 1000;
        let ahead = record(Trigger::EveryMs(1000), day);
        let calm = 1000 + SET_BACK_AFTER;
        let step_at = |record: &Record, now, quiet| step(record, now, quiet, &taker("b", false));
        // Another copy may still have a clock that is ahead.
        let wait = step_at(&ahead, 500, calm - 1);
        assert_eq!(wait, Ok(Step::Wait(day + 1000)));
        let Ok(Step::Take(taken)) = step_at(&ahead, 500, calm) else {
            panic!("it is taken");
        };
        assert_eq!((taken.tick.due_ms, taken.tick.missed), (0, 0));
        let done = settled(&taken.record, "b", End::Over).unwrap();
        assert_eq!(step_at(&done, 600, 100), Ok(Step::Wait(1000)));
        // One that is due within its period waits for that, and one of the calendar for its time.
        let soon = record(Trigger::EveryMs(1000), 0);
        assert_eq!(step_at(&soon, 0, calm), Ok(Step::Wait(1000)));
        let once = record(Trigger::AtMs(day), 0);
        assert_eq!(step_at(&once, 0, calm), Ok(Step::Wait(day)));
    }

    #[test]
    fn a_tick_that_nobody_took_is_taken_again_until_another_is_due() {
        let first = record(Trigger::EveryMs(1000), 0);
        let first = taken(&first, 1000, "a");
        let unheard = settled(&first.record, "a", later(0, 1500)).unwrap();
        let step_at = |record: &Record, now| step(record, now, 0, &taker("b", false)).unwrap();
        assert_eq!(step_at(&unheard, 1400), Step::Wait(1500));
        let again = taken(&unheard, 1500, "b");
        assert_eq!(again.tick, first.tick);
        assert_eq!(again.record.tried.unheard, 1);
        let unheard = settled(&again.record, "b", later(0, 9000)).unwrap();
        assert_eq!(step_at(&unheard, 1600), Step::Wait(2000));
        let next = taken(&unheard, 2000, "a");
        assert_eq!((next.tick.due_ms, next.tick.missed), (2000, 1));
        // A single time has no other after it.
        let once = taken(&record(Trigger::AtMs(50), 0), 60, "a");
        let unheard = settled(&once.record, "a", later(0, 9000)).unwrap();
        assert_eq!(step_at(&unheard, 8999), Step::Wait(9000));
        assert_eq!(taken(&unheard, 9000, "b").tick, once.tick);
    }

    #[test]
    fn what_the_component_has_failed_at_is_not_missed() {
        let late = taken(&record(Trigger::EveryMs(1000), 0), 3000, "a");
        assert_eq!(late.tick.missed, 2);
        let failed = settled(&late.record, "a", later(2, 3500)).unwrap();
        let again = taken(&failed, 3500, "b");
        assert_eq!((again.tick.missed, again.record.tried.attempts), (2, 2));
        let failed = settled(&again.record, "b", later(2, 9000)).unwrap();
        let next = taken(&failed, 5000, "a");
        assert_eq!((next.tick.due_ms, next.tick.missed), (5000, 1));
        assert_eq!(next.record.tried.attempts, 0);
    }

    #[test]
    fn a_tick_whose_teller_died_is_lost_or_told_again() {
        let first = record(Trigger::EveryMs(1000), 0);
        let died = taken(&first, 1000, "a").record;
        assert_eq!(taken(&died, 2000, "b").tick.missed, 1);
        let Ok(Step::Take(again)) = step(&died, 1500, GONE_AFTER, &taker("b", true)) else {
            panic!("it is told again");
        };
        assert_eq!((again.tick.due_ms, again.tick.missed), (1000, 0));
        assert_eq!(again.record.next, Some(2000));
    }

    #[test]
    fn a_job_that_is_put_for_another_time_waits_for_the_tick_before() {
        let told = taken(&record(Trigger::EveryMs(1000), 0), 1000, "a").record;
        let anew = record(Trigger::EveryMs(300), 1100);
        let anew = told.replaced_by(anew).unwrap();
        let wait = step(&anew, 1500, 0, &taker("b", true));
        assert_eq!(wait, Ok(Step::Wait(1500 + GONE_AFTER)));
        for end in [End::Over, later(2, 9000)] {
            let settled = settled(&anew, "a", end).unwrap();
            let next = taken(&settled, 1500, "b");
            assert_eq!((next.tick.due_ms, next.tick.missed), (1400, 0));
            assert_eq!(next.record.tried, Tried::default());
        }
        // Whoever told the tick before is gone: it is neither told again nor one of this time.
        let Ok(Step::Take(next)) = step(&anew, 1500, GONE_AFTER, &taker("b", true)) else {
            panic!("the next tick is told");
        };
        assert_eq!((next.tick.due_ms, next.tick.missed), (1400, 0));
    }

    #[test]
    fn a_single_time_is_cleared_away() {
        let once = record(Trigger::AtMs(50), 0);
        let taken = taken(&once, 60, "a");
        assert_eq!(taken.record.next, None);
        let done = settled(&taken.record, "a", End::Over).unwrap();
        assert_eq!(step(&done, 70, 0, &taker("a", false)), Ok(Step::Clear));
        let mut stays = done;
        stays.stays = true;
        assert_eq!(step(&stays, 70, 0, &taker("a", false)), Ok(Step::Rest));
    }
}
