//! What the cases are made of.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::{Error, Holder, Lease};

/// What becomes of a case.
pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
pub(crate) type Case = (&'static str, fn(&Run<'_>) -> Verdict);

/// How much of a value an error shows.
const SHOWN: usize = 300;
/// A lease that lasts for longer than any case.
pub(crate) const LONG: u32 = 60_000;

/// One run of the suite.
pub(crate) struct Run<'a>(pub(crate) &'a [Setting]);

impl Run<'_> {
    /// A setting of the driver.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// What the provider told of itself.
    pub(crate) fn feature(&self, name: &str) -> Option<&str> {
        self.setting(&format!("feature:{name}"))
    }

    /// A number that the provider told of itself.
    pub(crate) fn number(&self, name: &str) -> Result<u32, Failure> {
        let told = self.feature(name).and_then(|text| text.parse().ok());
        told.ok_or_else(|| failed(format!("the provider tells no number `{name}`")))
    }

    /// A name that nobody else uses.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.setting("run").unwrap_or("run"))
    }

    /// The shortest lease that is kept, and how long a case waits for its end.
    pub(crate) fn shortest(&self) -> Result<(u32, Duration), Failure> {
        let ms = self.number("ttl-min-ms")?.max(1000);
        Ok((ms, Duration::from_millis(u64::from(ms) + 1000)))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        failed(format!("an error came: {error:?}"))
    }
}

/// A failure in words.
pub(crate) fn failed(why: impl Into<String>) -> Failure {
    Failure::Failed(why.into())
}

/// Compares what came with what has to come.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, came: T, wanted: T) -> Verdict {
    if came == wanted {
        return Ok(());
    }
    let shown = |value: &T| -> String { format!("{value:?}").chars().take(SHOWN).collect() };
    let (came, wanted) = (shown(&came), shown(&wanted));
    Err(failed(format!("{what}: {came}, wanted {wanted}")))
}

/// Expects something to hold.
pub(crate) fn holds(what: &str, condition: bool) -> Verdict {
    match condition {
        true => Ok(()),
        false => Err(failed(what)),
    }
}

/// Takes a lock of the link's own store that has to be free.
pub(crate) fn take(name: &str, ttl_ms: u32) -> Result<Lease, Failure> {
    Ok(lock::acquire("", name, ttl_ms, 0)?)
}

pub(crate) fn give(lease: &Lease) -> Verdict {
    Ok(lock::release(&lease.store, &lease.token)?)
}

/// Expects a lock to be held, and tells by whom.
pub(crate) fn held(name: &str, wait_ms: u32) -> Result<Holder, Failure> {
    match lock::acquire("", name, LONG, wait_ms) {
        Err(Error::Held(Some(holder))) => Ok(holder),
        other => Err(failed(format!("`{name}`: {other:?}, wanted who holds it"))),
    }
}

/// Expects that a lease is over.
pub(crate) fn over(lease: &Lease) -> Verdict {
    let renewed = lock::renew(&lease.store, &lease.token, LONG);
    equal("a renewal of what is over", renewed, Err(Error::NotHeld))?;
    let released = lock::release(&lease.store, &lease.token);
    equal("a release of what is over", released, Err(Error::NotHeld))
}

/// How long something takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// Runs one of some cases.
pub(crate) fn run(cases: &[Case], name: &str, settings: &[Setting]) -> Verdict {
    let found = cases.iter().find(|(known, _)| *known == name);
    let (_, case) = found.ok_or_else(|| failed(format!("there is no case `{name}`")))?;
    case(&Run(settings))
}
