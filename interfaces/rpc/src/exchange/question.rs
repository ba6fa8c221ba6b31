//! What the ends of a call ask one another, and what they tell along with it.
//!
//! The question tells how much of each stream was sent over the connection of calls. A connection keeps
//! its order, so all of that has come before: whoever has received less knows that some of it was lost,
//! as it is when a connection breaks, whether more follows or nothing. What goes over the connection for
//! long streams tells where it is itself, and a peer that knows nothing of this reads the question alone.

use async_nats::Subject;
use bytes::Bytes;
use lattice_codec::Path;

use super::channel::Refused;
use super::{ALIVE, Exchange, MAX_PATHS, State};

/// A question whether the other end is still there.
#[derive(Debug)]
pub(crate) struct Question {
    /// Where it is asked.
    pub(crate) subject: Subject,
    /// How much has been sent there.
    pub(crate) sent: Bytes,
}

impl State {
    /// Notes how much of our stream at `path` was sent.
    fn note_sent(&mut self, path: &Path, total: u64) {
        if let Some((_, known)) = self.sent.iter_mut().find(|(known, _)| known == path) {
            *known = total;
        } else if self.sent.len() < MAX_PATHS {
            self.sent.push((path.clone(), total));
        }
    }

    /// Whether less has come of a stream than was sent.
    fn misses(&self, (path, sent): &(Path, u64)) -> bool {
        let channel = self.paths.iter().find(|(known, _)| known == path);
        match channel {
            Some((_, channel)) => !channel.is_ended() && channel.received() < *sent,
            None => *sent > 0,
        }
    }
}

impl Exchange {
    /// Notes how much of the stream at `path` was sent by a way on which some of it may be lost.
    pub(crate) fn has_sent(&self, path: &Path, total: u64) {
        self.state.lock().note_sent(path, total);
    }

    /// What to ask the other end; `None` while it is not in doubt that it is there. `confirms` tells of
    /// a function whether those who serve it confirm each call that they do not answer at once.
    pub(crate) fn ask(&self, confirms: impl FnOnce(&Subject) -> bool) -> Option<Question> {
        let mut state = self.state.lock();
        if state.over || state.cancelled || state.abandoned || state.error.is_some() {
            return None;
        }
        if state.pulse.doubted_too_long() {
            self.lost(&mut state);
            state.wake();
            return None;
        }
        if self.is_unheard_of(&state) && confirms(&self.subject) {
            state.pulse.unconfirmed();
        }
        // A 1.9 peer has no such place.
        let remote = state.remote.clone().filter(|r| r.window.is_some())?;
        let sends = !state.sent.is_empty();
        state.pulse.round(sends).then(|| Question {
            subject: format!("{}.{ALIVE}", remote.root).into(),
            sent: write(&state.sent),
        })
    }

    /// The other end asks, and tells how much it has sent.
    pub(super) fn deliver_question(&self, state: &mut State, sent: &[u8]) {
        if state.error.is_none() && read(sent).any(|sent| state.misses(&sent)) {
            self.refused(state, Refused::Gap);
        }
    }
}

/// `{path}={bytes}`, joined by semicolons.
fn write(sent: &[(Path, u64)]) -> Bytes {
    let streams = sent.iter().map(|(path, total)| format!("{path}={total}"));
    streams.collect::<Vec<_>>().join(";").into()
}

/// Reads what [`write`] has written; what cannot be read is left out.
fn read(sent: &[u8]) -> impl Iterator<Item = (Path, u64)> {
    let text = std::str::from_utf8(sent).unwrap_or_default();
    text.split(';').take(MAX_PATHS).filter_map(one)
}

fn one(stream: &str) -> Option<(Path, u64)> {
    let (path, total) = stream.split_once('=')?;
    Some((path.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sent_is_read_as_it_was_written(
            sent in prop::collection::vec((prop::collection::vec(any::<u32>(), 1..4), any::<u64>()), 0..9),
        ) {
            let sent: Vec<_> = sent.into_iter().map(|(path, total)| (Path::new(path), total)).collect();
            let again: Vec<_> = read(&write(&sent)).collect();
            prop_assert_eq!(again, sent);
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).count() <= MAX_PATHS);
        }
    }
}
