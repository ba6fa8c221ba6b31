//! What stands on a line, byte by byte.
//!
//! Each frame is its length (four bytes, big endian, of what follows), its kind (one byte) and its
//! content: a subject, or a message. A message is a byte of flags, the length of its subject and of
//! its reply subject (two bytes each), that of its headers (four bytes), then these three and its
//! payload. A header is the length of its name (two bytes) and of its value (four bytes), then both.

use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use lattice_core::provider::SecretText;

use crate::outbox::Outgoing;

/// What both ends begin with.
pub(super) const GREETING: &[u8; 8] = b"lattice1";

/// The longest frame that is taken; longer than any message that NATS takes.
pub(super) const MAX_FRAME: usize = (64 << 20) + (64 << 10);

/// A payload that is longer stays a part of what was read; a shorter one is copied, so that it
/// does not keep all of it.
const COPIED: usize = 1024;

/// What a frame takes besides its bytes, at least about.
const OVERHEAD: usize = 256;

/// The request must not leave the machine.
const LOCAL_ONLY: u8 = 1;

/// One frame.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Asks whether the other end serves a function.
    Want(Subject),
    /// This end serves it.
    Have(Subject),
    /// This end does not serve it, or no longer.
    Gone(Subject),
    /// A call of a function of the other end.
    Request(Request),
    /// A request that cannot be served here now, as it came.
    Declined(Request),
    /// A message of a call under way.
    Message(Outgoing),
    /// Shows a ticket, which says who this end is. It comes first, if at all.
    Hello(SecretText),
}

/// A call, and where it may go.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: Outgoing,
    pub(super) local_only: bool,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end sent what is no frame: {0}")]
pub(crate) struct BadFrame(&'static str);

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Want(_) => 1,
            Self::Have(_) => 2,
            Self::Gone(_) => 3,
            Self::Request(_) => 4,
            Self::Declined(_) => 5,
            Self::Message(_) => 6,
            Self::Hello(_) => 7,
        }
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let of_message = |message: &Outgoing| {
            let headers = message.headers.iter().flat_map(HeaderMap::iter);
            let headers = headers.map(|(name, values)| {
                let name: &[u8] = name.as_ref();
                let values = values.iter().map(|value| name.len() + value.as_str().len());
                values.sum::<usize>()
            });
            let reply = message.reply.as_ref().map_or(0, |reply| reply.len());
            message.subject.len() + reply + headers.sum::<usize>() + message.payload.len()
        };
        let bytes = match self {
            Self::Want(subject) | Self::Have(subject) | Self::Gone(subject) => subject.len(),
            Self::Request(request) | Self::Declined(request) => of_message(&request.message),
            Self::Message(message) => of_message(message),
            Self::Hello(ticket) => ticket.expose().len(),
        };
        bytes + OVERHEAD
    }

    /// Appends the frame but for its payload, which is returned to be sent after it.
    pub(crate) fn write(self, out: &mut BytesMut) -> Bytes {
        let kind = self.kind();
        let at = out.len();
        out.put_u32(0);
        out.put_u8(kind);
        let payload = match self {
            Self::Want(subject) | Self::Have(subject) | Self::Gone(subject) => {
                out.put_slice(subject.as_bytes());
                Bytes::new()
            }
            Self::Request(request) | Self::Declined(request) => {
                write_message(out, request.message, request.local_only)
            }
            Self::Message(message) => write_message(out, message, false),
            Self::Hello(ticket) => {
                out.put_slice(ticket.expose().as_bytes());
                Bytes::new()
            }
        };
        // A payload is one that NATS takes, and so are its headers: far below four gigabytes.
        let len = (out.len() - at - 4 + payload.len()) as u32;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        payload
    }

    /// Takes the next frame off what has been read; `None` until it is complete.
    pub(crate) fn read(input: &mut BytesMut) -> Result<Option<Self>, BadFrame> {
        let Some(head) = input.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*head) as usize;
        if len == 0 || len > MAX_FRAME {
            return Err(BadFrame("its length"));
        }
        if input.len() < 4 + len {
            return Ok(None);
        }
        let mut frame = input.split_to(4 + len).freeze();
        frame.advance(4);
        let kind = frame.get_u8();
        Ok(Some(match kind {
            1 => Self::Want(subject(frame)?),
            2 => Self::Have(subject(frame)?),
            3 => Self::Gone(subject(frame)?),
            4 => Self::Request(read_request(frame)?),
            5 => Self::Declined(read_request(frame)?),
            6 => Self::Message(read_request(frame)?.message),
            7 => Self::Hello(SecretText::new(text(&frame)?)),
            _ => return Err(BadFrame("its kind")),
        }))
    }
}

fn write_message(out: &mut BytesMut, message: Outgoing, local_only: bool) -> Bytes {
    let reply = message.reply.as_deref().unwrap_or_default();
    out.put_u8(if local_only { LOCAL_ONLY } else { 0 });
    out.put_u16(message.subject.len() as u16);
    out.put_u16(reply.len() as u16);
    let at = out.len();
    out.put_u32(0);
    out.put_slice(message.subject.as_bytes());
    out.put_slice(reply.as_bytes());
    let headers_at = out.len();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let name: &[u8] = name.as_ref();
        for value in values {
            out.put_u16(name.len() as u16);
            out.put_u32(value.as_str().len() as u32);
            out.put_slice(name);
            out.put_slice(value.as_str().as_bytes());
        }
    }
    let len = (out.len() - headers_at) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    message.payload
}

fn read_request(mut frame: Bytes) -> Result<Request, BadFrame> {
    if frame.len() < 9 {
        return Err(BadFrame("a message that is cut short"));
    }
    let flags = frame.get_u8();
    let (subject_len, reply_len) = (frame.get_u16(), frame.get_u16());
    let headers_len = frame.get_u32() as usize;
    let subject = subject(take(&mut frame, subject_len.into())?)?;
    let reply = take(&mut frame, reply_len.into())?;
    let headers = take(&mut frame, headers_len)?;
    let payload = if frame.len() <= COPIED {
        Bytes::copy_from_slice(&frame)
    } else {
        frame
    };
    let message = Outgoing {
        subject,
        reply: match reply.is_empty() {
            true => None,
            false => Some(self::subject(reply)?),
        },
        headers: read_headers(headers)?,
        payload,
        deadline: None,
    };
    Ok(Request {
        message,
        local_only: flags & LOCAL_ONLY != 0,
    })
}

fn read_headers(mut block: Bytes) -> Result<Option<HeaderMap>, BadFrame> {
    if block.is_empty() {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    while !block.is_empty() {
        if block.len() < 6 {
            return Err(BadFrame("a header that is cut short"));
        }
        let (name_len, value_len) = (block.get_u16(), block.get_u32() as usize);
        let name = take(&mut block, name_len.into())?;
        let value = take(&mut block, value_len)?;
        let name = text(&name)?.parse::<HeaderName>();
        let value = text(&value)?.parse::<HeaderValue>();
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(BadFrame("a header that is none"));
        };
        headers.append(name, value);
    }
    Ok(Some(headers))
}

fn take(frame: &mut Bytes, len: usize) -> Result<Bytes, BadFrame> {
    if frame.len() < len {
        return Err(BadFrame("a length beyond its end"));
    }
    Ok(frame.split_to(len))
}

fn text(bytes: &[u8]) -> Result<&str, BadFrame> {
    std::str::from_utf8(bytes).map_err(|_| BadFrame("a text that is no UTF-8"))
}

/// Copied, since a subject is short and may be kept for long.
fn subject(bytes: Bytes) -> Result<Subject, BadFrame> {
    let subject = Subject::from(text(&bytes)?);
    if subject.is_valid() {
        Ok(subject)
    } else {
        Err(BadFrame("a subject that is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn bytes_of(frames: Vec<Frame>) -> BytesMut {
        let mut out = BytesMut::new();
        for frame in frames {
            let payload = frame.write(&mut out);
            out.extend_from_slice(&payload);
        }
        out
    }

    /// What two programs of different builds have to agree on; see the head of this file.
    #[test]
    fn frames_are_these_bytes() {
        let message = || Outgoing {
            subject: "f".into(),
            reply: Some("r".into()),
            headers: Some(HeaderMap::from_iter([(
                HeaderName::from_static("a"),
                HeaderValue::from("b"),
            )])),
            payload: Bytes::from_static(b"p"),
            deadline: None,
        };
        let request = |local_only| Request {
            message: message(),
            local_only,
        };
        let near = b"\x01\0\x01\0\x01\0\0\0\x08fr\0\x01\0\0\0\x01abp";
        let far = b"\0\0\x01\0\x01\0\0\0\x08fr\0\x01\0\0\0\x01abp";
        let cases: [(Frame, u8, &[u8]); 6] = [
            (Frame::Want("f".into()), 1, b"f"),
            (Frame::Have("f".into()), 2, b"f"),
            (Frame::Gone("f".into()), 3, b"f"),
            (Frame::Request(request(true)), 4, near),
            (Frame::Declined(request(false)), 5, far),
            (Frame::Message(message()), 6, far),
        ];
        for (frame, kind, content) in cases {
            let mut expected = vec![0, 0, 0, content.len() as u8 + 1, kind];
            expected.extend_from_slice(content);
            assert_eq!(&bytes_of(vec![frame])[..], &expected, "kind {kind}");
        }
        assert_eq!(GREETING, b"lattice1");
    }

    fn token() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9_:/@-]{1,12}(\\.[a-z0-9]{1,6}){0,3}"
    }

    fn message() -> impl Strategy<Value = Outgoing> {
        let headers = prop::collection::vec(("[a-z][a-z-]{0,10}", "[ -~]{0,30}"), 0..4);
        let payload = prop::collection::vec(any::<u8>(), 0..3000);
        (token(), prop::option::of(token()), headers, payload).prop_map(
            |(subject, reply, headers, payload)| Outgoing {
                subject: subject.into(),
                reply: reply.map(Subject::from),
                headers: (!headers.is_empty()).then(|| {
                    let mut map = HeaderMap::new();
                    for (name, value) in headers {
                        map.append(name.as_str(), value.as_str());
                    }
                    map
                }),
                payload: payload.into(),
                deadline: None,
            },
        )
    }

    fn same(a: &Outgoing, b: &Outgoing) -> bool {
        a.subject == b.subject
            && a.reply == b.reply
            && a.headers == b.headers
            && a.payload == b.payload
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written(
            message in message(), local_only: bool, cut: proptest::sample::Index,
        ) {
            let copy = Outgoing {
                subject: message.subject.clone(),
                reply: message.reply.clone(),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
                deadline: None,
            };
            let subject = message.subject.clone();
            let request = Request { message, local_only };
            let mut bytes = bytes_of(vec![Frame::Request(request)]);
            let whole = bytes.len();
            bytes.unsplit(bytes_of(vec![Frame::Want(subject.clone())]));
            let rest = bytes.split_off(cut.index(whole));
            let first = Frame::read(&mut bytes);
            prop_assert!(matches!(first, Ok(None)), "{first:?}");
            bytes.unsplit(rest);
            let Ok(Some(Frame::Request(read))) = Frame::read(&mut bytes) else {
                panic!("no request");
            };
            prop_assert!(same(&read.message, &copy), "{:?}", read.message);
            prop_assert_eq!(read.local_only, local_only);
            let Ok(Some(Frame::Want(read))) = Frame::read(&mut bytes) else {
                panic!("no want");
            };
            prop_assert_eq!(read, subject);
            prop_assert!(matches!(Frame::read(&mut bytes), Ok(None)));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut input = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = Frame::read(&mut input) {}
            // The same content behind a length that fits it.
            let mut framed = BytesMut::new();
            framed.put_u32(bytes.len() as u32);
            framed.put_slice(&bytes);
            let _ = Frame::read(&mut framed);
        }
    }

    #[test]
    fn lengths_are_refused_before_anything_is_kept() {
        for len in [0, MAX_FRAME as u32 + 1, u32::MAX] {
            let mut input = BytesMut::new();
            input.put_u32(len);
            let refused = Frame::read(&mut input);
            assert!(
                matches!(refused, Err(BadFrame("its length"))),
                "{refused:?}"
            );
        }
    }
}
