//! Connections to real servers: over TLS, as somebody, to one of several, and while files change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the subjects are those of the test"
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use lattice_core::provider::SecretText;
use lattice_nats::connection::{ClientCert, Connection, Login, Tls};
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port, taken_in};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);

/// An authority of a test's own, and what it has signed.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
             -keyout ca.key -out ca.pem",
        );
        for name in ["server", "client"] {
            authority.sign(name, name);
        }
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let ran = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("`openssl` is installed");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Writes `{file}.pem` and `{file}.key` for this machine.
    fn sign(&self, file: &str, subject: &str) {
        std::fs::write(
            self.path("names"),
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
        )
        .unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={subject} \
             -keyout {file}.key -out {file}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out {file}.pem"
        ));
    }

    async fn server(&self, more: &str, tls_first: bool) -> NatsBox {
        let path = |name| self.path(name).display().to_string();
        let extra_config = format!(
            "tls {{\n cert_file: {:?}\n key_file: {:?}\n ca_file: {:?}\n timeout: 10\n {more}\n}}\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
        );
        let options = NatsBoxOptions {
            extra_config,
            tls_first,
            ..NatsBoxOptions::default()
        };
        NatsBox::start_with(options).await.unwrap()
    }

    /// What a client needs that shows a certificate.
    fn tls(&self) -> Tls {
        Tls {
            ca_files: vec![self.path("ca.pem")],
            client: Some(ClientCert {
                cert: self.path("client.pem"),
                key: self.path("client.key"),
            }),
            ..Tls::default()
        }
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
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server("verify: true", false).await;
    let mut connection = to(&server.url);
    connection.tls = Tls {
        required: true,
        ..authority.tls()
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
    for tls in [without, other.tls(), Tls::default()] {
        let connection = Connection {
            tls,
            ..connection.clone()
        };
        assert!(connect(&connection).await.is_err(), "{connection:?}");
    }
}

#[tokio::test]
async fn tls_can_begin_before_the_server_speaks() {
    let authority = Authority::new();
    let server = authority.server("handshake_first: true", true).await;
    let mut connection = to(&server.url);
    connection.tls = Tls {
        first: true,
        client: None,
        ..authority.tls()
    };
    connect(&connection).await.unwrap();
}

#[tokio::test]
async fn a_key_that_belongs_to_another_certificate_is_named() {
    let authority = Authority::new();
    let mut connection = to("localhost");
    connection.tls = authority.tls();
    authority.sign("other", "other");
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
    let authority = Authority::new();
    let server = authority.server("verify: true", false).await;
    let mut connection = to(&server.url);
    connection.tls = authority.tls();
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

    // What cannot be used is left alone.
    let good = std::fs::read(authority.path("client.key")).unwrap();
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
    assert_eq!(connects(), before);
    std::fs::write(authority.path("client.key"), good).unwrap();
    for round in 1..=2 {
        authority.sign("next", "client");
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
