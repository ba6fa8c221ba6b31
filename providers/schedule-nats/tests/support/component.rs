//! A component that has jobs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::wrpc::{CallContext, Client, Server};
use lattice_rpc::{Context, Limiter, Peer, ServeOptions};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bindings::exports::lattice::schedule::handler;
use super::bindings::lattice::schedule::scheduler;
pub use super::bindings::lattice::schedule::types::{Error, Job, Trigger};
use super::{PATIENCE, bindings};

/// Calls a provider through one link. A call that fails as such, rather than with an error of the
/// interface, panics.
#[derive(Clone)]
pub struct Component {
    client: Client,
    link_name: String,
}

impl Component {
    pub fn new(peer: &Peer, provider: &ComponentId, id: &str, link_name: &str) -> Self {
        let id = ComponentId::new(id).unwrap();
        let lattice = LatticeName::default();
        Self {
            client: Client::new(peer.clone(), &lattice, id, provider.clone(), PATIENCE),
            link_name: link_name.to_owned(),
        }
    }

    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    pub async fn put(&self, name: &str, trigger: Trigger) -> Result<(), Error> {
        let payload = Bytes::copy_from_slice(name.as_bytes());
        let job = Job {
            name: name.to_owned(),
            trigger,
            time_zone: None,
            payload,
        };
        self.put_job(&job).await
    }

    pub async fn put_job(&self, job: &Job) -> Result<(), Error> {
        scheduler::put_job(&self.client, self.cx(), job)
            .await
            .unwrap()
    }

    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        scheduler::delete_job(&self.client, self.cx(), name)
            .await
            .unwrap()
    }

    pub async fn list(&self) -> Result<Vec<Job>, Error> {
        scheduler::list_jobs(&self.client, self.cx()).await.unwrap()
    }

    pub async fn names(&self) -> Vec<String> {
        let jobs = self.list().await.unwrap();
        jobs.into_iter().map(|job| job.name).collect()
    }
}

/// What a component was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    pub job: String,
    pub due_ms: u64,
    pub missed: u32,
    pub payload: Bytes,
}

/// What the handler does with the ticks to come; it is done with the others at once.
type Plans = Arc<Mutex<Vec<Plan>>>;

#[derive(Debug, Clone)]
pub enum Plan {
    Fail(&'static str),
    Trap,
    Take(Duration),
}

/// Takes down what a component is told.
pub struct Listening {
    told: mpsc::UnboundedReceiver<Tick>,
    /// The first is for the next tick.
    pub plans: Plans,
    _served: JoinSet<()>,
}

impl Listening {
    pub async fn start(peer: &Peer, id: &str) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let plans = Plans::default();
        let id = ComponentId::new(id).unwrap();
        let server = Server::new(peer.clone(), &LatticeName::default(), &id, options());
        let exported = Exported(sender, Arc::clone(&plans));
        let functions = bindings::serve(&server, exported).await.unwrap();
        let mut served = JoinSet::new();
        for (_, _, mut calls) in functions {
            served.spawn(async move {
                let mut under_way = JoinSet::new();
                while let Some(call) = calls.next().await {
                    under_way.spawn(async move {
                        // One that traps is an error here too.
                        let _ = call.unwrap().await;
                    });
                }
            });
        }
        peer.confirm(PATIENCE).await.unwrap();
        Self {
            told,
            plans,
            _served: served,
        }
    }

    /// Waits for the next tick.
    pub async fn tick(&mut self) -> Tick {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.unwrap().unwrap()
    }

    /// All ticks that come within some time.
    pub async fn within(&mut self, time: Duration) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let all = async {
            while let Some(tick) = self.told.recv().await {
                ticks.push(tick);
            }
        };
        let _ = tokio::time::timeout(time, all).await;
        ticks
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        limiter: Arc::new(Limiter::new(100, 100, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
        relief: lattice_rpc::Relief::default(),
        takes: None,
    }
}

#[derive(Clone)]
struct Exported(mpsc::UnboundedSender<Tick>, Plans);

impl handler::Handler<Context> for Exported {
    async fn on_tick(
        &self,
        _cx: Context,
        job: String,
        due_ms: u64,
        missed: u32,
        payload: Bytes,
    ) -> anyhow::Result<Result<(), String>> {
        let plan = {
            let mut plans = self.1.lock();
            (!plans.is_empty()).then(|| plans.remove(0))
        };
        self.0.send(Tick {
            job,
            due_ms,
            missed,
            payload,
        })?;
        match plan {
            None => Ok(Ok(())),
            Some(Plan::Fail(why)) => Ok(Err(why.to_owned())),
            Some(Plan::Trap) => anyhow::bail!("a trap"),
            Some(Plan::Take(time)) => {
                tokio::time::sleep(time).await;
                Ok(Ok(()))
            }
        }
    }
}
