//! What the cases are made of.

use std::fmt::Debug;

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::lattice::schedule::scheduler;
use crate::bindings::lattice::schedule::types::{Error, Job, Trigger};

/// What becomes of a case.
pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
pub(crate) type Case = (&'static str, fn(&Run<'_>) -> Verdict);

/// How much of a value an error shows.
const SHOWN: usize = 400;
/// Far beyond the end of any case.
pub(crate) const FAR: Trigger = Trigger::EveryMs(1_000_000_000);

/// One run of the suite.
pub(crate) struct Run<'a>(pub(crate) &'a [Setting]);

impl Run<'_> {
    /// A setting of the driver.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// Refuses a case by the name of what the provider has not.
    pub(crate) fn needs(&self, feature: &str) -> Verdict {
        match self.setting(&format!("feature:{feature}")) {
            Some(_) => Ok(()),
            None => Err(Failure::Refused(feature.to_owned())),
        }
    }

    /// A name that nobody else uses.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.setting("run").unwrap_or("run"))
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

/// A job with a payload in words.
pub(crate) fn job(name: &str, trigger: Trigger, payload: &str) -> Job {
    Job {
        name: name.to_owned(),
        trigger,
        time_zone: None,
        payload: payload.as_bytes().to_vec(),
    }
}

/// Puts one.
pub(crate) fn put(name: &str, trigger: Trigger, payload: &str) -> Verdict {
    Ok(scheduler::put_job(&job(name, trigger, payload))?)
}

/// Deletes one that may be done already.
pub(crate) fn drop_job(name: &str) -> Verdict {
    match scheduler::delete_job(name) {
        Ok(()) | Err(Error::NoSuchJob) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The job of that name, if it is listed.
pub(crate) fn listed(name: &str) -> Result<Option<Job>, Failure> {
    let jobs = scheduler::list_jobs()?;
    Ok(jobs.into_iter().find(|job| job.name == name))
}

/// Runs one of some cases.
pub(crate) fn run(cases: &[Case], name: &str, settings: &[Setting]) -> Verdict {
    let found = cases.iter().find(|(known, _)| *known == name);
    let (_, case) = found.ok_or_else(|| failed(format!("there is no case `{name}`")))?;
    case(&Run(settings))
}
