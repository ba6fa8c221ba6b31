//! Connections whose server is gone without a word.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use lattice_postgres::{Connection, Postgres, PostgresError, PostgresSettings};
use lattice_provider_sdk::Settings;
use lattice_services::{Kind, Service};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

/// Passes connections on to a server until told to be silent: then those that are there stay open, and
/// nothing goes through them any more. Returns the port.
async fn firewall(server: u16, silent: Arc<Notify>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, server, Arc::clone(&silent)));
        }
    });
    port
}

async fn pass_on(mut client: TcpStream, server: u16, silent: Arc<Notify>) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    tokio::select! {
        biased;
        () = silent.notified() => {}
        // Either side may hang up.
        _over = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
    }
    std::future::pending::<()>().await;
}

fn soon(secs: u64) -> Instant {
    Instant::now() + Duration::from_secs(secs)
}

async fn ask(connection: &Connection, until: Instant) -> Result<(), PostgresError> {
    let asked = connection.client().simple_query("SELECT 1");
    connection.within(until, asked).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_connection_ends_the_others_that_wait() {
    let service = Service::start(Kind::Postgres).await.unwrap();
    let silent = Arc::new(Notify::new());
    let port = firewall(service.port(), Arc::clone(&silent)).await;
    let direct = service.url();
    let url = direct.replace(&format!(":{}", service.port()), &format!(":{port}"));
    assert_ne!(direct, url);
    let settings = PostgresSettings::read(&Settings::from_texts([("url", &*url)], [])).unwrap();
    let postgres = Postgres::new(&settings).unwrap();
    let mut used = Vec::new();
    for _ in 0..4 {
        let connection = postgres.get(soon(10)).await.unwrap();
        ask(&connection, soon(10)).await.unwrap();
        used.push(connection);
    }
    drop(used);
    silent.notify_waiters();
    let connection = postgres.get(soon(10)).await.unwrap();
    let error = ask(&connection, soon(1)).await.unwrap_err();
    assert!(matches!(error, PostgresError::Silent { .. }), "{error:?}");
    drop(connection);
    let connection = postgres.get(soon(10)).await.unwrap();
    ask(&connection, soon(5)).await.unwrap();
}

/// Which connection it is at the server.
async fn number(connection: &Connection) -> String {
    let asked = connection.client().simple_query("SELECT pg_backend_pid()");
    let rows = connection.within(soon(10), asked).await.unwrap();
    let number = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    number.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_slow_leaves_the_other_connections_as_they_are() {
    let service = Service::start(Kind::Postgres).await.unwrap();
    let url = service.url();
    let settings = PostgresSettings::read(&Settings::from_texts([("url", &*url)], [])).unwrap();
    let postgres = Postgres::new(&settings).unwrap();
    let slow = postgres.get(soon(10)).await.unwrap();
    let waiting = postgres.get(soon(10)).await.unwrap();
    let before = number(&waiting).await;
    drop(waiting);
    let sleeps = slow.client().simple_query("SELECT pg_sleep(60)");
    let error = slow.within(soon(1), sleeps).await.unwrap_err();
    assert!(matches!(error, PostgresError::Silent { .. }), "{error:?}");
    drop(slow);
    let connection = postgres.get(soon(10)).await.unwrap();
    assert_eq!(number(&connection).await, before);
}
