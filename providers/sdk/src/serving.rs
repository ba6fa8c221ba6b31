//! Bindings made by `wit-bindgen-wrpc`, and how a provider runs them.
//!
//! Generated code takes the calls of a function from a stream and makes a future of each. The
//! stream here is fed and polled by the call itself: everything of a call, decoding, work and
//! answer, runs in the one task that [`Peer::serve`](lattice_rpc::Peer::serve) gives it. So it
//! ends with its deadline, its caller's patience and its provider, and is handed to nobody.

mod checks;
#[cfg(feature = "wit")]
mod wit;

use std::any::{Any, TypeId};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use lattice_core::subject::RpcPrefix;
use lattice_core::values::Plain;
use lattice_rpc::wrpc::{Incoming, Outgoing, Taken};
use lattice_rpc::{
    CallError, ConnectError, Context, IncomingCall, Nobody, Params, Peer, RemoteError, Responder,
    ServeHandle, ServeOptions, Value, Watching,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use wrpc_transport::Serve;

use crate::complaint;
use crate::error::ServeError;
use crate::session::Session;
use crate::wire::Wire;

pub use checks::Check;

use checks::{Checks, Looks};

type Call = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The calls of one function, as bindings made by `wit-bindgen-wrpc` take them in.
pub type Invocations = Pin<Box<dyn Stream<Item = anyhow::Result<Call>> + Send>>;

/// Owns what a provider serves.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    handles: Mutex<Vec<ServeHandle>>,
    /// Kept while anything is served.
    relief: OnceCell<Watching>,
}

impl Serving {
    pub(crate) fn keep(&self, handle: ServeHandle) {
        self.handles.lock().push(handle);
    }

    /// Lets other copies of the provider take calls that would wait for long here. Those of 1.9 are
    /// not looked for, which only a host could tell of.
    pub(crate) async fn relieve(
        &self,
        peer: &Peer,
        prefix: &RpcPrefix,
        options: &ServeOptions,
    ) -> Result<(), ConnectError> {
        let limiter = Arc::clone(&options.limiter);
        let watch = || {
            let relief = &options.relief;
            relief.watch(peer, prefix, limiter, Arc::new(Nobody))
        };
        self.relief.get_or_try_init(watch).await?;
        Ok(())
    }

    /// Stops taking calls, answers those that have arrived, and ends by `until` at the latest.
    pub(crate) async fn drain(&self, until: Instant) {
        if let Some(relief) = self.relief.get() {
            relief.end(until).await;
        }
        let handles = std::mem::take(&mut *self.handles.lock());
        futures::future::join_all(handles.into_iter().map(|h| h.drain(until))).await;
    }
}

type Parts = (Context, Outgoing, Incoming);

/// Where generated code finds the next call of a function.
type Slot = Arc<Mutex<Option<Parts>>>;

/// Answers callers in this process without decoding and encoding.
#[derive(Clone)]
struct Lane {
    takes: TypeId,
    /// Is told how long texts and lists may be, too.
    handler: Arc<dyn Fn(Context, Value, u64) -> Option<Answering> + Send + Sync>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Value, RemoteError>> + Send>>;

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lane {
    /// Has a handler answer that has types of its own for what is handed over.
    #[allow(dead_code, reason = "used by the capabilities that are chosen")]
    fn of<Q, A, F>(handler: Arc<impl Fn(Context, Q) -> F + Send + Sync + 'static>) -> Self
    where
        Q: Wire + Plain,
        A: Plain,
        F: Future<Output = anyhow::Result<A>> + Send + 'static,
    {
        Self {
            takes: TypeId::of::<Q::Plain>(),
            handler: Arc::new(move |context, value, longest| {
                let given = Q::from_plain(*value.downcast::<Q::Plain>().ok()?);
                if let Err(error) = given.fits(longest) {
                    // As it would be where it stands on the wire.
                    let refusal = CallError::from(error).refusal();
                    let refused: Answering = Box::pin(async move { Err::<Value, _>(refusal) });
                    return Some(refused);
                }
                let answer = handler(context, given);
                Some(Box::pin(async move {
                    let handed = |answer: A| Box::new(answer.into_plain()) as Value;
                    answer.await.map(handed).map_err(failure)
                }))
            }),
        }
    }
}

/// What a caller is told of a call that failed as such.
fn failure(error: anyhow::Error) -> RemoteError {
    RemoteError::new(RemoteError::FAILED, format!("{error:#}"))
}

/// Answers callers of any kind in place of generated code.
#[derive(Clone)]
struct Direct(Arc<dyn Fn(Context, Params, Responder) -> Answered + Send + Sync>);

/// A call that is being answered; what it failed with, if it did.
type Answered = Pin<Box<dyn Future<Output = Option<RemoteError>> + Send>>;

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

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
    checks: Checks,
    lanes: Vec<(&'static str, &'static str, Lane)>,
    directs: Vec<(&'static str, &'static str, Direct)>,
    untold: Vec<(&'static str, &'static str, Duration)>,
}

impl Server {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            wanted: Mutex::default(),
            checks: Checks::default(),
            lanes: Vec::new(),
            directs: Vec::new(),
            untold: Vec::new(),
        }
    }

    /// Has a function answered by `handler` in place of generated code, with parameters that are
    /// decoded all at once, and handed over as they are by callers in this process. The function is
    /// named as in the WIT package.
    #[allow(dead_code, reason = "used by the capabilities that are chosen")]
    pub(crate) fn answering<Q, A, F>(
        mut self,
        instance: &'static str,
        function: &'static str,
        handler: impl Fn(Context, Q) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Wire + Plain,
        A: Wire + Plain,
        F: Future<Output = anyhow::Result<A>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let lane = Lane::of(Arc::clone(&handler));
        self.lanes.push((instance, function, lane));
        let direct = Direct(Arc::new(move |context, params, responder| {
            let handler = Arc::clone(&handler);
            Box::pin(decoded(handler, context, params, responder))
        }));
        self.directs.push((instance, function, direct));
        self
    }

    /// Gives the calls of a function this time whose callers tell no deadline, in place of the
    /// [default](Session::default_deadline). The function is named as in the WIT package.
    #[allow(dead_code, reason = "used by the capabilities that are chosen")]
    pub(crate) fn untold(
        mut self,
        instance: &'static str,
        function: &'static str,
        time: Duration,
    ) -> Self {
        self.untold.push((instance, function, time));
        self
    }

    /// Has callers in this process answered by `handler`, with values as they are, where they call
    /// with a `Q`, however long its texts and lists are. The function is named as in the WIT package.
    ///
    /// Components call functions that hosts know with a tuple of the types of
    /// [`lattice_core::values`] and [`lattice_core::keyvalue`], and take an answer of such: most often
    /// a [`Result`]. What is answered with another type fails.
    #[must_use]
    pub fn lane<Q, A, F>(
        mut self,
        instance: &'static str,
        function: &'static str,
        handler: impl Fn(Context, Q) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Any + Send,
        A: Any + Send,
        F: Future<Output = A> + Send + 'static,
    {
        let lane = Lane {
            takes: TypeId::of::<Q>(),
            handler: Arc::new(move |context, value, _| {
                let answer = handler(context, *value.downcast::<Q>().ok()?);
                Some(Box::pin(async move {
                    let answer: Value = Box::new(answer.await);
                    Ok(answer)
                }))
            }),
        };
        self.lanes.push((instance, function, lane));
        self
    }

    /// Takes calls for what the bindings returned, until the provider stops.
    ///
    /// # Errors
    ///
    /// [`ServeError::Subscribe`] when NATS refuses, [`ServeError::Unknown`] for a function, or a check, that
    /// the bindings do not have. After `checked_by` also [`ServeError::NotInWit`] for a function that stands
    /// in no text, [`ServeError::Type`] for one with a type that does not travel, and [`ServeError::Flags`]
    /// for one whose answers nobody could read.
    pub async fn drive(
        &self,
        functions: impl IntoIterator<Item = (&'static str, &'static str, Invocations)>,
    ) -> Result<(), ServeError> {
        let functions: Vec<_> = functions.into_iter().collect();
        let names: Vec<_> = functions.iter().map(|(of, name, _)| (*of, *name)).collect();
        let looks = self.checks.of_all(&names)?;
        for ((instance, name, bindings), looks) in functions.into_iter().zip(looks) {
            // On the wire, `[method]thing.get` is `thing.get`.
            let on_wire = name.split_once(']').map_or(name, |(_, name)| name);
            let slot = self.take(instance, on_wire)?;
            let mut lanes = self.lanes.iter();
            let lane = lanes.find(|(of, function, _)| (*of, *function) == (instance, name));
            let lane = lane.map(|(_, _, lane)| lane.clone());
            let takes = lane.as_ref().map(|lane| lane.takes);
            let mut directs = self.directs.iter();
            let direct = directs.find(|(of, function, _)| (*of, *function) == (instance, name));
            let direct = direct.map(|(_, _, direct)| direct.clone());
            let function = Arc::new(Function {
                instance,
                name,
                slot,
                looks,
                lane,
                direct,
                bindings: tokio::sync::Mutex::new(Some(bindings)),
            });
            let handler = move |call| Arc::clone(&function).answer(call);
            let options = self.options((instance, name), takes);
            self.session
                .serve_with(options, instance, on_wire, handler)
                .await?;
        }
        Ok(())
    }

    /// How a function is served.
    fn options(&self, wanted: (&str, &str), takes: Option<TypeId>) -> ServeOptions {
        let shared = self.session.serve_options();
        let mut untold = self.untold.iter();
        let untold = untold.find(|(of, name, _)| (*of, *name) == wanted);
        ServeOptions {
            takes,
            default_deadline: untold.map_or(shared.default_deadline, |(_, _, time)| *time),
            ..shared
        }
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
    looks: Looks,
    lane: Option<Lane>,
    direct: Option<Direct>,
    /// Held while the parameters of one call are decoded; gone when they have failed to take one.
    bindings: tokio::sync::Mutex<Option<Invocations>>,
}

impl Function {
    async fn answer(self: Arc<Self>, mut call: IncomingCall) {
        if let Some(value) = call.params.take() {
            let longest = call.params.longest();
            let answered = self.answer_here(call.context, value, longest, call.responder);
            return answered.await;
        }
        if let Some(Direct(answer)) = &self.direct {
            let answered = answer(call.context, call.params, call.responder);
            if let Some(error) = answered.await {
                self.failed(&error);
            }
            return;
        }
        let Some(taken) = Taken::new(call).await else {
            return;
        };
        let checked = self.looks.at(taken.params);
        let parts = (taken.context, taken.outgoing, taken.incoming);
        let begun = match checked {
            Ok(()) => self.begin(parts).await,
            Err(error) => Some(Err(error.into())),
        };
        let (code, error) = match begun {
            Some(Ok(call)) => match call.await {
                Ok(()) => return,
                Err(error) => (RemoteError::FAILED, error),
            },
            Some(Err(error)) => (RemoteError::BAD_REQUEST, error),
            None => (
                RemoteError::FAILED,
                anyhow::anyhow!("the bindings of this function have stopped taking calls"),
            ),
        };
        let error = RemoteError::new(code, format!("{error:#}"));
        self.failed(&error);
        taken.refusal.send(error).await;
    }

    /// Answers a caller in this process with values as they are.
    async fn answer_here(
        &self,
        context: Context,
        value: Value,
        longest: u64,
        responder: Responder,
    ) {
        let Some(lane) = &self.lane else { return };
        // A value that is not the lane's leaves the call without an answer, which is told.
        let Some(answer) = (lane.handler)(context, value, longest) else {
            return;
        };
        let error = match answer.await {
            Ok(answer) => return responder.give(answer),
            Err(error) => error,
        };
        self.failed(&error);
        if let Err(error) = responder.fail(error).await {
            tracing::debug!(%error, "could not answer a call");
        }
    }

    fn failed(&self, error: &RemoteError) {
        let (instance, function) = (self.instance, self.name);
        lattice_telemetry::failed(&error.code);
        if let Some(untold) = complaint::turn(&(instance, function)) {
            let error = complaint::clipped(&error.message);
            tracing::warn!(instance, function, error, untold, "a call failed");
        }
    }

    /// Has the bindings decode the parameters, which are all there, so that nothing is waited for.
    ///
    /// Bindings that do not take a call at once would answer it in place of a later one, so they
    /// are given up.
    async fn begin(&self, parts: Parts) -> Option<anyhow::Result<Call>> {
        let mut bindings = self.bindings.lock().await;
        let taking = bindings.as_mut()?;
        *self.slot.lock() = Some(parts);
        let call = taking.next().now_or_never().flatten();
        if call.is_none() {
            *bindings = None;
            self.slot.lock().take();
        }
        call
    }
}

/// Decodes the parameters of a call, has it answered, and encodes the answer.
async fn decoded<Q, A, F>(
    handler: Arc<impl Fn(Context, Q) -> F + Send + Sync + 'static>,
    context: Context,
    mut params: Params,
    responder: Responder,
) -> Option<RemoteError>
where
    Q: Wire,
    A: Wire,
    F: Future<Output = anyhow::Result<A>> + Send + 'static,
{
    let read = params.decode(Q::decode).await;
    let answer = match read {
        Ok(read) => {
            let answer = handler(context, read).await;
            answer.map_err(failure)
        }
        Err(error) => Err(error.refusal()),
    };
    let (sent, failed) = match answer {
        Ok(answer) => {
            let mut out = bytes::BytesMut::new();
            answer.encode(&mut out);
            (responder.reply(out.freeze()).await, None)
        }
        Err(error) => (responder.fail(error.clone()).await, Some(error)),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "could not answer a call");
    }
    failed
}
