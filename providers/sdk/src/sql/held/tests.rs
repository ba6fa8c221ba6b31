//! When what is held ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Batch, Column, Dialect, Done, Statement, Value, in_time};
use super::*;

/// A connection that answers nothing while its statement is under way, which never ends by itself.
#[derive(Debug)]
struct Slow {
    closed: Arc<AtomicUsize>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Session for Slow {
    async fn query(
        &mut self,
        _statement: &Statement,
        _values: Vec<Value>,
        until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        in_time(until, std::future::pending()).await
    }

    async fn next(
        &mut self,
        _rows: usize,
        _bytes: usize,
        until: Instant,
    ) -> Result<Batch, SqlError> {
        in_time(until, std::future::pending()).await
    }

    async fn stop(&mut self, until: Instant) -> Result<(), SqlError> {
        in_time(until, std::future::pending()).await
    }

    async fn execute(
        &mut self,
        _statement: &Statement,
        _values: Vec<Value>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        in_time(until, std::future::pending()).await
    }

    async fn control(&mut self, _control: Control, until: Instant) -> Result<(), SqlError> {
        in_time(until, std::future::pending()).await
    }
}

struct Sleep;

impl AsyncWork<Slow, Done> for Sleep {
    async fn run(self, run: &mut Run<Slow>, until: Instant) -> Result<Done, SqlError> {
        let statement = Statement::read("SELECT 1", Dialect::Postgres)?;
        run.session()?.execute(&statement, Vec::new(), until).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_broken_off_when_the_time_of_its_transaction_is_over() {
    let closed = Arc::new(AtomicUsize::new(0));
    let session = Slow {
        closed: Arc::clone(&closed),
    };
    let (lasts, idle) = (Duration::from_secs(1), Duration::from_secs(5));
    let slot = Slot::new(Holding::Transaction, None, Run::new(session), lasts, idle);
    let begun = Instant::now();
    let done = slot.with(begun + Duration::from_secs(20), Sleep).await;
    assert!(matches!(done, Err(SqlError::Timeout)), "{done:?}");
    // With the connection, which nobody asks to roll back: it would not hear of it before its
    // statement ends.
    let took = begun.elapsed();
    assert!(took < lasts + Duration::from_millis(100), "{took:?}");
    assert_eq!(closed.load(Ordering::Relaxed), 1);
    let gone = slot.with(begun + Duration::from_secs(20), Sleep).await;
    assert!(matches!(gone, Err(SqlError::TransactionGone)), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_with_a_session_that_is_given_up() {
    let closed = Arc::new(AtomicUsize::new(0));
    let session = Slow {
        closed: Arc::clone(&closed),
    };
    let lasts = Duration::from_secs(60);
    let slot = Slot::new(Holding::Cursor, None, Run::new(session), lasts, lasts);
    let begun = Instant::now();
    let fetch = slot.with(begun + lasts, Sleep);
    let close = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        slot.give_up();
    };
    let (fetched, ()) = tokio::join!(fetch, close);
    assert!(matches!(fetched, Err(SqlError::CursorGone)), "{fetched:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(350), "{took:?}");
    assert_eq!(closed.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_lost_is_known_for_a_while_and_not_for_its_idle_time() {
    let held = Held::new();
    let hour = Duration::from_secs(3600);
    for (name, limit) in [("failed", 60), ("dropped", 20)] {
        let run = Run::new(Slow {
            closed: Arc::default(),
        });
        let slot = Arc::new(Slot::new(Holding::Transaction, None, run, hour, hour));
        held.put(name, Arc::clone(&slot));
        let call = slot.with(Instant::now() + Duration::from_secs(50), Sleep);
        let limit = Duration::from_secs(limit);
        assert!(!matches!(
            tokio::time::timeout(limit, call).await,
            Ok(Ok(_))
        ));
        held.sweep().await;
        assert!(held.find(name).is_some(), "{name}");
        tokio::time::sleep(LOST_LIMIT).await;
        held.sweep().await;
        assert!(held.find(name).is_none(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_not_lost_is_kept_for_its_idle_time() {
    let held = Held::new();
    let hour = Duration::from_secs(3600);
    let run = Run::new(Slow {
        closed: Arc::default(),
    });
    let slot = Slot::new(Holding::Transaction, None, run, 2 * hour, hour);
    held.put("tx", Arc::new(slot));
    tokio::time::sleep(LOST_LIMIT * 2).await;
    held.sweep().await;
    assert!(held.find("tx").is_some());
}
