//! In which of two forms the provider behind a link takes messages, as far as is known.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a provider is taken for one of 1.x: it may be updated.
const BELIEVED: Duration = Duration::from_secs(30);

/// How many links are remembered. A component chooses the names that it asks for.
const MOST: usize = 64;

/// How many questions in a row a provider that has answered in our own form leaves unanswered until it
/// is taken for another one: it may just be late.
const SILENCES: u8 = 3;

/// What is known of the provider behind a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It has answered in our own form.
    Own,
    /// It has not answered in time, or was taken for one of 1.x for long enough: it is to be asked.
    Doubtful,
    /// It speaks `wasmcloud:messaging@0.2.0` only, as providers of 1.x do.
    Plain,
}

/// A link, as it is after its last change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) package: &'static str,
    pub(super) name: &'a str,
    pub(super) version: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    package: &'static str,
    name: String,
    version: Option<u64>,
    known: Known,
    since: Instant,
    /// Whether it has ever answered in our own form.
    was_own: bool,
    /// How many questions it has not answered since.
    silences: u8,
}

impl Entry {
    fn is_of(&self, link: Link<'_>) -> bool {
        (self.package, &*self.name) == (link.package, link.name)
    }

    fn known(&self) -> Known {
        match self.known {
            Known::Plain if self.since.elapsed() >= BELIEVED => Known::Doubtful,
            known => known,
        }
    }

    /// Takes in what was found later.
    fn find(&mut self, known: Known) {
        self.silences = match known {
            Known::Own => 0,
            Known::Doubtful => self.silences,
            Known::Plain => self.silences.saturating_add(1),
        };
        let is_late = known == Known::Plain && self.was_own && self.silences < SILENCES;
        self.known = if is_late { Known::Doubtful } else { known };
        self.was_own |= known == Known::Own;
        self.since = Instant::now();
    }
}

/// The links of one component of which something is known.
#[derive(Debug, Default)]
pub(crate) struct Forms(Mutex<Vec<Entry>>);

impl Forms {
    /// What is known of a link.
    pub(super) fn of(&self, link: Link<'_>) -> Option<Known> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = all.iter().filter(|entry| entry.is_of(link));
        let entry = found.find(|entry| entry.version == link.version)?;
        Some(entry.known())
    }

    /// Remembers what was found of a link.
    pub(super) fn put(&self, link: Link<'_>, known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.iter_mut().find(|entry| entry.is_of(link)) {
            match entry.version.cmp(&link.version) {
                // What a call finds that began before the link changed is of no account.
                Ordering::Greater => return,
                Ordering::Equal => return entry.find(known),
                Ordering::Less => all.retain(|entry| !entry.is_of(link)),
            }
        }
        if all.len() >= MOST {
            all.retain(|entry| entry.known() != Known::Doubtful);
        }
        if all.len() >= MOST {
            // The one of which nothing new was found for the longest.
            all.remove(0);
        }
        all.push(Entry {
            package: link.package,
            name: link.name.to_owned(),
            version: link.version,
            known,
            since: Instant::now(),
            was_own: known == Known::Own,
            silences: 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, version: u64) -> Link<'_> {
        Link {
            package: "a:b",
            name,
            version: Some(version),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_of_1_x_is_believed_to_be_one_for_a_while() {
        let forms = Forms::default();
        let default = link("default", 1);
        forms.put(default, Known::Plain);
        assert_eq!(forms.of(default), Some(Known::Plain));
        let package = "a:c";
        assert_eq!(forms.of(link("other", 1)), None);
        assert_eq!(forms.of(Link { package, ..default }), None);
        tokio::time::advance(BELIEVED).await;
        assert_eq!(forms.of(default), Some(Known::Doubtful));
        forms.put(default, Known::Plain);
        assert_eq!(forms.of(default), Some(Known::Plain));
    }

    #[test]
    fn what_has_answered_in_our_form_is_asked_several_times_before_it_is_another() {
        let forms = Forms::default();
        let found = |known| {
            forms.put(link("default", 1), known);
            forms.of(link("default", 1))
        };
        assert_eq!(found(Known::Doubtful), Some(Known::Doubtful));
        assert_eq!(found(Known::Own), Some(Known::Own));
        for _ in 1..SILENCES {
            assert_eq!(found(Known::Plain), Some(Known::Doubtful));
        }
        assert_eq!(found(Known::Own), Some(Known::Own));
        for _ in 1..SILENCES {
            assert_eq!(found(Known::Plain), Some(Known::Doubtful));
            assert_eq!(found(Known::Doubtful), Some(Known::Doubtful));
        }
        assert_eq!(found(Known::Plain), Some(Known::Plain));
        assert_eq!(forms.of(link("default", 2)), None);
        forms.put(link("default", 2), Known::Doubtful);
        // What a call finds that began before the link changed is of no account.
        forms.put(link("default", 1), Known::Own);
        assert_eq!(forms.of(link("default", 2)), Some(Known::Doubtful));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let forms = Forms::default();
        for number in 0..2 * MOST {
            forms.put(link(&number.to_string(), 1), Known::Own);
        }
        let last = (2 * MOST - 1).to_string();
        assert_eq!(forms.of(link(&last, 1)), Some(Known::Own));
        assert_eq!(forms.of(link("0", 1)), None);
        assert_eq!(forms.of(link(&MOST.to_string(), 1)), Some(Known::Own));
    }
}
