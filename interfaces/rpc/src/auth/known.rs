//! The sessions of others, as far as their keys are known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_claims::peer::VerifiedPeer;
use lattice_core::identity::{CallProof, SessionName};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::FRESH;
use super::asking::{Asked, Asking, Place, Places};
use super::mac::{Covered, MacKey};
use super::refusal::Refusal;
use super::target_of;
use super::window::Window;

/// How many sessions are known at most.
const MAX_KNOWN: usize = 16_384;
/// How many are remembered that could not be learnt.
const MAX_DOUBTS: usize = 4096;

/// How many of them one peer may have: a provider, which calls what it is linked to, and a host.
const MAX_OF_PROVIDER: usize = 256;
const MAX_OF_HOST: usize = 8192;

/// How many of them all peers may have together for which no cluster vouches, and how many one of them.
/// Anybody can be as many such peers as they like.
const MAX_OF_STRANGERS: usize = 4096;
const MAX_OF_STRANGER: usize = 512;

/// For how long after its last use it has to be kept, so that a recorded call does not count again.
const RECORDED: Duration = Duration::from_secs(2 * FRESH.as_secs());

/// How long a session is kept that is not used, and how often it is looked for such.
const UNUSED: Duration = Duration::from_secs(600);
const SWEEP: Duration = Duration::from_secs(60);

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
            let caller = self.peer.provider.as_ref().unwrap_or(&self.peer.host);
            let refusal = Refusal::foreign_source(&self.peer.name(), source);
            return Err(refusal.by(caller, !self.is_strange()));
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

    fn is_strange(&self) -> bool {
        self.peer.cluster.is_none()
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

#[derive(Debug, Default)]
struct Sets {
    known: HashMap<SessionName, Arc<Known>>,
    /// How many of them each peer has, by its curve key.
    owned: HashMap<Box<str>, usize>,
    /// How many of them peers have for which no cluster vouches.
    strange: usize,
    doubts: HashMap<Asked, (Doubt, Instant)>,
    /// When it was last looked for sessions to forget.
    looked: Option<Instant>,
}

/// All that is known of the sessions of others.
#[derive(Debug, Default)]
pub(super) struct Table {
    sets: RwLock<Sets>,
    asking: Places,
}

impl Table {
    /// What is known of a session of whoever has this inbox; `None` when it has to be asked for.
    pub(super) fn get(&self, name: &SessionName, inbox: &str, now: Instant) -> Option<Learnt> {
        let sets = self.sets.read();
        // One whose tokens have expired is asked for again, as if nothing were known.
        if let Some(known) = sets.known.get(name)
            && known.until > now
        {
            return Some(Ok(Arc::clone(known)));
        }
        if sets.doubts.is_empty() {
            return None;
        }
        let (doubt, until) = sets.doubts.get(&(*name, inbox.into()))?;
        (*until > now).then(|| Err(doubt.clone()))
    }

    /// Takes the place of one who asks for a session.
    pub(super) fn ask(&self, asked: &Asked) -> Asking {
        self.asking.take(asked)
    }

    /// How many sessions are known.
    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        self.sets.read().known.len()
    }

    /// Whether so many are being asked for that nobody may take long.
    pub(super) fn is_crowded(&self) -> bool {
        self.asking.is_crowded()
    }

    /// Forgets, every now and then, what has not been used for long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let is_due = |sets: &Sets| sets.looked.is_none_or(|at| now >= at + SWEEP);
        if is_due(&self.sets.read()) {
            self.sets.write().forget(now, UNUSED);
        }
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
        self.asking.leave(asked, place);
    }
}

impl Sets {
    fn learn(&mut self, asked: &Asked, known: Arc<Known>, now: Instant) {
        self.doubts.remove(asked);
        let (name, _) = asked;
        if let Some(old) = self.remove(name) {
            // Renewed tokens: what was used stays used.
            std::mem::swap(&mut *old.window.lock(), &mut *known.window.lock());
        } else if !self.has_room(&known, now) {
            // Anybody may cause that, so it is told when it was looked for room, which is not often.
            if self.looked == Some(now) {
                let peer = known.peer.name();
                tracing::warn!(peer, "keys of sessions are not kept: there are too many");
            }
            return;
        }
        self.count(&known);
        self.known.insert(*name, known);
    }

    fn count(&mut self, known: &Known) {
        let owner = known.peer.session_key.as_str().into();
        *self.owned.entry(owner).or_default() += 1;
        self.strange += usize::from(known.is_strange());
    }

    fn remove(&mut self, name: &SessionName) -> Option<Arc<Known>> {
        let known = self.known.remove(name)?;
        let owner = known.peer.session_key.as_str();
        if let Some(count) = self.owned.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(owner);
            }
        }
        self.strange -= usize::from(known.is_strange());
        Some(known)
    }

    /// Whether there is room for a session, made if need be.
    fn has_room(&mut self, known: &Known, now: Instant) -> bool {
        let most = match (&known.peer.provider, known.is_strange()) {
            (Some(_), _) => MAX_OF_PROVIDER,
            (None, true) => MAX_OF_STRANGER,
            (None, false) => MAX_OF_HOST,
        };
        let fits = |sets: &Self| {
            let own = sets.owned.get(known.peer.session_key.as_str()).copied();
            let strange_fits = !known.is_strange() || sets.strange < MAX_OF_STRANGERS;
            sets.known.len() < MAX_KNOWN && strange_fits && own.unwrap_or_default() < most
        };
        fits(self) || (self.make_room(now) && fits(self))
    }

    /// Forgets all that may be forgotten; false when that was done just before.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.looked.is_some_and(|at| now < at + LOOK) {
            return false;
        }
        self.forget(now, RECORDED);
        true
    }

    /// Forgets those that have not been used for so long, or whose tokens have expired. Those whose
    /// calls may still be on their way stay, expired or not: one that is recorded would count once more
    /// when the key is learnt again.
    fn forget(&mut self, now: Instant, unused: Duration) {
        self.looked = Some(now);
        let is_over = |known: &Known| {
            let kept = if known.until <= now { RECORDED } else { unused };
            now >= known.last_used() + kept
        };
        let over = self.known.iter().filter(|(_, known)| is_over(known));
        for name in over.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.remove(&name);
        }
        self.doubts.retain(|_, (_, until)| *until > now);
    }

    fn doubt(&mut self, asked: &Asked, doubt: Doubt, now: Instant) {
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

#[cfg(test)]
mod tests;
