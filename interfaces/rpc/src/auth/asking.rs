//! The sessions whose keys are being asked for.
//!
//! A call of a made-up session makes this peer ask at whatever inbox the call names, which may be one
//! that somebody listens to who says nothing. So that this keeps out nobody else, each owner of inboxes
//! has a few places only, and whoever has had time for an answer gives way when all are taken. How often
//! this peer asks is bounded by that time as well.

use std::collections::HashMap;
use std::time::Duration;

use lattice_core::identity::SessionName;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::inbox;

/// How many are asked for at the same time.
const MAX_ASKING: usize = 256;

/// How many of them in the inboxes of one owner.
const MAX_OF_OWNER: usize = 64;

/// For how long a place is kept that others want: an answer from far away takes less.
const KEPT: Duration = Duration::from_millis(100);

/// A session, and the inbox that was asked for it. Whoever writes the name of another's session into
/// a call with an inbox of its own is asked itself, and only its own calls are in doubt.
pub(super) type Asked = (SessionName, Box<str>);

/// Whether a session is being asked for.
pub(super) enum Asking {
    /// Somebody does; wait until that is done.
    Already(watch::Receiver<()>),
    /// Nobody did so far; drop the place when it is done.
    Begin(Place, watch::Receiver<()>),
    /// The owner of the inbox is being asked for many others; wait until one of them is done, and
    /// try again.
    Behind(watch::Receiver<()>),
    /// Too many are.
    Busy,
}

/// The place of one who asks; those who wait go on when it is dropped.
pub(super) struct Place {
    number: u64,
    /// Others have the place now.
    pub(super) lost: CancellationToken,
    _done: watch::Sender<()>,
}

/// One who asks.
#[derive(Debug)]
struct Asker {
    /// In the order in which they began.
    number: u64,
    since: Instant,
    lost: CancellationToken,
    done: watch::Receiver<()>,
}

#[derive(Debug, Default)]
struct Askers {
    by_session: HashMap<Asked, Asker>,
    begun: u64,
}

/// The places of those who ask.
#[derive(Debug, Default)]
pub(super) struct Places {
    askers: Mutex<Askers>,
}

impl Places {
    /// Takes the place of one who asks for a session.
    pub(super) fn take(&self, asked: &Asked) -> Asking {
        let mut askers = self.askers.lock();
        if let Some(other) = askers.by_session.get(asked) {
            return Asking::Already(other.done.clone());
        }
        if let Some(first) = askers.first_of_many(&asked.1) {
            return Asking::Behind(first);
        }
        if askers.by_session.len() >= MAX_ASKING && !askers.make_room() {
            return Asking::Busy;
        }
        askers.begin(asked)
    }

    /// Gives a place back, unless another has it.
    pub(super) fn leave(&self, asked: &Asked, place: Place) {
        let by_session = &mut self.askers.lock().by_session;
        if by_session
            .get(asked)
            .is_some_and(|asker| asker.number == place.number)
        {
            by_session.remove(asked);
        }
    }

    /// Whether so many are being asked for that nobody may take long.
    pub(super) fn is_crowded(&self) -> bool {
        self.askers.lock().by_session.len() > MAX_ASKING / 2
    }
}

impl Askers {
    /// What to wait for where the owner of an inbox has all its places.
    fn first_of_many(&self, inbox: &str) -> Option<watch::Receiver<()>> {
        if self.by_session.len() < MAX_OF_OWNER {
            return None;
        }
        let owner = inbox::owner(inbox);
        let of_owner = self.by_session.iter();
        let of_owner = of_owner.filter(|((_, other), _)| inbox::owner(other) == owner);
        if of_owner.clone().count() < MAX_OF_OWNER {
            return None;
        }
        let (_, first) = of_owner.min_by_key(|(_, asker)| asker.number)?;
        Some(first.done.clone())
    }

    /// Takes the place of the one who has had it longest; false when that is not long.
    fn make_room(&mut self) -> bool {
        let askers = self.by_session.iter();
        let first = askers.min_by_key(|(_, asker)| asker.number);
        let Some((asked, _)) = first.filter(|(_, asker)| asker.since.elapsed() >= KEPT) else {
            return false;
        };
        let asked = asked.clone();
        if let Some(asker) = self.by_session.remove(&asked) {
            asker.lost.cancel();
        }
        true
    }

    fn begin(&mut self, asked: &Asked) -> Asking {
        self.begun += 1;
        let (done, waiting) = watch::channel(());
        let place = Place {
            number: self.begun,
            lost: CancellationToken::new(),
            _done: done,
        };
        let asker = Asker {
            number: place.number,
            since: Instant::now(),
            lost: place.lost.clone(),
            done: waiting.clone(),
        };
        self.by_session.insert(asked.clone(), asker);
        Asking::Begin(place, waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::advance;

    fn asked(number: usize, inbox: &str) -> Asked {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&(number as u64).to_be_bytes());
        (SessionName(name), inbox.into())
    }

    fn begun(asking: Asking) -> Place {
        match asking {
            Asking::Begin(place, _) => place,
            _ => panic!("not begun"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_takes_a_few_places_only_and_waits_for_its_own() {
        let places = Places::default();
        let of_forger = |number| asked(number, &format!("_INBOX.forger.{number}"));
        let mut held: Vec<_> = (0..MAX_OF_OWNER)
            .map(|number| begun(places.take(&of_forger(number))))
            .collect();
        let Asking::Behind(mut first) = places.take(&of_forger(MAX_OF_OWNER)) else {
            panic!("more than its places");
        };
        let honest = asked(0, "l.kv.inbox.XKEY.me");
        places.leave(&honest, begun(places.take(&honest)));
        places.leave(&of_forger(0), held.remove(0));
        assert!(first.changed().await.is_err(), "done");
        begun(places.take(&of_forger(MAX_OF_OWNER)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_had_time_for_an_answer_gives_way_to_others() {
        let places = Places::default();
        let of_nobody = |number: usize| asked(number, &format!("_INBOX.{number}"));
        let held: Vec<_> = (0..MAX_ASKING)
            .map(|number| begun(places.take(&of_nobody(number))))
            .collect();
        let honest = asked(0, "_INBOX.honest");
        assert!(matches!(places.take(&honest), Asking::Busy));
        advance(KEPT).await;
        let place = begun(places.take(&honest));
        assert!(held[0].lost.is_cancelled() && !held[1].lost.is_cancelled());
        // One that has lost its place gives nobody else's back.
        let again = begun(places.take(&of_nobody(0)));
        assert!(held[1].lost.is_cancelled());
        for (number, place) in held.into_iter().enumerate() {
            places.leave(&of_nobody(number), place);
        }
        assert_eq!(places.askers.lock().by_session.len(), 2);
        places.leave(&of_nobody(0), again);
        places.leave(&honest, place);
        assert!(places.askers.lock().by_session.is_empty());
    }
}
