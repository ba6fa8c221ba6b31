//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::schedule::{self, Handler, Job, ScheduleError};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, LinkRole, Provider, ProviderLink,
    Session, Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::job_store::{Caller, JobStore};
use crate::key::Owner;
use crate::own::{Left, Own, is_one};
use crate::owner_jobs::OwnerJobs;
use crate::settings::{JobStoreSettings, Limits, Manner, own_job};
use crate::trigger::RESOLUTION_MS;

/// How long it may take to delete what a link has put before, when it says something else.
const CLEARED_WITHIN: Duration = Duration::from_secs(2);

/// Timers with their jobs in NATS JetStream.
#[derive(Debug)]
pub struct ScheduleNats {
    session: Session,
    shops: Sharing<JobStoreSettings, JobStore>,
    backends: Arc<Backends<OwnerJobs>>,
    links: Mutex<HashMap<LinkKey, Arc<Put>>>,
    left: Left,
}

/// A link that was put.
#[derive(Debug)]
struct Put {
    job_store: Shared<JobStore>,
    owner: Owner,
    /// The job that the link says.
    own: Option<Arc<Own>>,
    /// Whether no tick is told twice.
    once: bool,
    /// How many jobs there may be, and how large.
    limits: Limits,
}

impl ScheduleNats {
    /// Which jobs a link means that says this.
    fn shop_settings(&self, says: &Settings) -> Result<JobStoreSettings, LinkError> {
        let session = &self.session;
        let job_store = JobStoreSettings::read(says, session.lattice(), &session.nats_settings());
        job_store.map_err(LinkError::from)
    }

    async fn job_store(&self, settings: &JobStoreSettings) -> Result<Shared<JobStore>, LinkError> {
        let open = || JobStore::open(settings, &self.session);
        let job_store = self.shops.get(settings, open).await;
        job_store.map_err(|e| LinkError::unavailable(chain(&e)))
    }

    /// All that a link says.
    fn says(&self, link: &ProviderLink) -> Result<Settings, LinkError> {
        if !link.is_for("lattice", "schedule") {
            let what = "schedule-nats serves lattice:schedule only";
            return Err(LinkError::invalid(what));
        }
        Ok(Settings::of(&self.session, link))
    }

    fn caller(&self, link: &ProviderLink, manner: Manner) -> Caller {
        let handler = Handler::new(&self.session, link);
        Caller { handler, manner }
    }

    fn remember(&self, link: &ProviderLink, put: Put) {
        self.links.lock().insert(link.key(), Arc::new(put));
    }

    fn of(&self, link: &ProviderLink) -> Option<Arc<Put>> {
        self.links.lock().get(&link.key()).map(Arc::clone)
    }

    /// Stops calling through a link.
    fn end(&self, link: &ProviderLink) {
        let put = self.links.lock().remove(&link.key());
        if let Some(put) = put {
            put.job_store.delete_caller(&put.owner, link.role);
        }
    }

    /// Puts the job that a link says, and deletes what the link has put before. In this order, and
    /// with a note of either, so that nothing is lost or left when it is broken off.
    async fn put_only(
        &self,
        link: &ProviderLink,
        job_store: &Shared<JobStore>,
        own: Option<&Arc<Own>>,
    ) -> Result<(), LinkError> {
        let key = link.key();
        if let Some(own) = own {
            self.left.add(&key, own);
            let put = self.put_own(job_store, link, own.job.clone()).await;
            if let Err(error) = put {
                if !error.may_pass() {
                    self.left.remove(&key, own);
                }
                return Err(error);
            }
        }
        self.clear_said(job_store, link, own).await?;
        let by = Instant::now() + CLEARED_WITHIN;
        for old in self.left.beside(&key, own) {
            let cleared = tokio::time::timeout_at(by, self.clear(link, &old, job_store, own)).await;
            let late = |_| Err(LinkError::unavailable("it was not deleted in time"));
            match cleared.unwrap_or_else(late) {
                Ok(()) => self.left.remove(&key, &old),
                Err(error) if old.is_in(job_store) => return Err(error),
                // A bucket that the link has left may be out of reach by now. It is tried again when
                // the link changes, and when it goes.
                Err(error) => not_deleted(link, &old, &error),
            }
        }
        Ok(())
    }

    /// Deletes what the link has said while no copy was there to hear that it changed.
    async fn clear_said(
        &self,
        job_store: &Shared<JobStore>,
        link: &ProviderLink,
        now: Option<&Arc<Own>>,
    ) -> Result<(), LinkError> {
        let now = now.map(|own| own.job.name.as_str());
        let owner_jobs = unlimited(job_store.clone(), link);
        let said = owner_jobs.said(self.session.id().as_str(), now).await;
        for job in said.map_err(|error| LinkError::unavailable(error.text()))? {
            delete_own(job_store.clone(), link, &job).await?;
        }
        Ok(())
    }

    async fn put_own(
        &self,
        job_store: &Shared<JobStore>,
        link: &ProviderLink,
        job: Job,
    ) -> Result<(), LinkError> {
        let owner_jobs = unlimited(job_store.clone(), link);
        let put = owner_jobs.put(job, Some(self.session.id().as_str())).await;
        put.map_err(|error| match error {
            ScheduleError::Unavailable(why) => LinkError::unavailable(why),
            other => LinkError::invalid(other.text()),
        })
    }

    /// Deletes a job that a link has put before, unless `now` has taken its place, in `job_store`.
    async fn clear(
        &self,
        link: &ProviderLink,
        old: &Own,
        job_store: &Shared<JobStore>,
        now: Option<&Arc<Own>>,
    ) -> Result<(), LinkError> {
        let there = match old.is_in(job_store) {
            // The login that it was put with may not hold any more.
            true => job_store.clone(),
            false => self.job_store(&old.settings).await?,
        };
        if is_one(&there, job_store) && now.is_some_and(|now| now.job.name == old.job.name) {
            return Ok(());
        }
        delete_own(there, link, &old.job).await
    }

    /// Deletes a job of a link that is gone.
    async fn let_go(&self, link: &ProviderLink, own: &Own) {
        let deleted = match self.job_store(&own.settings).await {
            Ok(job_store) => delete_own(job_store, link, &own.job).await,
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            not_deleted(link, own, &error);
        }
    }

    /// The job that a link says, where it would be put.
    fn own(&self, link: &ProviderLink) -> Option<Own> {
        let says = self.says(link).ok()?;
        let settings = self.shop_settings(&says).ok()?;
        let job = own_job(&says).ok()??;
        Some(Own::new(job, settings, 0))
    }
}

/// The jobs of an owner, without the limits of a component.
fn unlimited(job_store: Shared<JobStore>, link: &ProviderLink) -> OwnerJobs {
    let limits = Limits {
        jobs: usize::MAX,
        payload: usize::MAX,
    };
    OwnerJobs::new(job_store, Owner::of(link), limits)
}

async fn delete_own(
    job_store: Shared<JobStore>,
    link: &ProviderLink,
    job: &Job,
) -> Result<(), LinkError> {
    match unlimited(job_store, link).delete_same(job).await {
        Ok(()) | Err(ScheduleError::NoSuchJob) => Ok(()),
        Err(error) => Err(LinkError::unavailable(error.text())),
    }
}

fn not_deleted(link: &ProviderLink, own: &Own, error: &LinkError) {
    let (job, error) = (&own.job.name, error.reason());
    tracing::warn!(%link, job, error, "the job of a link could not be deleted");
}

#[async_trait]
impl Provider for ScheduleNats {
    const NAME: &'static str = "schedule-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        schedule::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            shops: Sharing::new(),
            backends,
            links: Mutex::default(),
            left: Left::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let says = self.says(link)?;
        let (limits, manner) = (Limits::read(&says)?, Manner::read(&says)?);
        let job_store = self.job_store(&self.shop_settings(&says)?).await?;
        let owner = Owner::of(link);
        let caller = self.caller(link, manner);
        job_store.put_caller(owner.clone(), LinkRole::Target, caller);
        let owner_jobs = OwnerJobs::new(job_store.clone(), owner.clone(), limits);
        self.backends.put(link, Arc::new(owner_jobs));
        let put = Put {
            job_store,
            owner,
            own: None,
            once: !manner.again,
            limits,
        };
        self.remember(link, put);
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let says = self.says(link)?;
        let (manner, job) = (Manner::read(&says)?, own_job(&says)?);
        let settings = self.shop_settings(&says)?;
        let job_store = self.job_store(&settings).await?;
        let made = job_store.bucket.ledger().blank().made;
        let own = job.map(|job| Arc::new(Own::new(job, settings, made)));
        self.put_only(link, &job_store, own.as_ref()).await?;
        let owner = Owner::of(link);
        let put = Put {
            job_store: job_store.clone(),
            owner: owner.clone(),
            own,
            once: !manner.again,
            limits: Limits::OWN,
        };
        self.remember(link, put);
        job_store.put_caller(owner, LinkRole::Source, self.caller(link, manner));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
        self.end(link);
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.end(link);
    }

    async fn forget_source_link(&self, link: &ProviderLink) {
        let mut left = self.left.take(&link.key());
        if left.is_empty() {
            // A process before this one may have put it.
            left.extend(self.own(link).map(Arc::new));
        }
        let gone = left.iter().map(|own| self.let_go(link, own));
        futures::future::join_all(gone).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let put = self.of(link);
        // With copies, a list may come from one that is behind.
        let copies = put
            .as_ref()
            .map(|put| put.job_store.bucket.ledger().copies());
        let consistency = match copies {
            Some(0 | 1) => "linearizable",
            _ => "eventual",
        };
        let features = Features::new()
            .with("consistency", consistency)
            .lacking("ttl")
            .lacking("cas")
            .lacking("paging")
            .with("order", "name")
            .having("cron")
            .having("time-zone")
            .having_if("once", put.as_ref().is_some_and(|put| put.once))
            .with("resolution-ms", RESOLUTION_MS);
        match put {
            Some(put) => features
                .with("max-jobs", put.limits.jobs)
                .with("max-payload-bytes", put.limits.payload),
            None => features,
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let Some(put) = self.of(link) else {
            return Ok(());
        };
        let ledger = put.job_store.bucket.ledger();
        let checked = ledger.check().await;
        checked.map_err(|e| LinkError::unavailable(chain(&e)))?;
        let made = ledger.blank().made;
        if let Some(own) = &put.own
            && !own.is_of(made)
        {
            self.put_own(&put.job_store, link, own.job.clone()).await?;
            own.put_again(made);
        }
        Ok(())
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let links: Vec<_> = self.links.lock().values().map(Arc::clone).collect();
        let shut = links.iter().map(|put| put.job_store.shut(until));
        futures::future::join_all(shut).await;
    }
}
