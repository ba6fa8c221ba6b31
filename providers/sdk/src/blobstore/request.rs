//! What is asked for, as it is on the wire. Both versions ask alike.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};

use super::backend::{ContainerInfo, ObjectId, ObjectInfo};
use super::error::BlobError;

/// A call with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// What is answered at once.
    Plain(Plain),
    /// The names of the objects of a container.
    List {
        container: String,
        limit: Option<u64>,
        offset: Option<u64>,
    },
    /// The data of an object.
    Read { id: ObjectId, start: u64, end: u64 },
    /// An object to be written, with the data that came with the call.
    Write { id: ObjectId, inline: Bytes },
}

/// A call without streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plain {
    CreateContainer(String),
    DeleteContainer(String),
    ClearContainer(String),
    ContainerExists(String),
    ContainerInfo(String),
    CopyObject(ObjectId, ObjectId),
    MoveObject(ObjectId, ObjectId),
    DeleteObject(ObjectId),
    DeleteObjects(String, Vec<String>),
    HasObject(ObjectId),
    ObjectInfo(ObjectId),
}

/// Reads the parameters of one function.
pub(super) type Read = fn(&mut Reader) -> Result<Request, DecodeError>;

/// The functions of the interface.
pub(super) const FUNCTIONS: [(&str, Read); 14] = [
    ("create-container", |r| {
        Ok(Request::Plain(Plain::CreateContainer(r.string()?)))
    }),
    ("delete-container", |r| {
        Ok(Request::Plain(Plain::DeleteContainer(r.string()?)))
    }),
    ("clear-container", |r| {
        Ok(Request::Plain(Plain::ClearContainer(r.string()?)))
    }),
    ("container-exists", |r| {
        Ok(Request::Plain(Plain::ContainerExists(r.string()?)))
    }),
    ("get-container-info", |r| {
        Ok(Request::Plain(Plain::ContainerInfo(r.string()?)))
    }),
    ("copy-object", |r| {
        Ok(Request::Plain(Plain::CopyObject(id(r)?, id(r)?)))
    }),
    ("move-object", |r| {
        Ok(Request::Plain(Plain::MoveObject(id(r)?, id(r)?)))
    }),
    ("delete-object", |r| {
        Ok(Request::Plain(Plain::DeleteObject(id(r)?)))
    }),
    ("delete-objects", |r| {
        let container = r.string()?;
        // A name is at least its length. The count is not trusted with memory beyond that.
        let count = r.count(1)?;
        let names = (0..count).map(|_| r.string());
        let names = names.collect::<Result<_, _>>()?;
        Ok(Request::Plain(Plain::DeleteObjects(container, names)))
    }),
    ("has-object", |r| {
        Ok(Request::Plain(Plain::HasObject(id(r)?)))
    }),
    ("get-object-info", |r| {
        Ok(Request::Plain(Plain::ObjectInfo(id(r)?)))
    }),
    ("list-container-objects", |r| {
        Ok(Request::List {
            container: r.string()?,
            limit: r.option(Reader::u64)?,
            offset: r.option(Reader::u64)?,
        })
    }),
    ("get-container-data", |r| {
        Ok(Request::Read {
            id: id(r)?,
            start: r.u64()?,
            end: r.u64()?,
        })
    }),
    (WRITE, |r| {
        Ok(Request::Write {
            id: id(r)?,
            // No bytes mean that they follow as a stream.
            inline: r.bytes()?,
        })
    }),
];

/// The function that takes a stream.
pub(super) const WRITE: &str = "write-container-data";

fn id(r: &mut Reader) -> Result<ObjectId, DecodeError> {
    Ok(ObjectId {
        container: r.string()?,
        object: r.string()?,
    })
}

/// What is said to a call without streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    Is(bool),
    Container(ContainerInfo),
    Object(ObjectInfo),
}

/// The answer to a call without streams.
pub(super) fn encode(said: &Result<Said, BlobError>) -> Bytes {
    let mut out = BytesMut::new();
    match said {
        Ok(said) => {
            write::bool(&mut out, false);
            match said {
                Said::Done => {}
                Said::Is(so) => write::bool(&mut out, *so),
                Said::Container(info) => write::uleb(&mut out, info.created_at),
                Said::Object(info) => {
                    write::uleb(&mut out, info.created_at);
                    write::uleb(&mut out, info.size);
                }
            }
        }
        Err(error) => encode_error(&mut out, error),
    }
    out.freeze()
}

/// The `err` of a `result` with a string.
pub(super) fn encode_error(out: &mut BytesMut, error: &BlobError) {
    write::bool(out, true);
    write::string(out, &error.to_string());
}

/// A `result<_, string>`.
pub(super) fn encode_outcome(out: &mut BytesMut, outcome: &Result<(), BlobError>) {
    match outcome {
        Ok(()) => write::bool(out, false),
        Err(error) => encode_error(out, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(function: &str, bytes: &'static [u8]) -> Result<Request, DecodeError> {
        let (_, read) = FUNCTIONS
            .iter()
            .find(|(name, _)| *name == function)
            .unwrap();
        read(&mut Reader::new(Bytes::from_static(bytes)))
    }

    fn object() -> ObjectId {
        ObjectId {
            container: "c".into(),
            object: "ob".into(),
        }
    }

    #[test]
    fn parameters_are_those_of_the_wire() {
        let (id, end) = (object(), 300);
        let asked = Request::Read { id, start: 1, end };
        assert_eq!(
            read("get-container-data", b"\x01c\x02ob\x01\xac\x02"),
            Ok(asked)
        );
        let asked = Request::List {
            container: "c".into(),
            limit: Some(5),
            offset: None,
        };
        assert_eq!(
            read("list-container-objects", b"\x01c\x01\x05\x00"),
            Ok(asked)
        );
        let inline = Bytes::new();
        let asked = Request::Write {
            id: object(),
            inline,
        };
        assert_eq!(read(WRITE, b"\x01c\x02ob\x00"), Ok(asked));
        let asked = Plain::DeleteObjects("c".into(), vec!["a".into(), String::new()]);
        let asked = Request::Plain(asked);
        assert_eq!(read("delete-objects", b"\x01c\x02\x01a\x00"), Ok(asked));
    }

    #[test]
    fn a_count_of_names_that_are_not_there_is_refused() {
        let claimed = read("delete-objects", b"\x01c\xff\xff\xff\x0f\x01a");
        assert!(claimed.is_err(), "{claimed:?}");
    }

    #[test]
    fn answers_are_those_of_the_wire() {
        assert_eq!(&encode(&Ok(Said::Done))[..], b"\x00");
        assert_eq!(&encode(&Ok(Said::Is(true)))[..], b"\x00\x01");
        let info = ObjectInfo {
            created_at: 300,
            size: 7,
        };
        assert_eq!(&encode(&Ok(Said::Object(info)))[..], b"\x00\xac\x02\x07");
        let error = Err(BlobError::Other("no".into()));
        assert_eq!(&encode(&error)[..], b"\x01\x02no");
    }
}
