//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_provider_sdk::schedule::{self, Handler, Job, ScheduleError};
use lattice_provider_sdk::{
    Backends, Features, LinkError, LinkKey, LinkRole, Provider, ProviderLink, Session, Settings,
    Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::desk::Desk;
use crate::key::Owner;
use crate::settings::{Limits, Manner, ShopSettings, own_job};
use crate::shop::{Caller, Shop};
use crate::trigger::RESOLUTION_MS;

/// Timers with their jobs in NATS JetStream.
#[derive(Debug)]
pub struct ScheduleNats {
    session: Session,
    shops: Sharing<ShopSettings, Shop>,
    backends: Arc<Backends<Desk>>,
    links: Mutex<HashMap<LinkKey, Arc<Put>>>,
}

/// A link that was put.
#[derive(Debug)]
struct Put {
    shop: Shared<Shop>,
    owner: Owner,
    /// The job that the link says.
    job: Option<Job>,
    /// The making of the bucket in which that job was put last.
    making: AtomicU64,
    /// Whether no tick is told twice.
    once: bool,
    /// How many jobs there may be, and how large.
    limits: Limits,
}

impl ScheduleNats {
    /// The jobs that a link means, and all that the link says.
    async fn open(&self, link: &ProviderLink) -> Result<(Shared<Shop>, Settings), LinkError> {
        if !link.is_for("lattice", "schedule") {
            let what = "schedule-nats serves lattice:schedule only";
            return Err(LinkError::invalid(what));
        }
        let session = &self.session;
        let says = Settings::of(session, link);
        let shop = ShopSettings::read(&says, session.lattice(), &session.nats_settings())?;
        let open = || Shop::open(&shop, session);
        let shop = self.shops.get(&shop, open).await;
        let shop = shop.map_err(|e| LinkError::unavailable(chain(&e)))?;
        Ok((shop, says))
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

    fn forget(&self, link: &ProviderLink) -> Option<Arc<Put>> {
        let put = self.links.lock().remove(&link.key())?;
        put.shop.delete_caller(&put.owner, link.role);
        Some(put)
    }
}

/// The jobs of an owner, without the limits of a component.
fn unlimited(shop: Shared<Shop>, link: &ProviderLink) -> Desk {
    let limits = Limits {
        jobs: usize::MAX,
        payload: usize::MAX,
    };
    Desk::new(shop, Owner::of(link), limits)
}

async fn put_own(desk: &Desk, job: Job) -> Result<(), LinkError> {
    desk.put(job, true).await.map_err(|error| match error {
        ScheduleError::Unavailable(why) => LinkError::unavailable(why),
        other => LinkError::invalid(other.text()),
    })
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
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (shop, says) = self.open(link).await?;
        let (limits, manner) = (Limits::read(&says)?, Manner::read(&says)?);
        let owner = Owner::of(link);
        let caller = self.caller(link, manner);
        shop.put_caller(owner.clone(), LinkRole::Target, caller);
        let desk = Desk::new(shop.clone(), owner.clone(), limits);
        self.backends.put(link, Arc::new(desk));
        let put = Put {
            shop,
            owner,
            job: None,
            making: AtomicU64::default(),
            once: !manner.again,
            limits,
        };
        self.remember(link, put);
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (shop, says) = self.open(link).await?;
        let manner = Manner::read(&says)?;
        let job = own_job(&says)?;
        let making = shop.bucket.ledger().blank().making;
        let owner = Owner::of(link);
        let caller = self.caller(link, manner);
        let desk = unlimited(shop.clone(), link);
        let put = Put {
            shop: shop.clone(),
            owner: owner.clone(),
            job: job.clone(),
            making: AtomicU64::new(making),
            once: !manner.again,
            limits: Limits::OWN,
        };
        // First, so that the job goes again if this is broken off.
        self.remember(link, put);
        if let Some(job) = job
            && let Err(error) = put_own(&desk, job).await
        {
            self.forget(link);
            return Err(error);
        }
        shop.put_caller(owner, LinkRole::Source, caller);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
        self.forget(link);
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        let Some(put) = self.forget(link) else {
            return;
        };
        let Some(job) = &put.job else {
            return;
        };
        let desk = unlimited(put.shop.clone(), link);
        match desk.delete_same(job).await {
            Ok(()) | Err(ScheduleError::NoSuchJob) => {}
            Err(error) => {
                let (job, error) = (&job.name, error.text());
                tracing::warn!(%link, job, error, "the job of a link could not be deleted");
            }
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let put = self.of(link);
        // With copies, a list may come from one that is behind.
        let copies = put.as_ref().map(|put| put.shop.bucket.ledger().copies());
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
        let ledger = put.shop.bucket.ledger();
        let checked = ledger.check().await;
        checked.map_err(|e| LinkError::unavailable(chain(&e)))?;
        let making = ledger.blank().making;
        if let Some(job) = &put.job
            && put.making.load(Ordering::Relaxed) != making
        {
            put_own(&unlimited(put.shop.clone(), link), job.clone()).await?;
            put.making.store(making, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn shutdown(&self, until: Instant) {
        let links: Vec<_> = self.links.lock().values().map(Arc::clone).collect();
        let shut = links.iter().map(|put| put.shop.shut(until));
        futures::future::join_all(shut).await;
    }
}
