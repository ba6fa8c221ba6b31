//! Being told of ticks.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::schedule::types::Trigger;
use crate::kit::{Case, Run, Verdict, equal, failed, holds, listed, put};
use crate::notes::{Noted, clear, noted, wait};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("ticks come every so often, each once or counted", often),
    ("several jobs do not disturb each other", several),
    ("a cron pattern with seconds is due on the second", seconds),
    ("one time comes once and the job is done", once),
    ("a time that has passed is due at once", past),
    (
        "a job that is put again as it is goes on as it was",
        goes_on,
    ),
    ("a job that is deleted is not told of any more", stops),
    ("a handler that fails is told again", fails),
    ("a handler that traps is told again", traps),
];

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Every tick is told once, or is counted by the one after it.
fn each_once(ticks: &[Noted], period: u64) -> Verdict {
    let twice = ticks.iter().any(|tick| tick.before > 0);
    holds(&format!("no tick is told twice: {ticks:?}"), !twice)?;
    for pair in ticks.windows(2) {
        let step = pair[1].due_ms - pair[0].due_ms;
        let counted = u64::from(pair[1].missed + 1) * period;
        equal(&format!("the steps of {ticks:?}"), step, counted)?;
    }
    Ok(())
}

fn often(run: &Run<'_>) -> Verdict {
    run.needs("once")?;
    let name = run.name("often");
    let before = now_ms();
    put(&name, Trigger::EveryMs(400), "hello")?;
    let ticks = wait(&name, 6)?;
    clear(&name)?;
    each_once(&ticks, 400)?;
    let first = &ticks[0];
    let in_time = (before + 400..=before + 5000).contains(&first.due_ms);
    holds(
        "the first tick is one period after the job was put",
        in_time,
    )?;
    holds(
        "the payload comes with it",
        ticks.iter().all(|tick| tick.payload == "hello"),
    )
}

fn several(run: &Run<'_>) -> Verdict {
    let names: Vec<_> = (0..3).map(|n| run.name(&format!("several-{n}"))).collect();
    let periods = [300, 500, 700];
    for (name, period) in names.iter().zip(periods) {
        put(name, Trigger::EveryMs(period), name)?;
    }
    for (name, period) in names.iter().zip(periods) {
        let ticks = wait(name, 4)?;
        each_once(&ticks, period)?;
        holds(
            "the payload is its own",
            ticks.iter().all(|tick| tick.payload == *name),
        )?;
    }
    names.iter().try_for_each(|name| clear(name))
}

fn seconds(run: &Run<'_>) -> Verdict {
    run.needs("cron")?;
    let name = run.name("seconds");
    put(&name, Trigger::Cron("* * * * * *".to_owned()), "")?;
    let ticks = wait(&name, 3)?;
    clear(&name)?;
    holds(
        "full seconds",
        ticks.iter().all(|tick| tick.due_ms % 1000 == 0),
    )?;
    each_once(&ticks, 1000)
}

fn once(run: &Run<'_>) -> Verdict {
    let name = run.name("once");
    let due = now_ms() + 700;
    put(&name, Trigger::AtMs(due), "x")?;
    holds("it is listed until then", listed(&name)?.is_some())?;
    wait(&name, 1)?;
    sleep(Duration::from_millis(700));
    let ticks = noted(&name)?;
    let gone = listed(&name)?.is_none();
    clear(&name)?;
    equal("the ticks", ticks.len(), 1)?;
    equal("when it was due", ticks[0].due_ms, due)?;
    holds("it is not listed any more", gone)
}

fn past(run: &Run<'_>) -> Verdict {
    let name = run.name("past");
    put(&name, Trigger::AtMs(1000), "x")?;
    let ticks = wait(&name, 1)?;
    clear(&name)?;
    equal("when it was due", ticks[0].due_ms, 1000)
}

fn goes_on(run: &Run<'_>) -> Verdict {
    let name = run.name("goes-on");
    put(&name, Trigger::EveryMs(900), "x")?;
    sleep(Duration::from_millis(300));
    let again = now_ms();
    for _ in 0..6 {
        put(&name, Trigger::EveryMs(900), "x")?;
        sleep(Duration::from_millis(300));
    }
    let ticks = wait(&name, 2)?;
    clear(&name)?;
    // A job that began anew would be due a whole period after it was put again.
    let first = ticks[0].due_ms - u64::from(ticks[0].missed) * 900;
    holds(
        &format!("the first tick, {first}, is less than a period after {again}"),
        first < again + 900,
    )?;
    each_once(&ticks, 900)
}

fn stops(run: &Run<'_>) -> Verdict {
    let name = run.name("stops");
    put(&name, Trigger::EveryMs(300), "x")?;
    wait(&name, 1)?;
    clear(&name)?;
    sleep(Duration::from_millis(1000));
    let after = noted(&name)?;
    clear(&name)?;
    equal("the ticks after it was deleted", after, Vec::new())
}

/// Tells of a tick that is not taken well at first.
fn at_second(run: &Run<'_>, name: &str, payload: &str) -> Result<Vec<Noted>, Failure> {
    let name = run.name(name);
    put(&name, Trigger::AtMs(1), payload)?;
    let ticks = wait(&name, 2)?;
    sleep(Duration::from_millis(500));
    let all = noted(&name)?;
    clear(&name)?;
    match all.len() {
        2 => Ok(ticks),
        _ => Err(failed(format!("told more often than needed: {all:?}"))),
    }
}

fn fails(run: &Run<'_>) -> Verdict {
    let ticks = at_second(run, "fails", "fails once")?;
    equal("the same tick", ticks[0].due_ms, ticks[1].due_ms)
}

fn traps(run: &Run<'_>) -> Verdict {
    let ticks = at_second(run, "traps", "traps once")?;
    equal("the same tick", ticks[0].due_ms, ticks[1].due_ms)
}
