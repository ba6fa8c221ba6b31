//! The sessions that this peer has begun: one for each target that it calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_core::identity::{CallProof, SessionName};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::FRESH;
use super::mac::{Covered, MacKey};

/// How long a key is used.
const AGE: Duration = Duration::from_secs(3600);

/// How long a session is new.
const NEW: Duration = Duration::from_secs(10);

/// How many calls a key is used for.
const CALLS: u64 = 1 << 32;

/// For how long after that its calls may still be on their way to someone who asks for it.
const GRACE: Duration = Duration::from_secs(4 * FRESH.as_secs());

/// The greatest age at which a session is of any use.
pub(super) const LIFE: Duration = Duration::from_secs(AGE.as_secs() + GRACE.as_secs());

/// How many targets one peer has sessions with.
const MAX_SESSIONS: usize = 8192;

/// How many sessions that are over may be kept, as it takes a while to look for them.
const RETIRED: usize = 1024;

/// A session of this peer.
pub(super) struct Session {
    pub(super) name: SessionName,
    pub(super) target: Box<str>,
    pub(super) secret: [u8; 32],
    key: MacKey,
    began: Instant,
    next: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// The name of a session follows from whose it is, for whom, and its key, so that nobody can tell
/// another key for it.
pub(super) fn name(owner: &str, target: &str, secret: &[u8; 32]) -> SessionName {
    let mut hash = Sha256::new();
    hash.update(b"lattice session v1");
    for text in [owner, target] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(secret);
    let hash = hash.finalize();
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    SessionName(name)
}

impl Session {
    fn begin(owner: &str, target: &str) -> Option<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        Some(Self {
            name: name(owner, target, &secret),
            target: target.into(),
            key: MacKey::new(&secret)?,
            secret,
            began: Instant::now(),
            next: AtomicU64::new(0),
        })
    }

    /// How old it is.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    fn is_used_up(&self, now: Instant) -> bool {
        self.age(now) > AGE || self.next.load(Ordering::Relaxed) > CALLS
    }

    /// Whether the proof of a call was made by this session.
    pub(super) fn has_made(
        &self,
        covered: &Covered<'_>,
        proof: &CallProof,
        payload: &[u8],
    ) -> bool {
        self.key.holds(covered, proof, payload)
    }

    /// The proof of the session's next call.
    pub(super) fn prove(
        &self,
        covered: &Covered<'_>,
        payload: &[u8],
        now: Instant,
        left: Duration,
    ) -> CallProof {
        let mut proof = CallProof {
            session: self.name,
            number: self.next.fetch_add(1, Ordering::Relaxed),
            sent_ms: millis(self.age(now)),
            left_ms: millis(left),
            mac: [0; 16],
        };
        proof.mac = self.key.code(covered, &proof, payload);
        proof
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Sets {
    /// The sessions in use, by target.
    current: HashMap<Box<str>, Arc<Session>>,
    /// All that somebody may still ask for, with the time at which that ends.
    all: HashMap<SessionName, (Arc<Session>, Option<Instant>)>,
}

/// The sessions of a peer.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The public curve key of the peer.
    owner: String,
    sets: RwLock<Sets>,
}

impl Sessions {
    pub(super) fn new(owner: String) -> Self {
        Self {
            owner,
            sets: RwLock::default(),
        }
    }

    /// The session with `target`, begun if need be; `None` when no key can be made.
    pub(super) fn of(&self, target: &str) -> Option<Arc<Session>> {
        let now = Instant::now();
        if let Some(session) = self.sets.read().current.get(target)
            && !session.is_used_up(now)
        {
            return Some(Arc::clone(session));
        }
        self.begin(target, now)
    }

    fn begin(&self, target: &str, now: Instant) -> Option<Arc<Session>> {
        let mut sets = self.sets.write();
        if let Some(session) = sets.current.get(target)
            && !session.is_used_up(now)
        {
            // Somebody else was first.
            return Some(Arc::clone(session));
        }
        let Some(session) = Session::begin(&self.owner, target) else {
            tracing::error!("calls are sent without proof: the system gives no random bytes");
            return None;
        };
        let session = Arc::new(session);
        if sets.current.len() >= MAX_SESSIONS
            && !sets.current.contains_key(target)
            && let Some(other) = sets.current.keys().next().cloned()
        {
            sets.retire(&other, now);
        }
        sets.retire(target, now);
        if sets.all.len() > sets.current.len() + RETIRED {
            sets.all
                .retain(|_, (_, until)| until.is_none_or(|until| until > now));
        }
        sets.all.insert(session.name, (Arc::clone(&session), None));
        sets.current.insert(target.into(), Arc::clone(&session));
        Some(session)
    }

    /// Has the next call to `target` begin a session, unless the present one is new.
    pub(super) fn outlive(&self, target: &str) {
        let now = Instant::now();
        let is_old = |session: &Arc<Session>| session.age(now) > NEW;
        if self.sets.read().current.get(target).is_some_and(is_old) {
            self.sets.write().retire(target, now);
        }
    }

    /// A session that somebody asks for.
    pub(super) fn named(&self, name: &SessionName) -> Option<Arc<Session>> {
        let sets = self.sets.read();
        let (session, until) = sets.all.get(name)?;
        let is_over = until.is_some_and(|until| until <= Instant::now());
        (!is_over).then(|| Arc::clone(session))
    }
}

impl Sets {
    fn retire(&mut self, target: &str, now: Instant) {
        if let Some(session) = self.current.remove(target)
            && let Some((_, until)) = self.all.get_mut(&session.name)
        {
            *until = Some(now + GRACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_target_has_one_session_until_it_is_old() {
        let sessions = Sessions::new("X".to_owned());
        let first = sessions.of("a").unwrap();
        assert_eq!(sessions.of("a").unwrap().name, first.name);
        assert_ne!(sessions.of("b").unwrap().name, first.name);
        tokio::time::advance(AGE + Duration::from_secs(1)).await;
        let second = sessions.of("a").unwrap();
        assert_ne!(second.name, first.name);
        assert!(sessions.named(&first.name).is_some(), "still on its way");
        tokio::time::advance(GRACE + Duration::from_secs(1)).await;
        let _ = sessions.of("c");
        assert!(sessions.named(&first.name).is_none());
        assert!(sessions.named(&second.name).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_so_many_calls() {
        let sessions = Sessions::new("X".to_owned());
        let first = sessions.of("a").unwrap();
        first.next.store(CALLS + 1, Ordering::Relaxed);
        assert_ne!(sessions.of("a").unwrap().name, first.name);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::new("X".to_owned());
        for target in 0..MAX_SESSIONS + 10 {
            let _ = sessions.of(&target.to_string());
        }
        assert_eq!(sessions.sets.read().current.len(), MAX_SESSIONS);
    }
}
