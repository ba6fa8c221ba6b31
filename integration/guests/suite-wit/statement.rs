//! Statements about outages, and how the driver has them tried. The suites share this file.

use std::fmt::Debug;

use crate::Suite;
use crate::bindings::exports::lattice::conformance::outage::{Guest, Tried};
use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};

/// What holds over an outage.
#[derive(Clone, Copy)]
pub(crate) struct Statement {
    /// The statement.
    pub(crate) name: &'static str,
    /// Does a little work, and tells what has to be there afterwards.
    pub(crate) attempt: fn(&Told<'_>, u32) -> Result<String, Failure>,
    /// Whether it holds.
    pub(crate) check: fn(&Told<'_>, &Outcome<'_>) -> Result<(), Failure>,
}

/// What the driver says.
pub(crate) struct Told<'a>(pub(crate) &'a [Setting]);

#[allow(dead_code, reason = "no suite needs all of it")]
impl Told<'_> {
    /// A setting of the driver.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// What the first attempt told.
    pub(crate) fn first(&self) -> Result<&str, Failure> {
        self.setting("first")
            .ok_or_else(|| broken("the driver does not tell what came of the first attempt"))
    }

    /// Traps where the driver wants it.
    pub(crate) fn trap_if_wanted(&self) {
        assert!(self.setting("trap").is_none(), "as the driver wants it");
    }

    /// Text of this run alone: small letters and digits.
    pub(crate) fn run(&self) -> String {
        let run = self.setting("run").unwrap_or("run").chars();
        run.filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    }
}

/// What came of the attempts.
#[allow(dead_code, reason = "not every suite is called by others")]
pub(crate) struct Outcome<'a> {
    /// In the order of their ends.
    pub(crate) attempts: &'a [Tried],
    /// What the witness was told, in its order.
    pub(crate) seen: &'a [String],
    /// Whether the backend keeps nothing over its end.
    pub(crate) forgets: bool,
}

#[allow(dead_code, reason = "no suite needs all of it")]
impl<'a> Outcome<'a> {
    /// The steps that were acknowledged, with what they told.
    pub(crate) fn told(&self) -> impl Iterator<Item = (u32, &'a str)> {
        let told = |attempt: &'a Tried| Some((attempt.step, attempt.told.as_deref()?));
        self.attempts.iter().filter_map(told)
    }

    /// Compares a number that each acknowledged attempt has raised by one and told.
    pub(crate) fn counted(&self, number: u64) -> Result<(), Failure> {
        let mut told: Vec<u64> = self.told().filter_map(|(_, n)| n.parse().ok()).collect();
        told.sort_unstable();
        let all = told.len();
        told.dedup();
        let largest = told.last().copied().unwrap_or_default();
        let most = self.attempts.len() as u64;
        if told.len() < all {
            return Err(broken("two attempts were told the same number"));
        }
        if number < largest.max(all as u64) {
            return Err(broken(format!(
                "{all} attempts were acknowledged, the last with {largest}, and the number is {number}"
            )));
        }
        if number > most && !self.forgets {
            return Err(broken(format!("{most} attempts made {number}")));
        }
        Ok(())
    }

    /// Compares what each attempt does by itself, as often as `done` says: an acknowledged one has done it
    /// once, and one that nobody knows of has not done it twice.
    pub(crate) fn each_once(
        &self,
        mut done: impl FnMut(u32) -> Result<u64, Failure>,
    ) -> Result<(), Failure> {
        for attempt in self.attempts {
            let (step, times) = (attempt.step, done(attempt.step)?);
            if times > 1 {
                return Err(broken(format!("step {step} was done {times} times")));
            }
            if times == 0 && attempt.told.is_some() {
                return Err(broken(format!("step {step} was acknowledged and not done")));
            }
        }
        Ok(())
    }
}

/// An error that the backend's absence explains.
pub(crate) fn away(why: impl Debug) -> Failure {
    Failure::Refused(format!("{why:?}"))
}

/// What nothing explains.
pub(crate) fn broken(why: impl Into<String>) -> Failure {
    Failure::Failed(why.into())
}

fn named(name: &str) -> Result<Statement, Failure> {
    let found = crate::statements().into_iter().find(|s| s.name == name);
    found.ok_or_else(|| broken(format!("there is no statement `{name}`")))
}

impl Guest for Suite {
    fn statements() -> Vec<String> {
        let all = crate::statements().into_iter();
        all.map(|statement| statement.name.to_owned()).collect()
    }

    fn attempt(name: String, step: u32, settings: Vec<Setting>) -> Result<String, Failure> {
        (named(&name)?.attempt)(&Told(&settings), step)
    }

    fn check(
        name: String,
        attempts: Vec<Tried>,
        seen: Vec<String>,
        settings: Vec<Setting>,
    ) -> Result<(), Failure> {
        let told = Told(&settings);
        let outcome = Outcome {
            attempts: &attempts,
            seen: &seen,
            forgets: told.setting("forgets").is_some(),
        };
        (named(&name)?.check)(&told, &outcome)
    }
}
