//! Values as they stand on the wire, and as callers in the same process hand them over, for functions
//! that are answered without generated code.
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

    /// Checks the length of every text and list in the value, as a reader with this limit does.
    fn fits(&self, limit: u64) -> Result<(), DecodeError>;
}

fn within(len: usize, limit: u64) -> Result<(), DecodeError> {
    let len = len as u64;
    match len > limit {
        true => Err(DecodeError::TooLong { len, limit }),
        false => Ok(()),
    }
}

macro_rules! scalar {
    ($($ty:ty: $out:ident $value:ident $write:expr, $read:expr, $len:expr;)*) => {$(
        impl Wire for $ty {
            fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
                $read(r)
            }

            fn encode(&self, $out: &mut BytesMut) {
                let $value = self;
                $write
            }

            fn fits(&self, limit: u64) -> Result<(), DecodeError> {
                let len: fn(&Self) -> usize = $len;
                within(len(self), limit)
            }
        }
    )*};
}

scalar! {
    bool: out v write::bool(out, *v), Reader::bool, |_| 0;
    u32: out v write::uleb(out, (*v).into()), Reader::u32, |_| 0;
    u64: out v write::uleb(out, *v), Reader::u64, |_| 0;
    i64: out v write::sleb(out, *v), |r: &mut Reader| r.sleb(64), |_| 0;
    f64: out v write::f64(out, *v), Reader::f64, |_| 0;
    String: out v write::string(out, v), Reader::string, String::len;
    Bytes: out v write::bytes(out, v), Reader::bytes, Bytes::len;
}

impl Wire for () {
    fn decode(_: &mut Reader) -> Result<Self, DecodeError> {
        Ok(())
    }

    fn encode(&self, _: &mut BytesMut) {}

    fn fits(&self, _: u64) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        r.option(T::decode)
    }

    fn encode(&self, out: &mut BytesMut) {
        write::option(out, self.as_ref(), |out, value| value.encode(out));
    }

    fn fits(&self, limit: u64) -> Result<(), DecodeError> {
        match self {
            Some(value) => value.fits(limit),
            None => Ok(()),
        }
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

    fn fits(&self, limit: u64) -> Result<(), DecodeError> {
        match self {
            Ok(value) => value.fits(limit),
            Err(error) => error.fits(limit),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        // Each item takes a byte at least. `()` takes none, and stands in results only, never in a list.
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

    fn fits(&self, limit: u64) -> Result<(), DecodeError> {
        within(self.len(), limit)?;
        self.iter().try_for_each(|item| item.fits(limit))
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

            #[allow(non_snake_case, reason = "one name for type and value")]
            fn fits(&self, limit: u64) -> Result<(), DecodeError> {
                let ($($name,)*) = self;
                $($name.fits(limit)?;)*
                Ok(())
            }
        }
    };
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);

/// A record, by its fields in the order of the WIT package; and as what it is handed over.
macro_rules! record {
    ($ty:ident as $plain:ty { $($field:ident),+ $(,)? }) => {
        $crate::wire::record!($ty { $($field),+ });

        impl lattice_core::values::Plain for $ty {
            type Plain = $plain;

            fn into_plain(self) -> $plain {
                type Handed = $plain;
                Handed { $($field: lattice_core::values::Plain::into_plain(self.$field)),+ }
            }

            fn from_plain(plain: $plain) -> Self {
                Self { $($field: lattice_core::values::Plain::from_plain(plain.$field)),+ }
            }
        }
    };
    ($ty:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::wire::Wire for $ty {
            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                Ok(Self { $($field: $crate::wire::Wire::decode(r)?),+ })
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                $(self.$field.encode(out);)+
            }

            fn fits(&self, limit: u64) -> Result<(), lattice_codec::DecodeError> {
                $(self.$field.fits(limit)?;)+
                Ok(())
            }
        }
    };
}

/// A variant or an enum, by the numbers of all its cases; and as what it is handed over.
macro_rules! variant {
    ($ty:ident as $plain:ty { $($at:literal $case:ident $(($value:ident))?),+ $(,)? }) => {
        $crate::wire::variant!($ty { $($at $case $(($value))?),+ });

        impl lattice_core::values::Plain for $ty {
            type Plain = $plain;

            fn into_plain(self) -> $plain {
                type Handed = $plain;
                match self {
                    $(Self::$case $(($value))? => {
                        Handed::$case $((lattice_core::values::Plain::into_plain($value)))?
                    })+
                }
            }

            fn from_plain(plain: $plain) -> Self {
                type Handed = $plain;
                match plain {
                    $(Handed::$case $(($value))? => {
                        Self::$case $((lattice_core::values::Plain::from_plain($value)))?
                    })+
                }
            }
        }
    };
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

            #[allow(unused_variables, reason = "there are variants without values")]
            fn fits(&self, limit: u64) -> Result<(), lattice_codec::DecodeError> {
                match self {
                    $(Self::$case $(($value))? => {
                        $($value.fits(limit)?;)?
                    })+
                }
                Ok(())
            }
        }
    };
}

/// Has functions of a [`Server`](crate::Server) answered by the methods of a handler, which are those
/// that generated code would call. Callers in the same process hand values over as they are.
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
pub(crate) mod tests {
    use std::fmt::Debug;

    use lattice_core::values::Plain;
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

    /// Checks that what is handed over is the same as what comes over the wire, and is refused where
    /// that is.
    pub(crate) fn same<T>(plain: T::Plain)
    where
        T: Wire + Plain,
        T::Plain: Clone + PartialEq + Debug,
    {
        let handed = T::from_plain(plain.clone());
        let mut reader = Reader::new(bytes(&handed));
        let came = T::decode(&mut reader).unwrap();
        assert_eq!(reader.finish(), Ok(()));
        for limit in 0..4 {
            let mut reader = Reader::new(bytes(&handed)).with_limit(limit);
            let read = T::decode(&mut reader).map(drop);
            assert_eq!(handed.fits(limit), read, "{limit}");
        }
        assert_eq!(handed.into_plain(), plain);
        assert_eq!(came.into_plain(), plain);
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
    fn lengths_are_bounded_wherever_they_are() {
        let value = |text: usize, items: usize, bytes: usize, error: usize| -> List {
            (
                "a".repeat(text),
                vec![("k".to_owned(), vec![0_u8; bytes].into()); items],
                None,
                Err("e".repeat(error)),
                0.0,
            )
        };
        assert_eq!(value(4, 4, 4, 4).fits(4), Ok(()));
        let refused = Err(DecodeError::TooLong { len: 5, limit: 4 });
        for at in 0..4 {
            let len = |of| if at == of { 5 } else { 4 };
            let value = value(len(0), len(1), len(2), len(3));
            assert_eq!(value.fits(4), refused, "{at}");
        }
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
                // Not compared: NaN is not equal to itself.
                prop_assert!(again.is_ok());
            }
        }
    }
}
