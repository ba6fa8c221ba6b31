//! The parameters of a served call, as far as they have come.

mod pace;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Path, Reader};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::direct::{Given, Value};
use crate::error::CallError;
use crate::exchange::{Pieces, Share};
use crate::limiter::{Claim, Limiter, Permit, Place};
use crate::respond::Inbound;
use crate::stream::ByteReader;
use pace::Pace;

/// How long a 1.9 caller may be quiet that has sent more than its request, or has more to send: those
/// that do end their parameters, however slow the way.
const BEGUN: Duration = Duration::from_secs(10);

/// What a full request leaves to its headers, at most: this part of a message, or so many bytes.
const HEADERS: usize = 64;
const LEAST_HEADERS: usize = 1024;

/// The largest message where nothing else is set, as for a caller who is on another server than we.
const USUAL_PAYLOAD: usize = 1 << 20;

/// The parameters of one call.
#[derive(Debug)]
pub struct Params {
    inbound: Arc<Inbound>,
    first: Bytes,
    /// What `first` takes of the peer's budget.
    share: Option<Share>,
    complete: bool,
    begun: Instant,
    deadline: Instant,
    limiter: Arc<Limiter>,
    /// Who calls, where that is certain.
    source: Option<Arc<str>>,
    /// Where the call stands while it waits for parameters and must not hold up others.
    place: Option<Place>,
    /// What takes the place of encoded parameters for a caller in this process. The lock only lets
    /// parameters be shared, which a value by itself may not be.
    value: Mutex<Option<Value>>,
}

impl Params {
    /// The parameters of a call whose request came in at `begun`.
    pub(crate) fn new(
        inbound: Arc<Inbound>,
        first: Bytes,
        complete: bool,
        begun: Instant,
        deadline: Instant,
        limiter: Arc<Limiter>,
        source: Option<Arc<str>>,
    ) -> Self {
        Self {
            inbound,
            first,
            share: None,
            complete,
            begun,
            deadline,
            limiter,
            source,
            place: None,
            value: Mutex::default(),
        }
    }

    /// What a call within the process is made with.
    pub(crate) fn given(
        inbound: Arc<Inbound>,
        given: Given,
        begun: Instant,
        deadline: Instant,
        limiter: Arc<Limiter>,
    ) -> Self {
        let (first, value) = match given {
            Given::Params(params) => (params, None),
            Given::Value(value) => (Bytes::new(), Some(value)),
        };
        Self {
            value: Mutex::new(value),
            ..Self::new(inbound, first, true, begun, deadline, limiter, None)
        }
    }

    /// Takes what a caller in this process has called with as it is; `None` for parameters that
    /// are encoded. See [`ServeOptions::takes`](crate::ServeOptions::takes).
    pub fn take(&mut self) -> Option<Value> {
        self.value.get_mut().take()
    }

    /// The longest text or list that [`Params::decode`] reads, in bytes or items. Of what
    /// [`Params::take`] gives, nothing is bounded.
    pub fn longest(&self) -> u64 {
        self.inbound.peer.inner.config.max_value_bytes as u64
    }

    /// What a call within the process was made with, for it to be made elsewhere.
    pub(crate) fn give_back(self) -> Given {
        match self.value.into_inner() {
            Some(value) => Given::Value(value),
            None => Given::Params(self.first),
        }
    }

    /// The parameters that came with the request; all of them if [`Params::is_complete`].
    pub fn first(&self) -> &Bytes {
        &self.first
    }

    /// Whether the caller says that the request holds all synchronous parameters.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Decodes the parameters, waiting for further pieces while they are incomplete.
    ///
    /// `decode` starts at the front each time it is called. What it tells of missing bytes has to be
    /// true: it is not called before they are there, and where much has come, not for each that does.
    ///
    /// # Errors
    ///
    /// [`CallError::Decode`] for bytes that are no such parameters, [`CallError::NotSent`] when the
    /// rest does not come in time.
    pub async fn decode<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<T, CallError> {
        let most = self.longest();
        let mut pace = Pace::default();
        let value = loop {
            match read(&self.first, most, &mut decode) {
                Ok(value) => break value,
                Err(DecodeError::Incomplete { needed }) if !self.complete => {
                    pace.looked(self.first.len(), needed);
                    self.gather(&pace).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.step_in().await?;
        Ok(value)
    }

    /// Waits until it is of use to decode again.
    async fn gather(&mut self, pace: &Pace) -> Result<(), CallError> {
        while !self.complete {
            match pace.due(self.first.len()) {
                None => self.more().await?,
                Some(at) if at <= Instant::now() => return Ok(()),
                Some(at) => match tokio::time::timeout_at(at, self.more()).await {
                    Ok(more) => more?,
                    Err(_) => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// Waits for all parameters of a function whose type is not known here.
    ///
    /// A 1.9 caller that never ends its parameters is taken to have sent them all once it has been
    /// quiet for `quiet`, or for ten seconds once it has sent more than the request or where that was
    /// full. One of our kind ends them.
    ///
    /// # Errors
    ///
    /// As [`Params::decode`].
    pub async fn all(&mut self, quiet: Duration) -> Result<Bytes, CallError> {
        let request = self.first.len();
        let is_full = fills(request, self.inbound.peer.nats().max_payload());
        while !self.complete {
            if self.inbound.newer() {
                self.more().await?;
                continue;
            }
            let has_begun = is_full || self.first.len() > request;
            let quiet = if has_begun { quiet.max(BEGUN) } else { quiet };
            match tokio::time::timeout(quiet, self.more()).await {
                Ok(more) => more?,
                Err(_) => self.complete = true,
            }
        }
        self.step_in().await?;
        Ok(self.first.clone())
    }

    /// Gives the right to run back: a caller that never sends the rest, as one that has died,
    /// takes nothing from others.
    fn step_aside(&mut self) -> Result<(), CallError> {
        if self.place.is_none() {
            self.place = Some(self.limiter.place()?);
            self.inbound.permit.lock().take();
        }
        Ok(())
    }

    /// Waits for the right to run anew, if it was given back.
    async fn step_in(&mut self) -> Result<(), CallError> {
        if self.place.take().is_some() {
            let claim = Claim {
                arrived: Instant::now(),
                deadline: self.deadline,
                source: self.source.as_deref(),
            };
            let permit = self.limiter.admit(claim).await?;
            *self.inbound.permit.lock() = Some(permit);
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), CallError> {
        self.step_aside()?;
        let guard = Arc::clone(self.inbound.accept().await?);
        let next = poll_fn(|cx| guard.exchange.poll_root(cx));
        match tokio::time::timeout_at(self.deadline, next).await {
            Ok(Some(pieces)) => {
                self.append(pieces?);
                Ok(())
            }
            Ok(None) => {
                self.complete = true;
                Ok(())
            }
            Err(_) => Err(CallError::NotSent {
                after: self.begun.elapsed(),
            }),
        }
    }

    fn append(&mut self, pieces: Pieces) {
        let data = pieces.iter().map(|piece| &piece.data);
        self.first = joined(std::mem::take(&mut self.first), data);
        for mut piece in pieces {
            piece.share.shrink_to(piece.data.len());
            match &mut self.share {
                Some(share) => share.join(piece.share),
                none => *none = Some(piece.share),
            }
        }
    }

    /// Takes the call's permit over, for work that may outlive the handler; it counts as running
    /// until the permit is dropped. To be called when all parameters are there.
    pub fn take_permit(&self) -> Option<Permit> {
        self.inbound.permit.lock().take()
    }

    /// Reads a stream or future among the parameters; `until` bounds how long it may take.
    ///
    /// # Errors
    ///
    /// [`CallError::Send`] when the accept, which makes the caller send, cannot be sent.
    pub async fn reader(
        &self,
        path: Path,
        until: Option<Instant>,
    ) -> Result<ByteReader, CallError> {
        let guard = if self.inbound.ended().contains(&path) {
            self.inbound.slot().await?
        } else {
            self.inbound.accept().await?
        };
        Ok(ByteReader::new(Arc::clone(guard), path, until))
    }

    /// Whether the stream at `path` has ended without data, as the request tells.
    pub fn has_ended(&self, path: &Path) -> bool {
        self.inbound.ended().contains(path)
    }

    pub(crate) fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }
}

/// Whether a request with so many bytes of parameters had room for no more, so that a rest is to follow:
/// the first message of a 1.9 caller takes as many as it can.
fn fills(request: usize, max_payload: usize) -> bool {
    let full = |most: usize| most.saturating_sub((most / HEADERS).max(LEAST_HEADERS));
    request >= full(max_payload).min(full(USUAL_PAYLOAD))
}

/// Decodes from the front. The reader does not outlive this: nobody else may hold the bytes when more
/// are appended, or all of them are copied.
fn read<T>(
    bytes: &Bytes,
    most: u64,
    decode: &mut impl FnMut(&mut Reader) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes.clone()).with_limit(most);
    let value = decode(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Appends to bytes that nobody else holds without copying them, but for now and then, when they have
/// outgrown their room.
fn joined<'a>(first: Bytes, pieces: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut all = BytesMut::from(first);
    all.reserve(pieces.clone().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_full_for_our_server_or_for_a_usual_one() {
        const KIB: usize = 1024;
        for (request, max_payload, expected) in [
            (8 * 1024 * KIB, 8 * 1024 * KIB, true),
            (1008 * KIB, 8 * 1024 * KIB, true),
            (1008 * KIB - 1, 8 * 1024 * KIB, false),
            (1008 * KIB, 1024 * KIB, true),
            // Headers are no smaller where messages are.
            (7 * KIB, 8 * KIB, true),
            (7 * KIB - 1, 8 * KIB, false),
            (0, 100, true),
        ] {
            let is_full = fills(request, max_payload);
            assert_eq!(is_full, expected, "{request} of {max_payload}");
        }
    }

    #[test]
    fn what_is_read_in_vain_is_not_copied_when_more_comes() {
        let piece = Bytes::from_static(b"x");
        let mut all = Bytes::from(vec![1; 100_000]);
        let mut copies = 0;
        for _ in 0..1000 {
            let incomplete = read(&all, 1 << 20, &mut |reader| {
                reader.take(reader.remaining() + 1)
            });
            assert_eq!(incomplete, Err(DecodeError::Incomplete { needed: 1 }));
            let before = all.as_ptr();
            all = joined(all, [&piece].into_iter());
            copies += usize::from(all.as_ptr() != before);
        }
        assert_eq!(all.len(), 101_000);
        assert!(copies < 3, "{copies}");
    }
}
