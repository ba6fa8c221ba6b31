//! All that is known about the jobs of one bucket, and who is told of their ticks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::{Revision, Seen};
use lattice_provider_sdk::schedule::Handler;
use lattice_provider_sdk::{LinkRole, Session};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::bucket::{Bucket, OpenError};
use crate::hearing::Hearing;
use crate::key::Owner;
use crate::record::Record;
use crate::settings::{JobStoreSettings, Manner};
use crate::ticker;

/// A job as it was last seen.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) revision: Revision,
    pub(crate) record: Arc<Record>,
    /// When it was first seen like this.
    pub(crate) since: Instant,
}

/// Who is told of the ticks of an owner, and how.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) handler: Handler,
    pub(crate) manner: Manner,
}

/// The callers of one owner: by a link with the provider as source, and by one with it as target.
#[derive(Debug, Default)]
struct Callers {
    source: Option<Arc<Caller>>,
    target: Option<Arc<Caller>>,
}

impl Callers {
    fn of(&mut self, role: LinkRole) -> &mut Option<Arc<Caller>> {
        match role {
            LinkRole::Source => &mut self.source,
            LinkRole::Target => &mut self.target,
        }
    }
}

/// The jobs of one bucket.
#[derive(Debug)]
pub(crate) struct JobStore {
    job_store_inner: Arc<JobStoreInner>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl std::ops::Deref for JobStore {
    type Target = JobStoreInner;

    fn deref(&self) -> &JobStoreInner {
        &self.job_store_inner
    }
}

/// What the tasks of a job_store share.
#[derive(Debug)]
pub(crate) struct JobStoreInner {
    pub(crate) bucket: Bucket,
    /// Which copy of the provider this is, for who takes a tick.
    pub(crate) copy: String,
    jobs: Mutex<BTreeMap<String, Known>>,
    callers: Mutex<HashMap<Owner, Callers>>,
    hearing: Hearing,
    /// Jobs of which a tick is being taken or told here.
    in_hand: Mutex<HashSet<String>>,
    /// Told when anything of the above has changed.
    changed: Notify,
    pub(crate) firing: TaskTracker,
    /// No further ticks are taken or told again.
    pub(crate) stop: CancellationToken,
    /// Those that are being told are left as they are.
    pub(crate) cut: CancellationToken,
}

impl Drop for JobStore {
    fn drop(&mut self) {
        // A tick that is being told is told to its end, which is no later than the deadline of the
        // call and the time to note it.
        self.job_store_inner.stop.cancel();
    }
}

impl JobStore {
    /// Connects, and begins to tell of ticks.
    pub(crate) async fn open(
        settings: &JobStoreSettings,
        session: &Session,
    ) -> Result<Self, OpenError> {
        let job_store_inner = Arc::new(JobStoreInner {
            bucket: Bucket::open(settings, session).await?,
            copy: format!(
                "{}-{}",
                session.host_id(),
                session.peer().nats().new_inbox()
            ),
            jobs: Mutex::default(),
            callers: Mutex::default(),
            hearing: Hearing::default(),
            in_hand: Mutex::default(),
            changed: Notify::new(),
            firing: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        let tasks = [
            tokio::spawn(watch(Arc::clone(&job_store_inner))),
            tokio::spawn(ticker::run(Arc::clone(&job_store_inner))),
        ];
        Ok(Self {
            job_store_inner,
            _tasks: tasks.map(AbortOnDropHandle::new),
        })
    }
}

impl JobStoreInner {
    /// Takes in a job as it is at a revision.
    pub(crate) fn see(&self, key: &str, revision: Revision, value: &Bytes) {
        let record = match Record::read(value) {
            Ok(record) => Arc::new(record),
            Err(error) => {
                tracing::warn!(key, %error, "what is stored as a job is none");
                return;
            }
        };
        let mut jobs = self.jobs.lock();
        if jobs
            .get(key)
            .is_some_and(|known| known.revision >= revision)
        {
            return;
        }
        let known = Known {
            revision,
            record,
            since: Instant::now(),
        };
        jobs.insert(key.to_owned(), known);
        drop(jobs);
        self.changed.notify_one();
    }

    /// Takes in that a job is gone.
    pub(crate) fn gone(&self, key: &str, revision: Revision) {
        let mut jobs = self.jobs.lock();
        if jobs.get(key).is_some_and(|known| known.revision < revision) {
            jobs.remove(key);
        }
    }

    /// Takes in that all jobs of earlier makings of the bucket are gone.
    fn lost(&self, blank: Revision) {
        self.jobs.lock().retain(|_, known| known.revision >= blank);
    }

    /// Looks whether the others can be heard.
    pub(crate) fn listen(&self) {
        let nats = self.bucket.ledger().nats();
        let connection = nats.is_connected().then(|| nats.connections());
        self.hearing.look(connection);
    }

    /// How long nothing has been heard of a job, while there was something to hear.
    pub(crate) fn quiet(&self, known: &Known) -> Duration {
        self.hearing.quiet(known.since)
    }

    /// A job as it was last seen.
    pub(crate) fn known(&self, key: &str) -> Option<Known> {
        self.jobs.lock().get(key).cloned()
    }

    /// How many jobs there are whose keys begin so.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let jobs = self.jobs.lock();
        let from = jobs.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).count()
    }

    /// Has an owner told of ticks through a link.
    pub(crate) fn put_caller(&self, owner: Owner, role: LinkRole, caller: Caller) {
        let mut callers = self.callers.lock();
        *callers.entry(owner).or_default().of(role) = Some(Arc::new(caller));
        drop(callers);
        self.changed.notify_one();
    }

    /// Stops telling an owner through a link; a tick that is being told is told, but not again.
    pub(crate) fn delete_caller(&self, owner: &Owner, role: LinkRole) {
        let mut callers = self.callers.lock();
        if let Some(of_owner) = callers.get_mut(owner) {
            *of_owner.of(role) = None;
            if of_owner.source.is_none() && of_owner.target.is_none() {
                callers.remove(owner);
            }
        }
    }

    /// Who tells an owner of ticks now.
    pub(crate) fn caller(&self, owner: &Owner) -> Option<Arc<Caller>> {
        let callers = self.callers.lock();
        let of_owner = callers.get(owner)?;
        of_owner
            .source
            .as_ref()
            .or(of_owner.target.as_ref())
            .map(Arc::clone)
    }

    /// The jobs that this copy can tell of, and of which it has none in hand.
    pub(crate) fn at_hand(&self) -> Vec<(String, Known, Arc<Caller>)> {
        let jobs = self.jobs.lock();
        let in_hand = self.in_hand.lock();
        let free = jobs.iter().filter(|(key, _)| !in_hand.contains(*key));
        free.filter_map(|(key, known)| {
            let caller = self.caller(&known.record.owner())?;
            Some((key.clone(), known.clone(), caller))
        })
        .collect()
    }

    /// Takes a job in hand until what is given back is dropped.
    pub(crate) fn take_in_hand(self: &Arc<Self>, key: &str) -> InHand {
        self.in_hand.lock().insert(key.to_owned());
        InHand {
            job_store_inner: Arc::clone(self),
            key: key.to_owned(),
        }
    }

    /// Waits until something has changed, and until then at the latest.
    pub(crate) async fn changed_by(&self, until: Instant) {
        let _ = tokio::time::timeout_at(until, self.changed.notified()).await;
    }

    /// Takes no further ticks, and waits for those that are being told, by `until` at the latest.
    pub(crate) async fn shut(&self, until: Instant) {
        self.stop.cancel();
        self.firing.close();
        if tokio::time::timeout_at(until, self.firing.wait())
            .await
            .is_err()
        {
            tracing::warn!("not all handlers were done with their ticks in time");
            self.cut.cancel();
        }
    }
}

/// A job in hand.
pub(crate) struct InHand {
    job_store_inner: Arc<JobStoreInner>,
    key: String,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.job_store_inner.in_hand.lock().remove(&self.key);
        self.job_store_inner.changed.notify_one();
    }
}

/// Takes in every change of every job, for as long as the bucket is in use.
async fn watch(job_store_inner: Arc<JobStoreInner>) {
    let tell = |seen| match seen {
        Seen::Put(key, revision, value) => job_store_inner.see(&key, revision, &value),
        Seen::Gone(key, revision) => job_store_inner.gone(&key, revision),
        Seen::Lost(blank) => job_store_inner.lost(blank),
        // What went meanwhile is found out when a tick of it is to be taken.
        Seen::Missed => job_store_inner.hearing.missed(),
    };
    match job_store_inner.bucket.ledger().follow(tell).await {}
}
