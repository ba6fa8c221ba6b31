//! Answering components of the same process without decoding and encoding.

use lattice_core::keyvalue;

use super::KeyValueError;

/// Adds lanes to a server: each hands the parameters of a function to the method of a handler.
macro_rules! lanes {
    ($server:expr, $linked:expr; $($of:ident $name:literal $method:ident($($part:ident: $ty:ty),+);)+) => {{
        let mut server = $server;
        $({
            let linked = $linked.clone();
            server = server.lane($of, $name, move |cx, ($($part,)+): ($($ty,)+)| {
                let linked = linked.clone();
                async move { $crate::keyvalue::lanes::as_is(linked.$method(cx, $($part),+).await) }
            });
        })+
        server
    }};
}

pub(super) use lanes;

/// What handlers answer. The outer error would fail the call; everything that can go wrong here is
/// a value instead.
pub(super) type Answer<T, E = KeyValueError> = anyhow::Result<Result<T, E>>;

/// An answer for a caller in this process.
pub(super) fn as_is<T, E>(answer: Answer<T, E>) -> keyvalue::Answer<T>
where
    keyvalue::Error: From<E>,
{
    let failed = |error: anyhow::Error| keyvalue::Error::Other(format!("{error:#}"));
    answer
        .map_err(failed)
        .and_then(|answer| answer.map_err(Into::into))
}

impl From<KeyValueError> for keyvalue::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}
