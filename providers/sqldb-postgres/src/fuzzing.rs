//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use lattice_codec::{DecodeError, Reader};
use lattice_provider_sdk::sql::Value;

pub use lattice_postgres::tokio_postgres::types::Type;

/// A value of a column as components get it; `None` for one that cannot be read.
pub fn value(ty: &Type, raw: &[u8]) -> Option<Value> {
    crate::values::value(ty, raw).ok()
}

/// The same through `wasmcloud:postgres`, written as a parameter.
pub fn text_of(ty: &Type, raw: &[u8]) -> Option<String> {
    crate::postgres::text_of(ty, raw).ok()
}

/// Walks over the parameters of `wasmcloud:postgres`.
///
/// # Errors
///
/// Says what of them is missing or none.
pub fn parameters(params: &mut Reader) -> Result<(), DecodeError> {
    crate::postgres::values_are_there(params)
}
