//! What a component may not do with its database.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};

/// The longest text or blob, since a statement may ask for one of any length.
const LONGEST_VALUE: i32 = 64 * 1024 * 1024;
const LONGEST_STATEMENT: i32 = 4 * 1024 * 1024;
/// How many statements one connection keeps prepared.
const MOST_STATEMENTS: usize = 64;

/// What may be asked and, for the last one, set. All others reach beyond the database, or into how
/// the connection works for its next user.
const PRAGMAS: [&str; 20] = [
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "page_count",
    "page_size",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    USER_VERSION,
];
const USER_VERSION: &str = "user_version";

/// Sets a connection up for a component.
pub(crate) fn set_up(
    connection: &mut Connection,
    busy: Duration,
    synchronous: &str,
    only_reads: bool,
) -> Result<()> {
    connection.busy_timeout(busy)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "query_only", only_reads)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_STATEMENT)?;
    connection.set_prepared_statement_cache_capacity(MOST_STATEMENTS);
    connection.authorizer(Some(may))
}

/// Takes the guard from a connection that no component uses any more.
pub(crate) fn take_off(connection: &mut Connection) -> Result<()> {
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
}

fn may(context: AuthContext<'_>) -> Authorization {
    let is_allowed = match context.action {
        // A file name that is no plain text comes as unknown.
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Unknown { .. } => false,
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => may_ask(pragma_name, pragma_value),
        AuthAction::Function { function_name } => {
            !["load_extension", "fts3_tokenizer"].contains(&function_name)
        }
        _ => true,
    };
    match is_allowed {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }
}

/// A pragma whose value is the name of a table, or the number that belongs to the application.
fn may_ask(name: &str, value: Option<&str>) -> bool {
    let name = name.to_ascii_lowercase();
    let sets = matches!(name.as_str(), "encoding" | "page_size") && value.is_some();
    PRAGMAS.contains(&name.as_str()) && !sets
}
