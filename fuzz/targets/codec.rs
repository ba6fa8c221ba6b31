//! Feeds bytes to the value codec; what decodes must encode to something that
//! decodes to the same value.
#![no_main]

use bytes::{Bytes, BytesMut};
use lattice_codec::http::{
    ErrorCode, RequestOptions, decode_request, decode_response, decode_trailers, encode_error,
    encode_request, encode_response, encode_trailers,
};
use lattice_codec::{DecodeError, Path, Reader, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    request(&bytes);
    response(&bytes);
    if let Ok(code) = ErrorCode::decode(&mut Reader::new(bytes.clone())) {
        let mut out = BytesMut::new();
        code.encode(&mut out);
        assert_eq!(
            ErrorCode::decode(&mut Reader::new(out.freeze())).ok(),
            Some(code)
        );
    }
    if let Ok(trailers) = decode_trailers(&mut Reader::new(bytes.clone())) {
        let mut out = BytesMut::new();
        encode_trailers(&mut out, trailers.as_ref());
        assert_eq!(
            decode_trailers(&mut Reader::new(out.freeze())).ok(),
            Some(trailers)
        );
    }
    let _ = RequestOptions::decode(&mut Reader::new(bytes.clone()));
    let _ = primitives(&bytes);
    if let Ok(text) = std::str::from_utf8(data) {
        texts(text);
    }
    roundtrips(&bytes);
});

fn request(bytes: &Bytes) {
    let Ok((head, body, trailers)) = decode_request(&mut Reader::new(bytes.clone())) else {
        return;
    };
    let mut out = BytesMut::new();
    encode_request(&mut out, &head, &body, &trailers);
    let again = decode_request(&mut Reader::new(out.freeze())).expect("written request is read");
    assert!(again == (head, body, trailers));
}

fn response(bytes: &Bytes) {
    let mut out = BytesMut::new();
    match decode_response(&mut Reader::new(bytes.clone())) {
        Err(_) => {}
        Ok(Err(code)) => {
            encode_error(&mut out, &code);
            let again = decode_response(&mut Reader::new(out.freeze()));
            assert!(again.expect("written error is read") == Err(code));
        }
        Ok(Ok((head, body, trailers))) => {
            encode_response(&mut out, &head, &body, &trailers);
            let again = decode_response(&mut Reader::new(out.freeze()));
            assert!(again.expect("written response is read") == Ok((head, body, trailers)));
        }
    }
}

fn texts(text: &str) {
    if let Ok(path) = text.parse::<Path>() {
        assert_eq!(path.to_string().parse().as_ref(), Ok(&path));
    }
    if let Some(code) = ErrorCode::named(text) {
        assert!(text.starts_with(code.name()));
    }
}

/// Reads values of kinds that the bytes themselves choose.
fn primitives(bytes: &Bytes) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    while reader.remaining() > 0 {
        match reader.u8()? % 14 {
            0 => drop(reader.u16()?),
            1 => drop(reader.u32()?),
            2 => drop(reader.u64()?),
            3 => drop(reader.sleb(16)?),
            4 => drop(reader.sleb(32)?),
            5 => drop(reader.sleb(64)?),
            6 => drop(reader.f32()?),
            7 => drop(reader.f64()?),
            8 => drop(reader.bool()?),
            9 => drop(reader.char()?),
            10 => drop(reader.string()?),
            11 => drop(reader.bytes()?),
            12 => assert!(reader.count(1)? <= reader.remaining()),
            _ => drop(reader.option(Reader::string)?),
        }
    }
    reader.finish()
}

/// Writes values taken from the bytes and reads them again.
fn roundtrips(bytes: &Bytes) {
    let Some(head) = bytes.first_chunk::<8>() else {
        return;
    };
    let number = u64::from_le_bytes(*head);
    let mut out = BytesMut::new();
    write::uleb(&mut out, number);
    write::sleb(&mut out, number.cast_signed());
    write::bytes(&mut out, bytes);
    let mut reader = Reader::new(out.freeze());
    assert_eq!(reader.u64().ok(), Some(number));
    assert_eq!(reader.sleb(64).ok(), Some(number.cast_signed()));
    assert_eq!(reader.bytes().ok().as_ref(), Some(bytes));
    assert!(reader.finish().is_ok());
}
