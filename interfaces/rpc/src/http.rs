//! HTTP messages over calls of `wrpc:http@0.1.0`, both as caller and as callee.
//!
//! What of a body is there when the message goes out, without waiting for more, goes with it; a
//! body that ends that way costs no further message. Everything else follows as a stream, with
//! credit between peers of our kind.

mod answer;
mod body;
mod request;

pub use answer::{answer, take_outgoing_request, take_request};
pub use body::IncomingBody;
pub(crate) use body::OutgoingBody;
pub use request::{HttpError, REQUEST};

use lattice_codec::Path;

/// The subject instance under which components serve HTTP requests (protocol page, 4.5).
pub const INCOMING_HANDLER: &str = "wrpc:http/incoming-handler@0.1.0";
/// The subject instance under which providers send HTTP requests out.
pub const OUTGOING_HANDLER: &str = "wrpc:http/outgoing-handler@0.1.0";
/// The one function of both interfaces.
pub const HANDLE: &str = "handle";

/// Where the body of the first parameter, or of the result, stands.
fn body_path() -> Path {
    Path::new([0, 0])
}

/// Where the trailers of the first parameter, or of the result, stand.
fn trailers_path() -> Path {
    Path::new([0, 1])
}
