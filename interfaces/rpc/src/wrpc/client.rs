//! Calling through [`Invoke`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::subject::RpcPrefix;
use lattice_core::{Locality, RoadCounts, TraceContext};
use tokio::sync::Mutex;
use tokio::time::Instant;
use wrpc_transport::Invoke;

use crate::call::Invocation;
use crate::peer::Peer;
use crate::wrpc::{Incoming, Outgoing};

/// What one call through a [`Client`] adds to it.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// The name of the link in use, if it is not `default`.
    pub link_name: Option<String>,
    /// When the answer has to be there; the client's own limit applies where none is given.
    pub deadline: Option<Instant>,
    /// Trace context to pass on.
    pub trace: Option<TraceContext>,
}

impl CallContext {
    /// A call through the link of this name, with nothing else to say.
    pub fn through(link_name: impl Into<String>) -> Self {
        Self {
            link_name: Some(link_name.into()),
            ..Self::default()
        }
    }
}

/// Calls the functions of one target in the name of one source.
#[derive(Debug, Clone)]
pub struct Client {
    peer: Peer,
    prefix: RpcPrefix,
    source: ComponentId,
    target: ComponentId,
    timeout: Duration,
    locality: Locality,
    roads: Option<Arc<RoadCounts>>,
}

impl Client {
    /// Calls `target` in `lattice` in the name of `source`. Calls without a deadline of their own
    /// end after `timeout`.
    pub fn new(
        peer: Peer,
        lattice: &LatticeName,
        source: ComponentId,
        target: ComponentId,
        timeout: Duration,
    ) -> Self {
        Self {
            peer,
            prefix: RpcPrefix::new(lattice, &target),
            source,
            target,
            timeout,
            locality: Locality::default(),
            roads: None,
        }
    }

    /// Keeps to the roads that a link allows, and has those counted that calls take.
    #[must_use]
    pub fn by(mut self, locality: Locality, roads: Arc<RoadCounts>) -> Self {
        (self.locality, self.roads) = (locality, Some(roads));
        self
    }
}

impl Invoke for Client {
    type Context = CallContext;
    type Outgoing = Outgoing;
    type Incoming = Incoming;

    async fn invoke<P>(
        &self,
        cx: Self::Context,
        instance: &str,
        func: &str,
        params: Bytes,
        _paths: impl AsRef<[P]> + Send,
    ) -> anyhow::Result<(Self::Outgoing, Self::Incoming)>
    where
        P: AsRef<[Option<usize>]> + Send + Sync,
    {
        let subject = self.prefix.invocation(instance, func);
        let deadline = cx.deadline.unwrap_or_else(|| Instant::now() + self.timeout);
        let invocation = Invocation::new(subject, deadline)
            .source(self.source.as_str())
            .target(self.target.as_str())
            .of_function(func)
            .link_name(cx.link_name.as_deref().unwrap_or("default"))
            .trace(cx.trace.as_ref())
            .locality(self.locality);
        let invocation = match &self.roads {
            Some(roads) => invocation.roads(Arc::clone(roads)),
            None => invocation,
        };
        let call = self.peer.start(invocation, params, &[]).await?;
        let guard = Arc::clone(call.guard());
        let call = Arc::new(Mutex::new(call));
        Ok((
            Outgoing::params(Arc::clone(&guard), deadline),
            Incoming::results(guard, call, deadline),
        ))
    }
}
