//! Bindings made by `wit-bindgen-wrpc`, and how a provider runs them.
//!
//! Generated code takes the calls of a function from a stream and makes a future of each. The
//! stream here is fed and polled by the call itself: everything of a call, decoding, work and
//! answer, runs in the one task that [`Peer::serve`](lattice_rpc::Peer::serve) gives it. So it
//! ends with its deadline, its caller's patience and its provider, and is handed to nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::{FutureExt as _, Stream, StreamExt as _};
use lattice_codec::{DecodeError, Reader};
use lattice_rpc::wrpc::{Incoming, Outgoing, Taken};
use lattice_rpc::{Context, IncomingCall, RemoteError, ServeHandle};
use parking_lot::Mutex;
use tokio::time::Instant;
use wrpc_transport::Serve;

use crate::error::ServeError;
use crate::session::Session;

type Call = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The calls of one function, as bindings made by `wit-bindgen-wrpc` take them in.
pub type Invocations = Pin<Box<dyn Stream<Item = anyhow::Result<Call>> + Send>>;

/// Looks at the parameters of a call before generated code decodes them.
///
/// The generated decoder of a list of records or tuples makes room for as many items as the
/// caller claims to send. A function with such a parameter checks the claim here first, as
/// [`Reader::count`] does.
pub type Check = fn(&mut Reader) -> Result<(), DecodeError>;

/// Owns what a provider serves.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    handles: Mutex<Vec<ServeHandle>>,
}

impl Serving {
    pub(crate) fn keep(&self, handle: ServeHandle) {
        self.handles.lock().push(handle);
    }

    /// Stops taking calls, answers those that have arrived, and ends by `until` at the latest.
    pub(crate) async fn drain(&self, until: Instant) {
        let handles = std::mem::take(&mut *self.handles.lock());
        futures::future::join_all(handles.into_iter().map(|h| h.drain(until))).await;
    }
}

type Parts = (Context, Outgoing, Incoming);

/// Where generated code finds the next call of a function.
type Slot = Arc<Mutex<Option<Parts>>>;

/// A function that generated code wants to serve.
#[derive(Debug)]
struct Wanted {
    instance: String,
    function: String,
    slot: Slot,
}

/// What bindings made by `wit-bindgen-wrpc` are served on; see [`Session::server`].
#[derive(Debug)]
pub struct Server {
    session: Session,
    wanted: Mutex<Vec<Wanted>>,
    checks: Vec<(&'static str, Check)>,
}

impl Server {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            wanted: Mutex::default(),
            checks: Vec::new(),
        }
    }

    /// Has `check` look at the parameters of a function, which is named as in the WIT package.
    #[must_use]
    pub fn checking(mut self, function: &'static str, check: Check) -> Self {
        self.checks.push((function, check));
        self
    }

    /// Takes calls for what the bindings returned, until the provider stops.
    ///
    /// # Errors
    ///
    /// [`ServeError::Subscribe`] when NATS refuses, [`ServeError::Unknown`] for a function of
    /// other bindings.
    pub async fn drive(
        &self,
        functions: impl IntoIterator<Item = (&'static str, &'static str, Invocations)>,
    ) -> Result<(), ServeError> {
        for (instance, name, bindings) in functions {
            // On the wire, `[method]thing.get` is `thing.get`.
            let on_wire = name.split_once(']').map_or(name, |(_, name)| name);
            let slot = self.take(instance, on_wire)?;
            let check = self.checks.iter().find(|(of, _)| *of == name);
            let function = Arc::new(Function {
                instance,
                name,
                slot,
                check: check.map(|(_, check)| *check),
                bindings: tokio::sync::Mutex::new(bindings),
            });
            let handler = move |call| Arc::clone(&function).answer(call);
            self.session.serve(instance, on_wire, handler).await?;
        }
        Ok(())
    }

    fn take(&self, instance: &str, function: &str) -> Result<Slot, ServeError> {
        let mut wanted = self.wanted.lock();
        let at = wanted
            .iter()
            .position(|known| known.instance == instance && known.function == function);
        match at {
            Some(at) => Ok(wanted.swap_remove(at).slot),
            None => Err(ServeError::Unknown {
                instance: instance.to_owned(),
                function: function.to_owned(),
            }),
        }
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
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Parts>> + Send + 'static> {
        let slot = Slot::default();
        self.wanted.lock().push(Wanted {
            instance: instance.to_owned(),
            function: func.to_owned(),
            slot: Arc::clone(&slot),
        });
        // Whoever puts a call into the slot polls next, so nobody has to be woken.
        Ok(futures::stream::poll_fn(move |_| {
            match slot.lock().take() {
                Some(parts) => Poll::Ready(Some(Ok(parts))),
                None => Poll::Pending,
            }
        }))
    }
}

/// One function that generated code serves.
struct Function {
    instance: &'static str,
    name: &'static str,
    slot: Slot,
    check: Option<Check>,
    /// Held while the parameters of one call are decoded.
    bindings: tokio::sync::Mutex<Invocations>,
}

impl Function {
    async fn answer(self: Arc<Self>, call: IncomingCall) {
        let Some(taken) = Taken::new(call).await else {
            return;
        };
        let checked = match self.check {
            Some(check) => check(&mut Reader::new(taken.params)),
            None => Ok(()),
        };
        let parts = (taken.context, taken.outgoing, taken.incoming);
        let begun = match checked {
            Ok(()) => self.begin(parts).await,
            Err(error) => Err(error.into()),
        };
        let (code, error) = match begun {
            Ok(call) => match call.await {
                Ok(()) => return,
                Err(error) => (RemoteError::FAILED, error),
            },
            Err(error) => (RemoteError::BAD_REQUEST, error),
        };
        let (instance, function) = (self.instance, self.name);
        let why = format!("{error:#}");
        tracing::warn!(instance, function, error = why, "a call failed");
        taken.refusal.send(RemoteError::new(code, why)).await;
    }

    /// Has the bindings decode the parameters, which are all there, so that nothing is waited for.
    async fn begin(&self, parts: Parts) -> anyhow::Result<Call> {
        let mut bindings = self.bindings.lock().await;
        *self.slot.lock() = Some(parts);
        match bindings.next().now_or_never() {
            Some(Some(call)) => call,
            _ => anyhow::bail!("the bindings did not take the call"),
        }
    }
}
