//! The calling side.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use lattice_codec::Path;
use lattice_core::{Locality, RoadCounts, TraceContext};
use tokio::time::Instant;

use crate::direct::Here;
use crate::error::CallError;
use crate::exchange::{Exchange, Side};
use crate::failed::Caller;
use crate::header::{self, DEFAULT_LINK, Terms, Told};
use crate::outbound;
use crate::outbox::Outgoing;
use crate::peer::{Peer, SlotGuard};
use crate::stream::{ByteReader, ByteWriter};

/// What is called, by whom, and until when.
///
/// Cheap to clone: what calls through one link have in common is made once and shared.
#[derive(Debug, Clone)]
pub struct Invocation {
    common: Arc<Common>,
    trace: Option<TraceContext>,
    deadline: Instant,
    /// Whether it is no failure that nobody serves the function.
    may_be_nowhere: bool,
    /// Whether it is a part of a call that is under way in this process.
    is_under_way: bool,
    /// A server with room, which the call goes to over NATS.
    place: Option<Box<Subject>>,
}

/// What does not differ from call to call.
#[derive(Debug, Clone)]
struct Common {
    subject: Subject,
    source: Option<Arc<str>>,
    link_name: Option<Arc<str>>,
    /// Whether the link in use has the default name, which is not among the headers.
    is_default_link: bool,
    link_package: Option<Arc<str>>,
    target: Option<Arc<str>>,
    /// The same as headers, for calls that leave the process.
    headers: HeaderMap,
    locality: Locality,
    roads: Option<Arc<RoadCounts>>,
    /// Whether a peer of 1.9 is told where its parameters end.
    tells_end: bool,
}

impl Common {
    fn as_caller(&self, may_be_nowhere: bool) -> Caller<'_> {
        Caller {
            subject: &self.subject,
            source: self.source.as_deref(),
            may_be_nowhere,
        }
    }
}

impl Invocation {
    /// Starts describing a call of the function at `subject` (built by
    /// [`lattice_core::subject::RpcPrefix`]) that has to be done by `deadline`.
    pub fn new(subject: impl Into<Subject>, deadline: Instant) -> Self {
        let common = Common {
            subject: subject.into(),
            source: None,
            link_name: None,
            is_default_link: false,
            link_package: None,
            target: None,
            headers: HeaderMap::new(),
            locality: Locality::default(),
            roads: None,
            tells_end: false,
        };
        Self {
            common: Arc::new(common),
            trace: None,
            deadline,
            may_be_nowhere: false,
            is_under_way: false,
            place: None,
        }
    }

    fn edit(&mut self) -> &mut Common {
        Arc::make_mut(&mut self.common)
    }

    /// Says who calls.
    #[must_use]
    pub fn source(mut self, id: &str) -> Self {
        let common = self.edit();
        common.source = Some(id.into());
        header::put(&mut common.headers, header::SOURCE_ID, id);
        self
    }

    /// Says which link is used. Peers of our kind assume the default name; others are told of it, as
    /// hosts of the 1.9 lattice tell it.
    #[must_use]
    pub fn link_name(mut self, name: &str) -> Self {
        let common = self.edit();
        common.is_default_link = name == DEFAULT_LINK;
        if !common.is_default_link {
            common.link_name = Some(name.into());
            header::put(&mut common.headers, header::LINK_NAME, name);
        }
        self
    }

    /// Says which package the link is for, such as `wasi:keyvalue`: where there are several links of
    /// that name, the callee cannot know it otherwise.
    #[must_use]
    pub fn link_package(mut self, package: &str) -> Self {
        let common = self.edit();
        common.link_package = Some(package.into());
        header::put(&mut common.headers, header::LINK_PACKAGE, package);
        self
    }

    /// Says who is called.
    #[must_use]
    pub fn target(mut self, id: &str) -> Self {
        let common = self.edit();
        common.target = Some(id.into());
        header::put(&mut common.headers, header::TARGET_ID, id);
        self
    }

    /// Tells of which function this is a call. One of a resource has a handle among its parameters,
    /// which a host of 1.9 reads to their end, and not to its own (wrpc page, 3.1).
    #[must_use]
    pub fn of_function(mut self, function: &str) -> Self {
        self.edit().tells_end = is_of_resource(function);
        self
    }

    /// Says that the caller can do without: nobody is told of a failure when nobody serves the function.
    #[must_use]
    pub fn may_be_nowhere(mut self) -> Self {
        self.may_be_nowhere = true;
        self
    }

    /// Says that it is made for a call that is under way in this process, which what stops here lets end:
    /// functions that take no other calls any more still take it, see [`ServeHandle::retire`].
    ///
    /// [`ServeHandle::retire`]: crate::ServeHandle::retire
    #[must_use]
    pub fn under_way(mut self) -> Self {
        self.is_under_way = true;
        self
    }

    /// Adds trace context.
    #[must_use]
    pub fn trace(mut self, trace: Option<&TraceContext>) -> Self {
        self.trace = trace.cloned();
        self
    }

    /// Says which roads the call may take; without it, the nearest that has room.
    #[must_use]
    pub fn locality(mut self, locality: Locality) -> Self {
        self.edit().locality = locality;
        self
    }

    /// Has the road that the call takes counted here.
    #[must_use]
    pub fn roads(mut self, counts: Arc<RoadCounts>) -> Self {
        self.edit().roads = Some(counts);
        self
    }

    /// Sets when the call has to be done, for a description that was made once for many calls.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has the call go to a server of which it is known that it has room.
    pub(crate) fn sent_to(mut self, place: Subject) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// When the call has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Which roads the call may take.
    pub fn allowed(&self) -> Locality {
        self.common.locality
    }

    /// Who counts the road that the call takes.
    pub fn counts(&self) -> Option<&Arc<RoadCounts>> {
        self.common.roads.as_ref()
    }

    /// What is needed to tell of its failure.
    pub(crate) fn as_caller(&self) -> Caller<'_> {
        self.common.as_caller(self.may_be_nowhere)
    }

    /// Whether it is a part of a call that is under way in this process.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Who calls, if that was said.
    pub(crate) fn caller(&self) -> Option<&str> {
        self.common.source.as_deref()
    }

    /// Where the call goes.
    pub fn subject(&self) -> &Subject {
        &self.common.subject
    }

    /// What the callee is told of the call, without the way through headers.
    pub(crate) fn told(&self) -> Told {
        let common = &self.common;
        Told {
            source_id: common.source.clone(),
            link_name: common.link_name.clone(),
            link_package: common.link_package.clone(),
            target_id: common.target.clone(),
            trace: self.trace.clone(),
            terms: None,
            too_long: None,
        }
    }

    /// The headers that every peer reads.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.common.headers.clone();
        if let Some(trace) = &self.trace {
            header::write_trace(trace, &mut headers);
        }
        headers
    }
}

/// A request that nobody has yet: a slot for it has nothing to wait for, whatever ends this.
struct Unsent<'a>(&'a Exchange);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.is_no_call();
    }
}

/// Whether a function, as it stands on the wire, is one of a resource: `{resource}.{name}`.
pub(crate) fn is_of_resource(function: &str) -> bool {
    function.contains('.')
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
    /// Empty parameters: a 1.9 callee waits for the end of the parameters before it starts.
    owes_end: bool,
    /// Streams that such a callee has to be told have ended.
    owed_paths: Vec<Path>,
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

    async fn send(
        &self,
        invocation: Invocation,
        mut params: Bytes,
        ended: &[Path],
        streams: bool,
    ) -> Result<Call, CallError> {
        let (subject, deadline) = (invocation.subject().clone(), invocation.deadline());
        let mut headers = invocation.headers();
        if invocation.common.is_default_link && !self.inner.slots.trusts(&subject) {
            header::put(&mut headers, header::LINK_NAME, DEFAULT_LINK);
        }
        let guard = self.open(Side::Caller, subject.clone())?;
        let root = guard.root();
        let window = Some(self.inner.config.stream_window);
        let terms = Terms {
            turn: Some(guard.exchange.turn()),
            window: window.filter(|_| streams),
            bulk: guard.bulk_root().filter(|_| streams),
            ended: ended.to_vec(),
            ..Terms::default()
        };
        let mut terms = terms.until(deadline);
        terms.write(&mut headers);
        let room = outbound::room_for_request(self, &headers, &root);
        if params.len() > room {
            (terms.turn, terms.window) = (None, window);
            terms.write(&mut headers);
        }
        let first = params.split_to(params.len().min(room));
        let tells_end = invocation.common.tells_end && params.is_empty();
        let owes_end = first.is_empty() || tells_end;
        let (place, is_under_way) = (invocation.place, invocation.is_under_way);
        let call = Call {
            guard,
            common: invocation.common,
            may_be_nowhere: invocation.may_be_nowhere,
            deadline,
            started: Instant::now(),
            owes_end,
            owed_paths: terms.ended,
        };
        let request = Outgoing {
            headers: Some(headers),
            payload: first,
            deadline: Some(deadline),
            ..Outgoing::reply(subject, root)
        };
        let exchange = &call.guard.exchange;
        exchange.counted_by(call.common.roads.as_ref());
        let sent = async {
            let unsent = Unsent(exchange);
            let locality = call.common.locality;
            match place {
                Some(place) => self.publish_to(exchange, request, &place).await?,
                None => {
                    let sent = self.publish_request(exchange, request, locality, is_under_way);
                    sent.await?;
                }
            }
            std::mem::forget(unsent);
            Ok(())
        };
        call.told(call.within(sent).await)?;
        if !params.is_empty() {
            // Boxed here and below, since it is rare: a future is as large as the largest thing it may
            // come to wait for, and is moved more than once on its way into a task.
            call.told(Box::pin(call.send_rest(params)).await)?;
        }
        Ok(call)
    }
}

impl Call {
    /// When the call has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    fn timed_out(&self) -> CallError {
        let subject = self.guard.exchange.subject().to_string();
        CallError::Deadline {
            subject,
            after: self.started.elapsed(),
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
        self.within(send).await
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

    async fn poll_to_result(&mut self) -> Result<ResultMessage, CallError> {
        loop {
            let exchange = Arc::clone(&self.guard.exchange);
            let owes = self.owes_end || !self.owed_paths.is_empty();
            let value = poll_fn(|cx| {
                if let Poll::Ready(value) = exchange.poll_value(cx) {
                    return Poll::Ready(Some(value));
                }
                match exchange.poll_remote(cx) {
                    Poll::Ready(Ok(_)) if owes => Poll::Ready(None),
                    _ => Poll::Pending,
                }
            })
            .await;
            match value {
                Some(value) => {
                    let bytes = value?;
                    return Ok(ResultMessage {
                        bytes,
                        ended: exchange.ended_paths(),
                    });
                }
                None => Box::pin(self.settle_debts()).await?,
            }
        }
    }

    /// Tells a 1.9 callee what a newer one has read in the headers of the request.
    async fn settle_debts(&mut self) -> Result<(), CallError> {
        let owes_end = std::mem::take(&mut self.owes_end);
        let owed_paths = std::mem::take(&mut self.owed_paths);
        let Some(remote) = self.guard.exchange.remote() else {
            return Ok(());
        };
        if remote.window.is_some() {
            return Ok(());
        }
        let peer = &self.guard.peer;
        for path in owed_paths {
            let subject = format!("{}.params.{path}", remote.root).into();
            peer.publish(subject, None, Bytes::from_static(&[0]))
                .await?;
        }
        if owes_end {
            let subject = format!("{}.params", remote.root).into();
            peer.publish(subject, None, Bytes::new()).await?;
        }
        Ok(())
    }

    pub(crate) fn guard(&self) -> &Arc<SlotGuard> {
        &self.guard
    }
}
