//! The records of `wrpc:http@0.1.0` as they cross the wire (protocol page, 9.3).
//!
//! A request or response is a record whose first two fields, body and trailers, may travel apart
//! from it: [`Part::Pending`] stands for a value that follows at its own [`Path`](crate::Path),
//! [`Part::Ready`] for one that is inline. An *empty* body has no inline form (a zero count means
//! pending), so it is written as pending and ended at its path, or declared ended by a header
//! that only newer peers read.

mod error_code;
mod fields;
mod message;

pub use error_code::{ErrorCode, FieldSize};
pub use fields::{decode_fields, encode_fields, join_cookies};
pub use message::{
    Decoded, Part, RequestHead, RequestOptions, ResponseHead, decode_request, decode_response,
    decode_trailers, encode_error, encode_request, encode_response, encode_trailers,
};
