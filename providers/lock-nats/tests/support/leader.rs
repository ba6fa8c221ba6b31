//! A component that wants to lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::wrpc::Server;
use lattice_rpc::{Context, Limiter, Peer, ServeOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bindings::exports::lattice::lock::leader;
use super::component::Lease;
use super::{PATIENCE, bindings};

/// What a component was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Elected(Lease),
    Lost(String, u64),
}

/// Takes down what a component is told.
pub struct Leader {
    told: mpsc::UnboundedReceiver<Told>,
    /// Whether elections are declined.
    pub declines: Arc<AtomicBool>,
    /// Whether it does not answer when it is told that it has lost.
    pub is_deaf: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Leader {
    pub async fn start(peer: &Peer, id: &str) -> Self {
        let limiter = Limiter::new(100, 100, Duration::from_secs(1));
        Self::serve(peer, id, Arc::new(limiter)).await
    }

    /// One that has no room for any call.
    pub async fn start_full(peer: &Peer, id: &str) -> Self {
        let limiter = Arc::new(Limiter::new(1, 0, Duration::from_secs(1)));
        let permit = limiter.acquire(Instant::now() + PATIENCE).await.unwrap();
        let mut leader = Self::serve(peer, id, limiter).await;
        leader.tasks.spawn(async move {
            let _permit = permit;
            std::future::pending::<()>().await;
        });
        leader
    }

    async fn serve(peer: &Peer, id: &str, limiter: Arc<Limiter>) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let declines = Arc::new(AtomicBool::new(false));
        let id = ComponentId::new(id).unwrap();
        let server = Server::new(peer.clone(), &LatticeName::default(), &id, options(limiter));
        let is_deaf = Arc::new(AtomicBool::new(false));
        let exported = Exported(sender, Arc::clone(&declines), Arc::clone(&is_deaf));
        let functions = bindings::serve(&server, exported).await.unwrap();
        let mut served = JoinSet::new();
        for (_, _, mut calls) in functions {
            served.spawn(async move {
                while let Some(call) = calls.next().await {
                    call.unwrap().await.unwrap();
                }
            });
        }
        peer.confirm(PATIENCE).await.unwrap();
        Self {
            told,
            declines,
            is_deaf,
            tasks: served,
        }
    }

    async fn next(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.unwrap().unwrap()
    }

    /// Waits until it is elected.
    pub async fn elected(&mut self) -> Lease {
        match self.next().await {
            Told::Elected(lease) => lease,
            other => panic!("expected to be elected, was told {other:?}"),
        }
    }

    /// Waits until it has lost; gives the fence of the office.
    pub async fn lost(&mut self) -> u64 {
        match self.next().await {
            Told::Lost(_, fence) => fence,
            other => panic!("expected to lose, was told {other:?}"),
        }
    }
}

fn options(limiter: Arc<Limiter>) -> ServeOptions {
    ServeOptions {
        limiter,
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
        relief: lattice_rpc::Relief::default(),
        takes: None,
    }
}

#[derive(Clone)]
struct Exported(
    mpsc::UnboundedSender<Told>,
    Arc<AtomicBool>,
    Arc<AtomicBool>,
);

impl leader::Handler<Context> for Exported {
    async fn on_elected(&self, _cx: Context, lease: Lease) -> anyhow::Result<Result<(), String>> {
        let declines = self.1.load(Ordering::Relaxed);
        self.0.send(Told::Elected(lease))?;
        Ok(match declines {
            true => Err("not me".to_owned()),
            false => Ok(()),
        })
    }

    async fn on_lost(&self, _cx: Context, name: String, fence: u64) -> anyhow::Result<()> {
        if self.2.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(self.0.send(Told::Lost(name, fence))?)
    }
}
