//! A session with the rows that it still has to hand out.

use std::collections::{HashMap, VecDeque};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::backend::size_of_row;
use super::limits::{MAX_CURSORS_OF_ONE, MAX_KEPT_BYTES, MAX_PAGE_BYTES};
use super::{Column, Row, Rows, Session, SqlError, Statement, Value};

/// How many rows are asked for at once when they are kept.
const STEP: usize = 1000;

/// A session in a held or passing state. Of its queries the last one may have rows at the
/// database; the rows of those before it are kept here.
#[derive(Debug)]
pub(super) struct Run<S> {
    /// Gone when only kept rows are left.
    session: Option<S>,
    /// The cursor whose rows come from the session, and one row that came too early.
    live: Option<Live>,
    /// Rows of a cursor that an error ended may be left at the database, which would wait for
    /// somebody to take them.
    is_unread: bool,
    kept: HashMap<String, Kept>,
    kept_bytes: usize,
    /// Its place among those that a link may have open, which is free when this is gone: however
    /// that comes, and whoever still knows its name.
    _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Live {
    name: String,
    columns: Vec<Column>,
    early: Option<Row>,
}

#[derive(Debug)]
struct Kept {
    columns: Vec<Column>,
    rows: VecDeque<Row>,
}

/// A page with what becomes of its cursor.
pub(super) struct Page {
    pub(super) rows: Rows,
    pub(super) is_last: bool,
}

impl<S: Session> Run<S> {
    pub(super) fn new(session: S) -> Self {
        Self {
            session: Some(session),
            live: None,
            is_unread: false,
            kept: HashMap::new(),
            kept_bytes: 0,
            _place: None,
        }
    }

    /// Takes a place for as long as it lasts.
    pub(super) fn occupy(&mut self, place: OwnedSemaphorePermit) {
        self._place = Some(place);
    }

    /// The session, free for a statement after [`Run::keep`].
    pub(super) fn session(&mut self) -> Result<&mut S, SqlError> {
        self.session.as_mut().ok_or(SqlError::CursorGone)
    }

    /// Gives the session up; only rows that were taken in are left.
    pub(super) fn release(&mut self) {
        self.session = None;
    }

    /// Runs a query; the rows after its first page wait under `name`.
    pub(super) async fn query(
        &mut self,
        name: &str,
        statement: &Statement,
        values: Vec<Value>,
        rows: usize,
        until: Instant,
    ) -> Result<Page, SqlError> {
        self.keep(until).await?;
        if self.kept.len() >= MAX_CURSORS_OF_ONE {
            return Err(SqlError::Busy(format!(
                "the transaction has {MAX_CURSORS_OF_ONE} open cursors, which is the most; read them to their end or close them"
            )));
        }
        let columns = self.session()?.query(statement, values, until).await?;
        self.live = Some(Live {
            name: name.to_owned(),
            columns,
            early: None,
        });
        self.live_page(rows, until).await
    }

    /// The next page of a cursor.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        rows: usize,
        until: Instant,
    ) -> Result<Page, SqlError> {
        if self.live.as_ref().is_some_and(|live| live.name == name) {
            return self.live_page(rows, until).await;
        }
        let Some(kept) = self.kept.get_mut(name) else {
            return Err(SqlError::CursorGone);
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < rows && bytes < MAX_PAGE_BYTES {
            let Some(row) = kept.rows.pop_front() else {
                break;
            };
            bytes += size_of_row(&row);
            page.push(row);
        }
        let is_last = kept.rows.is_empty();
        let columns = kept.columns.clone();
        self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
        if is_last {
            self.kept.remove(name);
        }
        Ok(page_of(columns, page, is_last))
    }

    /// Gives up what is left of a cursor.
    pub(super) async fn close(&mut self, name: &str, until: Instant) -> Result<(), SqlError> {
        if let Some(kept) = self.kept.remove(name) {
            let bytes: usize = kept.rows.iter().map(size_of_row).sum();
            self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
        }
        if self.live.as_ref().is_some_and(|live| live.name == name) {
            self.live = None;
            self.session()?.stop(until).await?;
        }
        Ok(())
    }

    /// Gives up the rows of every cursor, at the end of a transaction.
    pub(super) async fn close_all(&mut self, until: Instant) -> Result<(), SqlError> {
        self.kept.clear();
        self.kept_bytes = 0;
        match self.live.take() {
            Some(_) => self.session()?.stop(until).await,
            None => self.stop_unread(until).await,
        }
    }

    /// Gives up the rows that an error left behind.
    async fn stop_unread(&mut self, until: Instant) -> Result<(), SqlError> {
        match std::mem::take(&mut self.is_unread) {
            true => self.session()?.stop(until).await,
            false => Ok(()),
        }
    }

    /// Makes the session free for another statement: the rows that are left are taken in.
    pub(super) async fn keep(&mut self, until: Instant) -> Result<(), SqlError> {
        match self.take_in(until).await? {
            true => Ok(()),
            false => Err(SqlError::Busy(format!(
                "the rows that an open cursor of the transaction still has are more than {} MiB, so it was closed; read a cursor to its end before the next statement",
                MAX_KEPT_BYTES / 1024 / 1024
            ))),
        }
    }

    /// Takes in the rows that are left, and says whether they fit. Where they do not, their cursor
    /// is closed.
    pub(super) async fn take_in(&mut self, until: Instant) -> Result<bool, SqlError> {
        if self.live.is_none() {
            self.stop_unread(until).await?;
            return Ok(true);
        }
        let mut rows = VecDeque::new();
        let mut bytes = self.kept_bytes;
        let mut put = |row: Row| {
            bytes += size_of_row(&row);
            rows.push_back(row);
            bytes
        };
        if let Some(row) = self.live.as_mut().and_then(|live| live.early.take()) {
            put(row);
        }
        loop {
            let batch = self.session()?.next(STEP, MAX_PAGE_BYTES, until).await;
            let batch = batch.inspect_err(|_| {
                self.live = None;
                self.is_unread = true;
            })?;
            let is_last = batch.is_last || batch.rows.is_empty();
            let taken = batch.rows.into_iter().map(&mut put).last().unwrap_or(0);
            if taken > MAX_KEPT_BYTES {
                // What came so far is lost to its cursor, so the cursor is.
                self.live = None;
                self.session()?.stop(until).await?;
                return Ok(false);
            }
            if is_last {
                break;
            }
        }
        if let Some(live) = self.live.take() {
            self.kept_bytes = bytes;
            let columns = live.columns;
            self.kept.insert(live.name, Kept { columns, rows });
        }
        Ok(true)
    }

    /// The next page from the database. An error ends the cursor.
    async fn live_page(&mut self, rows: usize, until: Instant) -> Result<Page, SqlError> {
        let page = self.next_page(rows, until).await;
        if !matches!(&page, Ok(page) if !page.is_last) {
            self.live = None;
            self.is_unread = page.is_err();
        }
        page
    }

    async fn next_page(&mut self, rows: usize, until: Instant) -> Result<Page, SqlError> {
        let mut early = self.live.as_mut().and_then(|live| live.early.take());
        let mut page: Vec<Row> = early.take().into_iter().collect();
        let mut is_last = false;
        let taken: usize = page.iter().map(size_of_row).sum();
        if page.len() < rows && taken < MAX_PAGE_BYTES {
            let (rows, bytes) = (rows - page.len(), MAX_PAGE_BYTES - taken);
            let batch = self.session()?.next(rows, bytes, until).await?;
            is_last = batch.is_last;
            page.extend(batch.rows);
        }
        if !is_last {
            // One more, to know whether there is one.
            early = self.session()?.next(1, 1, until).await?.rows.pop();
            is_last = early.is_none();
        }
        let Some(live) = &mut self.live else {
            return Err(SqlError::CursorGone);
        };
        live.early = early;
        let columns = match is_last {
            true => std::mem::take(&mut live.columns),
            false => live.columns.clone(),
        };
        Ok(page_of(columns, page, is_last))
    }
}

fn page_of(columns: Vec<Column>, rows: Vec<Row>, is_last: bool) -> Page {
    Page {
        rows: Rows {
            columns,
            rows,
            cursor: None,
        },
        is_last,
    }
}
