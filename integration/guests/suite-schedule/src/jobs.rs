//! Putting, listing and deleting jobs.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::schedule::scheduler;
use crate::bindings::lattice::schedule::types::{Error, Job, Trigger};
use crate::kit::{Case, FAR, Run, Verdict, equal, failed, holds, job, listed, put};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a job is listed as it was put", as_put),
    ("jobs are listed in the order of their names", in_order),
    (
        "a job that is put again takes the place of the first",
        replaced,
    ),
    ("a job is deleted once", deleted),
    ("any text is a name", any_text),
    ("a trigger that cannot be is refused as one", bad_triggers),
    ("a job that cannot be is refused as one", bad_jobs),
    ("a payload at the limit is kept whole", at_limit),
    ("a payload over the limit is refused by name", over_limit),
];

fn as_put(run: &Run<'_>) -> Verdict {
    let name = run.name("as-put");
    for (trigger, time_zone) in [
        (FAR, None),
        (Trigger::AtMs(7_000_000_000_000), None),
        (
            Trigger::Cron("30 8 1 1 *".to_owned()),
            Some("Europe/Berlin".to_owned()),
        ),
        (Trigger::Cron("15 30 8 1 1 *".to_owned()), None),
    ] {
        let put = Job {
            name: name.clone(),
            trigger,
            time_zone,
            payload: vec![0, 255, b'x'],
        };
        scheduler::put_job(&put)?;
        equal("the job", listed(&name)?, Some(put))?;
    }
    Ok(scheduler::delete_job(&name)?)
}

fn in_order(run: &Run<'_>) -> Verdict {
    let names: Vec<_> = ["c", "a", "b"]
        .iter()
        .map(|name| run.name(&format!("order-{name}")))
        .collect();
    for name in &names {
        put(name, FAR, "")?;
    }
    let jobs = scheduler::list_jobs()?.into_iter().map(|job| job.name);
    let ours: Vec<_> = jobs.filter(|name| names.contains(name)).collect();
    for name in &names {
        scheduler::delete_job(name)?;
    }
    let mut sorted = names;
    sorted.sort();
    equal("the names", ours, sorted)
}

fn replaced(run: &Run<'_>) -> Verdict {
    let name = run.name("replaced");
    put(&name, FAR, "one")?;
    put(&name, Trigger::AtMs(7_000_000_000_000), "two")?;
    let jobs = scheduler::list_jobs()?;
    let ours: Vec<_> = jobs.into_iter().filter(|job| job.name == name).collect();
    scheduler::delete_job(&name)?;
    equal(
        "the jobs",
        ours,
        vec![job(&name, Trigger::AtMs(7_000_000_000_000), "two")],
    )
}

fn deleted(run: &Run<'_>) -> Verdict {
    let name = run.name("deleted");
    put(&name, FAR, "")?;
    scheduler::delete_job(&name)?;
    equal("the list", listed(&name)?, None)?;
    equal(
        "a second time",
        scheduler::delete_job(&name),
        Err(Error::NoSuchJob),
    )
}

fn any_text(run: &Run<'_>) -> Verdict {
    for name in ["a b", "a.b", "a*", ">", "ü€🦀", "a/b", "a=20"] {
        let name = run.name(name);
        put(&name, FAR, &name)?;
        equal("the job", listed(&name)?, Some(job(&name, FAR, &name)))?;
        scheduler::delete_job(&name)?;
    }
    Ok(())
}

fn bad_triggers(run: &Run<'_>) -> Verdict {
    let name = run.name("bad");
    let cron = |text: &str| Trigger::Cron(text.to_owned());
    for trigger in [
        cron(""),
        cron("* * * *"),
        cron("61 * * * *"),
        cron("0 0 30 2 *"),
        cron("every day"),
        Trigger::EveryMs(0),
    ] {
        match scheduler::put_job(&job(&name, trigger.clone(), "")) {
            Err(Error::InvalidTrigger(why)) => holds("the reason is told", !why.is_empty())?,
            other => {
                return Err(failed(format!(
                    "{trigger:?}: {other:?}, wanted invalid-trigger"
                )));
            }
        }
    }
    equal("nothing is there", listed(&name)?, None)
}

fn bad_jobs(run: &Run<'_>) -> Verdict {
    let zone = Job {
        time_zone: Some("Mars/Base".to_owned()),
        ..job(&run.name("zone"), Trigger::Cron("0 8 * * *".to_owned()), "")
    };
    for bad in [job("", FAR, ""), job(&"n".repeat(2000), FAR, ""), zone] {
        match scheduler::put_job(&bad) {
            Err(Error::InvalidJob(why)) => holds("the reason is told", !why.is_empty())?,
            other => return Err(failed(format!("{other:?}, wanted invalid-job"))),
        }
    }
    Ok(())
}

/// The longest payload that the provider tells.
fn limit(run: &Run<'_>) -> Result<usize, Failure> {
    let told = run.setting("feature:max-payload-bytes");
    let limit = told.and_then(|limit| limit.parse().ok());
    limit.ok_or_else(|| Failure::Refused("max-payload-bytes".to_owned()))
}

fn at_limit(run: &Run<'_>) -> Verdict {
    let payload: Vec<u8> = (0..limit(run)?).map(|at| (at % 251) as u8).collect();
    let name = run.name("at-limit");
    let whole = Job {
        payload,
        ..job(&name, FAR, "")
    };
    scheduler::put_job(&whole)?;
    let there = listed(&name)?;
    scheduler::delete_job(&name)?;
    holds("the payload is whole", there == Some(whole))
}

fn over_limit(run: &Run<'_>) -> Verdict {
    let limit = limit(run)?;
    let name = run.name("over-limit");
    let long = Job {
        payload: vec![7; limit + 1],
        ..job(&name, FAR, "")
    };
    match scheduler::put_job(&long) {
        Err(Error::InvalidJob(why)) => holds(
            "the limit is named",
            why.contains("max_payload_bytes") && why.contains(&limit.to_string()),
        )?,
        other => return Err(failed(format!("{other:?}, wanted invalid-job"))),
    }
    equal("nothing is there", listed(&name)?, None)
}
