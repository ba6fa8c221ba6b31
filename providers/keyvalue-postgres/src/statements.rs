//! The statements, for one table.
//!
//! Each operation is one statement, so that it takes effect as a whole. The version of a row is the
//! number of the transaction that wrote it: PostgreSQL gives none twice, and no row is written
//! twice in one.

use crate::settings::TableName;

/// A row that is there.
const LIVE: &str = "(ends IS NULL OR ends > now())";
/// When what is written now goes, by the last parameter in milliseconds.
const ENDS: &str = "now() + $4::bigint * interval '1 millisecond'";
/// A number as we add to it.
const NUMBER: &str = "encode(old.value, 'escape') ~ '^[+-]?0*[0-9]{1,20}$'";
/// The sum of a row and the third parameter.
const SUM: &str = "convert_from(old.value, 'UTF8')::numeric + $3::text::numeric";

/// The texts of all statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) create: String,
    pub(crate) get: String,
    pub(crate) exists: String,
    pub(crate) read: String,
    pub(crate) versions: String,
    pub(crate) set: String,
    pub(crate) delete: String,
    pub(crate) list: String,
    pub(crate) increment: String,
    pub(crate) swap: String,
    pub(crate) swap_in: String,
    pub(crate) get_many: String,
    pub(crate) set_many: String,
    pub(crate) delete_many: String,
    pub(crate) sweep: String,
}

impl Statements {
    pub(crate) fn new(table: &TableName) -> Self {
        let (t, name) = (table.quoted(), &table.name);
        let at = "bucket = $1 AND key = $2";
        let replace = "ON CONFLICT (bucket, key) DO UPDATE SET value = EXCLUDED.value, \
                       version = EXCLUDED.version, ends = EXCLUDED.ends";
        let columns = "(bucket, key, value, version, ends)";
        Self {
            // Of those who make it at the same time, one does and the others wait.
            create: format!(
                "SELECT pg_advisory_xact_lock(hashtext('lattice_keyvalue'));
                CREATE TABLE IF NOT EXISTS {t} (
                  place BIGINT GENERATED ALWAYS AS IDENTITY,
                  bucket TEXT COLLATE \"C\" NOT NULL,
                  key TEXT COLLATE \"C\" NOT NULL,
                  value BYTEA NOT NULL,
                  version BIGINT NOT NULL DEFAULT txid_current(),
                  ends TIMESTAMPTZ,
                  PRIMARY KEY (bucket, key)
                );
                CREATE UNIQUE INDEX IF NOT EXISTS \"{name}_pages\" ON {t} (bucket, place);
                CREATE INDEX IF NOT EXISTS \"{name}_ends\" ON {t} (ends) WHERE ends IS NOT NULL;"
            ),
            get: format!("SELECT value FROM {t} WHERE {at} AND {LIVE}"),
            exists: format!("SELECT 1 FROM {t} WHERE {at} AND {LIVE}"),
            read: format!("SELECT value, version FROM {t} WHERE {at} AND {LIVE}"),
            versions: format!(
                "SELECT key, version FROM {t} WHERE bucket = $1 AND key = ANY($2) AND {LIVE}"
            ),
            set: format!(
                "INSERT INTO {t} {columns} VALUES ($1, $2, $3, txid_current(), {ENDS}) {replace}"
            ),
            delete: format!("DELETE FROM {t} WHERE {at}"),
            list: format!(
                "SELECT place, key FROM {t} WHERE bucket = $1 AND place > $2 AND {LIVE} \
                 ORDER BY place LIMIT $3"
            ),
            increment: increment(&t, columns),
            swap: format!(
                "UPDATE {t} SET value = $3, version = txid_current(), ends = {ENDS} \
                 WHERE {at} AND version = $5 AND {LIVE}"
            ),
            swap_in: format!(
                "INSERT INTO {t} AS old {columns} VALUES ($1, $2, $3, txid_current(), {ENDS}) \
                 {replace} WHERE old.ends <= now()"
            ),
            get_many: format!(
                "SELECT key, value FROM {t} WHERE bucket = $1 AND key = ANY($2) AND {LIVE}"
            ),
            set_many: format!(
                "INSERT INTO {t} {columns} SELECT $1, k, v, txid_current(), {ENDS} \
                 FROM unnest($2::text[], $3::bytea[]) AS given (k, v) {replace}"
            ),
            // Rows are locked in the order of their keys, as those of a batch that is set, so that
            // no two batches wait for each other.
            delete_many: format!(
                "DELETE FROM {t} WHERE place IN (SELECT place FROM {t} \
                 WHERE bucket = $1 AND key = ANY($2) ORDER BY key FOR UPDATE) AND bucket = $1"
            ),
            sweep: format!(
                "DELETE FROM {t} WHERE (bucket, place) IN (SELECT bucket, place FROM {t} \
                 WHERE ends <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
            ),
        }
    }
}

/// Adds `$3` and returns the sum; no row when that is below `$5` or above `$6`, or the value is no
/// number.
fn increment(t: &str, columns: &str) -> String {
    format!(
        "INSERT INTO {t} AS old {columns}
        VALUES ($1, $2, convert_to($3::text, 'UTF8'), txid_current(), {ENDS})
        ON CONFLICT (bucket, key) DO UPDATE SET
          value = CASE
            WHEN old.ends <= now() THEN EXCLUDED.value
            ELSE convert_to(({SUM})::text, 'UTF8')
          END,
          version = EXCLUDED.version,
          ends = COALESCE(EXCLUDED.ends, CASE WHEN old.ends > now() THEN old.ends END)
        WHERE CASE
          WHEN old.ends <= now() THEN true
          WHEN {NUMBER} THEN {SUM} BETWEEN $5::text::numeric AND $6::text::numeric
          ELSE false
        END
        RETURNING encode(value, 'escape')"
    )
}
