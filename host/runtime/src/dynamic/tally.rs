//! What is counted while imports are defined: a few bytes of a file have many functions named.

use std::borrow::Cow;

use lattice_core::text::clipped_bytes;

use crate::PrepareError;

/// How long the name of an interface or of a function may be, in bytes. Both are parts of a subject,
/// which has no room for more.
const MAX_NAME: usize = 1 << 10;

/// How many functions a component may import through links, and how many of its own are served. The
/// host keeps something of each for as long as the component runs.
pub(crate) const MAX_FUNCTIONS: usize = 10_000;

/// How many imports that nobody provides are named.
const MAX_TOLD: usize = 20;

/// How much is shown of a name that is too long.
const SHOWN: usize = 64;

/// Says why a name cannot travel, if it cannot.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    let len = name.len();
    Err(format!(
        "a name of {len} bytes is longer than the {MAX_NAME} that fit on the wire"
    ))
}

/// A name for a text, cut where it is too long.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME {
        return name.into();
    }
    format!("{}…", clipped_bytes(name, SHOWN)).into()
}

/// The imports of a component so far: how many go through links, and which nobody provides.
#[derive(Default)]
pub(super) struct Tally {
    functions: usize,
    unsatisfied: Vec<String>,
    /// How many more are unsatisfied.
    more: usize,
}

impl Tally {
    /// Counts one more function that goes through a link.
    pub(super) fn take(&mut self, instance: &str, function: &str) -> Result<(), PrepareError> {
        for name in [instance, function] {
            check_name(name).map_err(|why| refused(format!("`{}`: {why}", shown(name))))?;
        }
        self.functions += 1;
        if self.functions > MAX_FUNCTIONS {
            return Err(too_many("functions", MAX_FUNCTIONS));
        }
        Ok(())
    }

    /// Remembers an import that nobody provides.
    pub(super) fn add(&mut self, name: &str, why: &str) {
        self.add_in("", name, why);
    }

    /// Remembers a function of an imported interface that nobody provides.
    pub(super) fn add_in(&mut self, instance: &str, function: &str, why: &str) {
        if self.unsatisfied.len() == MAX_TOLD {
            self.more += 1;
            return;
        }
        let dot = if instance.is_empty() { "" } else { "." };
        let (instance, function) = (shown(instance), shown(function));
        self.unsatisfied
            .push(format!("`{instance}{dot}{function}`: {why}"));
    }

    /// Refuses the component if anything is not provided.
    pub(super) fn finish(mut self) -> Result<(), PrepareError> {
        if self.unsatisfied.is_empty() {
            return Ok(());
        }
        if self.more > 0 {
            self.unsatisfied.push(format!("and {} more", self.more));
        }
        Err(PrepareError::UnsatisfiedImports {
            imports: self.unsatisfied,
        })
    }
}

fn refused(why: String) -> PrepareError {
    PrepareError::UnsatisfiedImports { imports: vec![why] }
}

/// Refuses a component that imports more of something than a host takes.
pub(super) fn too_many(what: &str, limit: usize) -> PrepareError {
    refused(format!("more than {limit} {what}"))
}
