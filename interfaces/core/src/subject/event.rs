//! Subjects of events.

use crate::id::LatticeName;

const PREFIX: &str = "wasmbus.evt";

/// The subject of one event; `name` is that of [`crate::event::Event::name`].
#[must_use]
pub fn event(lattice: &LatticeName, name: &str) -> String {
    format!("{PREFIX}.{lattice}.{name}")
}

/// The subject that matches every event of a lattice.
#[must_use]
pub fn all_events(lattice: &LatticeName) -> String {
    format!("{PREFIX}.{lattice}.*")
}

/// The lattice and the event name of an event's subject.
#[must_use]
pub fn parse(subject: &str) -> Option<(LatticeName, &str)> {
    let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
    let (lattice, name) = rest.split_once('.')?;
    let one_token = !name.is_empty() && !name.contains('.');
    LatticeName::new(lattice)
        .ok()
        .filter(|_| one_token)
        .map(|lattice| (lattice, name))
}
