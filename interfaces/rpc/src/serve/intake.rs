//! Taking in the calls of one function.

use std::any::TypeId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Message, Subject, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::running::run_call;
use super::{Context, IncomingCall, Leave, ServeOptions, Source, WayOn};
use crate::auth::{Admission, Came, Refusal, Verdict};
use crate::complaint::Complaint;
use crate::detour::Detour;
use crate::direct::{Answered, Given, Place, Running};
use crate::error::RemoteError;
use crate::header::Told;
use crate::limiter::LimiterStats;
use crate::local::{Listed, Switchboard, TakeIn};
use crate::params::Params;
use crate::peer::Peer;
use crate::respond::{Inbound, Responder};
use crate::start::{Spawner, Starter};

/// How many calls are started one after the other in one task. More that have come meanwhile are
/// started in tasks of their own, which other workers may take.
const ROW: usize = 16;

/// How long a row of calls may take until the others are started elsewhere: about as long as a
/// guest is let compute at a stretch.
const LONGEST_ROW: Duration = Duration::from_millis(5);

/// How many calls are kept here at most; NATS keeps what comes beyond.
const ARRIVED: usize = 4096;

/// The calls that have come, with the time at which that was seen: where more come than are taken
/// in, what they have waited is known in the end.
#[derive(Default)]
pub(super) struct Arrived {
    calls: VecDeque<(Instant, Message)>,
}

impl Arrived {
    /// Waits until there is a call; false when none will come any more.
    pub(super) async fn wait(&mut self, subscriber: &mut Subscriber) -> bool {
        if self.gather(subscriber) {
            return true;
        }
        match subscriber.next().await {
            Some(message) => {
                self.calls.push_back((Instant::now(), message));
                self.gather(subscriber)
            }
            None => false,
        }
    }

    /// Adds what has come; false when there is nothing then.
    pub(super) fn gather(&mut self, subscriber: &mut Subscriber) -> bool {
        let mut now = None;
        while self.calls.len() < ARRIVED
            && let Some(Some(message)) = unconstrained(subscriber.next()).now_or_never()
        {
            let now = *now.get_or_insert_with(Instant::now);
            self.calls.push_back((now, message));
        }
        !self.calls.is_empty()
    }

    /// Takes out a row of calls.
    fn row(&mut self) -> Vec<(Instant, Message)> {
        self.calls.drain(..ROW.min(self.calls.len())).collect()
    }
}

/// The places of a function on the boards of its process.
pub(super) struct Places {
    /// For calls that others hand on.
    own: Listed,
    /// For calls that are made in the process, and in those that it is joined with.
    near: Option<Listed>,
}

impl Places {
    /// Gives all of it up but what calls under way in the process need.
    pub(super) fn retire(self) -> Option<Listed> {
        let Self { own, near } = self;
        drop(own);
        near.map(|mut near| {
            near.retire();
            near
        })
    }
}

/// Takes in the calls of one function.
pub(super) struct Intake<H> {
    pub(super) peer: Peer,
    pub(super) subject: Subject,
    /// The queue group.
    pub(super) queue: String,
    pub(super) options: ServeOptions,
    pub(super) handler: H,
    pub(super) spawner: Spawner,
    pub(super) detour: Arc<Detour>,
    pub(super) abort: CancellationToken,
    /// What keeps the function for calls under way in this process.
    pub(super) kept: TaskTracker,
    /// Bodies of answers that callers of this process still read.
    pub(super) bodies: TaskTracker,
}

impl<H, F> Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// Lets calls come here that others hand on, and those that are made in this process.
    pub(super) fn list(self: &Arc<Self>) -> Places {
        let inner = &self.peer.inner;
        let function = Arc::clone(self) as Arc<dyn TakeIn>;
        let place = |board: &Switchboard| board.add_function(&self.subject, &function);
        Places {
            own: place(&inner.own),
            near: inner.config.local.as_ref().map(place),
        }
    }

    /// Starts the calls that came first.
    pub(super) async fn take_row(self: &Arc<Self>, arrived: &mut Arrived) {
        let row = arrived.row();
        if row.len() == ROW {
            let intake = Arc::clone(self);
            self.spawner
                .tasks
                .spawn(async move { intake.start_row(row) });
        } else {
            self.start_row(row);
        }
        // Whoever else is ready, and the answers above all, come before the next row.
        tokio::task::yield_now().await;
    }

    fn start_row(self: &Arc<Self>, row: Vec<(Instant, Message)>) {
        let began = Instant::now();
        let mut starter = Starter::default();
        for (arrived, message) in row {
            let Some((message, leave)) = self.keep(message) else {
                continue;
            };
            let Some(mut call) = self.receive(message, arrived, &Came::Bus) else {
                continue;
            };
            call.leave = leave;
            let begins_apart = began.elapsed() > LONGEST_ROW || self.detour.is_on();
            call.coming = begins_apart.then(|| self.options.limiter.coming());
            let running = Box::pin(run_call(Arc::clone(self), call));
            if begins_apart {
                self.spawner.begin(running);
            } else {
                self.detour.learn(starter.start(running, &self.spawner));
            }
        }
    }

    /// The message, and how it leaves later, unless it is given away because it would have to wait here.
    fn keep(&self, message: Message) -> Option<(Message, Option<Leave>)> {
        if self.options.limiter.has_room() {
            return Some((message, None));
        }
        let message = match self.options.relief.place() {
            Some(place) => self.peer.hand_on(&place, message)?,
            None => message,
        };
        let leave = self.leave_of_bus(&message);
        Some((message, leave))
    }

    /// How a call leaves that came over NATS.
    fn leave_of_bus(&self, message: &Message) -> Option<Leave> {
        self.lets_leave()
            .then(|| Leave::of_bus(&self.peer, message))
    }

    /// How a call leaves that may have to wait here, and may leave.
    fn way_on(&self, message: &Message, way_on: Option<WayOn<'_>>) -> Option<Leave> {
        let way_on = way_on.filter(|_| self.lets_leave())?;
        Some(way_on(message))
    }

    /// Whether a call that comes now may come to go on elsewhere.
    fn lets_leave(&self) -> bool {
        !self.options.limiter.has_room() && self.options.relief.is_watched()
    }

    /// The call in a message; `None` when it is refused, or has to wait until it is known who
    /// makes it.
    fn receive(
        self: &Arc<Self>,
        message: Message,
        arrived: Instant,
        came: &Came,
    ) -> Option<IncomingCall> {
        let verdict = match (came, &self.peer.inner.config.auth) {
            (Came::Here, _) | (_, None) => Verdict::Admit(Admission::default()),
            (Came::Line(end), Some(auth)) => auth.check_line(end, &message),
            (Came::Bus, Some(auth)) => auth.check(&message, arrived),
        };
        self.settle(message, arrived, came, verdict)
    }

    /// Does what was decided about a call.
    pub(super) fn settle(
        self: &Arc<Self>,
        message: Message,
        arrived: Instant,
        came: &Came,
        verdict: Verdict,
    ) -> Option<IncomingCall> {
        match verdict {
            Verdict::Admit(admission) => {
                let source = match came {
                    Came::Here => Source::Own,
                    _ if admission.is_proven => Source::Proven,
                    _ => Source::Told,
                };
                self.take_in(message, arrived, admission.left, source)
            }
            Verdict::Ask(session) => {
                self.ask_first(message, arrived, session);
                None
            }
            Verdict::Link(needed, admission) => {
                self.link_first(message, arrived, came.clone(), needed, admission);
                None
            }
            Verdict::Refuse(refusal) => {
                self.refuse(message, &refusal);
                None
            }
            Verdict::Drop(refusal) => {
                self.report(&message, &refusal);
                None
            }
        }
    }

    fn take_in(
        &self,
        message: Message,
        arrived: Instant,
        proven_left: Option<Duration>,
        source: Source,
    ) -> Option<IncomingCall> {
        let mut told = Told::read(message.headers.as_ref());
        if let Some((header, size)) = told.too_long {
            self.refuse(message, &Refusal::long_name(header, size));
            return None;
        }
        let Some(caller) = message.reply else {
            let complaints = &self.peer.inner.complaints;
            complaints.add(Complaint::NoReply, &message.subject);
            return None;
        };
        let options = &self.options;
        let told_left = told.time_left(options.default_deadline, Duration::MAX);
        let left = proven_left.map_or(told_left, |proven| proven.min(told_left));
        let deadline = arrived + left.min(options.longest_deadline);
        let takes_items = told.takes_items(&caller);
        let terms = told.terms.take();
        let whole = terms.as_ref().is_some_and(|terms| terms.turn.is_some());
        let peer = self.peer.clone();
        let mut inbound = Inbound::new(peer, message.subject, caller, terms);
        inbound.takes_items = takes_items;
        let inbound = Arc::new(inbound);
        let context = Context::new(told, arrived, deadline, source).given(left);
        Some(IncomingCall {
            params: Params::new(
                Arc::clone(&inbound),
                message.payload,
                whole,
                context.arrived,
                context.deadline,
                Arc::clone(&self.options.limiter),
                context.own_source().cloned(),
            ),
            responder: Responder::new(inbound),
            context,
            leave: None,
            coming: None,
        })
    }
}

impl<H, F> TakeIn for Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn has_room(&self, source: Option<&str>) -> bool {
        let limiter = &self.options.limiter;
        let LimiterStats { size, queued, .. } = limiter.stats();
        let is_shed = limiter.sheds_now(source) && self.options.relief.knows_other();
        let has_room = !is_shed
            && (limiter.has_room() || (queued < size && !self.options.relief.knows_other()));
        // While NATS is away nobody else has any who could be reached: it waits here, or is refused.
        has_room || self.peer.nats().connection_state() != State::Connected
    }

    /// The call begins in a task of its own: its answer is a message, so nobody has to wait here.
    fn take(self: Arc<Self>, message: Message, came: Came, way_on: Option<WayOn<'_>>) {
        if matches!(came, Came::Bus) {
            self.options.relief.is_handed_one();
        }
        let leave = self.way_on(&message, way_on);
        let Some(mut call) = self.receive(message, Instant::now(), &came) else {
            return;
        };
        call.leave = leave;
        call.coming = Some(self.options.limiter.coming());
        let running = Box::pin(run_call(Arc::clone(&self), call));
        if self.detour.is_on() {
            self.spawner.begin(running);
        } else {
            self.spawner.join(running);
        }
    }

    fn takes(&self, value: TypeId) -> bool {
        self.options.takes == Some(value)
    }

    fn begin(
        self: Arc<Self>,
        told: Told,
        deadline: Instant,
        given: Given,
        may_leave: bool,
    ) -> Result<Running, RemoteError> {
        let limiter = &self.options.limiter;
        if let Some(refusal) = limiter.turn_away(told.source_id.as_deref()) {
            return Err(refusal);
        }
        let arrived = Instant::now();
        let left = deadline.saturating_duration_since(arrived);
        let deadline = deadline.min(arrived + self.options.longest_deadline);
        let inbound = Inbound::direct(self.peer.clone(), self.subject.clone());
        let inbound = Arc::new(inbound);
        let limiter = Arc::clone(&self.options.limiter);
        let call = IncomingCall {
            context: Context::new(told, arrived, deadline, Source::Own).given(left),
            params: Params::given(
                Arc::clone(&inbound),
                given,
                arrived,
                deadline,
                Arc::clone(&limiter),
            ),
            responder: Responder::new(Arc::clone(&inbound)),
            leave: (may_leave && self.lets_leave()).then_some(Leave::Direct),
            coming: self.detour.is_on().then(|| limiter.coming()),
        };
        let (spawner, detour) = (self.spawner.clone(), Arc::clone(&self.detour));
        let tracked = self.spawner.tasks.token();
        let work = async move {
            let _tracked = tracked;
            run_call(Arc::clone(&self), call).await;
            let mut answer = inbound
                .place()
                .map_or_else(Answered::unanswered, Place::take);
            if let Some(response) = answer.response() {
                let body = response.body_mut();
                body.held_by(&self.bodies, &self.abort);
            }
            answer
        };
        Ok(Running::new(Box::pin(work), spawner, &detour))
    }
}
