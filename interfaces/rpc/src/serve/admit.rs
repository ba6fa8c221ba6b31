//! Calls of which it is not known yet who makes them, and those that are refused for it.

use std::sync::Arc;

use async_nats::Message;
use lattice_core::identity::SessionName;
use tokio::time::Instant;

use super::IncomingCall;
use super::intake::Intake;
use super::running::run_call;
use crate::auth::{Came, Refusal, Verdict};
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
        self.crew.tasks.spawn(async move {
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
        let learnt = tokio::select! {
            biased;
            () = self.abort.cancelled() => {
                let text = "the called side stops";
                self.turn_away(message, RemoteError::new(RemoteError::STOPPING, text));
                return None;
            }
            learnt = auth.learn(&self.peer, &reply, session, until) => learnt,
        };
        let verdict = match learnt {
            Err(refusal) => auth.unproven(refusal),
            Ok(()) => match auth.check(&message, arrived) {
                Verdict::Ask(_) => auth.unproven(Refusal::not_in_time()),
                verdict => verdict,
            },
        };
        self.settle(message, arrived, &Came::Bus, verdict)
    }

    /// Tells the caller, and whoever watches, that a call is refused.
    pub(super) fn refuse(&self, message: Message, refusal: &Refusal) {
        let (code, why) = (refusal.code, &refusal.message);
        tracing::debug!(subject = %message.subject, code, why, "refused a call");
        if let Some(auth) = &self.peer.inner.config.auth {
            auth.report(&message, refusal);
        }
        self.turn_away(message, refusal.error());
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
