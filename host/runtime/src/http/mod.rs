//! HTTP at the edge of the runtime.

pub(crate) mod error;
mod serve;
mod streaming;
mod tails;
mod unwritten;

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use lattice_codec::http::ErrorCode;

pub(crate) use serve::HttpPlan;

/// The body of a request or response that is still being produced. Data frames may be followed
/// by one frame of trailers.
pub type HttpBody = UnsyncBoxBody<Bytes, ErrorCode>;

/// A component's answer to an HTTP request.
#[derive(Debug)]
pub struct HttpResponse {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: ResponseBody,
}

/// The body of a component's answer.
pub enum ResponseBody {
    /// The guest has produced the whole body already.
    Complete {
        /// All data.
        data: Bytes,
        /// The trailers, if any.
        trailers: Option<HeaderMap>,
    },
    /// The guest runs on while this is read; dropping it ends the guest.
    Streaming(HttpBody),
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { data, .. } => write!(f, "Complete({} bytes)", data.len()),
            Self::Streaming(_) => f.write_str("Streaming"),
        }
    }
}
