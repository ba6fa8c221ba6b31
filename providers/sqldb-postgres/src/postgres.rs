//! `wasmcloud:postgres@0.1.1-draft`, for components of 1.x.
//!
//! # What the values mean
//!
//! A parameter may be of any case that PostgreSQL can read as what the statement wants there: it
//! goes to the server as text. What comes back is the case that has the name of the column's type,
//! or the shortest of its names (`int8`, `bool`, `float8`, `numeric`), with these turns, of which
//! the first three are those of the provider of 1.x:
//!
//! - `jsonb` comes as `json`, and `varbit` as `bit`.
//! - The offset of a `timestamptz` that comes is that of UTC, 0 seconds west.
//! - A floating point number is mantissa × 2^exponent × sign, taken apart as IEEE 754 has it.
//! - `bit` is the number of bits with the bytes that hold them, the first bit uppermost.
//! - `char` is text of fixed length; `character(n)` comes as `char`, and enums, `citext` and
//!   `interval` come as `text`.
//! - The case `interval` has two dates with a word for each end, which is what PostgreSQL calls
//!   `daterange`. As a parameter of its type `interval` it is the days between them.
//! - `money` has two digits behind its point, whatever `lc_monetary` says.
//! - A `line` comes as two of its points; a `path` that goes there is open.
//! - A word of a `tsvector` with several places comes several times.
//! - `txid-snapshot` is one number, which goes as a snapshot in which nothing runs; a snapshot of
//!   either type comes as `pg-snapshot`.
//! - The sign before the seconds of a `timestamptz` that goes is heeded, which 1.x did not.
//!
//! Arrays have one dimension and no nulls. Ranges, composite types and others that have no case are
//! refused with a hint to cast them.
//!
//! # Connections
//!
//! Each call takes a connection of its own, so that a transaction has to begin and end in one
//! `query-batch`. What a batch leaves behind goes with its connection; one that leaves a transaction
//! open is answered with an error that says so.

mod checks;
mod decode;
mod encode;
mod floats;
mod link;
mod parameter;
mod search;
mod serve;

use std::error::Error;

use lattice_postgres::tokio_postgres::types::Type;

#[cfg(feature = "fuzzing")]
pub(crate) use checks::values_are_there;
pub(crate) use link::PostgresLink;
pub(crate) use serve::serve;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:postgres-provider;
            world provider {
                export wasmcloud:postgres/query@0.1.1-draft;
                export wasmcloud:postgres/prepared@0.1.1-draft;
            }
        ",
        path: "../../interfaces/wit/wasmcloud-postgres-0.1.1-draft",
        world: "lattice:postgres-provider/provider",
        generate_all,
    });
}

type BoxError = Box<dyn Error + Sync + Send>;

/// A value in the server's own text form.
pub(crate) fn text_of(ty: &Type, raw: &[u8]) -> Result<String, BoxError> {
    let value = decode::value(ty, raw)?;
    Ok(encode::text(&value, ty)?.unwrap_or_default())
}
