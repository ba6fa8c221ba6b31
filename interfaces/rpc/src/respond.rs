//! Answering a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use lattice_codec::Path;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::direct::{Answered, Place, Value};
use crate::error::{CallError, RemoteError};
use crate::exchange::{Remote, Side};
use crate::header::{self, Terms};
use crate::limiter::Permit;
use crate::outbound;
use crate::peer::{DeferredSend, Peer, SlotGuard};
use crate::stream::ByteWriter;

/// What both halves of a served call know of it.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) peer: Peer,
    /// The subject that was called.
    pub(crate) subject: Subject,
    /// Where the caller listens.
    pub(crate) caller: Subject,
    /// What a caller of our kind has told; `None` for a peer of 1.9.
    terms: Option<Terms>,
    /// Whether the caller takes streams whose items stand in the answer.
    pub(crate) takes_items: bool,
    /// Where the answer is left for a caller that runs the call itself.
    direct: Option<Place>,
    guard: OnceCell<Arc<SlotGuard>>,
    accepted: OnceCell<()>,
    responded: AtomicBool,
    /// The right to run. A call gives it back while it waits for parameters.
    pub(crate) permit: Mutex<Option<Permit>>,
    /// What the caller is told when the handler ends without an answer.
    verdict: Mutex<Option<RemoteError>>,
}

impl Inbound {
    pub(crate) fn new(peer: Peer, subject: Subject, caller: Subject, terms: Option<Terms>) -> Self {
        Self {
            peer,
            subject,
            caller,
            takes_items: terms.is_some(),
            terms,
            direct: None,
            guard: OnceCell::new(),
            accepted: OnceCell::new(),
            responded: AtomicBool::new(false),
            permit: Mutex::new(None),
            verdict: Mutex::new(None),
        }
    }

    /// A call that its caller runs itself.
    pub(crate) fn direct(peer: Peer, subject: Subject) -> Self {
        let nowhere = Subject::from_static("");
        Self {
            direct: Some(Place::default()),
            ..Self::new(peer, subject, nowhere, None)
        }
    }

    /// Where the answer is left for a caller that runs the call itself; `None` where it is sent.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.direct.as_ref()
    }

    /// Whether the caller is a peer of our kind.
    pub(crate) fn newer(&self) -> bool {
        self.terms.is_some() || self.direct.is_some()
    }

    /// Parameter streams that have ended without data.
    pub(crate) fn ended(&self) -> &[Path] {
        self.terms.as_ref().map_or(&[], |terms| &terms.ended)
    }

    /// The credit that the caller grants for result streams.
    fn window(&self) -> Option<u64> {
        let usual = self.peer.inner.config.stream_window;
        self.terms.as_ref().map(|told| told.window.unwrap_or(usual))
    }

    /// Where the caller reads what is long, if that is another place.
    fn bulk(&self) -> Option<&Subject> {
        self.terms.as_ref()?.bulk.as_ref()
    }

    /// Takes a slot for the call, which makes it reachable for parameters, credit and cancel.
    pub(crate) async fn slot(&self) -> Result<&Arc<SlotGuard>, CallError> {
        if self.direct.is_some() {
            let text = "a call of values within the process has no streams";
            return Err(CallError::Protocol(text.to_owned()));
        }
        self.guard
            .get_or_try_init(|| async {
                let guard = self.peer.open(Side::Callee, self.subject.clone())?;
                guard.exchange.set_remote(Remote {
                    root: self.caller.clone(),
                    window: self.window(),
                    bulk: self.bulk().cloned(),
                });
                guard.exchange.set_ended(self.ended());
                Ok(guard)
            })
            .await
    }

    /// Accepts the call: tells the caller where parameters, credit and cancellation go.
    pub(crate) async fn accept(&self) -> Result<&Arc<SlotGuard>, CallError> {
        let guard = self.slot().await?;
        self.accepted
            .get_or_try_init(|| async {
                let headers = self.newer().then(|| self.credit_header(guard));
                let caller = self.caller.clone();
                self.peer
                    .publish_reply(caller, guard.root(), headers, Bytes::new())
                    .await
            })
            .await?;
        Ok(guard)
    }

    fn credit_header(&self, guard: &SlotGuard) -> HeaderMap {
        let mut headers = HeaderMap::new();
        header::write_window(&mut headers, self.peer.inner.config.stream_window);
        if let Some(place) = guard.bulk_root() {
            header::write_bulk(&mut headers, &place);
        }
        headers
    }

    /// Says that somebody else answers the call.
    pub(crate) fn is_given_away(&self) {
        self.responded.store(true, Ordering::Release);
    }

    pub(crate) fn has_responded(&self) -> bool {
        self.responded.load(Ordering::Acquire)
    }

    /// Sets what the caller is told if the handler is ended before it answers.
    pub(crate) fn set_verdict(&self, error: RemoteError) {
        *self.verdict.lock() = Some(error);
    }

    fn results(&self) -> Subject {
        [self.caller.as_str(), ".results"].concat().into()
    }

    async fn send_result(&self, result: Bytes, headers: HeaderMap) -> Result<(), CallError> {
        if let Some(place) = &self.direct {
            place.put(Answered::Results(result));
            return Ok(());
        }
        let room = outbound::room(&self.peer, Some(&headers), "");
        let headers = (!headers.is_empty()).then_some(headers);
        if result.len() <= room {
            return self.send_first(headers, result).await;
        }
        Box::pin(self.send_long_result(result, headers.unwrap_or_default())).await
    }

    async fn send_first(&self, headers: Option<HeaderMap>, data: Bytes) -> Result<(), CallError> {
        match self.terms.as_ref().and_then(|terms| terms.turn) {
            Some(turn) => {
                let turn = header::write_turn(turn);
                self.peer
                    .publish_reply(self.results(), turn, headers, data)
                    .await
            }
            None => self.peer.publish(self.results(), headers, data).await,
        }
    }

    async fn send_long_result(
        &self,
        mut result: Bytes,
        mut headers: HeaderMap,
    ) -> Result<(), CallError> {
        if self.newer() {
            header::set(&mut headers, header::MORE, "1");
        }
        let subject = self.results();
        let room = outbound::room(&self.peer, Some(&headers), "");
        let first = result.split_to(room.min(result.len()));
        self.send_first(Some(headers), first).await?;
        outbound::send_all(&self.peer, &subject, result).await?;
        self.peer.publish(subject, None, Bytes::new()).await
    }
}

/// Answers one call, once. Dropping it without an answer tells the caller that the call failed.
#[derive(Debug)]
pub struct Responder {
    inbound: Arc<Inbound>,
}

impl Responder {
    pub(crate) fn new(inbound: Arc<Inbound>) -> Self {
        Self { inbound }
    }

    fn begin(&self) {
        self.inbound.responded.store(true, Ordering::Release);
    }

    /// Answers with results that hold no pending stream.
    ///
    /// A caller of our kind gets one message; a 1.9 caller, which has its accept already, gets
    /// the result, and an empty message where the result is empty.
    ///
    /// # Errors
    ///
    /// [`CallError::Send`] when NATS does not take the message.
    pub async fn reply(self, result: Bytes) -> Result<(), CallError> {
        self.begin();
        let inbound = &self.inbound;
        inbound.send_result(result, HeaderMap::new()).await
    }

    /// Answers with results some of which follow as streams; `ended` names those that are written
    /// as pending but carry nothing.
    ///
    /// # Errors
    ///
    /// As [`Responder::reply`].
    pub async fn reply_streaming(
        self,
        result: Bytes,
        ended: &[Path],
        streams: bool,
    ) -> Result<ResultStreams, CallError> {
        self.begin();
        let inbound = Arc::clone(&self.inbound);
        let mut headers = HeaderMap::new();
        if inbound.newer() {
            header::write_ended(&mut headers, ended);
        }
        if streams {
            // The caller needs to know where credit goes before the first byte of a stream.
            inbound.accept().await?;
        }
        inbound.send_result(result, headers).await?;
        if !inbound.newer() {
            for path in ended {
                let subject = format!("{}.{path}", inbound.results()).into();
                inbound
                    .peer
                    .publish(subject, None, Bytes::from_static(&[0]))
                    .await?;
            }
        }
        Ok(ResultStreams { inbound })
    }

    /// Answers a call whose parameters came as they are ([`Params::take`](crate::Params::take)):
    /// so does the answer. Any other caller is told that the call failed.
    pub fn give(self, answer: Value) {
        if let Some(place) = self.inbound.place() {
            place.put(Answered::Value(answer));
            self.begin();
        }
    }

    /// Whether the caller is known to take a stream whose items stand in the answer; for others it
    /// has to follow.
    #[must_use]
    pub fn takes_items(&self) -> bool {
        self.inbound.takes_items
    }

    /// Whether the caller runs the call itself, and takes a response as it is.
    pub(crate) fn is_direct(&self) -> bool {
        self.inbound.place().is_some()
    }

    /// Answers that the call failed.
    ///
    /// # Errors
    ///
    /// As [`Responder::reply`].
    pub async fn fail(self, error: RemoteError) -> Result<(), CallError> {
        self.begin();
        let inbound = &self.inbound;
        if let Some(place) = inbound.place() {
            place.put(Answered::Failed(error));
            return Ok(());
        }
        for deferred in failure(inbound, &error) {
            inbound
                .peer
                .publish(deferred.subject, deferred.headers, deferred.payload)
                .await?;
        }
        Ok(())
    }
}

/// The messages that tell a caller of a failure. The status goes to the caller's own subject,
/// where a 1.9 peer does not look once it has its accept; the empty result after it is what such
/// a peer takes for the failure. Before the accept, the missing reply subject is enough for those
/// in Rust; those in Go go on to read the result.
fn failure(inbound: &Inbound, error: &RemoteError) -> Vec<DeferredSend> {
    let mut messages = vec![DeferredSend {
        subject: inbound.caller.clone(),
        headers: Some(error.headers()),
        payload: error.payload(),
        offset: None,
    }];
    if !inbound.newer() {
        let subject = inbound.results();
        messages.push(DeferredSend::empty(subject));
    }
    messages
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.inbound.has_responded() {
            return;
        }
        self.begin();
        let verdict = self.inbound.verdict.lock().take();
        let error = verdict.unwrap_or_else(RemoteError::unanswered);
        if let Some(place) = self.inbound.place() {
            return place.put(Answered::Failed(error));
        }
        for deferred in failure(&self.inbound, &error) {
            self.inbound.peer.send_later(deferred);
        }
    }
}

/// The streams of an answer.
#[derive(Debug)]
pub struct ResultStreams {
    inbound: Arc<Inbound>,
}

impl ResultStreams {
    /// Writes a stream or future among the results.
    ///
    /// # Errors
    ///
    /// [`CallError::TooLarge`] when no slot is free.
    pub async fn writer(&self, path: Path) -> Result<ByteWriter, CallError> {
        let guard = Arc::clone(self.inbound.slot().await?);
        Ok(ByteWriter::to_caller(
            guard,
            path,
            &Remote {
                root: self.inbound.caller.clone(),
                window: self.inbound.window(),
                bulk: self.inbound.bulk().cloned(),
            },
            None,
        ))
    }
}

impl ResultStreams {
    /// Tells a caller of 1.9 where the results end that it has been sent.
    pub(crate) async fn end(&self) -> Result<(), CallError> {
        if self.inbound.newer() {
            return Ok(());
        }
        let results = self.inbound.results();
        self.inbound.peer.publish(results, None, Bytes::new()).await
    }

    /// Writes a stream, accepting the call first where that has not been done.
    pub(crate) async fn accepted_writer(&self, path: Path) -> Result<ByteWriter, CallError> {
        self.inbound.accept().await?;
        self.writer(path).await
    }

    /// Tells the caller that the streams of the answer will not be completed. A 1.9 caller is
    /// not told; it sees its streams end.
    ///
    /// # Errors
    ///
    /// [`CallError::Send`] when NATS does not take the message.
    pub async fn abort(self, error: RemoteError) -> Result<(), CallError> {
        if !self.inbound.newer() {
            return Ok(());
        }
        let caller = self.inbound.caller.clone();
        self.inbound
            .peer
            .publish(caller, Some(error.headers()), error.payload())
            .await
    }
}
