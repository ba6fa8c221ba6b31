//! What functions pass between callers and providers in one process, where nothing is encoded.
//!
//! Each side has types of its own for what a WIT package says: a host those that a guest's memory is
//! read into, a provider those of generated code. Between them there are plain ones, of which both
//! sides make theirs ([`Plain`]): the types of the modules here and of [`keyvalue`], and the usual
//! ones of Rust. A call is the tuple of its parameters; its answer is what the function returns,
//! most often a [`Result`].

pub mod lock;
pub mod messaging;
pub mod queue;
pub mod schedule;
pub mod sql;

use std::any::Any;

use bytes::Bytes;

use crate::keyvalue;

/// A type whose values are handed over within a process.
///
/// What a value is made into has to be of one type on both sides of a function: what one side would
/// hand over as another type is encoded instead. Made back, it is what it was.
pub trait Plain: Sized + Send + 'static {
    /// What is handed over.
    type Plain: Any + Send;

    /// Makes what is handed over.
    fn into_plain(self) -> Self::Plain;

    /// Takes what was handed over.
    fn from_plain(plain: Self::Plain) -> Self;
}

/// Types that both sides have.
macro_rules! shared {
    ($($ty:ty),+ $(,)?) => {$(
        impl Plain for $ty {
            type Plain = Self;

            fn into_plain(self) -> Self {
                self
            }

            fn from_plain(plain: Self) -> Self {
                plain
            }
        }
    )+};
}

shared!((), bool, u32, u64, i64, f64, String, Bytes);
shared!(keyvalue::Versioned, keyvalue::Outcome);
shared!(lock::Lease, lock::Holder, lock::Error);
shared!(messaging::Message);

impl<T: Plain> Plain for Option<T> {
    type Plain = Option<T::Plain>;

    fn into_plain(self) -> Self::Plain {
        self.map(T::into_plain)
    }

    fn from_plain(plain: Self::Plain) -> Self {
        plain.map(T::from_plain)
    }
}

impl<T: Plain> Plain for Vec<T> {
    type Plain = Vec<T::Plain>;

    fn into_plain(self) -> Self::Plain {
        self.into_iter().map(T::into_plain).collect()
    }

    fn from_plain(plain: Self::Plain) -> Self {
        plain.into_iter().map(T::from_plain).collect()
    }
}

impl<T: Plain, E: Plain> Plain for Result<T, E> {
    type Plain = Result<T::Plain, E::Plain>;

    fn into_plain(self) -> Self::Plain {
        self.map(T::into_plain).map_err(E::into_plain)
    }

    fn from_plain(plain: Self::Plain) -> Self {
        plain.map(T::from_plain).map_err(E::from_plain)
    }
}

macro_rules! tuple {
    ($($name:ident),+) => {
        impl<$($name: Plain),+> Plain for ($($name,)+) {
            type Plain = ($($name::Plain,)+);

            #[allow(non_snake_case, reason = "one name for type and value")]
            fn into_plain(self) -> Self::Plain {
                let ($($name,)+) = self;
                ($($name.into_plain(),)+)
            }

            #[allow(non_snake_case, reason = "one name for type and value")]
            fn from_plain(plain: Self::Plain) -> Self {
                let ($($name,)+) = plain;
                ($($name::from_plain($name),)+)
            }
        }
    };
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);

#[cfg(test)]
mod tests {
    use super::*;

    type Passed = (
        String,
        Vec<(String, Bytes)>,
        Option<u64>,
        Result<(), String>,
    );

    #[test]
    fn what_is_made_of_the_usual_types_stays_itself() {
        let value: Passed = (
            "a".to_owned(),
            vec![("k".to_owned(), Bytes::from_static(&[0, 255]))],
            Some(7),
            Err("no".to_owned()),
        );
        let plain: Passed = value.clone().into_plain();
        assert_eq!(plain, value);
        assert_eq!(Passed::from_plain(plain), value);
    }

    #[test]
    fn a_list_is_handed_over_in_the_room_that_it_has() {
        let list = vec!["a".to_owned(), "b".to_owned()];
        let at = list.as_ptr();
        let plain = list.into_plain();
        assert_eq!((plain.as_ptr(), plain.len()), (at, 2));
    }
}
