//! Logins through a pooler, which knows no `options`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lattice_postgres::{Postgres, PostgresSettings};
use lattice_provider_sdk::Settings;
use lattice_services::{Kind, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Passes logins on to a server as PgBouncer does, and refuses those that bring options. Returns the
/// port.
async fn pooler(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, server));
        }
    });
    port
}

async fn pass_on(mut client: TcpStream, server: u16) {
    let length = client.read_u32().await.unwrap();
    let mut login = vec![0; length as usize - 4];
    client.read_exact(&mut login).await.unwrap();
    // What follows the version are names and values, each ended by a zero.
    let mut words = login[4..].split(|byte| *byte == 0);
    if words.any(|word| word == b"options") {
        let why = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        client.write_u8(b'E').await.unwrap();
        client.write_u32(why.len() as u32 + 4).await.unwrap();
        client.write_all(why).await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    server.write_u32(length).await.unwrap();
    server.write_all(&login).await.unwrap();
    // Either side may hang up.
    let _over = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

async fn open(url: &str, said: &[(&str, &str)]) -> Postgres {
    let said: Vec<_> = [("url", url)].iter().chain(said).copied().collect();
    let settings = PostgresSettings::read(&Settings::from_texts(said, [])).unwrap();
    let settings = settings.lasting(Duration::from_secs(60), Duration::from_secs(20));
    let settings = settings.waiting_for_locks(Duration::from_secs(3));
    Postgres::open(&settings).await.unwrap()
}

async fn shown(postgres: &Postgres, name: &str) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    let connection = postgres.get(until).await.unwrap();
    let row = connection
        .client()
        .query_one(&format!("SHOW {name}"), &[])
        .await;
    row.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_behind_a_pooler_that_takes_no_options() {
    let service = Service::start(Kind::Postgres).await.unwrap();
    let port = pooler(service.port()).await;
    let direct = service.url();
    let through = direct.replace(&format!(":{}", service.port()), &format!(":{port}"));
    assert_ne!(direct, through);
    let postgres = open(&through, &[]).await;
    for (name, value) in [
        ("statement_timeout", "90s"),
        ("idle_in_transaction_session_timeout", "20s"),
        ("lock_timeout", "3s"),
    ] {
        assert_eq!(shown(&postgres, name).await, value, "{name}");
    }
    postgres.check().await.unwrap();
    let unlimited = open(&through, &[("statement_timeout_ms", "0")]).await;
    assert_eq!(shown(&unlimited, "statement_timeout").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_url_says_of_a_limit_holds() {
    let service = Service::start(Kind::Postgres).await.unwrap();
    let url = format!("{}?options=-c%20lock_timeout%3D7s", service.url());
    let postgres = open(&url, &[]).await;
    assert_eq!(shown(&postgres, "lock_timeout").await, "7s");
    assert_eq!(shown(&postgres, "statement_timeout").await, "90s");
}
