//! One call from its start to its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::IncomingCall;
use super::intake::Intake;
use super::leave::turn_or_leave;
use crate::complaint::Complaint;
use crate::error::{CallError, RemoteError};
use crate::gate::Spent;
use crate::limiter::{Claim, Limiter, Permit};
use crate::peer::Peer;
use crate::respond::Inbound;

/// Counts a call as being served, also when its task is dropped.
struct Serving(Peer);

impl Serving {
    fn enter(peer: &Peer) -> Self {
        peer.inner.serving.fetch_add(1, Ordering::Relaxed);
        Self(peer.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.inner.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a call hold its permit until its handler has ended, also when it is dropped; what reads
/// on in its parameters after that runs without.
struct Running(Arc<Inbound>);

impl Running {
    fn enter(inbound: &Arc<Inbound>, permit: Permit) -> Self {
        *inbound.permit.lock() = Some(permit);
        Self(Arc::clone(inbound))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.permit.lock().take();
    }
}

pub(super) async fn run_call<H, F>(intake: Arc<Intake<H>>, mut call: IncomingCall)
where
    H: Fn(IncomingCall) -> F,
    F: Future<Output = ()>,
{
    let inbound = Arc::clone(call.params.inbound());
    let _serving = Serving::enter(&inbound.peer);
    let deadline = call.context.deadline;
    let limiter = &intake.options.limiter;
    drop(call.coming.take());
    let permit = match call.leave.take() {
        None => admitted(limiter, call.context.claim(), &intake.abort).await,
        // In a box, since few calls find no turn at once.
        Some(leave) => {
            let waited = Box::pin(turn_or_leave(&intake.options, &intake.abort, call, leave));
            let Some((back, permit)) = waited.await else {
                return;
            };
            call = back;
            permit
        }
    };
    let _running = match permit {
        Ok(permit) => Running::enter(&inbound, permit),
        Err(error) => {
            if let Err(error) = call.responder.fail(error).await {
                tracing::debug!(%error, "could not refuse a call");
            }
            return;
        }
    };
    if !inbound.newer()
        && let Err(error) = inbound.accept().await
    {
        let complaints = &inbound.peer.inner.complaints;
        complaints.add_error(Complaint::NotAccepted, &inbound.subject, &error);
        return;
    }
    let began = Instant::now();
    let mut spent = Spent::default();
    {
        // Pinned here: a future that is passed by value takes its room twice in each that holds it.
        let handler = pin!((intake.handler)(call));
        tokio::select! {
            biased;
            () = timed(handler, began, limiter, &mut spent) => {}
            () = must_end(&inbound, &intake.abort, deadline) => spent.whole = began.elapsed(),
        }
    }
    limiter.learn(spent);
}

/// Waits for the right to run. Calls that are cut off make room, but not for those that still wait
/// when that happens.
pub(super) async fn admitted(
    limiter: &Limiter,
    claim: Claim<'_>,
    abort: &CancellationToken,
) -> Result<Permit, RemoteError> {
    let stopping = || RemoteError::new(RemoteError::STOPPING, "the called side stops");
    let permit = tokio::select! {
        biased;
        permit = limiter.admit(claim) => permit?,
        () = abort.cancelled() => return Err(stopping()),
    };
    if abort.is_cancelled() {
        return Err(stopping());
    }
    Ok(permit)
}

/// Adds up how long a handler keeps its thread, and waits for it when it could go on, if that is
/// of use to the limiter.
async fn timed<F>(mut handler: Pin<&mut F>, began: Instant, limiter: &Limiter, spent: &mut Spent)
where
    F: Future<Output = ()>,
{
    if !limiter.learns() {
        return handler.await;
    }
    // One look at the clock for the begin of the call and that of its first stretch.
    let mut first = Some(began);
    poll_fn(|cx| {
        let resumed = first.take().unwrap_or_else(Instant::now);
        let polled = handler.as_mut().poll(cx);
        let now = Instant::now();
        spent.busy += now - resumed;
        spent.whole = now - began;
        spent.stretches += 1;
        if polled.is_pending() {
            spent.waited += limiter.wait_here();
        }
        polled
    })
    .await;
}

/// Resolves when the call has to end before its handler does. What the caller is told is set here,
/// since the handler, and with it the responder that tells it, is dropped as soon as this is done.
async fn must_end(inbound: &Inbound, abort: &CancellationToken, deadline: Instant) {
    let verdict = tokio::select! {
        biased;
        () = abort.cancelled() => {
            RemoteError::new(RemoteError::INTERRUPTED, "the called side was stopped in mid-call")
        }
        verdict = given_up_or_overdue(inbound, deadline) => verdict,
    };
    inbound.set_verdict(verdict);
}

/// Resolves when nobody waits for the answer any more. Most calls are over before the first of the
/// two can happen, and wait for no more than that time.
async fn given_up_or_overdue(inbound: &Inbound, deadline: Instant) -> RemoteError {
    let inner = &inbound.peer.inner;
    if deadline < Instant::now() + inner.config.accept_after {
        tokio::time::sleep_until(deadline).await;
    } else {
        inner.slow.wait().await;
    }
    tokio::select! {
        biased;
        () = given_up(inbound) => {
            tracing::debug!(subject = %inbound.subject, "the caller cancelled its call");
            RemoteError::new("cancelled", "the caller cancelled the call")
        }
        () = overdue(inbound, deadline) => {
            inner.complaints.add(Complaint::Late, &inbound.subject);
            let text = format!("`{}` did not finish by the call's deadline", inbound.subject);
            RemoteError::new(RemoteError::DEADLINE, text)
        }
    }
}

/// Resolves when the caller gives up. A call that is not answered at once is confirmed to its
/// caller first, which otherwise has no subject to give up at.
async fn given_up(inbound: &Inbound) {
    if inbound.place().is_some() {
        // Whoever runs the call itself gives it up by dropping it.
        std::future::pending::<()>().await;
    }
    let accepted = if inbound.has_responded() {
        inbound.slot().await
    } else {
        inbound.accept().await
    };
    match accepted {
        Ok(guard) => poll_fn(|cx| guard.exchange.poll_cancelled(cx)).await,
        // The line that the call came by has ended, and its caller with it.
        Err(CallError::Gone { .. }) => {}
        // Without a slot the call goes on until its deadline.
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when the deadline passes without an answer. An answer that still streams is bounded
/// by whoever writes it.
async fn overdue(inbound: &Inbound, deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
    if inbound.has_responded() {
        std::future::pending::<()>().await;
    }
}
