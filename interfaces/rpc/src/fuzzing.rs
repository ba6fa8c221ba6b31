//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use std::time::Duration;

use async_nats::Message;
use bytes::BytesMut;
use tokio::time::Instant;

use crate::auth::{self, Auth, Verdict};
use crate::error::RemoteError;
use crate::header::{self, Told};
use crate::outbox::Outgoing;
use crate::socket::Frame;

pub use crate::auth::fuzzing::{answer, learn, question};

/// Reads the frames that a socket has brought, up to the first that is none, and writes them again.
pub fn frames(input: &[u8]) -> Vec<u8> {
    let mut input = BytesMut::from(input);
    let mut out = BytesMut::new();
    while let Ok(Some(frame)) = Frame::read(&mut input) {
        if let Frame::Request(request) = &frame {
            let message = &request.message;
            let reply = message.reply.as_deref().unwrap_or_default();
            auth::fuzzing::cover(message.headers.as_ref(), &message.subject, reply);
        }
        let payload = frame.write(&mut out);
        out.extend_from_slice(&payload);
    }
    out.into()
}

/// Reads whatever the headers of a request or of an answer may tell.
pub fn told(message: &Message) {
    let headers = message.headers.as_ref();
    let mut told = Told::read(headers);
    let link = told.link();
    let left = told.time_left(Duration::from_secs(5), Duration::from_secs(600));
    let _deadline = Instant::now() + left;
    let ended = header::read_ended(headers);
    if let Some(mut headers) = headers.cloned() {
        header::write_ended(&mut headers, &ended);
        header::put(&mut headers, header::LINK_NAME, &link);
        assert!(ended.is_empty() || header::read_ended(Some(&headers)) == ended);
        let _window = header::number(&headers, header::WINDOW);
    }
    if let Some(error) = RemoteError::read(headers, &message.payload) {
        let (headers, payload) = (error.headers(), error.payload());
        assert_eq!(RemoteError::read(Some(&headers), &payload), Some(error));
    }
    let _source = header::source(message);
    let _turn = message.reply.as_ref().and_then(header::turn_of);
}

/// Adds the proof of who makes a call.
pub fn prove(auth: &Auth, call: Message) -> Message {
    let mut request = Outgoing {
        subject: call.subject,
        reply: call.reply,
        headers: call.headers,
        payload: call.payload,
        deadline: Some(Instant::now() + Duration::from_secs(5)),
    };
    auth.prove(&mut request);
    request.arrived()
}

/// Whether a call is let in; `None` when the key of its session has to be asked for.
pub fn admits(auth: &Auth, call: &Message) -> Option<bool> {
    match auth.check(call, Instant::now()) {
        Verdict::Admit(_) => Some(true),
        Verdict::Refuse(refusal) | Verdict::Drop(refusal) => {
            let _error = refusal.error();
            Some(false)
        }
        Verdict::Ask(_) | Verdict::Link(..) => None,
    }
}
