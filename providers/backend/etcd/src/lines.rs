//! Answers that come as a stream, one to a line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use lattice_backend_http::{Answer, BoxError, HttpError};
use serde::de::DeserializeOwned;

use crate::client::refused;
use crate::error::EtcdError;
use crate::wire;

/// The longest line.
const LONGEST_LINE: usize = 64 << 20;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A stream of answers, one to a line.
#[derive(Debug)]
pub(crate) struct Lines {
    authority: String,
    path: &'static str,
    body: Body,
    read: BytesMut,
    /// How much of what was read has no end of a line in it.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(authority: String, path: &'static str, answer: Response<Answer>) -> Self {
        let body = answer.into_body().map_err(Into::into);
        Self {
            authority,
            path,
            body: body.boxed_unsync(),
            read: BytesMut::new(),
            searched: 0,
        }
    }

    /// Nothing came in time.
    pub(crate) fn silent(&self, limit: Duration) -> EtcdError {
        EtcdError::NoAnswer {
            source: HttpError::Silent {
                authority: self.authority.clone(),
                limit,
            },
        }
    }

    /// The next answer; `None` at the end. When the wait is given up nothing is lost.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, EtcdError> {
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.decode(&line).map(Some);
            }
            let Some(frame) = self.body.frame().await else {
                let rest = std::mem::take(&mut self.read);
                return match rest.is_empty() {
                    true => Ok(None),
                    false => self.decode(&rest).map(Some),
                };
            };
            let frame = frame.map_err(|source| EtcdError::NoAnswer {
                source: HttpError::Body {
                    authority: self.authority.clone(),
                    source,
                },
            })?;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
            if self.read.len() > LONGEST_LINE {
                return Err(self.strange("a line without an end"));
            }
        }
    }

    fn line(&mut self) -> Option<BytesMut> {
        let unsearched = &self.read[self.searched..];
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.read.len();
            return None;
        };
        let line = self.read.split_to(self.searched + end + 1);
        self.searched = 0;
        Some(line)
    }

    fn decode<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, EtcdError> {
        match wire::decode_streamed(line) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => Err(refused(&self.authority, refusal)),
            Err(error) => Err(self.strange(&error.to_string())),
        }
    }

    fn strange(&self, what: &str) -> EtcdError {
        EtcdError::Strange {
            authority: self.authority.clone(),
            path: self.path,
            what: what.to_owned(),
        }
    }
}
