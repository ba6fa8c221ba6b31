//! What the NATS server refuses, read from its log: the server tells nobody else of it but the one
//! who tried, and that is no witness.
//!
//! The log is followed from its present end, also when it is begun anew. How much of a line is kept is
//! bounded, and so is how much of it is told ([`telling`]). Of several hosts that read one
//! log, one tells, and where that has ended another goes on from there ([`shared`]).

mod follow;
mod line;
mod shared;
mod telling;
mod what;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lattice_core::event::{BusRefused, Event};
use lattice_core::{ComponentId, HostId, LatticeName};
use lattice_rpc::throttle::Throttled;
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;
use follow::Log;
use shared::{Folder, NOTED_AGAIN, Turn};
use telling::{Telling, joined};
pub(crate) use what::Known;

/// How many groups of subjects are told apart of what a host is refused itself.
const GROUPS: u64 = 16;
/// What puts subjects in groups, so that nobody can tell which is in which.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a host is refused itself, as the server tells it.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) BusRefused);

impl Throttled for Report {
    type Kind = (String, u64);

    fn kind(&self) -> Self::Kind {
        let Self(refused) = self;
        let group = KEYS.hash_one(&refused.subject) % GROUPS;
        (refused.action.clone(), group)
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.0.suppressed
    }

    fn join(self, later: Self) -> Self {
        Self(joined(self.0, later.0))
    }
}

/// Follows the log of a NATS server, until this is dropped.
#[derive(Debug)]
pub(crate) struct BusLog {
    _reading: AbortOnDropHandle<()>,
}

impl BusLog {
    /// Begins at the end of the log. `users` says whose user it is that the server names, and `known` what
    /// the lattice has.
    pub(crate) async fn start(
        path: PathBuf,
        host: HostId,
        events: Arc<Events>,
        users: Arc<Users>,
        known: Known,
    ) -> io::Result<Self> {
        let turn = Turn::new(users.folder.clone());
        let log = Log::open(path).await?;
        let noting = Arc::clone(&users);
        let tell = move |refused: BusRefused| {
            let provider_id = refused.user.as_deref().and_then(|user| users.whose(user));
            let refused = BusRefused {
                host_id: host.as_str().to_owned(),
                provider_id,
                ..refused
            };
            tracing::warn!(
                user = refused.user,
                provider = refused.provider_id,
                action = refused.action,
                subject = refused.subject,
                also = ?refused.also,
                suppressed = refused.suppressed,
                "the NATS server refused a subject"
            );
            events.publish(Event::BusRefused(refused));
        };
        let telling = Arc::new(Telling::new(known, tell));
        let read = Arc::clone(&telling);
        let take = move |line: &str| read.take(line);
        let reading = async move {
            tokio::join!(
                log.follow(turn, take),
                telling.sweep_on(),
                noting.note_again()
            );
        };
        Ok(Self {
            _reading: AbortOnDropHandle::new(tokio::spawn(reading)),
        })
    }
}

/// Who has a user.
#[derive(Debug)]
struct Owner {
    provider: ComponentId,
    /// When its token ends at the latest, once its process has ended.
    ends: Option<Instant>,
}

/// The NATS users that hosts have made, and the providers that have them.
#[derive(Debug)]
pub(crate) struct Users {
    by_key: RwLock<HashMap<Box<str>, Owner>>,
    /// How long tokens hold.
    life: Duration,
    /// What hosts share that read the same log.
    folder: Option<Folder>,
}

impl Users {
    /// None yet of this host, which reads the log at `log` if it reads one. Their tokens hold for `life`.
    pub(crate) fn new(log: Option<&Path>, lattice: &LatticeName, life: Duration) -> Self {
        Self {
            by_key: RwLock::default(),
            life,
            folder: log.and_then(|log| Folder::beside(log, lattice)),
        }
    }

    /// Notes whose user has a public key, until what this returns is dropped and the last token has ended: a
    /// process that was stopped may use it as long as the server takes it.
    pub(crate) fn add(self: &Arc<Self>, key: &str, provider: &ComponentId) -> KnownUser {
        if let Some(folder) = &self.folder {
            folder.note(key, provider);
        }
        let now = Instant::now();
        let mut users = self.by_key.write();
        let has_ended = |owner: &Owner| owner.ends.is_some_and(|at| at <= now);
        let ended: Vec<_> = users.extract_if(|_, owner| has_ended(owner)).collect();
        let (provider, ends) = (provider.clone(), None);
        users.insert(key.into(), Owner { provider, ends });
        drop(users);
        if let Some(folder) = &self.folder {
            ended.iter().for_each(|(key, _)| folder.forget(key));
        }
        KnownUser {
            users: Arc::clone(self),
            key: key.into(),
        }
    }

    /// Keeps the notes of users that live for long.
    async fn note_again(&self) {
        let Some(folder) = &self.folder else { return };
        loop {
            tokio::time::sleep(NOTED_AGAIN).await;
            for (key, owner) in &*self.by_key.read() {
                folder.note(key, &owner.provider);
            }
        }
    }

    /// Whether a provider has a user of this host.
    pub(crate) fn has(&self, provider: &ComponentId) -> bool {
        let users = self.by_key.read();
        users.values().any(|owner| owner.provider == *provider)
    }

    /// The provider whose user ends the text that the server names it by, `…/jwt:KEY` or `KEY`.
    fn whose(&self, user: &str) -> Option<String> {
        let key = user.rsplit(['/', ':']).next()?;
        let own = self
            .by_key
            .read()
            .get(key)
            .map(|owner| owner.provider.clone());
        let known = own.or_else(|| self.folder.as_ref()?.whose(key));
        known.map(|id| id.as_str().to_owned())
    }
}

/// A user that is known.
#[derive(Debug)]
pub(crate) struct KnownUser {
    users: Arc<Users>,
    key: Box<str>,
}

impl Drop for KnownUser {
    fn drop(&mut self) {
        if let Some(owner) = self.users.by_key.write().get_mut(&self.key) {
            owner.ends = Some(Instant::now() + self.users.life);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_is_its_providers_until_its_token_has_ended() {
        let users = Arc::new(Users::new(
            None,
            &LatticeName::default(),
            Duration::from_secs(60),
        ));
        let kv = ComponentId::new("kv").unwrap();
        let known = users.add("UA7", &kv);
        for named in ["UA7", "ACC/lattice/jwt:UA7"] {
            assert_eq!(users.whose(named).as_deref(), Some("kv"));
        }
        assert_eq!(users.whose("ACC/lattice/jwt:UA8"), None);
        drop(known);
        assert_eq!(users.whose("UA7").as_deref(), Some("kv"));
        tokio::time::advance(Duration::from_secs(61)).await;
        let _other = users.add("UA9", &kv);
        assert_eq!(users.whose("UA7"), None);
    }
}
