//! Values as they stand on the wire, for functions that are answered without generated code.
//!
//! Generated code reads a value part by part, as if each part had to be waited for, and writes it in
//! the same way. The parameters of a call are all there before it is answered, so that here they are
//! read at once, and nothing is taken for true that its bytes do not bear out.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};

/// For how many items room is made at once, however many are claimed.
const MOST_AT_ONCE: usize = 4096;

/// A type that stands on the wire.
pub(crate) trait Wire: Sized + Send + 'static {
    /// Reads a value.
    fn decode(r: &mut Reader) -> Result<Self, DecodeError>;

    /// Appends the value.
    fn encode(&self, out: &mut BytesMut);
}

macro_rules! scalar {
    ($($ty:ty: $out:ident $value:ident $write:expr, $read:expr;)*) => {$(
        impl Wire for $ty {
            fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
                $read(r)
            }

            fn encode(&self, $out: &mut BytesMut) {
                let $value = self;
                $write
            }
        }
    )*};
}

scalar! {
    bool: out v write::bool(out, *v), Reader::bool;
    u32: out v write::uleb(out, (*v).into()), Reader::u32;
    u64: out v write::uleb(out, *v), Reader::u64;
    i64: out v write::sleb(out, *v), |r: &mut Reader| r.sleb(64);
    f64: out v write::f64(out, *v), Reader::f64;
    String: out v write::string(out, v), Reader::string;
    Bytes: out v write::bytes(out, v), Reader::bytes;
}

impl Wire for () {
    fn decode(_: &mut Reader) -> Result<Self, DecodeError> {
        Ok(())
    }

    fn encode(&self, _: &mut BytesMut) {}
}

impl<T: Wire> Wire for Option<T> {
    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        r.option(T::decode)
    }

    fn encode(&self, out: &mut BytesMut) {
        write::option(out, self.as_ref(), |out, value| value.encode(out));
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        if r.result_is_err()? {
            E::decode(r).map(Err)
        } else {
            T::decode(r).map(Ok)
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        write::bool(out, self.is_err());
        match self {
            Ok(value) => value.encode(out),
            Err(error) => error.encode(out),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        // No type here takes less than a byte, besides the one side of a result.
        let count = r.count(1)?;
        let mut items = Vec::with_capacity(count.min(MOST_AT_ONCE));
        for _ in 0..count {
            items.push(T::decode(r)?);
        }
        Ok(items)
    }

    fn encode(&self, out: &mut BytesMut) {
        write::uleb(out, self.len() as u64);
        for item in self {
            item.encode(out);
        }
    }
}

macro_rules! tuple {
    ($($name:ident),*) => {
        impl<$($name: Wire),*> Wire for ($($name,)*) {
            fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
                Ok(($($name::decode(r)?,)*))
            }

            #[allow(non_snake_case, reason = "one name for type and value")]
            fn encode(&self, out: &mut BytesMut) {
                let ($($name,)*) = self;
                $($name.encode(out);)*
            }
        }
    };
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);

/// A record, by its fields in the order of the WIT package.
macro_rules! record {
    ($ty:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::wire::Wire for $ty {
            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                Ok(Self { $($field: $crate::wire::Wire::decode(r)?),+ })
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                $(self.$field.encode(out);)+
            }
        }
    };
}

/// A variant or an enum, by the numbers of all its cases.
macro_rules! variant {
    ($ty:ident { $($at:literal $case:ident $(($value:ident))?),+ $(,)? }) => {
        impl $crate::wire::Wire for $ty {
            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                let cases = [$($at),+].len() as u32;
                Ok(match r.case(stringify!($ty), cases)? {
                    $($at => Self::$case $(({
                        let $value = $crate::wire::Wire::decode(r)?;
                        $value
                    }))?,)+
                    case => {
                        let what = stringify!($ty);
                        return Err(lattice_codec::DecodeError::InvalidCase { what, case, cases });
                    }
                })
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                match self {
                    $(Self::$case $(($value))? => {
                        lattice_codec::write::uleb(out, $at);
                        $($value.encode(out);)?
                    })+
                }
            }
        }
    };
}

/// Has functions of a [`Server`](crate::Server) answered by the methods of a handler, which are those
/// that generated code would call.
macro_rules! answered {
    ($server:expr, $handler:expr; $($of:ident $name:literal $method:ident($($part:ident: $ty:ty),*);)+) => {{
        let mut server = $server;
        $({
            let handler = $handler.clone();
            server = server.answering($of, $name, move |cx, ($($part,)*): ($($ty,)*)| {
                let handler = handler.clone();
                async move { handler.$method(cx, $($part),*).await }
            });
        })+
        server
    }};
}

pub(crate) use {answered, record, variant};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type List = (
        String,
        Vec<(String, Bytes)>,
        Option<u64>,
        Result<(), String>,
        f64,
    );

    fn bytes(value: &impl Wire) -> Bytes {
        let mut out = BytesMut::new();
        value.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn what_is_written_is_read() {
        let value: List = (
            "a".to_owned(),
            vec![("k".to_owned(), Bytes::from_static(&[0, 255]))],
            Some(1 << 40),
            Err("no".to_owned()),
            -0.5,
        );
        let mut reader = Reader::new(bytes(&value));
        assert_eq!(List::decode(&mut reader), Ok(value));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_count_without_items_makes_no_room() {
        let mut out = BytesMut::new();
        write::uleb(&mut out, 200_000_000);
        let read = Vec::<String>::decode(&mut Reader::new(out.freeze()));
        assert!(matches!(read, Err(DecodeError::Incomplete { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reading(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(raw.into());
            if let Ok(value) = List::decode(&mut reader) {
                let again = List::decode(&mut Reader::new(bytes(&value)));
                // Of numbers that are none there are many.
                prop_assert!(again.is_ok());
            }
        }
    }
}
