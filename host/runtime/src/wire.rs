//! Rust types with a place on the wire, for functions whose signature is known beforehand.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};

use crate::codec::Plan;
use crate::{CodecError, Shape};

/// Up to how many bytes an answer is decoded without a look at how much memory it would take.
const SMALL: usize = 64 << 10;

/// A type that stands on the wire.
pub(crate) trait Wire: Sized + Send + Sync + 'static {
    /// The plan of the type; `None` when it takes no bytes, as the missing side of a result.
    fn plan() -> Option<Plan>;

    /// Appends the value.
    fn encode(&self, out: &mut BytesMut);

    /// Reads a value.
    fn decode(r: &mut Reader) -> Result<Self, DecodeError>;
}

/// A parameter or result list.
pub(crate) trait WireList: Sized + Send + Sync + 'static {
    /// The plans of its members.
    fn plans() -> Vec<Plan>;

    /// Appends all members.
    fn encode_all(&self, out: &mut BytesMut);

    /// Reads all members.
    fn decode_all(r: &mut Reader) -> Result<Self, DecodeError>;

    /// The shape of the list.
    fn shape() -> Shape {
        Shape::new(Self::plans())
    }

    /// The bytes of the list.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode_all(&mut out);
        out.freeze()
    }

    /// Reads the list, whose shape is `shape`, from an answer of whoever is behind a link: values of a
    /// few bytes each take much more memory than that.
    fn from_answer(shape: &Shape, answer: Bytes) -> Result<Self, CodecError> {
        if answer.len() > SMALL {
            shape.complete(&answer)?;
        }
        Ok(Self::from_bytes(answer)?)
    }

    /// Reads the list from bytes that hold nothing else.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let list = Self::decode_all(&mut reader)?;
        reader.finish()?;
        Ok(list)
    }
}

impl Wire for () {
    fn plan() -> Option<Plan> {
        None
    }

    fn encode(&self, _: &mut BytesMut) {}

    fn decode(_: &mut Reader) -> Result<Self, DecodeError> {
        Ok(())
    }
}

macro_rules! scalar {
    ($($ty:ty: $plan:ident, $out:ident $value:ident $write:expr, $read:expr;)*) => {$(
        impl Wire for $ty {
            fn plan() -> Option<Plan> {
                Some(Plan::$plan)
            }

            fn encode(&self, $out: &mut BytesMut) {
                let $value = self;
                $write
            }

            fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
                $read(r)
            }
        }
    )*};
}

scalar! {
    bool: Bool, out v write::bool(out, *v), Reader::bool;
    u32: U32, out v write::uleb(out, (*v).into()), Reader::u32;
    u64: U64, out v write::uleb(out, *v), Reader::u64;
    i64: S64, out v write::sleb(out, *v), signed;
    f64: F64, out v write::f64(out, *v), Reader::f64;
    String: String, out v write::string(out, v), Reader::string;
    Bytes: Bytes, out v write::bytes(out, v), Reader::bytes;
}

fn signed(r: &mut Reader) -> Result<i64, DecodeError> {
    r.sleb(64)
}

/// The plan of a type that takes part in a list, option or record.
pub(crate) fn part<T: Wire>() -> Plan {
    // `()` is the only type without a plan and is only used as a side of a result.
    T::plan().unwrap_or(Plan::Tuple(Box::default()))
}

impl<T: Wire> Wire for Option<T> {
    fn plan() -> Option<Plan> {
        Some(Plan::Option(Box::new(part::<T>())))
    }

    fn encode(&self, out: &mut BytesMut) {
        write::option(out, self.as_ref(), |out, value| value.encode(out));
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        r.option(T::decode)
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn plan() -> Option<Plan> {
        Some(Plan::result(T::plan(), E::plan()))
    }

    fn encode(&self, out: &mut BytesMut) {
        write::bool(out, self.is_err());
        match self {
            Ok(value) => value.encode(out),
            Err(error) => error.encode(out),
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        if r.result_is_err()? {
            E::decode(r).map(Err)
        } else {
            T::decode(r).map(Ok)
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn plan() -> Option<Plan> {
        Some(Plan::list(part::<T>()))
    }

    fn encode(&self, out: &mut BytesMut) {
        write::uleb(out, self.len() as u64);
        for item in self {
            item.encode(out);
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let count = r.count(part::<T>().min_len())?;
        // An item in memory may be larger than on the wire; room grows with what is there.
        let mut items = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            items.push(T::decode(r)?);
        }
        Ok(items)
    }
}

macro_rules! tuple {
    ($($name:ident),*) => {
        impl<$($name: Wire),*> WireList for ($($name,)*) {
            fn plans() -> Vec<Plan> {
                vec![$(part::<$name>()),*]
            }

            #[allow(non_snake_case, unused_variables, reason = "one name for type and value; the empty list uses neither")]
            fn encode_all(&self, out: &mut BytesMut) {
                let ($($name,)*) = self;
                $($name.encode(out);)*
            }

            #[allow(unused_variables, reason = "the empty list reads nothing")]
            fn decode_all(r: &mut Reader) -> Result<Self, DecodeError> {
                Ok(($($name::decode(r)?,)*))
            }
        }
    };
}

tuple!();
tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn plan() -> Option<Plan> {
        Some(Plan::Tuple(Box::new([part::<A>(), part::<B>()])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.encode_all(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Self::decode_all(r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type List = (
        String,
        Vec<(String, Bytes)>,
        Option<u64>,
        Result<(), String>,
    );

    #[test]
    fn values_survive_and_fit_their_shape() {
        let value: List = (
            "a".to_owned(),
            vec![("k".to_owned(), Bytes::from_static(&[0, 255]))],
            Some(1 << 40),
            Err("no".to_owned()),
        );
        let bytes = value.to_bytes();
        assert_eq!(List::shape().complete(&bytes), Ok(Some(bytes.len())));
        assert_eq!(
            List::shape().complete(&bytes.slice(..bytes.len() - 1)),
            Ok(None)
        );
        assert_eq!(List::from_bytes(bytes), Ok(value));
    }

    #[test]
    fn bytes_after_the_list_are_refused() {
        assert_eq!(
            <(bool,)>::from_bytes(Bytes::from_static(&[1, 0])),
            Err(DecodeError::Trailing(1))
        );
    }
}
