//! How many transactions a link has.

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

/// Connects when so many want it at once.
#[derive(Debug)]
struct Crowd {
    all: Barrier,
    undone: Arc<AtomicUsize>,
}

impl Backend for Crowd {
    type Session = Stuck;

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn connect(
        &self,
        _db: Option<&str>,
        _purpose: Purpose<'_>,
        _until: Instant,
    ) -> Result<Stuck, SqlError> {
        self.all.wait().await;
        Ok(Stuck(Arc::clone(&self.undone)))
    }
}

/// A link of `most` transactions to a database that `crowd` have to connect to at once.
async fn linked(nats: &NatsBox, most: usize, crowd: usize) -> Linked<Crowd> {
    let client = nats.client().await.unwrap();
    let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
    let data = HostData {
        lattice_rpc_prefix: "default".to_owned(),
        provider_key: "sql".to_owned(),
        ..HostData::default()
    };
    let session = crate::Session::new(data, peer).unwrap();
    let limits = Limits {
        max_transactions: most,
        transaction_idle: Duration::from_secs(3600),
        ..Limits::default()
    };
    let backend = Arc::new(Crowd {
        all: Barrier::new(crowd),
        undone: Arc::default(),
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
