//! Components that the provider calls.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::wrpc::Server;
use lattice_rpc::{Context, Limiter, Peer, ServeOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bindings::exports::lattice::queue::handler;
use super::{Delivery, Outcome, PATIENCE, bindings};

/// What a handler is asked, and how it answers; dropping the answer is a trap.
pub type Asked = (Delivery, tokio::sync::oneshot::Sender<Outcome>);

/// A component whose handler is played by the test.
pub struct Handling {
    pub asked: mpsc::UnboundedReceiver<Asked>,
    served: JoinSet<()>,
}

impl Handling {
    pub(super) async fn start(peer: &Peer, id: &str) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let id = ComponentId::new(id).expect("a valid id");
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
            default_deadline: Duration::from_secs(5),
            longest_deadline: Duration::from_secs(600),
            relief: lattice_rpc::Relief::default(),
            takes: None,
        };
        let server = Server::new(peer.clone(), &LatticeName::default(), &id, options);
        let functions = bindings::serve(&server, Played(sender)).await;
        let mut served = JoinSet::new();
        for (_, _, mut calls) in functions.expect("subscriptions") {
            served.spawn(async move {
                let mut running = JoinSet::new();
                while let Some(call) = calls.next().await {
                    let call = call.expect("parameters");
                    running.spawn(async move { drop(call.await) });
                }
            });
        }
        peer.confirm(PATIENCE).await.expect("a connection");
        Self { asked, served }
    }

    /// The next message that is to be handled.
    pub async fn next(&mut self) -> Asked {
        let asked = tokio::time::timeout(PATIENCE, self.asked.recv()).await;
        asked.expect("asked in time").expect("served")
    }

    /// Whether nothing is asked for a while.
    pub async fn is_quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.asked.recv()).await.is_err()
    }
}

#[derive(Clone)]
struct Played(mpsc::UnboundedSender<Asked>);

impl handler::Handler<Context> for Played {
    async fn handle(
        &self,
        _cx: Context,
        _queue: String,
        delivery: Delivery,
    ) -> anyhow::Result<Outcome> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0.send((delivery, answer))?;
        Ok(answered.await?)
    }
}
