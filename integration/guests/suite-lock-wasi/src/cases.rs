//! The cases.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::Duration;

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::wasi::distributed_lock::locker::acquire;
use crate::bindings::wasi::distributed_lock::types::{Error, Lock};

pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
type Case = (&'static str, fn(&Run<'_>) -> Verdict);

/// All of them.
pub(crate) const CASES: &[Case] = &[
    ("a lock has one holder at a time", one_holder),
    ("a lock is released once", released_once),
    ("a lock that is dropped is free", dropped),
    ("a lease that ran out is told at the release", expired),
    ("no time means that of the link", usual),
    ("a name that cannot be is an error of its own", refused),
];

/// A lease that lasts for longer than any case.
pub(crate) const LONG: u32 = 60_000;

/// One run of the suite.
pub(crate) struct Run<'a>(pub(crate) &'a [Setting]);

impl Run<'_> {
    fn setting(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// A key that nobody else uses.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.setting("run").unwrap_or("run"))
    }

    /// The shortest lease that is kept, in milliseconds.
    fn shortest(&self) -> u32 {
        let told = self.setting("feature:ttl-min-ms");
        told.and_then(|text| text.parse().ok()).unwrap_or(2000)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(format!("an error came: {error:?}"))
    }
}

fn not<T>(what: &str, came: &impl Debug) -> Result<T, Failure> {
    Err(Failure::Failed(format!("{what}: {came:?}")))
}

/// Expects a lock to be held, and the error to name it.
fn held(key: &str) -> Verdict {
    match acquire(key, LONG) {
        Err(Error::NotAcquired(why)) if why.contains(key) => Ok(()),
        other => not("a lock that is held", &other),
    }
}

/// Takes a lock that has to be free, and gives it up again.
pub(crate) fn free(key: &str) -> Verdict {
    let lock: Lock = acquire(key, LONG)?;
    Ok(lock.release()?)
}

fn one_holder(run: &Run<'_>) -> Verdict {
    let (key, other) = (run.key("one"), run.key("other"));
    let lock = acquire(&key, LONG)?;
    held(&key)?;
    let beside = acquire(&other, LONG)?;
    lock.release()?;
    free(&key)?;
    held(&other)?;
    Ok(beside.release()?)
}

fn released_once(run: &Run<'_>) -> Verdict {
    let key = run.key("released");
    let lock = acquire(&key, LONG)?;
    lock.release()?;
    let next = acquire(&key, LONG)?;
    match lock.release() {
        Err(Error::AlreadyReleased(_)) => {}
        other => return not("a second release", &other),
    }
    drop(lock);
    // Neither gave up what is another's by then.
    held(&key)?;
    Ok(next.release()?)
}

fn dropped(run: &Run<'_>) -> Verdict {
    let key = run.key("dropped");
    for _ in 0..3 {
        let lock = acquire(&key, LONG)?;
        held(&key)?;
        drop(lock);
    }
    free(&key)
}

fn expired(run: &Run<'_>) -> Verdict {
    let key = run.key("expired");
    let ttl = run.shortest();
    let late = acquire(&key, ttl)?;
    sleep(Duration::from_millis(u64::from(ttl) + 1000));
    let next = acquire(&key, LONG)?;
    match late.release() {
        Err(Error::LeaseExpired(_)) => {}
        other => return not("a release that came too late", &other),
    }
    held(&key)?;
    Ok(next.release()?)
}

fn usual(run: &Run<'_>) -> Verdict {
    let key = run.key("usual");
    let lock = acquire(&key, 0)?;
    held(&key)?;
    Ok(lock.release()?)
}

fn refused(_: &Run<'_>) -> Verdict {
    match acquire("", LONG) {
        Err(Error::Unknown(_)) => Ok(()),
        other => not("a lock without a name", &other),
    }
}
