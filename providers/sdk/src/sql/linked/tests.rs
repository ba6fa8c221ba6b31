//! How many transactions and cursors a link has.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use lattice_core::provider::HostData;
use lattice_nats_box::NatsBox;
use lattice_rpc::{Peer, PeerConfig};
use tokio::sync::Barrier;

use super::super::{Batch, Column, in_time};
use super::*;

/// A transaction whose statements never end, but which can be rolled back.
#[derive(Debug)]
struct Stuck(Arc<AtomicUsize>);

impl Session for Stuck {
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

    async fn control(&mut self, control: Control, _until: Instant) -> Result<(), SqlError> {
        if control == Control::Rollback {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A statement that has two rows, and a transaction that can be rolled back.
#[derive(Debug)]
struct TwoRows {
    left: usize,
    undone: Arc<AtomicUsize>,
}

impl Session for TwoRows {
    async fn query(
        &mut self,
        _statement: &Statement,
        _values: Vec<Value>,
        _until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        self.left = 2;
        Ok(Vec::new())
    }

    async fn next(
        &mut self,
        rows: usize,
        _bytes: usize,
        _until: Instant,
    ) -> Result<Batch, SqlError> {
        let count = rows.min(self.left);
        self.left -= count;
        Ok(Batch {
            rows: (0..count).map(|_| vec![Value::Null]).collect(),
            is_last: self.left == 0,
        })
    }

    async fn stop(&mut self, _until: Instant) -> Result<(), SqlError> {
        self.left = 0;
        Ok(())
    }

    async fn execute(
        &mut self,
        _statement: &Statement,
        _values: Vec<Value>,
        _until: Instant,
    ) -> Result<Done, SqlError> {
        Err(SqlError::other("no test asks for it"))
    }

    async fn control(&mut self, control: Control, _until: Instant) -> Result<(), SqlError> {
        if control == Control::Rollback {
            self.undone.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Connects when so many want it at once.
#[derive(Debug)]
struct Crowd<S> {
    all: Barrier,
    undone: Arc<AtomicUsize>,
    connected: fn(Arc<AtomicUsize>) -> S,
}

impl<S: Session> Backend for Crowd<S> {
    type Session = S;

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn connect(
        &self,
        _db: Option<&str>,
        _purpose: Purpose<'_>,
        _until: Instant,
    ) -> Result<S, SqlError> {
        self.all.wait().await;
        Ok((self.connected)(Arc::clone(&self.undone)))
    }
}

/// A link of `most` transactions to a database that `crowd` have to connect to at once.
async fn linked(nats: &NatsBox, most: usize, crowd: usize) -> Linked<Crowd<Stuck>> {
    let limits = Limits {
        max_transactions: most,
        transaction_idle: Duration::from_secs(3600),
        ..Limits::default()
    };
    linked_within(nats, limits, crowd, Stuck).await
}

async fn linked_within<S: Session>(
    nats: &NatsBox,
    limits: Limits,
    crowd: usize,
    connected: fn(Arc<AtomicUsize>) -> S,
) -> Linked<Crowd<S>> {
    let client = nats.client().await.unwrap();
    let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
    let data = HostData {
        lattice_rpc_prefix: "default".to_owned(),
        provider_key: "sql".to_owned(),
        ..HostData::default()
    };
    let session = crate::Session::new(data, peer).unwrap();
    let backend = Arc::new(Crowd {
        all: Barrier::new(crowd),
        undone: Arc::default(),
        connected,
    });
    let copy = Copy::new(&session).unwrap();
    Linked::new(backend, Databases::default(), limits, copy)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[tokio::test]
async fn no_more_transactions_are_open_than_the_link_allows_when_they_begin_at_once() {
    let nats = NatsBox::start().await.unwrap();
    let linked = linked(&nats, 2, 5).await;
    let begin = || linked.begin("", Isolation::Default, 0, soon());
    let begun = futures::future::join_all((0..5).map(|_| begin())).await;
    assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 2);
    for refused in begun.iter().filter_map(|begun| begun.as_ref().err()) {
        let why = refused.text();
        assert!(why.contains("max_transactions"), "{why}");
    }
    assert_eq!(linked.backend.undone.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_transaction_that_was_lost_makes_room_for_another_at_once() {
    let nats = NatsBox::start().await.unwrap();
    let linked = linked(&nats, 1, 1).await;
    let begin = || linked.begin("", Isolation::Default, 0, soon());
    // By a database that does not answer.
    let first = begin().await.unwrap();
    assert!(matches!(begin().await, Err(SqlError::Busy(_))));
    let until = Instant::now() + Duration::from_millis(50);
    let done = linked.execute("", Some(&first), "SELECT 1", Vec::new(), until);
    assert!(matches!(done.await, Err(SqlError::Timeout)));
    // By a caller that goes away.
    let second = begin().await.unwrap();
    let done = linked.execute("", Some(&second), "SELECT 1", Vec::new(), soon());
    assert!(done.now_or_never().is_none());
    // As it should be.
    let third = begin().await.unwrap();
    let done = linked.finish("", &third, Control::Commit, soon());
    done.await.unwrap();
    begin().await.unwrap();
}

#[tokio::test]
async fn no_more_cursors_are_open_than_the_link_allows_when_many_write_at_once() {
    let nats = NatsBox::start().await.unwrap();
    let at_once = "CALL numbers()";
    for (text, undone) in [
        ("INSERT INTO t VALUES (1), (2) RETURNING a", 2),
        (at_once, 0),
    ] {
        let limits = Limits {
            max_cursors: 1,
            ..Limits::default()
        };
        let connected = |undone| TwoRows { left: 0, undone };
        let linked = linked_within(&nats, limits, 3, connected).await;
        let write = || linked.query("", None, text, Vec::new(), 1, soon());
        let written = futures::future::join_all((0..3).map(|_| write())).await;
        let open = written.iter().filter_map(|written| written.as_ref().ok());
        assert_eq!(open.filter(|rows| rows.cursor.is_some()).count(), 1);
        for refused in written.iter().filter_map(|written| written.as_ref().err()) {
            let why = refused.text();
            assert!(why.contains("max_cursors"), "{text}: {why}");
        }
        assert_eq!(written.iter().filter(|written| written.is_err()).count(), 2);
        // Those that are told so have written nothing.
        assert_eq!(linked.backend.undone.load(Ordering::Relaxed), undone);
    }
}
