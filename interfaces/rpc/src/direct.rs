//! Calls that stay in their process: whoever makes one runs it.
//!
//! Where a function is served by a peer on the same [`Switchboard`](crate::Switchboard), nothing is
//! encoded that was not encoded before, no slot is taken and no message passed: the caller polls
//! the handler. What the callee promises holds as on the other roads: a call waits for its turn,
//! ends by its deadline, is counted, drained and cut off with the others of its function, and its
//! panic ends nothing but itself. To give it up is to drop it.

use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::Subject;
use bytes::Bytes;
use http_body::Body;
use lattice_codec::http::ErrorCode;
use lattice_core::Locality;
use lattice_core::road::{Road, Why};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::call::Invocation;
use crate::detour::Detour;
use crate::error::{CallError, RemoteError};
use crate::http::{HttpError, IncomingBody, OutgoingBody};
use crate::local::TakeIn;
use crate::peer::Peer;
use crate::start::{LONG, Spawner};

/// What a call is made with.
#[derive(Debug)]
pub(crate) enum Given {
    /// Encoded parameters, all of them.
    Params(Bytes),
    /// A value as it is, for a function that takes such.
    Value(Value),
}

/// Parameters or results as they are.
pub type Value = Box<dyn Any + Send>;

/// A request as it is handed over within the process.
pub(crate) type RequestHere = http::Request<IncomingBody>;

/// What is answered to a request.
pub(crate) type HttpAnswer = Result<http::Response<IncomingBody>, ErrorCode>;

/// How a call has ended.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Encoded results.
    Results(Bytes),
    /// A value as it is.
    Value(Value),
    Failed(RemoteError),
    /// It has not begun: there is no turn here, and room at a place.
    Elsewhere {
        given: Given,
        place: Subject,
    },
}

/// What became of a call that was made here.
pub(crate) enum Here<T, G> {
    Done(T),
    /// It is to be made with the same at a place.
    Elsewhere(G, Subject),
}

impl Answered {
    pub(crate) fn unanswered() -> Self {
        Self::Failed(RemoteError::unanswered())
    }

    /// The response, if it is one.
    pub(crate) fn response(&mut self) -> Option<&mut http::Response<IncomingBody>> {
        let Self::Value(value) = self else {
            return None;
        };
        value.downcast_mut::<HttpAnswer>()?.as_mut().ok()
    }
}

/// Where the handler leaves its answer.
#[derive(Debug, Default)]
pub(crate) struct Place(Mutex<Option<Answered>>);

impl Place {
    pub(crate) fn put(&self, answer: Answered) {
        *self.0.lock() = Some(answer);
    }

    pub(crate) fn take(&self) -> Answered {
        let answer = self.0.lock().take();
        answer.unwrap_or_else(Answered::unanswered)
    }
}

type Work = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// A call that runs as long as it is polled. One that keeps its thread for long moves to the
/// threads for such, and is waited for.
pub(crate) struct Running {
    work: Result<Work, AbortOnDropHandle<Answered>>,
    spawner: Spawner,
    /// Told of the first poll.
    detour: Option<Arc<Detour>>,
}

impl Running {
    /// Begins where it is polled, unless calls of its function had better begin elsewhere.
    pub(crate) fn new(work: Work, spawner: Spawner, detour: &Arc<Detour>) -> Self {
        let mut running = Self {
            work: Ok(work),
            spawner,
            detour: Some(Arc::clone(detour)),
        };
        if detour.is_on() {
            running.detour = None;
            running.leave();
        }
        running
    }

    /// Goes on elsewhere, if there is such a place.
    fn leave(&mut self) {
        let Some(threads) = &self.spawner.long else {
            return;
        };
        if let Ok(work) = &mut self.work {
            let work = std::mem::replace(work, Box::pin(std::future::pending()));
            let task = self.spawner.tasks.spawn_on(work, threads);
            self.work = Err(AbortOnDropHandle::new(task));
        }
    }
}

impl Future for Running {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let this = &mut *self;
        if let Ok(work) = &mut this.work {
            let began = Instant::now();
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
            let busy = began.elapsed();
            if let Some(detour) = this.detour.take() {
                detour.learn(busy);
            }
            match polled {
                Ok(Poll::Pending) if busy > LONG => this.leave(),
                Ok(polled) => return polled,
                // The panic itself was told by the hook that every program has.
                Err(_) => return Poll::Ready(Answered::unanswered()),
            }
        }
        match &mut this.work {
            Ok(_) => Poll::Pending,
            Err(task) => Pin::new(task)
                .poll(cx)
                .map(|ended| ended.unwrap_or_else(|_| Answered::unanswered())),
        }
    }
}

/// The side of the caller.
impl Peer {
    /// The function that a call goes to without leaving this process, if there is one and the call
    /// may stay.
    pub(crate) fn function_here(&self, invocation: &Invocation) -> Option<Arc<dyn TakeIn>> {
        let board = self.inner.config.local.as_ref()?;
        let subject = invocation.subject();
        let function = match invocation.allowed() {
            Locality::Spread => None,
            Locality::LocalOnly => board.server(subject),
            _ => board.server_with_room(subject, invocation.caller()),
        };
        if function.is_none()
            && invocation.is_under_way()
            && invocation.allowed() != Locality::Spread
        {
            let local_only = invocation.allowed() == Locality::LocalOnly;
            return board.retired(subject, invocation.caller(), local_only);
        }
        function
    }

    pub(crate) async fn call_here(
        &self,
        function: Arc<dyn TakeIn>,
        invocation: &Invocation,
        params: Bytes,
    ) -> Result<Here<Bytes, Bytes>, CallError> {
        let given = Given::Params(params);
        let may_leave = invocation.allowed() != Locality::LocalOnly;
        match self
            .run_here(function, invocation, given, may_leave)
            .await?
        {
            Answered::Results(results) => Ok(Here::Done(results)),
            Answered::Failed(error) => Err(CallError::Remote(error)),
            Answered::Elsewhere {
                given: Given::Params(params),
                place,
            } => Ok(Here::Elsewhere(params, place)),
            Answered::Value(_) | Answered::Elsewhere { .. } => Err(mismatch()),
        }
    }

    /// The function that takes values of this type as they are, if a call goes to one without
    /// leaving this process.
    pub(crate) fn taker_here(
        &self,
        invocation: &Invocation,
        value: TypeId,
    ) -> Option<Arc<dyn TakeIn>> {
        let function = self.function_here(invocation);
        function.filter(|function| function.takes(value))
    }

    /// Whether [`Peer::call_value`] would call with a value of this type right now.
    #[must_use]
    pub fn takes_value(&self, invocation: &Invocation, value: TypeId) -> bool {
        self.taker_here(invocation, value).is_some()
    }

    /// Calls a function with a value as it is, if it is served in this process and takes values of
    /// that type (see [`ServeOptions::takes`](crate::ServeOptions::takes)); gives the value back otherwise. The
    /// answer is of the type that goes with the function.
    ///
    /// # Errors
    ///
    /// The value itself, or every [`CallError`]; never later than the invocation's deadline.
    pub async fn call_value(
        &self,
        invocation: &Invocation,
        value: Value,
    ) -> Result<Result<Value, CallError>, Value> {
        match self.taker_here(invocation, (*value).type_id()) {
            // Whoever takes values serves them here: what would be sent elsewhere is encoded first.
            Some(function) => match self.value_here(function, invocation, value, false).await {
                Ok(Here::Done(answer)) => Ok(Ok(answer)),
                Ok(Here::Elsewhere(value, _)) => Err(value),
                Err(error) => Ok(Err(error)),
            },
            None => Err(value),
        }
    }

    async fn value_here(
        &self,
        function: Arc<dyn TakeIn>,
        invocation: &Invocation,
        value: Value,
        may_leave: bool,
    ) -> Result<Here<Value, Value>, CallError> {
        let given = Given::Value(value);
        match self
            .run_here(function, invocation, given, may_leave)
            .await?
        {
            Answered::Value(value) => Ok(Here::Done(value)),
            Answered::Failed(error) => Err(CallError::Remote(error)),
            Answered::Elsewhere {
                given: Given::Value(value),
                place,
            } => Ok(Here::Elsewhere(value, place)),
            Answered::Results(_) | Answered::Elsewhere { .. } => Err(mismatch()),
        }
    }

    /// Has a request answered without leaving this process.
    pub(crate) async fn request_here<B>(
        &self,
        function: Arc<dyn TakeIn>,
        invocation: &Invocation,
        head: http::request::Parts,
        body: OutgoingBody<B>,
    ) -> Result<Here<http::Response<IncomingBody>, Box<RequestHere>>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let body = body.hand_over(CallError::Aborted);
        let request = Box::new(http::Request::from_parts(head, body));
        let may_leave = invocation.allowed() != Locality::LocalOnly;
        let answered = self.value_here(function, invocation, request, may_leave);
        match answered.await? {
            Here::Done(answer) => {
                let answer = answer.downcast::<HttpAnswer>().map_err(|_| mismatch())?;
                answer.map(Here::Done).map_err(HttpError::Handler)
            }
            Here::Elsewhere(value, place) => {
                let request = value.downcast().map_err(|_| mismatch())?;
                Ok(Here::Elsewhere(request, place))
            }
        }
    }

    async fn run_here(
        &self,
        function: Arc<dyn TakeIn>,
        invocation: &Invocation,
        given: Given,
        may_leave: bool,
    ) -> Result<Answered, CallError> {
        let stop = &self.inner.stop;
        if stop.is_cancelled() {
            return Err(CallError::Cancelled);
        }
        if let Some(roads) = invocation.counts() {
            roads.count(Road::Process, Why::Nearest);
        }
        let (told, deadline) = (invocation.told(), invocation.deadline());
        let running = match function.begin(told, deadline, given, may_leave) {
            Ok(running) => running,
            Err(refusal) => return Ok(Answered::Failed(refusal)),
        };
        let answered = tokio::select! {
            biased;
            answered = running => answered,
            () = stop.cancelled() => return Err(CallError::Cancelled),
        };
        if let (Answered::Elsewhere { .. }, Some(roads)) = (&answered, invocation.counts()) {
            roads.take_back(Road::Process);
        }
        Ok(answered)
    }
}

/// Both sides have to name the same types for a function.
fn mismatch() -> CallError {
    CallError::Protocol("the answer is of another type than was called for".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::task::TaskTracker;

    use super::*;

    fn spawner(long: Option<tokio::runtime::Handle>) -> Spawner {
        Spawner {
            tasks: TaskTracker::new(),
            long,
        }
    }

    fn run(work: impl Future<Output = Answered> + Send + 'static, spawner: &Spawner) -> Running {
        Running::new(Box::pin(work), spawner.clone(), &Arc::default())
    }

    fn failed(answered: Answered) -> bool {
        matches!(answered, Answered::Failed(_))
    }

    #[tokio::test]
    async fn a_panic_ends_the_call_alone() {
        let here = run(async { panic!("on purpose") }, &spawner(None));
        assert!(failed(here.await));
    }

    #[tokio::test]
    async fn a_call_that_keeps_its_thread_goes_on_elsewhere_and_may_panic_there() {
        let elsewhere = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let spawner = spawner(Some(elsewhere.handle().clone()));
        let own = std::thread::current().id();
        for panics in [false, true] {
            let work = async move {
                let began = Instant::now();
                while began.elapsed() < 2 * LONG {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
                assert!(!panics, "on purpose");
                assert_ne!(std::thread::current().id(), own);
                Answered::Results(Bytes::new())
            };
            assert_eq!(failed(run(work, &spawner).await), panics);
        }
        spawner.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), spawner.tasks.wait())
            .await
            .unwrap();
        elsewhere.shutdown_background();
    }
}
