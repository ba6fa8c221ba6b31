//! The answering side.

mod admit;
mod intake;
mod leave;
mod member;
mod running;

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::TraceContext;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ConnectError;
use crate::header::Told;
use crate::limiter::{Claim, Coming, Limiter};
use crate::outbox::check_subject;
use crate::params::Params;
use crate::peer::Peer;
use crate::relief::Relief;
use crate::respond::Responder;
use crate::start::Spawner;
use intake::Intake;
pub(crate) use leave::{Leave, WayOn};
use member::{Leaving, Member};

/// How a function is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Bounds the calls at once; usually shared by all functions of a component.
    pub limiter: Arc<Limiter>,
    /// The deadline of callers that tell none, as those of the 1.9 lattice.
    pub default_deadline: Duration,
    /// The latest deadline that is accepted.
    pub longest_deadline: Duration,
    /// Gives calls away that would have to wait here; shared by all functions of a component.
    pub relief: Relief,
    /// What callers in this process may call with as it is, so that nothing is encoded
    /// ([`Peer::call_value`]); the handler looks for it with [`Params::take`] first, and answers
    /// with [`Responder::give`] then. [`REQUEST`](crate::http::REQUEST) for a handler that reads each
    /// call with [`take_request`](crate::http::take_request) and answers with
    /// [`answer`](crate::http::answer).
    pub takes: Option<TypeId>,
}

/// Who calls, how, and until when.
#[derive(Debug, Clone)]
pub struct Context {
    /// The id of the calling entity, if it tells.
    pub source_id: Option<Arc<str>>,
    /// The name of the link in use; `default` when the caller tells none.
    pub link_name: Arc<str>,
    /// The package of that link, such as `wasi:keyvalue`, where the caller has several of that name.
    pub link_package: Option<Arc<str>>,
    /// The called entity, if the caller tells.
    pub target_id: Option<Arc<str>>,
    /// Trace context, as received.
    pub trace: Option<TraceContext>,
    /// When the answer has to be there.
    pub deadline: Instant,
    /// When the call came in.
    pub(crate) arrived: Instant,
    /// Whether its caller has set it no time, see [`Context::OPEN_END`].
    open_ended: bool,
    /// How certain its source is.
    source: Source,
}

/// How certain it is who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It was made in this process.
    Own,
    /// It has proven who makes it.
    Proven,
    /// Anybody may have written that.
    Told,
}

impl Context {
    /// The time of a call that its caller ends by itself, such as one whose request is still being
    /// sent. The callee ends it earlier, after the longest time that it lets calls take.
    pub const OPEN_END: Duration = Duration::from_secs(24 * 60 * 60);

    fn new(mut told: Told, arrived: Instant, deadline: Instant, source: Source) -> Self {
        Self {
            link_name: told.link(),
            link_package: told.link_package,
            source_id: told.source_id,
            target_id: told.target_id,
            trace: told.trace,
            deadline,
            arrived,
            open_ended: false,
            source,
        }
    }

    /// Says how much time the caller has given, of which the callee may grant less.
    fn given(mut self, time: Duration) -> Self {
        // Some of it is over when the call arrives.
        self.open_ended = time > Self::OPEN_END / 2;
        self
    }

    /// Whether the caller has set no time: it ends the call itself, and calls that are made for
    /// this one have the time they would have without it.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        self.open_ended
    }

    /// Whether it is certain that the source is who it says: a call of this process, or one that
    /// has proven it.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.source != Source::Told
    }

    /// One of no call at all, for what answers calls to be used without a lattice: nobody is told as
    /// the caller.
    #[must_use]
    pub fn alone(deadline: Instant) -> Self {
        Self::new(Told::default(), Instant::now(), deadline, Source::Own)
    }

    /// Who calls, where that is certain because it happens in this process.
    fn own_source(&self) -> Option<&Arc<str>> {
        let is_own = self.source == Source::Own;
        self.source_id.as_ref().filter(|_| is_own)
    }

    /// What the call tells where it asks for its turn.
    fn claim(&self) -> Claim<'_> {
        Claim {
            arrived: self.arrived,
            deadline: self.deadline,
            source: self.own_source().map(|source| &**source),
        }
    }
}

/// One call to answer.
#[derive(Debug)]
pub struct IncomingCall {
    /// Who calls, how, and until when.
    pub context: Context,
    /// The parameters.
    pub params: Params,
    /// Where the answer goes.
    pub responder: Responder,
    /// How it goes on elsewhere, if it may, as long as it has not begun.
    pub(crate) leave: Option<Leave>,
    /// Where it counts until it asks for its turn.
    pub(crate) coming: Option<Coming>,
}

/// A function that is being served. Dropping it stops at once; see [`ServeHandle::drain`].
#[derive(Debug)]
pub struct ServeHandle {
    retire: CancellationToken,
    leave: CancellationToken,
    abort: CancellationToken,
    kept: TaskTracker,
    tasks: TaskTracker,
    bodies: TaskTracker,
}

impl ServeHandle {
    /// Leaves the queue group without waiting; what has arrived is still answered.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Leaves the queue group without waiting, and takes nothing new but what calls that are
    /// [under way](crate::Invocation::under_way) in this process call, until it is drained: for a process
    /// that stops all it serves.
    pub fn retire(&self) {
        self.retire.cancel();
    }

    /// Waits until it has left the queue group and no call of it is under way.
    pub async fn quiet(&self) {
        self.tasks.close();
        self.bodies.close();
        self.tasks.wait().await;
        self.bodies.wait().await;
    }

    /// Whether it has left the queue group and no call of it is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.tasks.is_empty() && self.bodies.is_empty()
    }

    /// Leaves the queue group, answers what has arrived, and ends by `deadline` at the latest;
    /// what is still running then is cancelled and its callers are told. A body that a caller in
    /// this process reads breaks off at its next read.
    pub async fn drain(self, deadline: Instant) {
        self.drain_until(tokio::time::sleep_until(deadline)).await;
    }

    /// As [`ServeHandle::drain`], with an end that need not be known beforehand.
    pub async fn drain_until(self, end: impl Future<Output = ()>) {
        self.leave.cancel();
        self.kept.close();
        let all_done = async {
            self.kept.wait().await;
            self.quiet().await;
        };
        tokio::select! {
            biased;
            () = all_done => {}
            () = end => {
                self.abort.cancel();
                self.tasks.close();
                self.tasks.wait().await;
            }
        }
    }
}

impl Drop for ServeHandle {
    fn drop(&mut self) {
        self.leave.cancel();
        // After `drain` nothing is left that this could end.
        self.abort.cancel();
    }
}

impl Peer {
    /// Serves the function at `subject` as a member of the queue group `queue`.
    ///
    /// The handler of a call is first polled where calls are taken in, after those that came
    /// before it; it must not compute for long before it waits for something. From then on it runs
    /// in a task of its own, where nothing that another caller does or leaves undone holds it up.
    /// After calls that did compute for long, those that follow begin in tasks of their own. A call
    /// that is made in this process runs where it is made, as long as it does not compute for long. The
    /// handler is dropped when the caller cancels, and when the deadline passes before it has
    /// answered. Call [`Peer::confirm`] after the last function to know that callers reach it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when NATS refuses.
    pub async fn serve<H, F>(
        &self,
        subject: &str,
        queue: &str,
        options: ServeOptions,
        handler: H,
    ) -> Result<ServeHandle, ConnectError>
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let refuse = |reason: String| ConnectError::Subscribe {
            subject: subject.chars().take(80).collect(),
            reason,
        };
        check_subject(&subject.into()).map_err(refuse)?;
        self.remember(subject);
        let member = Member::join(self, subject, queue).await?;
        let leave = self.inner.stop.child_token();
        let handle = ServeHandle {
            retire: leave.child_token(),
            leave,
            abort: self.inner.stop.child_token(),
            kept: TaskTracker::new(),
            tasks: TaskTracker::new(),
            bodies: TaskTracker::new(),
        };
        let intake = Arc::new(Intake {
            peer: self.clone(),
            subject: subject.into(),
            queue: queue.to_owned(),
            options,
            handler,
            spawner: Spawner {
                tasks: handle.tasks.clone(),
                long: self.inner.config.long_calls.clone(),
            },
            detour: Arc::default(),
            abort: handle.abort.clone(),
            kept: handle.kept.clone(),
            bodies: handle.bodies.clone(),
        });
        let leaving = Leaving {
            retire: handle.retire.clone(),
            leave: handle.leave.clone(),
        };
        handle.tasks.spawn(intake.run(member, leaving));
        Ok(handle)
    }

    /// Notes a function that is served, so that calls of it may be handed on when it no longer is.
    fn remember(&self, function: &str) {
        let mut served = self.inner.served.write();
        if served.len() >= self.inner.config.max_open {
            served.clear();
        }
        served.insert(function.into());
    }
}
