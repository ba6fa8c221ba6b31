//! The sessions of others, as far as their keys are known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_claims::peer::VerifiedPeer;
use lattice_core::identity::{CallProof, SessionName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::FRESH;
use super::mac::{Covered, MacKey};
use super::refusal::Refusal;
use super::target_of;
use super::window::Window;

/// How many sessions are known at most.
const MAX_KNOWN: usize = 16_384;
/// How many are remembered that could not be learnt.
const MAX_DOUBTS: usize = 4096;
/// How many are asked for at the same time.
const MAX_ASKING: usize = 256;

/// How many of them one peer may have: a provider, which calls what it is linked to, and a host.
const MAX_OF_PROVIDER: usize = 256;
const MAX_OF_HOST: usize = 8192;

/// How often it is looked for sessions to forget, where there are too many.
const LOOK: Duration = Duration::from_secs(1);

/// For how long it is not asked again for one that does not exist, or is not told.
const NO: Duration = Duration::from_secs(10);
/// And for one about which nothing was heard.
const PERHAPS: Duration = Duration::from_secs(1);

/// A session whose key is known here.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: MacKey,
    /// Whose it is.
    pub(super) peer: VerifiedPeer,
    pub(super) lattice: String,
    /// Whom its calls are for.
    pub(super) target: Box<str>,
    /// When it began, or a little later.
    pub(super) began: Instant,
    /// Until when the tokens of the peer hold.
    pub(super) until: Instant,
    pub(super) window: Mutex<Window>,
    /// When it was used last, in milliseconds since it began.
    pub(super) used_ms: AtomicU64,
}

impl Known {
    /// Checks the proof of a call; gives how much time the call has at most.
    pub(super) fn check(
        &self,
        covered: &Covered<'_>,
        proof: &CallProof,
        payload: &[u8],
        arrived: Instant,
    ) -> Result<Duration, Refusal> {
        if target_of(covered.subject(), &self.lattice) != Some(&*self.target) {
            return Err(Refusal::wrong_target(&self.target));
        }
        if !self.key.holds(covered, proof, payload) {
            return Err(Refusal::wrong_code());
        }
        // Everything in the proof is what the caller wrote from here on.
        // A provider may pass on to its own kind what it was asked.
        if let Some(source) = covered.source
            && !self.peer.may_call_as(source)
            && self.peer.provider.as_deref() != Some(&*self.target)
        {
            return Err(Refusal::foreign_source(&self.peer.name(), source));
        }
        let age = arrived.saturating_duration_since(self.began);
        let sent = Duration::from_millis(proof.sent_ms);
        let left = Duration::from_millis(proof.left_ms);
        if !self.window.lock().take(proof.number, arrived) {
            return Err(Refusal::replayed());
        }
        if age > sent.saturating_add(left.min(FRESH)) {
            return Err(Refusal::stale());
        }
        self.used_ms
            .store(super::sending::millis(age), Ordering::Relaxed);
        Ok(left.saturating_sub(age.saturating_sub(sent)))
    }

    fn last_used(&self) -> Instant {
        self.began + Duration::from_millis(self.used_ms.load(Ordering::Relaxed))
    }
}

/// Why a session is not known.
#[derive(Debug, Clone)]
pub(super) struct Doubt {
    pub(super) refusal: Refusal,
    /// Whether its calls are certainly wrong, and not only without proof.
    pub(super) is_sure: bool,
    /// Whether it may soon be known after all.
    is_passing: bool,
}

impl Doubt {
    /// The calls are forged, or nobody waits for their answers.
    pub(super) fn sure(refusal: Refusal) -> Self {
        Self {
            refusal,
            is_sure: true,
            is_passing: false,
        }
    }

    /// The calls cannot be checked.
    pub(super) fn open(refusal: Refusal) -> Self {
        Self {
            is_sure: false,
            ..Self::sure(refusal)
        }
    }

    /// Nothing was heard so far.
    pub(super) fn passing(refusal: Refusal) -> Self {
        Self {
            is_passing: true,
            ..Self::open(refusal)
        }
    }
}

/// What was learnt of a session.
pub(super) type Learnt = Result<Arc<Known>, Doubt>;

/// A session, and the inbox that was asked for it. Whoever writes the name of another's session into
/// a call with an inbox of its own is asked itself, and only its own calls are in doubt.
pub(super) type Asked = (SessionName, Box<str>);

#[derive(Debug, Default)]
struct Sets {
    known: HashMap<SessionName, Arc<Known>>,
    /// How many of them each peer has, by its curve key.
    owned: HashMap<Box<str>, usize>,
    doubts: HashMap<Asked, (Doubt, Instant)>,
    /// When it was last looked for sessions to forget.
    looked: Option<Instant>,
}

/// All that is known of the sessions of others.
#[derive(Debug, Default)]
pub(super) struct Table {
    sets: RwLock<Sets>,
    /// Those that are being asked for; the sender is dropped when that is done.
    asking: Mutex<HashMap<Asked, watch::Receiver<()>>>,
}

/// Whether a session is being asked for.
pub(super) enum Asking {
    /// Somebody does; wait until that is done.
    Already(watch::Receiver<()>),
    /// Nobody did so far; drop the place when it is done.
    Begin(Place, watch::Receiver<()>),
    /// Too many are.
    Busy,
}

/// The place of one who asks; those who wait go on when it is dropped.
pub(super) struct Place {
    _done: watch::Sender<()>,
}

impl Table {
    /// What is known of a session of whoever has this inbox; `None` when it has to be asked for.
    pub(super) fn get(&self, name: &SessionName, inbox: &str, now: Instant) -> Option<Learnt> {
        let sets = self.sets.read();
        if let Some(known) = sets.known.get(name) {
            return (known.until > now).then(|| Ok(Arc::clone(known)));
        }
        if sets.doubts.is_empty() {
            return None;
        }
        let (doubt, until) = sets.doubts.get(&(*name, inbox.into()))?;
        (*until > now).then(|| Err(doubt.clone()))
    }

    /// Takes the place of one who asks for a session.
    pub(super) fn ask(&self, asked: &Asked) -> Asking {
        let mut asking = self.asking.lock();
        if let Some(others) = asking.get(asked) {
            return Asking::Already(others.clone());
        }
        if asking.len() >= MAX_ASKING {
            return Asking::Busy;
        }
        let (done, waiting) = watch::channel(());
        asking.insert(asked.clone(), waiting.clone());
        Asking::Begin(Place { _done: done }, waiting)
    }

    /// How many sessions are known.
    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        self.sets.read().known.len()
    }

    /// Whether so many are being asked for that nobody may take long.
    pub(super) fn is_crowded(&self) -> bool {
        self.asking.lock().len() > MAX_ASKING / 2
    }

    /// Takes in what was learnt, if anything was, and lets those go on who wait for it.
    pub(super) fn settle(&self, asked: &Asked, learnt: Option<Learnt>, place: Place) {
        if let Some(learnt) = learnt {
            let now = Instant::now();
            let mut sets = self.sets.write();
            match learnt {
                Ok(known) => sets.learn(asked, known, now),
                Err(doubt) => sets.doubt(asked, doubt, now),
            }
        }
        self.asking.lock().remove(asked);
        drop(place);
    }
}

impl Sets {
    fn learn(&mut self, asked: &Asked, known: Arc<Known>, now: Instant) {
        self.doubts.remove(asked);
        let (name, _) = asked;
        if let Some(old) = self.known.get(name) {
            // Renewed tokens: what was used stays used.
            std::mem::swap(&mut *old.window.lock(), &mut *known.window.lock());
        } else if !self.has_room(&known.peer, now) {
            let peer = known.peer.name();
            tracing::warn!(
                peer,
                "the key of a session was not kept: there are too many"
            );
            return;
        } else {
            let owner = known.peer.session_key.as_str().into();
            *self.owned.entry(owner).or_default() += 1;
        }
        self.known.insert(*name, known);
    }

    /// Whether there is room for a session of a peer, made if need be.
    fn has_room(&mut self, peer: &VerifiedPeer, now: Instant) -> bool {
        let most = match peer.provider {
            Some(_) => MAX_OF_PROVIDER,
            None => MAX_OF_HOST,
        };
        let fits = |sets: &Self| {
            let own = sets.owned.get(peer.session_key.as_str()).copied();
            sets.known.len() < MAX_KNOWN && own.unwrap_or_default() < most
        };
        fits(self) || (self.make_room(now) && fits(self))
    }

    /// Forgets those whose tokens have expired or whose calls can no longer be on their way; false when
    /// that was done just before. Others have to stay: a call of theirs that is recorded would count once more.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.looked.is_some_and(|at| now < at + LOOK) {
            return false;
        }
        self.looked = Some(now);
        self.known
            .retain(|_, known| known.until > now && now < known.last_used() + 2 * FRESH);
        self.owned.clear();
        for known in self.known.values() {
            let owner = known.peer.session_key.as_str().into();
            *self.owned.entry(owner).or_default() += 1;
        }
        true
    }

    fn doubt(&mut self, asked: &Asked, doubt: Doubt, now: Instant) {
        // One that was known, and whose tokens have expired since.
        if self
            .known
            .get(&asked.0)
            .is_some_and(|known| known.until <= now)
            && let Some(known) = self.known.remove(&asked.0)
            && let Some(count) = self.owned.get_mut(known.peer.session_key.as_str())
        {
            *count = count.saturating_sub(1);
        }
        if self.doubts.len() >= MAX_DOUBTS {
            self.doubts.retain(|_, (_, until)| *until > now);
        }
        if self.doubts.len() >= MAX_DOUBTS {
            self.doubts.clear();
        }
        let until = now + if doubt.is_passing { PERHAPS } else { NO };
        self.doubts.insert(asked.clone(), (doubt, until));
    }
}
