//! Calls of which it is not known yet who makes them, and those that are refused for it.

use std::sync::Arc;

use async_nats::Message;
use lattice_core::identity::SessionName;
use tokio::time::Instant;

use super::IncomingCall;
use super::intake::Intake;
use super::running::run_call;
use crate::auth::{Admission, Came, Needed, Refusal, Verdict};
use crate::error::RemoteError;
use crate::header::Told;
use crate::respond::{Inbound, Responder};

impl<H, F> Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// Runs a call once the key of its session is here, in a task of its own.
    pub(super) fn ask_first(
        self: &Arc<Self>,
        message: Message,
        arrived: Instant,
        session: SessionName,
    ) {
        let intake = Arc::clone(self);
        self.spawner.tasks.spawn(async move {
            let call = intake.receive_later(message, arrived, session).await;
            if let Some(call) = call {
                run_call(intake, call).await;
            }
        });
    }

    async fn receive_later(
        self: &Arc<Self>,
        message: Message,
        arrived: Instant,
        session: SessionName,
    ) -> Option<IncomingCall> {
        let auth = self.peer.inner.config.auth.as_ref()?;
        let reply = message.reply.clone()?;
        let options = &self.options;
        let told = Told::read(message.headers.as_ref());
        let until = arrived + told.time_left(options.default_deadline, options.longest_deadline);
        let held = self.peer.inner.hold(message.length);
        let learnt = tokio::select! {
            biased;
            () = self.abort.cancelled() => {
                self.turn_away(message, stopping());
                return None;
            }
            () = std::future::ready(()), if held.is_none() => Err(Refusal::busy()),
            learnt = auth.learn(&self.peer, &reply, session, until) => learnt,
        };
        drop(held);
        let verdict = match learnt {
            Err(refusal) => auth.unproven(refusal),
            Ok(()) => match auth.check(&message, arrived) {
                Verdict::Ask(_) => auth.unproven(Refusal::not_in_time()),
                verdict => verdict,
            },
        };
        self.settle(message, arrived, &Came::Bus, verdict)
    }

    /// Runs a call of a provider once its link is heard of, in a task of its own.
    pub(super) fn link_first(
        self: &Arc<Self>,
        message: Message,
        arrived: Instant,
        came: Came,
        needed: Needed,
        admission: Admission,
    ) {
        let intake = Arc::clone(self);
        self.spawner.tasks.spawn(async move {
            let Some(auth) = &intake.peer.inner.config.auth else {
                return;
            };
            let verdict = tokio::select! {
                biased;
                () = intake.abort.cancelled() => return intake.turn_away(message, stopping()),
                verdict = auth.settle_link(&needed, admission) => verdict,
            };
            if let Some(call) = intake.settle(message, arrived, &came, verdict) {
                run_call(intake, call).await;
            }
        });
    }

    /// Tells the caller, and whoever watches, that a call is refused.
    pub(super) fn refuse(&self, message: Message, refusal: &Refusal) {
        self.report(&message, refusal);
        self.turn_away(message, refusal.error());
    }

    /// Tells whoever watches that a call is refused.
    pub(super) fn report(&self, message: &Message, refusal: &Refusal) {
        let (code, why) = (refusal.code, &refusal.message);
        tracing::debug!(subject = %message.subject, code, why, "refused a call");
        if let Some(auth) = &self.peer.inner.config.auth {
            auth.report(message, refusal);
        }
    }

    fn turn_away(&self, message: Message, error: RemoteError) {
        let Some(caller) = message.reply else {
            return;
        };
        let terms = Told::read(message.headers.as_ref()).terms;
        let inbound = Inbound::new(self.peer.clone(), message.subject, caller, terms);
        inbound.set_verdict(error);
        // Which tells it.
        drop(Responder::new(Arc::new(inbound)));
    }
}

fn stopping() -> RemoteError {
    RemoteError::new(RemoteError::STOPPING, "the called side stops")
}
