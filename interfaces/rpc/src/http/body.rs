//! Bodies in both directions.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use lattice_codec::http::{Part, decode_trailers, encode_trailers};
use lattice_codec::{DecodeError, Reader};

use crate::body::{BodyReader, BodyWriter};
use crate::error::CallError;
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
    Ended,
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

    /// Keeps a task alive as long as this body.
    pub(crate) fn holding(mut self, pump: Option<Pump>) -> Self {
        self.pump = pump;
        self
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        match std::mem::replace(&mut self.data, Data::Ended) {
            Data::Whole(whole) if !whole.is_empty() => Poll::Ready(Some(Ok(whole))),
            Data::Whole(_) | Data::Ended => Poll::Ready(None),
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
                Ok(Some(trailers)) => self.trailers = Trailers::Ready(trailers),
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
            Data::Stream(_) => false,
        };
        empty && matches!(self.trailers, Trailers::Ready(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Data::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Data::Ended => SizeHint::with_exact(0),
            Data::Stream(_) => SizeHint::default(),
        }
    }
}

/// A body on its way out, after what was ready of it has been taken.
pub(crate) struct Outgoing<B> {
    rest: Pin<Box<B>>,
    /// What was ready.
    pub(crate) data: Bytes,
    /// Whether that is all.
    pub(crate) whole: bool,
    trailers: Option<HeaderMap>,
}

impl<B> Outgoing<B>
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
            trailers: None,
        };
        poll_fn(|cx| Poll::Ready(out.poll_ready(cx))).await?;
        Ok(out)
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

    /// Sends the rest of the body, then the trailers.
    pub(crate) async fn send(
        mut self,
        body: ByteWriter,
        mut trailers: ByteWriter,
    ) -> Result<(), SendError> {
        let mut body = BodyWriter::new(body);
        body.write(std::mem::take(&mut self.data)).await?;
        loop {
            let frame = poll_fn(|cx| {
                let frame = self.rest.as_mut().poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|e| e.to_string())))
            })
            .await;
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
        trailers.write(out.freeze()).await?;
        trailers.finished();
        Ok(())
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
