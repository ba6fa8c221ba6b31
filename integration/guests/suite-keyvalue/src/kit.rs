//! What the cases are made of. The suites of both drafts share this file.

use std::fmt::Debug;

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::wasi::keyvalue::store::{self, Bucket, Error};

/// What becomes of a case.
pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
pub(crate) type Case = (&'static str, fn(&Run<'_>) -> Verdict);

/// How much of a value an error shows.
const SHOWN: usize = 300;

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
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.feature(name)?.parse().ok()
    }

    /// Text of this run alone.
    pub(crate) fn own(&self) -> &str {
        self.setting("run").unwrap_or("run")
    }

    /// A key that nobody else uses.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.own())
    }

    /// The bucket of the link.
    pub(crate) fn bucket(&self) -> Result<Bucket, Failure> {
        Ok(store::open("default")?)
    }

    /// A further bucket, which nobody else uses.
    pub(crate) fn further(&self, name: &str) -> Result<Bucket, Failure> {
        let bucket = store::open(&format!("{}-{name}", self.own()))?;
        match bucket.exists("any") {
            Err(Error::NoSuchStore) => Err(Failure::Refused(
                "the link lets a component have no buckets of its own".to_owned(),
            )),
            other => Ok(other.map(|_| bucket)?),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        failed(format!("the store answered with an error: {error:?}"))
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

/// Expects an error value in words, and returns them.
pub(crate) fn refused<T: Debug>(what: &str, came: Result<T, Error>) -> Result<String, Failure> {
    match came {
        Err(Error::Other(why)) => Ok(why),
        other => {
            let shown: String = format!("{other:?}").chars().take(SHOWN).collect();
            Err(failed(format!("{what}: {shown}, wanted an error in words")))
        }
    }
}

/// Runs one of some cases.
pub(crate) fn run(cases: &[Case], name: &str, settings: &[Setting]) -> Verdict {
    let found = cases.iter().find(|(known, _)| *known == name);
    let (_, case) = found.ok_or_else(|| failed(format!("there is no case `{name}`")))?;
    case(&Run(settings))
}
