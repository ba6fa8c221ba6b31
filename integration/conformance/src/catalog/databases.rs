//! What answers queries.

use lattice_services::Kind;

use super::backend::{Backend, url};
use super::stores::folder;

pub(super) const SQL: &[Backend] = &[
    Backend::plain("sqlite", "sqldb-sqlite").with(folder),
    Backend::of("postgres", "sqldb-postgres", Kind::Postgres, url),
    Backend::of("mariadb", "sqldb-mysql", Kind::MariaDb, url),
];

/// The package of 1.x, which is for one database.
pub(super) const SQL_POSTGRES: &[Backend] = &[Backend::of(
    "postgres",
    "sqldb-postgres",
    Kind::Postgres,
    url,
)];
