//! The terms of a call.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Subject};
use lattice_codec::Path;
use lattice_core::identity::{CallProof, MAX_PROOF};
use tokio::time::Instant;

use super::{CALL, HeaderName, set};

/// How many paths are read at most.
const MAX_PATHS: usize = 32;

/// The term that proves who makes a call over the bus. It is the last one, so that it is found and
/// left out without reading the others.
const PROOF: &str = "proof=";

/// How many bytes it takes at most.
pub(crate) const LONGEST_PROOF: usize = 1 + PROOF.len() + MAX_PROOF;

/// The value of the header without the proof, and the proof.
pub(crate) fn split_proof(value: &str) -> (&str, Option<&str>) {
    if let Some(proof) = value.strip_prefix(PROOF) {
        return ("", Some(proof));
    }
    // No proof holds a `;`, so that one that is not the last term is none.
    match value.rsplit_once(';') {
        Some((terms, last)) if last.starts_with(PROOF) => (terms, Some(&last[PROOF.len()..])),
        _ => (value, None),
    }
}

/// The value of the header with this proof, in place of one that is there.
pub(super) fn with_proof(value: &str, proof: &CallProof) -> String {
    let (terms, _) = split_proof(value);
    let mut text = String::with_capacity(terms.len() + LONGEST_PROOF);
    text.push_str(terms);
    if !terms.is_empty() {
        text.push(';');
    }
    text.push_str(PROOF);
    proof.write(&mut text);
    text
}

/// The term that tells how much time is left. It is the first one, since proofs leave it out.
pub(crate) const LEFT: &str = "left=";

/// Has a request tell how much is left now until `deadline`, as far as it tells that. All else stays as
/// its maker has written it, with the proof that goes with it.
pub(crate) fn write_left(headers: &mut HeaderMap, deadline: Instant) {
    let value = headers.get(HeaderName::from_static(CALL));
    let text = value.and_then(|value| with_left(value.as_str(), remaining(deadline)));
    if let Some(text) = text {
        set(headers, CALL, HeaderValue::from(text));
    }
}

fn with_left(value: &str, left: Duration) -> Option<String> {
    let told = value.strip_prefix(LEFT)?;
    let mut text = String::with_capacity(value.len() + 8);
    push_term(&mut text, "left", left.as_millis());
    if let Some((_, others)) = told.split_once(';') {
        text.push(';');
        text.push_str(others);
    }
    Some(text)
}

/// What is left now until `deadline`, at least one millisecond.
fn remaining(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

/// What a caller of our kind tells of a call, beside who calls whom.
///
/// All of it stands in one header, as `key=value` joined by `;`: to write a header, to read it and
/// to drop it costs more than what stands in it. Keys that are not known and values that cannot be
/// read are left out, as if they had not been told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// `left`: how much of the call's time is left when the request is sent, in milliseconds.
    pub left: Option<Duration>,
    /// `turn`: the parameters are complete in this message and one message may be the answer. The
    /// value is the turn that this answer has to tell in its reply subject.
    pub turn: Option<u32>,
    /// `window`: the sender grants credit for async data; the first window in bytes per path.
    pub window: Option<u64>,
    /// `ended`: paths, joined by commas, that are written as pending but have already ended without
    /// data.
    pub ended: Vec<Path>,
    /// `bulk`: where the sender reads what comes after the first 64 KiB of a stream, if that is not
    /// where it reads the beginning. A subject, in which there is no `;`.
    pub bulk: Option<Subject>,
}

impl Terms {
    /// Reads the value of the header.
    pub fn read(value: &str) -> Self {
        let mut terms = Self::default();
        for (key, value) in value.split(';').filter_map(|term| term.split_once('=')) {
            match key {
                "left" => terms.left = value.parse().ok().map(Duration::from_millis),
                "turn" => terms.turn = value.parse().ok(),
                "window" => terms.window = value.parse().ok(),
                "ended" => terms.ended = split(value),
                "bulk" => terms.bulk = Some(value.into()),
                _ => {}
            }
        }
        terms
    }

    /// Reads the terms that stand among the headers of a request.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(HeaderName::from_static(CALL))?;
        Some(Self::read(value.as_str()))
    }

    /// The value of the header. This is written for each call, by hand because what formats texts
    /// of any kind takes a microsecond for it.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(64);
        if let Some(left) = self.left {
            push_term(&mut text, "left", left.as_millis());
        }
        if let Some(turn) = self.turn {
            push_term(&mut text, "turn", turn);
        }
        if let Some(window) = self.window {
            push_term(&mut text, "window", window);
        }
        if !self.ended.is_empty() {
            text.push_str(if text.is_empty() { "ended=" } else { ";ended=" });
            push_paths(&mut text, &self.ended);
        }
        if let Some(bulk) = &self.bulk {
            text.push_str(if text.is_empty() { "bulk=" } else { ";bulk=" });
            text.push_str(bulk);
        }
        text
    }

    /// Puts the terms among the headers of a request, in place of any that are there.
    pub fn write(&self, headers: &mut HeaderMap) {
        set(headers, CALL, HeaderValue::from(self.text()));
    }

    /// The same with what is left now until `deadline`, at least one millisecond.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self {
            left: Some(remaining(deadline)),
            ..self
        }
    }
}

/// Appends a term, after those that are there.
fn push_term(text: &mut String, key: &str, value: impl itoa::Integer) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(key);
    text.push('=');
    text.push_str(itoa::Buffer::new().format(value));
}

/// Appends paths, joined by commas.
pub(super) fn push_paths(text: &mut String, paths: &[Path]) {
    for (at, path) in paths.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, index) in path.indices().iter().enumerate() {
            if at > 0 {
                text.push('.');
            }
            text.push_str(itoa::Buffer::new().format(*index));
        }
    }
}

/// Reads paths; what cannot be read is left out, since it is only a shortcut.
pub(super) fn split(text: &str) -> Vec<Path> {
    text.split(',')
        .take(MAX_PATHS)
        .filter_map(|path| path.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::identity::SessionName;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = Vec<Path>> {
        let path = prop::collection::vec(0..4_u32, 1..3);
        let path = path.prop_map(|steps| {
            let steps: Vec<_> = steps.iter().map(u32::to_string).collect();
            steps.join(".").parse().unwrap()
        });
        prop::collection::vec(path, 0..4)
    }

    proptest! {
        #[test]
        fn terms_are_read_as_they_were_written(
            left in prop::option::of(0..1_000_000_u64),
            turn: Option<u32>,
            window: Option<u64>,
            ended in paths(),
            bulk in prop::option::of("_INBOX\\.[a-zA-Z0-9=/.-]{1,40}"),
        ) {
            let left = left.map(Duration::from_millis);
            let terms = Terms { left, turn, window, ended, bulk: bulk.map(Subject::from) };
            prop_assert_eq!(Terms::read(&terms.text()), terms);
        }

        #[test]
        fn any_text_is_read(text: String) {
            let _ = (Terms::read(&text), split_proof(&text));
        }

        #[test]
        fn a_proof_comes_after_the_terms_and_once(left: Option<u32>, turn: Option<u32>, number: u64) {
            let left = left.map(|left| Duration::from_millis(left.into()));
            let terms = Terms { left, turn, ..Terms::default() };
            let proof = |number| CallProof {
                session: SessionName([1; 16]), number, sent_ms: 3, left_ms: 4, mac: [5; 16],
            };
            let once = with_proof(&terms.text(), &proof(7));
            let twice = with_proof(&once, &proof(number));
            prop_assert_eq!(split_proof(&twice), (&*terms.text(), Some(&*proof(number).text())));
            prop_assert_eq!(Terms::read(&twice), terms);
        }
    }

    #[test]
    fn a_new_rest_of_time_leaves_all_else_as_it_is() {
        let left = Duration::from_millis(7);
        let told = |value| with_left(value, left);
        let proven = "left=4000;turn=3;later=1;proof=abc";
        assert_eq!(told(proven).unwrap(), "left=7;turn=3;later=1;proof=abc");
        assert_eq!(told("left=4000").unwrap(), "left=7");
        assert_eq!(told("turn=3"), None);
        assert_eq!(told(""), None);
    }

    #[test]
    fn what_is_not_known_or_cannot_be_read_is_left_out() {
        let terms = Terms::read("left=soon;later=1;;turn;window=64;ended=1,x,2");
        let expected = Terms {
            window: Some(64),
            ended: vec!["1".parse().unwrap(), "2".parse().unwrap()],
            ..Terms::default()
        };
        assert_eq!(terms, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_never_nothing() {
        let terms = Terms::default().until(Instant::now());
        assert_eq!(terms.text(), "left=1");
    }
}
