//! Bodies in both directions.

use std::fmt::{self, Display};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use lattice_codec::http::{Part, decode_trailers, encode_trailers};
use lattice_codec::{DecodeError, Reader};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::body::{BodyReader, BodyWriter};
use crate::error::{CallError, RemoteError};
use crate::stream::{ByteReader, ByteWriter};

/// How much of a body goes with its message.
const INLINE: usize = 256 * 1024;

/// How large a trailer section may be.
const MAX_TRAILERS: usize = 64 * 1024;

/// A body that came over the lattice.
#[derive(Debug)]
pub struct IncomingBody {
    data: Data,
    trailers: Trailers,
    /// Sends the body of our own request meanwhile; ends with this body.
    pump: Option<Pump>,
}

#[derive(Debug)]
enum Data {
    Whole(Bytes),
    Stream(Box<BodyReader>),
    /// A body of this process, with its trailers.
    Direct(Direct),
    Ended,
}

/// A body that is read from where it arises.
struct Direct {
    body: Pin<Box<dyn Body<Data = Bytes, Error = CallError> + Send>>,
    held: Option<Held>,
}

/// What a body owes to the function that answers with it.
struct Held {
    /// Lets whoever drains the function wait for the body.
    _tracked: TaskTrackerToken,
    /// Resolves when the function is cut off.
    cut_off: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl Direct {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(held) = &mut self.held else {
            return Poll::Pending;
        };
        ready!(held.cut_off.as_mut().poll(cx));
        let error = RemoteError::new(
            RemoteError::INTERRUPTED,
            "the called side was stopped in mid-call",
        );
        Poll::Ready(Some(Err(CallError::Remote(error))))
    }
}

#[derive(Debug)]
enum Trailers {
    Ready(Option<HeaderMap>),
    Pending(Box<ByteReader>, BytesMut),
}

/// Ends a task when dropped.
#[derive(Debug)]
pub(crate) struct Pump(pub(crate) tokio::task::AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl IncomingBody {
    /// Puts a body together from what was inline and the streams for what was not.
    pub(crate) fn new(
        body: Part<Bytes>,
        body_stream: Option<ByteReader>,
        trailers: Part<Option<HeaderMap>>,
        trailer_stream: Option<ByteReader>,
    ) -> Self {
        let data = match (body, body_stream) {
            (Part::Ready(whole), _) => Data::Whole(whole),
            (Part::Pending, Some(stream)) => Data::Stream(Box::new(BodyReader::new(stream))),
            (Part::Pending, None) => Data::Ended,
        };
        let trailers = match (trailers, trailer_stream) {
            (Part::Ready(trailers), _) => Trailers::Ready(trailers),
            (Part::Pending, Some(stream)) => Trailers::Pending(Box::new(stream), BytesMut::new()),
            (Part::Pending, None) => Trailers::Ready(None),
        };
        Self {
            data,
            trailers,
            pump: None,
        }
    }

    /// Has a function that is left wait for this body, and end it when it is cut off.
    pub(crate) fn held_by(&mut self, tasks: &TaskTracker, abort: &CancellationToken) {
        if let Data::Direct(direct) = &mut self.data {
            direct.held = Some(Held {
                _tracked: tasks.token(),
                cut_off: Box::pin(abort.clone().cancelled_owned()),
            });
        }
    }

    /// Keeps a task alive as long as this body.
    pub(crate) fn holding(mut self, pump: Option<Pump>) -> Self {
        self.pump = pump;
        self
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        match std::mem::replace(&mut self.data, Data::Ended) {
            Data::Whole(whole) if !whole.is_empty() => Poll::Ready(Some(Ok(whole))),
            Data::Whole(_) | Data::Ended => Poll::Ready(None),
            // All of its frames are taken together, see below.
            Data::Direct(direct) => {
                self.data = Data::Direct(direct);
                Poll::Ready(None)
            }
            Data::Stream(mut stream) => {
                let next = stream.poll_next(cx);
                if !matches!(next, Poll::Ready(None | Some(Err(_)))) {
                    self.data = Data::Stream(stream);
                }
                next
            }
        }
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<HeaderMap, CallError>>> {
        while let Trailers::Pending(stream, collected) = &mut self.trailers {
            let next = ready!(stream.poll_next(cx));
            let ended = match next {
                Some(Ok(data)) => {
                    collected.extend_from_slice(&data);
                    false
                }
                Some(Err(error)) => {
                    self.trailers = Trailers::Ready(None);
                    return Poll::Ready(Some(Err(error)));
                }
                None => true,
            };
            match read_trailers(collected, ended) {
                Ok(None) => {}
                Ok(Some(trailers)) => {
                    stream.has_all();
                    self.trailers = Trailers::Ready(trailers);
                }
                Err(error) => {
                    self.trailers = Trailers::Ready(None);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        match &mut self.trailers {
            Trailers::Ready(trailers) => Poll::Ready(trailers.take().map(Ok)),
            Trailers::Pending(..) => Poll::Pending,
        }
    }
}

/// Reads trailers from what has arrived; `None` while they may still be completed.
fn read_trailers(
    collected: &BytesMut,
    ended: bool,
) -> Result<Option<Option<HeaderMap>>, CallError> {
    if collected.len() > MAX_TRAILERS {
        let size = collected.len();
        return Err(CallError::TooLarge {
            what: "trailers",
            size,
            limit: MAX_TRAILERS,
        });
    }
    if ended && collected.is_empty() {
        // A stream that ends without a value carries none.
        return Ok(Some(None));
    }
    match decode_trailers(&mut Reader::new(collected.clone().freeze())) {
        Ok(trailers) => Ok(Some(trailers)),
        Err(DecodeError::Incomplete { .. }) if !ended => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        if let Data::Direct(direct) = &mut self.data {
            let frame = ready!(direct.poll_frame(cx));
            if !matches!(frame, Some(Ok(_))) {
                self.data = Data::Ended;
            }
            return Poll::Ready(frame);
        }
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        self.poll_trailers(cx)
            .map(|trailers| trailers.map(|t| t.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        let empty = match &self.data {
            Data::Whole(whole) => whole.is_empty(),
            Data::Ended => true,
            Data::Direct(direct) => direct.body.is_end_stream(),
            Data::Stream(_) => false,
        };
        empty && matches!(self.trailers, Trailers::Ready(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Data::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Data::Ended => SizeHint::with_exact(0),
            Data::Direct(direct) => direct.body.size_hint(),
            Data::Stream(_) => SizeHint::default(),
        }
    }
}

/// A body on its way out, after what was ready of it has been taken.
pub(crate) struct OutgoingBody<B> {
    rest: Pin<Box<B>>,
    /// What was ready.
    pub(crate) data: Bytes,
    /// Whether that is all, and goes with the message.
    pub(crate) whole: bool,
    /// Whether nothing more comes, wherever the data goes.
    is_over: bool,
    trailers: Option<HeaderMap>,
}

impl<B> OutgoingBody<B>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Display,
{
    /// Takes what is ready of a body without waiting for more.
    pub(crate) async fn take(body: B) -> Result<Self, String> {
        let mut out = Self {
            rest: Box::pin(body),
            data: Bytes::new(),
            whole: false,
            is_over: false,
            trailers: None,
        };
        poll_fn(|cx| Poll::Ready(out.poll_ready(cx))).await?;
        out.is_over = out.whole;
        Ok(out)
    }

    /// Has the data follow the message, for a peer that does not take it there. Where there is none,
    /// it has no place in a message anyway. Gives how long a body is that is all there, and has no
    /// trailers.
    pub(crate) fn follow(&mut self) -> Option<usize> {
        let is_known = self.whole && self.trailers.is_none() && !self.data.is_empty();
        self.whole &= self.data.is_empty();
        is_known.then(|| self.data.len())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let mut joined = BytesMut::new();
        loop {
            if self.rest.is_end_stream() {
                self.whole = true;
                break;
            }
            if self.data.len() + joined.len() > INLINE {
                break;
            }
            match self.rest.as_mut().poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.whole = true;
                    break;
                }
                Poll::Ready(Some(Err(error))) => return Err(error.to_string()),
                Poll::Ready(Some(Ok(frame))) => self.add(frame, &mut joined),
            }
        }
        if !joined.is_empty() {
            self.data = joined.freeze();
        }
        Ok(())
    }

    /// One frame is passed on as it is; only several are copied together.
    fn add(&mut self, frame: Frame<Bytes>, joined: &mut BytesMut) {
        match frame.into_data() {
            Ok(data) if self.data.is_empty() && joined.is_empty() => self.data = data,
            Ok(data) => {
                if joined.is_empty() {
                    joined.extend_from_slice(&self.data);
                    self.data = Bytes::new();
                }
                joined.extend_from_slice(&data);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
    }

    /// What stands in the record for the body.
    pub(crate) fn body_part(&self) -> Part<Bytes> {
        if self.whole {
            Part::Ready(self.data.clone())
        } else {
            Part::Pending
        }
    }

    /// What stands in the record for the trailers.
    pub(crate) fn trailer_part(&self) -> Part<Option<HeaderMap>> {
        if self.whole {
            Part::Ready(self.trailers.clone())
        } else {
            Part::Pending
        }
    }

    /// The body as it is read within the process. What breaks it off is told as `broken` says.
    pub(crate) fn hand_over(self, broken: fn(String) -> CallError) -> IncomingBody
    where
        B: 'static,
    {
        let (data, trailers) = if self.whole {
            (Data::Whole(self.data), self.trailers)
        } else {
            let body = Box::pin(HandedOver { body: self, broken });
            (Data::Direct(Direct { body, held: None }), None)
        };
        IncomingBody {
            data,
            trailers: Trailers::Ready(trailers),
            pump: None,
        }
    }

    /// Sends the rest of the body, then the trailers.
    pub(crate) async fn send(
        mut self,
        body: ByteWriter,
        mut trailers: ByteWriter,
    ) -> Result<(), SendError> {
        let mut body = BodyWriter::new(body);
        body.write(std::mem::take(&mut self.data)).await?;
        // Whoever has the rest may pause for as long as it likes, and its end is of no use to anybody then.
        let mut left = pin!(body.left());
        loop {
            if self.is_over {
                break;
            }
            let frame = poll_fn(|cx| {
                let frame = self.rest.as_mut().poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|e| e.to_string())))
            });
            let frame = tokio::select! {
                biased;
                error = left.as_mut() => return Err(error.into()),
                frame = frame => frame,
            };
            match frame {
                None => break,
                Some(Err(error)) => {
                    body.broke_off();
                    trailers.broke_off();
                    return Err(SendError::Source(error));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => body.write(data).await?,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
        body.finish(Bytes::new()).await?;
        let mut out = BytesMut::new();
        encode_trailers(&mut out, self.trailers.as_ref());
        trailers.finish(out.freeze()).await?;
        Ok(())
    }
}

/// A body on its way out, read where it arises.
struct HandedOver<B> {
    body: OutgoingBody<B>,
    broken: fn(String) -> CallError,
}

impl<B> Body for HandedOver<B>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let broken = self.broken;
        let body = &mut self.body;
        if !body.data.is_empty() {
            let first = std::mem::take(&mut body.data);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        // Taken together with the data; nothing follows them.
        if let Some(trailers) = body.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(body.rest.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(error.to_string()))))
    }

    fn is_end_stream(&self) -> bool {
        let taken = self.body.data.is_empty() && self.body.trailers.is_none();
        taken && self.body.rest.is_end_stream()
    }
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The body itself failed.
    Source(String),
    /// The other end failed or gave up.
    Call(CallError),
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
