//! Answering through [`Serve`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::subject::RpcPrefix;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wrpc_transport::Serve;

use crate::error::RemoteError;
use crate::peer::Peer;
use crate::serve::{Context, IncomingCall, ServeHandle, ServeOptions};
use crate::wrpc::outgoing::Answer;
use crate::wrpc::{Incoming, Outgoing};

/// How long a caller may be quiet before its parameters are taken to be complete. Callers of this
/// kind, and stock ones, say when they are.
const QUIET: Duration = Duration::from_secs(1);

/// How many calls of one function may wait for generated code to take them.
const BACKLOG: usize = 256;

/// Serves the functions of one entity.
#[derive(Debug, Clone)]
pub struct Server {
    peer: Peer,
    prefix: RpcPrefix,
    options: ServeOptions,
    leaving: CancellationToken,
}

impl Server {
    /// Serves as `id` in `lattice`.
    pub fn new(peer: Peer, lattice: &LatticeName, id: &ComponentId, options: ServeOptions) -> Self {
        Self {
            peer,
            prefix: RpcPrefix::new(lattice, id),
            options,
            leaving: CancellationToken::new(),
        }
    }

    /// Leaves the queue groups when `leaving` is cancelled: the streams of calls end once what has
    /// arrived by then has been taken and answered.
    #[must_use]
    pub fn leaving(mut self, leaving: CancellationToken) -> Self {
        self.leaving = leaving;
        self
    }
}

impl Serve for Server {
    type Context = Context;
    type Outgoing = Outgoing;
    type Incoming = Incoming;

    async fn serve(
        &self,
        instance: &str,
        func: &str,
        _paths: impl Into<Arc<[Box<[Option<usize>]>]>> + Send,
    ) -> anyhow::Result<
        impl Stream<Item = anyhow::Result<(Self::Context, Self::Outgoing, Self::Incoming)>>
        + Send
        + 'static,
    > {
        let subject = self.prefix.invocation(instance, func);
        let (ready, taken) = mpsc::channel(BACKLOG);
        let handle = self
            .peer
            .serve(
                &subject,
                self.prefix.queue_group(),
                self.options.clone(),
                move |call| hand_over(call, ready.clone()),
            )
            .await?;
        let calls = Calls {
            taken,
            handle,
            leaving: Some(self.leaving.clone()),
        };
        Ok(futures::stream::unfold(calls, next))
    }
}

type Ready = (Context, Outgoing, Incoming, Hold);

/// Tells the serving side that generated code has let go of the call.
type Hold = tokio::sync::oneshot::Sender<()>;

/// The calls of one function; dropping it stops serving at once.
struct Calls {
    taken: mpsc::Receiver<Ready>,
    handle: ServeHandle,
    /// Gone once the queue group has been left.
    leaving: Option<CancellationToken>,
}

async fn next(mut calls: Calls) -> Option<(anyhow::Result<(Context, Outgoing, Incoming)>, Calls)> {
    loop {
        let leaving = calls.leaving.clone().unwrap_or_default();
        tokio::select! {
            ready = calls.taken.recv() => {
                let (context, outgoing, incoming, hold) = ready?;
                return Some((Ok((context, outgoing.holding(hold), incoming)), calls));
            }
            () = leaving.cancelled() => {
                calls.handle.leave();
                calls.leaving = None;
            }
        }
    }
}

/// Collects the parameters, so that generated code, which takes calls one after the other, never
/// waits for a caller; then stays until the call is answered, so that its permit, deadline and
/// cancellation apply.
async fn hand_over(call: IncomingCall, ready: mpsc::Sender<Ready>) {
    let Some(taken) = Taken::new(call).await else {
        return;
    };
    let (hold, released) = tokio::sync::oneshot::channel();
    let parts = (taken.context, taken.outgoing, taken.incoming, hold);
    if ready.send(parts).await.is_err() {
        let error = RemoteError::new(RemoteError::STOPPING, "the called side stops");
        taken.refusal.send(error).await;
        return;
    }
    // Resolves when every part of the answer has been dropped.
    let _ = released.await;
}

/// A call whose parameters are all there, in the parts that generated code takes.
#[derive(Debug)]
pub struct Taken {
    /// Who calls, how, and until when.
    pub context: Context,
    /// The parameters, not decoded.
    pub params: Bytes,
    /// What generated code reads the parameters from.
    pub incoming: Incoming,
    /// What it writes the answer to.
    pub outgoing: Outgoing,
    /// What is left to say when it does not answer.
    pub refusal: Refusal,
}

impl Taken {
    /// Waits for the parameters; `None` when they did not come, which the caller has been told.
    pub async fn new(call: IncomingCall) -> Option<Self> {
        let IncomingCall {
            context,
            mut params,
            responder,
            ..
        } = call;
        let answer = Arc::new(Answer::new(responder));
        let refusal = Refusal(Arc::clone(&answer));
        let all = match params.all(QUIET).await {
            Ok(all) => all,
            Err(error) => {
                refusal.send(error.refusal()).await;
                return None;
            }
        };
        let inbound = Arc::clone(params.inbound());
        Some(Self {
            incoming: Incoming::params(inbound, all.clone(), context.deadline),
            outgoing: Outgoing::answer(answer),
            params: all,
            context,
            refusal,
        })
    }
}

/// Fails a call that generated code has let go of.
#[derive(Debug)]
pub struct Refusal(Arc<Answer>);

impl Refusal {
    /// Tells the caller of the error, unless the call has been answered.
    pub async fn send(self, error: RemoteError) {
        if let Err(error) = self.0.fail(error).await {
            tracing::debug!(%error, "could not refuse a call");
        }
    }
}
