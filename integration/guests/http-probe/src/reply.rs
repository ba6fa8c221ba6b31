//! Writing a response.

use crate::bindings::wasi::http::types::{
    Fields, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// Whether the whole response left the guest.
pub(crate) type Sent = Result<(), StreamError>;

/// The host takes at most this many bytes in one call that waits for room.
const PIECE: usize = 4096;

/// The length of the pattern that `/stream` repeats: prime, so that lost or doubled pieces show.
const PATTERN: u64 = 251;

/// Head of a response.
pub(crate) struct Reply {
    status: u16,
    headers: Fields,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Fields::new(),
        }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.headers
            .append(name, value.as_bytes())
            .expect("the host takes this header");
        self
    }

    /// Sends the head; the body follows.
    pub(crate) fn send(self, out: ResponseOutparam) -> Body {
        let response = OutgoingResponse::new(self.headers);
        response
            .set_status_code(self.status)
            .expect("the host takes this status");
        let body = response.body().expect("a new response has its body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a new body has its stream");
        Body { stream, body }
    }
}

/// Body of a response whose head is sent. Dropped without `finish`, it is an aborted one.
pub(crate) struct Body {
    // Dropped in this order: a stream is the child of its body.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Sent {
        bytes
            .chunks(PIECE)
            .try_for_each(|piece| self.stream.blocking_write_and_flush(piece))
    }

    /// Writes as many bytes, counting up, as the host has room for each time.
    pub(crate) fn write_counting(&mut self, length: u64) -> Sent {
        let mut written = 0;
        while written < length {
            self.stream.subscribe().block();
            let room = self.stream.check_write()?.min(length - written);
            let piece: Vec<u8> = (written..written + room)
                .map(|at| (at % PATTERN) as u8)
                .collect();
            self.stream.write(&piece)?;
            written += room;
        }
        self.stream.blocking_flush()
    }

    pub(crate) fn text(mut self, text: &str) -> Sent {
        self.write(text.as_bytes())?;
        self.finish(None)
    }

    pub(crate) fn counting(mut self, length: u64) -> Sent {
        self.write_counting(length)?;
        self.finish(None)
    }

    pub(crate) fn text_with_trailer(mut self, text: &str, trailer: (&str, &str)) -> Sent {
        self.write(text.as_bytes())?;
        let trailers = Fields::new();
        trailers
            .append(trailer.0, trailer.1.as_bytes())
            .expect("the host takes this trailer");
        self.finish(Some(trailers))
    }

    pub(crate) fn finish(self, trailers: Option<Fields>) -> Sent {
        let Self { stream, body } = self;
        drop(stream);
        // Only a wrong content length is refused here, and no test announces one.
        OutgoingBody::finish(body, trailers).map_err(|_| StreamError::Closed)
    }
}
