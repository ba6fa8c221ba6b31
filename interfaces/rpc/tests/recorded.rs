//! Every binary payload of the recorded 1.9.2 lattice decodes, and encodes back to the same bytes.
//!
//! What a payload holds follows from its function and its part of the call (protocol page, 4.6
//! and 9); the shapes below are the WIT of the interfaces in the order of their fields.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use lattice_codec::http::{
    Part, decode_request, decode_response, decode_trailers, encode_request, encode_response,
    encode_trailers,
};
use lattice_codec::{DecodeError, Reader, write};
use support::trace::{self, Call};

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Bool,
    /// `u32` or `u64`.
    Number,
    Text,
    Bytes,
    Option(&'static Shape),
    List(&'static Shape),
    /// A record, a tuple, or a parameter list.
    Fields(&'static [Shape]),
    /// A `result` with its `ok`; every error here is a text, or a variant with `other(text)`.
    Result(&'static Shape),
    /// A stream or future whose value comes at its own path.
    Pending,
    /// The items of a stream at its own path.
    Chunks(&'static Shape),
    Request,
    Response,
    Trailers,
}

use Shape::{
    Bool, Chunks, Fields, List, Number, Option as Maybe, Pending, Result as Outcome, Text,
};

const NOTHING: Shape = Fields(&[]);
const OBJECT: Shape = Fields(&[Text, Text]);
const MESSAGE: Shape = Fields(&[Text, Shape::Bytes, Maybe(&Text)]);
const STREAM_AND_END: Shape = Outcome(&Fields(&[Pending, Pending]));

/// A part of a call, and the shape of what comes there.
type Parts = &'static [(&'static str, Shape)];

/// The shapes of a function: parameters, results, and what comes at paths.
fn shapes(function: &str) -> (Shape, Shape, Parts) {
    const HTTP: Parts = &[
        ("params.0.0", Chunks(&Shape::Bytes)),
        ("params.0.1", Shape::Trailers),
        ("results.0.0", Chunks(&Shape::Bytes)),
        ("results.0.1", Shape::Trailers),
    ];
    let done = Outcome(&NOTHING);
    if function == "wrpc:http/incoming-handler@0.1.0.handle" {
        return (Shape::Request, Shape::Response, HTTP);
    }
    if function == "wrpc:keyvalue/atomics@0.2.0-draft.increment" {
        return (Fields(&[Text, Text, Number]), Outcome(&Number), &[]);
    }
    if let "wasmcloud:messaging/handler@0.2.0.handle-message"
    | "wasmcloud:messaging/consumer@0.2.0.publish" = function
    {
        return (MESSAGE, done, &[]);
    }
    let blobstore = function.strip_prefix("wrpc:blobstore/blobstore@0.2.0.");
    match blobstore.unwrap_or_else(|| panic!("no shape for {function}")) {
        "create-container" | "clear-container" => (Text, done, &[]),
        "container-exists" => (Text, Outcome(&Bool), &[]),
        "get-container-info" => (Text, Outcome(&Number), &[]),
        "has-object" => (OBJECT, Outcome(&Bool), &[]),
        "get-object-info" => (OBJECT, Outcome(&Fields(&[Number, Number])), &[]),
        "copy-object" | "move-object" => (Fields(&[OBJECT, OBJECT]), done, &[]),
        "delete-objects" => (Fields(&[Text, List(&Text)]), done, &[]),
        "write-container-data" => (
            Fields(&[OBJECT, Pending]),
            Outcome(&Pending),
            &[
                ("params.1", Chunks(&Shape::Bytes)),
                ("results.0", Outcome(&NOTHING)),
            ],
        ),
        "get-container-data" => (
            Fields(&[OBJECT, Number, Number]),
            STREAM_AND_END,
            &[
                ("results.0.0", Chunks(&Shape::Bytes)),
                ("results.0.1", Outcome(&NOTHING)),
            ],
        ),
        "list-container-objects" => (
            Fields(&[Text, Maybe(&Number), Maybe(&Number)]),
            STREAM_AND_END,
            &[
                ("results.0.0", Chunks(&List(&Text))),
                ("results.0.1", Outcome(&NOTHING)),
            ],
        ),
        other => panic!("no shape for the blobstore's {other}"),
    }
}

/// Reads a value and writes it again.
fn again(shape: Shape, r: &mut Reader, out: &mut BytesMut) -> Result<(), DecodeError> {
    match shape {
        Shape::Bool => write::bool(out, r.bool()?),
        Shape::Number => write::uleb(out, r.u64()?),
        Shape::Text => write::string(out, &r.string()?),
        Shape::Bytes => write::bytes(out, &r.bytes()?),
        Shape::Option(some) => {
            let inner = r.option(|r| {
                let mut inner = BytesMut::new();
                again(*some, r, &mut inner)?;
                Ok(inner)
            })?;
            write::option(out, inner, |out, inner| out.put(inner));
        }
        Shape::List(item) => {
            let count = r.count(1)?;
            write::uleb(out, count as u64);
            for _ in 0..count {
                again(*item, r, out)?;
            }
        }
        Shape::Fields(fields) => {
            for field in fields {
                again(*field, r, out)?;
            }
        }
        Shape::Result(ok) => {
            assert!(!r.result_is_err()?, "no recorded call failed");
            out.put_u8(0);
            again(*ok, r, out)?;
        }
        Shape::Pending => {
            assert!(!r.future_is_ready()?, "1.9 sends no value inline");
            out.put_u8(0);
        }
        Shape::Chunks(chunk) => chunks(*chunk, r, out)?,
        Shape::Request => {
            let (head, body, trailers) = decode_request(r)?;
            encode_request(out, &head, &body, &trailers);
        }
        Shape::Response => {
            let (head, body, trailers) = decode_response(r)?.unwrap();
            assert_eq!((&body, &trailers), (&Part::Pending, &Part::Pending));
            encode_response(out, &head, &body, &trailers);
        }
        Shape::Trailers => encode_trailers(out, decode_trailers(r)?.as_ref()),
    }
    Ok(())
}

/// Chunks until the one without items, which ends the stream.
fn chunks(chunk: Shape, r: &mut Reader, out: &mut BytesMut) -> Result<(), DecodeError> {
    loop {
        let before = out.len();
        again(chunk, r, out)?;
        if out[before..] == [0] {
            return Ok(());
        }
    }
}

/// Checks one part of a call; gives how many of its payloads were empty, and how many not.
fn check(call: &Call, part: &str, shape: Option<Shape>) -> (usize, usize) {
    let pieces = call.pieces(part);
    let place = format!("{} of {} ({})", part, call.function, call.step);
    // An empty payload ends a part, and nothing comes after it.
    let (last, data) = pieces.split_last().unwrap_or_else(|| panic!("no {place}"));
    assert!(last.is_empty(), "{place} does not end");
    assert!(data.iter().all(|piece| !piece.is_empty()), "{place}");
    let bytes = call.whole(part);
    let mut reader = Reader::new(bytes.clone());
    let mut out = BytesMut::new();
    // A part without a shape is a record that holds streams: it ends and carries nothing itself.
    again(shape.unwrap_or(NOTHING), &mut reader, &mut out)
        .unwrap_or_else(|error| panic!("{place}: {error} in {bytes:02x?}"));
    reader
        .finish()
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(out.freeze(), bytes, "{place}");
    (1, data.len())
}

#[test]
fn every_binary_payload_decodes_and_encodes_back_to_the_same_bytes() {
    let trace = trace::read();
    assert_eq!(trace.calls.len(), 53);
    let (mut empty, mut full) = (0, 0);
    let mut interfaces: BTreeMap<String, usize> = BTreeMap::new();
    for call in &trace.calls {
        let (params, results, parts) = shapes(&call.function);
        let mut shapes: BTreeMap<&str, Option<Shape>> =
            [("params", Some(params)), ("results", Some(results))].into();
        shapes.extend(parts.iter().map(|(part, shape)| (*part, Some(*shape))));
        for frame in &call.frames {
            if frame.part.is_empty() {
                assert!(frame.payload.is_empty(), "an accept with a payload");
                empty += 1;
            } else {
                shapes.entry(&frame.part).or_insert(None);
            }
        }
        for (part, shape) in shapes {
            let (ends, pieces) = check(call, part, shape);
            (empty, full) = (empty + ends, full + pieces);
            *interfaces.entry(call.function.clone()).or_default() += pieces;
        }
    }
    // Nothing of the calls is left out, and no other message of the recording is binary.
    let frames: usize = trace.calls.iter().map(|call| call.frames.len()).sum();
    assert_eq!(
        (empty, full, empty + full),
        (206, 146, frames),
        "{interfaces:?}"
    );
    assert_eq!(full, trace.binary);
}

#[test]
fn a_payload_that_is_changed_does_not_pass() {
    let trace = trace::read();
    let find = |call: &&Call| call.function.ends_with(".get-object-info");
    let call = trace.calls.iter().find(find).unwrap();
    let shape = shapes(&call.function).1;
    let whole = call.whole("results");
    let decode = |bytes: Bytes| {
        let mut reader = Reader::new(bytes);
        again(shape, &mut reader, &mut BytesMut::new()).and_then(|()| reader.finish())
    };
    assert_eq!(decode(whole.clone()), Ok(()));
    let short = whole.slice(..whole.len() - 1);
    assert!(matches!(decode(short), Err(DecodeError::Incomplete { .. })));
    let long: BytesMut = whole.iter().copied().chain([0]).collect();
    assert_eq!(decode(long.freeze()), Err(DecodeError::Trailing(1)));
}
