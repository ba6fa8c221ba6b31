//! What a statement inserted last.
//!
//! SQLite goes on saying what an earlier statement inserted when one inserts nothing: an upsert that
//! updates, or a row of a table without row ids. Nor may it be made to forget that before, since triggers
//! and defaults may ask for it. When it says the same after a statement as before, whether that statement
//! inserted a row of the same id is seen by the hook that is told of every row.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::hooks::Action;
use rusqlite::{Connection, Result};

/// What the tables are called beside a virtual one in which its rows are, by the same ids.
const SHADOWS: [&str; 3] = ["_content", "_docsize", "_rowid"];

/// What is looked for among the rows that are inserted into one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inserted(Arc<Mutex<Option<Sought>>>);

#[derive(Debug)]
struct Sought {
    table: String,
    id: i64,
    is_seen: bool,
}

impl Sought {
    fn look(&mut self, table: &str, id: i64) {
        let beside = SHADOWS.iter().find_map(|end| table.strip_suffix(*end));
        let is_it = |name: &str| self.table.eq_ignore_ascii_case(name);
        self.is_seen |= self.id == id && (is_it(table) || beside.is_some_and(is_it));
    }
}

impl Inserted {
    /// Looks at what is inserted into a connection from now on.
    pub(crate) fn watch(&self, connection: &mut Connection) -> Result<()> {
        let hooked = self.clone();
        let hook = move |action: Action, _db: &str, table: &str, id: i64| {
            if action == Action::SQLITE_INSERT
                && let Some(sought) = &mut *hooked.0.lock()
            {
                sought.look(table, id);
            }
        };
        connection.update_hook(Some(hook))
    }

    /// Runs something that may insert rows into `table`, and says the id of the last one that it did.
    pub(crate) fn during<T>(
        &self,
        connection: &Connection,
        table: Option<String>,
        run: impl FnOnce() -> T,
    ) -> (T, Option<i64>) {
        let Some(table) = table else {
            return (run(), None);
        };
        let before = connection.last_insert_rowid();
        *self.0.lock() = Some(Sought {
            table,
            id: before,
            is_seen: false,
        });
        let done = run();
        let is_seen = self.0.lock().take().is_some_and(|sought| sought.is_seen);
        let id = connection.last_insert_rowid();
        let is_new = is_seen || id != before;
        // A virtual table that only does something says 0.
        (done, (is_new && id != 0).then_some(id))
    }
}
