//! Connections to real servers: over TLS, as somebody, to one of several, and while files change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the subjects are those of the test"
)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use lattice_core::provider::SecretText;
use lattice_nats::connection::{ClientCert, Connection, Login, Tls};
use lattice_nats_box::{Authority, NatsBox, NatsBoxOptions, free_port, taken_in};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);

async fn server(authority: &Authority, more: &str, tls_first: bool) -> NatsBox {
    let options = NatsBoxOptions {
        extra_config: authority.server_config(more),
        tls_first,
        ..NatsBoxOptions::default()
    };
    NatsBox::start_with(options).await.unwrap()
}

/// What a client needs that shows a certificate.
fn tls(authority: &Authority) -> Tls {
    Tls {
        ca_files: vec![authority.path("ca.pem")],
        client: Some(ClientCert {
            cert: authority.path("client.pem"),
            key: authority.path("client.key"),
        }),
        ..Tls::default()
    }
}

fn to(url: &str) -> Connection {
    Connection {
        servers: vec![url.to_owned()],
        ..Connection::default()
    }
}

async fn connect(connection: &Connection) -> Result<async_nats::Client, async_nats::ConnectError> {
    let prepared = connection.prepare().unwrap();
    let client = prepared.options().connect(prepared.servers()).await?;
    taken_in(&client).await.unwrap();
    Ok(client)
}

#[tokio::test]
async fn a_certificate_is_shown_where_the_server_wants_one() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = server(&authority, "verify: true", false).await;
    let mut connection = to(&server.url);
    connection.tls = Tls {
        required: true,
        ..tls(&authority)
    };
    connect(&connection).await.unwrap();

    // Which of the authorities it is does not matter.
    connection.tls.ca_files = vec![other.path("ca.pem"), authority.path("ca.pem")];
    connect(&connection).await.unwrap();
    connection.tls.ca_files.reverse();
    connect(&connection).await.unwrap();

    let without = Tls {
        client: None,
        ..connection.tls.clone()
    };
    // Of another authority: shown to this server, and by a client that trusts no other.
    let foreign = Tls {
        client: tls(&other).client,
        ..connection.tls.clone()
    };
    for tls in [without, foreign, tls(&other), Tls::default()] {
        let connection = Connection {
            tls,
            ..connection.clone()
        };
        assert!(connect(&connection).await.is_err(), "{connection:?}");
    }
}

#[tokio::test]
async fn tls_can_begin_before_the_server_speaks() {
    let authority = Authority::new().unwrap();
    let server = server(&authority, "handshake_first: true", true).await;
    let mut connection = to(&server.url);
    connection.tls = Tls {
        first: true,
        client: None,
        ..tls(&authority)
    };
    connect(&connection).await.unwrap();
}

#[tokio::test]
async fn a_key_that_belongs_to_another_certificate_is_named() {
    let authority = Authority::new().unwrap();
    let mut connection = to("localhost");
    connection.tls = tls(&authority);
    authority.sign("other", "other").unwrap();
    std::fs::copy(authority.path("other.key"), authority.path("client.key")).unwrap();
    let error = connection.prepare().unwrap_err().to_string();
    assert!(
        error.contains("client.key") && error.contains("client.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn every_sort_of_login_is_accepted() {
    let key = nkeys::KeyPair::new_user();
    let seed = SecretText::new(key.seed().unwrap());
    let nkey = format!(
        "authorization {{ users: [{{ nkey: {} }}] }}\n",
        key.public_key()
    );
    let secret = SecretText::new("s3cret");
    let cases = [
        (
            "authorization { token: s3cret }\n".to_owned(),
            "",
            Login::Token(secret.clone()),
        ),
        (
            "authorization { token: s3cret }\n".to_owned(),
            "s3cret@",
            Login::Nobody,
        ),
        (
            "authorization { user: me, password: s3cret }\n".to_owned(),
            "",
            Login::Password {
                user: "me".to_owned(),
                password: secret,
            },
        ),
        (
            "authorization { user: me, password: s3cret }\n".to_owned(),
            "me:s3cret@",
            Login::Nobody,
        ),
        (nkey, "", Login::Nkey(seed)),
    ];
    for (extra_config, in_address, login) in cases {
        let options = NatsBoxOptions {
            extra_config,
            ..NatsBoxOptions::default()
        };
        let server = NatsBox::start_with(options).await.unwrap();
        assert!(connect(&to(&server.url)).await.is_err(), "{login:?}");
        let mut connection = to(&format!("nats://{in_address}127.0.0.1:{}", server.port));
        connection.login = login;
        connect(&connection).await.unwrap();
    }
}

#[tokio::test]
async fn one_server_of_several_is_enough() {
    let server = NatsBox::start().await.unwrap();
    let dead = format!("nats://127.0.0.1:{}", free_port().unwrap());
    let mut connection = to(&dead);
    assert!(connect(&connection).await.is_err());
    connection.servers.push(server.url.clone());
    for _ in 0..4 {
        connect(&connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_certificate_is_used_without_losing_what_is_sent() {
    let authority = Authority::new().unwrap();
    let server = server(&authority, "verify: true", false).await;
    let mut connection = to(&server.url);
    connection.tls = tls(&authority);
    connection.tls.ca_files.push(authority.path("ca.pem"));
    let listener = connect(&connection).await.unwrap();
    let mut heard = listener.subscribe("numbers").await.unwrap();
    taken_in(&listener).await.unwrap();

    let prepared = connection.prepare().unwrap();
    let client = prepared
        .options()
        .connect(prepared.servers())
        .await
        .unwrap();
    let rotation = prepared.rotation(&client).unwrap();
    let connects = || client.statistics().connects.load(Ordering::Relaxed);
    let before = connects();

    // What cannot be used is left alone, and so is what the server does not take.
    let of = |authority: &Authority| {
        ["client.pem", "client.key"].map(|name| std::fs::read(authority.path(name)).unwrap())
    };
    let put = |[pem, key]: &[Vec<u8>; 2]| {
        std::fs::write(authority.path("client.pem"), pem).unwrap();
        std::fs::write(authority.path("client.key"), key).unwrap();
    };
    let good = of(&authority);
    std::fs::write(authority.path("client.key"), "no key").unwrap();

    let mut sent = 0_u32;
    let mut send_for = async |how_long: Duration, until: u64| {
        let begun = tokio::time::Instant::now();
        while connects() < until && begun.elapsed() < how_long {
            client
                .publish("numbers", sent.to_string().into())
                .await
                .unwrap();
            sent += 1;
            sleep(Duration::from_millis(2)).await;
        }
    };
    send_for(Duration::from_secs(2), u64::MAX).await;
    put(&of(&Authority::new().unwrap()));
    send_for(Duration::from_secs(4), u64::MAX).await;
    assert_eq!(connects(), before);
    put(&good);
    send_for(LIMIT, before + 1).await;
    for round in 2..=3 {
        authority.sign("next", "client").unwrap();
        for end in ["pem", "key"] {
            let (from, to) = (format!("next.{end}"), format!("client.{end}"));
            std::fs::rename(authority.path(&from), authority.path(&to)).unwrap();
        }
        let wanted = before + round;
        send_for(LIMIT, wanted).await;
        assert!(connects() >= wanted, "round {round}");
    }
    send_for(Duration::from_millis(100), u64::MAX).await;
    drop(rotation);
    for number in 0..sent {
        let message = timeout(LIMIT, heard.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, number.to_string());
    }
}
