//! The calling side.

mod invocation;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use lattice_codec::Path;
use tokio::time::Instant;

use crate::direct::Here;
use crate::error::CallError;
use crate::exchange::{Exchange, Side, UntoldEnd};
use crate::header::{self, DEFAULT_LINK, Terms};
use crate::outbound;
use crate::outbox::Outgoing;
use crate::peer::{Peer, SlotGuard};
use crate::stream::{ByteReader, ByteWriter};
use invocation::Common;
pub use invocation::Invocation;

/// A request that nobody has yet: a slot for it has nothing to wait for, whatever ends this.
struct Unsent<'a>(&'a Exchange);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.is_no_call();
    }
}

/// The synchronous part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultMessage {
    /// The encoded results.
    pub bytes: Bytes,
    /// Streams that are written as pending but have already ended without data.
    pub ended: Vec<Path>,
}

/// A call under way. Dropping it, and all its streams, before the end cancels the call.
#[derive(Debug)]
pub struct Call {
    guard: Arc<SlotGuard>,
    common: Arc<Common>,
    may_be_nowhere: bool,
    deadline: Instant,
    started: Instant,
}

impl Peer {
    /// Calls a function without streams and waits for its encoded results.
    ///
    /// # Errors
    ///
    /// Every [`CallError`]; never later than the invocation's deadline.
    pub async fn call(
        &self,
        mut invocation: Invocation,
        mut params: Bytes,
    ) -> Result<Bytes, CallError> {
        if let Some(function) = self.function_here(&invocation) {
            match self.call_here(function, &invocation, params).await? {
                Here::Done(results) => return Ok(results),
                Here::Elsewhere(same, place) => {
                    (params, invocation) = (same, invocation.sent_to(place));
                }
            }
        }
        let mut call = self.send(invocation, params, &[], false).await?;
        call.result().await.map(|result| result.bytes)
    }

    /// Starts a call that may carry streams in either direction.
    ///
    /// `ended` names streams among the parameters that are written as pending but carry nothing;
    /// all others that are pending have to be written with [`Call::writer`].
    ///
    /// # Errors
    ///
    /// [`CallError::Send`] when the request cannot be sent, [`CallError::Deadline`] when large
    /// parameters are not accepted in time.
    pub async fn start(
        &self,
        invocation: Invocation,
        params: Bytes,
        ended: &[Path],
    ) -> Result<Call, CallError> {
        self.send(invocation, params, ended, true).await
    }

    /// What a call that has this slot agrees on with its callee, but for the time it has.
    fn terms_of(&self, guard: &SlotGuard, ended: &[Path], streams: bool) -> Terms {
        let window = Some(self.inner.config.stream_window);
        Terms {
            turn: Some(guard.exchange.turn()),
            window: window.filter(|_| streams),
            bulk: guard.bulk_root().filter(|_| streams),
            ended: ended.to_vec(),
            ..Terms::default()
        }
    }

    /// The headers that every peer reads. Those that may be of 1.9 are told of the default link, too.
    fn headers_of(&self, invocation: &Invocation) -> HeaderMap {
        let mut headers = invocation.headers();
        if invocation.common.is_default_link && !self.inner.slots.trusts(invocation.subject()) {
            header::put(&mut headers, header::LINK_NAME, DEFAULT_LINK);
        }
        headers
    }

    /// Starts a call: sends its request, and the parameters for which that has no room.
    async fn send(
        &self,
        invocation: Invocation,
        mut params: Bytes,
        ended: &[Path],
        streams: bool,
    ) -> Result<Call, CallError> {
        let deadline = invocation.deadline();
        let headers = self.headers_of(&invocation);
        let guard = self.open(Side::Caller, invocation.subject().clone())?;
        let terms = self.terms_of(&guard, ended, streams).until(deadline);
        let (request, ended) = self.request(&invocation, headers, terms, guard.root(), &mut params);
        for path in ended {
            guard.exchange.note_end(UntoldEnd::empty(path));
        }
        // Without parameters a 1.9 callee waits for their end before it starts, too.
        let is_whole = params.is_empty() && !request.payload.is_empty();
        if invocation.common.tells_end || !is_whole {
            guard.exchange.note_end(UntoldEnd::params());
        }
        let call = Call {
            guard,
            common: invocation.common,
            may_be_nowhere: invocation.may_be_nowhere,
            deadline,
            started: Instant::now(),
        };
        let sent = call.send_request(request, invocation.place, invocation.is_under_way);
        call.told(call.within(sent).await)?;
        if !params.is_empty() {
            // Boxed here and below, since it is rare: a future is as large as the largest thing it may
            // come to wait for, and is moved more than once on its way into a task.
            call.told(Box::pin(call.send_rest(params)).await)?;
        }
        Ok(call)
    }

    /// The request of a call that is answered at `root`, with as much of the parameters as it has room
    /// for, and the streams of which it says that they have ended. A callee that has to wait for the rest
    /// is told no turn, since it has to accept the call first.
    fn request(
        &self,
        invocation: &Invocation,
        mut headers: HeaderMap,
        mut terms: Terms,
        root: Subject,
        params: &mut Bytes,
    ) -> (Outgoing, Vec<Path>) {
        terms.write(&mut headers);
        let room = outbound::room_for_request(self, &headers, &root);
        if params.len() > room {
            (terms.turn, terms.window) = (None, Some(self.inner.config.stream_window));
            terms.write(&mut headers);
        }
        let request = Outgoing {
            headers: Some(headers),
            payload: params.split_to(params.len().min(room)),
            deadline: Some(invocation.deadline()),
            ..Outgoing::reply(invocation.subject().clone(), root)
        };
        (request, terms.ended)
    }
}

impl Call {
    /// When the call has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its time is over: a request that NATS does not have by now is not sent later.
    fn timed_out(&self) -> CallError {
        let subject = self.guard.exchange.subject().to_string();
        CallError::Deadline {
            subject,
            after: self.started.elapsed(),
            sent: !self.guard.exchange.withdraw(),
        }
    }

    /// Has the request leave: to the server that is known to have room, or by the nearest road. Until it
    /// has left, this is no call of which anybody would have to be told.
    fn send_request(
        &self,
        request: Outgoing,
        place: Option<Box<Subject>>,
        is_under_way: bool,
    ) -> impl Future<Output = Result<(), CallError>> {
        let (peer, exchange) = (&self.guard.peer, &self.guard.exchange);
        let locality = self.common.locality;
        exchange.counted_by(self.common.roads.as_ref());
        async move {
            let unsent = Unsent(exchange);
            match place {
                Some(place) => peer.publish_to(exchange, request, &place).await?,
                None => {
                    let sent = peer.publish_request(exchange, request, locality, is_under_way);
                    sent.await?;
                }
            }
            std::mem::forget(unsent);
            Ok(())
        }
    }

    /// Tells of the error that the call ends with, if it does.
    pub(crate) fn told<T>(&self, done: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(error) = &done {
            let peer = &self.guard.peer;
            peer.tell_failed(&self.common.as_caller(self.may_be_nowhere), error);
        }
        done
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout_at(self.deadline, work).await {
            Ok(done) => done,
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Sends the parameters that did not fit the request, once the callee has accepted.
    async fn send_rest(&self, params: Bytes) -> Result<(), CallError> {
        let exchange = &self.guard.exchange;
        let send = async {
            let remote = poll_fn(|cx| exchange.poll_remote(cx)).await?;
            let subject = Subject::from(format!("{}.params", remote.root));
            outbound::send_all(&self.guard.peer, &subject, params).await?;
            self.guard.peer.publish(subject, None, Bytes::new()).await
        };
        self.within(send).await?;
        exchange.end_told(&UntoldEnd::params());
        Ok(())
    }

    /// Writes a stream or future among the parameters. The writer waits for the accept, and
    /// outlives the deadline of the call once that is answered.
    pub fn writer(&self, path: Path) -> ByteWriter {
        ByteWriter::to_callee(Arc::clone(&self.guard), path, Some(self.deadline))
    }

    /// Reads a stream or future among the results. It may outlive the deadline of the call,
    /// which covers the answer; `until` bounds the stream itself.
    pub fn reader(&self, path: Path, until: Option<Instant>) -> ByteReader {
        ByteReader::new(Arc::clone(&self.guard), path, until)
    }

    /// Waits for the synchronous results.
    ///
    /// # Errors
    ///
    /// Every [`CallError`]; never later than the deadline.
    pub async fn result(&mut self) -> Result<ResultMessage, CallError> {
        let deadline = self.deadline;
        let done = match tokio::time::timeout_at(deadline, self.poll_to_result()).await {
            Ok(done) => done,
            Err(_) => Err(self.timed_out()),
        };
        self.told(done)
    }

    async fn poll_to_result(&self) -> Result<ResultMessage, CallError> {
        let exchange = &self.guard.exchange;
        loop {
            let next = poll_fn(|cx| match exchange.poll_value(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending => exchange.poll_untold_end(cx).map(Err),
            });
            match next.await {
                Ok(value) => {
                    // Streams of the answer may come only after what a 1.9 callee is to be told.
                    self.guard.settle_later();
                    let bytes = value?;
                    return Ok(ResultMessage {
                        bytes,
                        ended: exchange.ended_paths(),
                    });
                }
                Err((subject, end)) => Box::pin(self.tell_end(subject, end)).await?,
            }
        }
    }

    /// Tells a 1.9 callee of an end that a newer one has read in the headers of the request. It stays
    /// untold until it is on its way; an answer that comes meanwhile does not wait for that.
    async fn tell_end(&self, subject: Subject, untold: UntoldEnd) -> Result<(), CallError> {
        let (peer, exchange) = (&self.guard.peer, &self.guard.exchange);
        tokio::select! {
            biased;
            () = poll_fn(|cx| exchange.poll_answered(cx)) => return Ok(()),
            sent = peer.publish(subject, None, untold.end.clone()) => sent?,
        }
        exchange.end_told(&untold);
        Ok(())
    }

    pub(crate) fn guard(&self) -> &Arc<SlotGuard> {
        &self.guard
    }
}
