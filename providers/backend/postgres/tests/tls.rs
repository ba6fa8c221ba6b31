//! Encrypted connections, with an authority of our own and a client certificate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lattice_postgres::{OpenError, Postgres, PostgresError, PostgresSettings};
use lattice_provider_sdk::Settings;
use lattice_services::{Kind, Service};
use tokio::time::Instant;

/// Makes an authority, and a certificate of it for the server and for the user `lattice`.
const CERTIFICATES: &str = "
    set -e
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
        -keyout ca.key -out ca.crt
    for name in server lattice; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name \
            -keyout $name.key -out $name.csr
        printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > ext
        openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
            -extfile ext -out $name.crt
    done
    printf 'local all all trust\\nhostssl all all 127.0.0.1/32 cert\\nhostnossl all all 127.0.0.1/32 scram-sha-256\\n' > hba
    chown postgres . * 2>/dev/null || true
    chmod 755 . && chmod 644 * && chmod 600 *.key
";

/// Runs statements as the superuser, over the socket beside the data.
fn configure(port: u16, folder: &Path) {
    let socket = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line: Vec<_> = line
                .split(|b| *b == 0)
                .map(String::from_utf8_lossy)
                .collect();
            let has_port = line.contains(&port.to_string().into());
            let at = line.iter().position(|word| word == "-k")?;
            (line[0].ends_with("postgres") && has_port).then(|| line[at + 1].to_string())
        });
    let file = |name: &str| folder.join(name).display().to_string();
    for setting in [
        "ssl = on".to_owned(),
        format!("ssl_cert_file = '{}'", file("server.crt")),
        format!("ssl_key_file = '{}'", file("server.key")),
        format!("ssl_ca_file = '{}'", file("ca.crt")),
        format!("hba_file = '{}'", file("hba")),
    ] {
        let statement = format!("ALTER SYSTEM SET {setting}");
        let port = port.to_string();
        let arguments = [
            "-h",
            socket.as_ref().unwrap(),
            "-p",
            &port,
            "-U",
            "postgres",
            "-c",
            &statement,
        ];
        let done = Command::new("psql").args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

async fn open(link: &[(&str, &str)]) -> Result<Postgres, OpenError> {
    let settings = Settings::from_texts(link.iter().copied(), []);
    Postgres::open(&PostgresSettings::read(&settings).unwrap()).await
}

async fn is_encrypted(postgres: &Postgres) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    let connection = postgres.get(until).await.unwrap();
    let select = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let asked = connection.client().query_one(select, &[]);
    connection.within(until, asked).await.unwrap().get(0)
}

#[tokio::test]
async fn the_server_and_the_client_show_who_they_are() {
    let mut server = Service::start(Kind::Postgres).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES])
        .current_dir(folder.path())
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    configure(server.port(), folder.path());
    server.kill();
    server.start_again().await.unwrap();

    let url = server.url();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.crt"), file("lattice.crt"), file("lattice.key"));
    assert!(!is_encrypted(&open(&[("url", &url)]).await.unwrap()).await);

    let required = [("url", url.as_str()), ("POSTGRES_TLS_REQUIRED", "true")];
    let Err(OpenError::Server(error @ PostgresError::Connect { .. })) = open(&required).await
    else {
        panic!("nobody knows the authority");
    };
    assert!(error.words().contains("certificate"), "{}", error.words());

    let believed = [("url", url.as_str()), ("tls_ca_file", &ca)];
    let Err(OpenError::Server(error)) = open(&believed).await else {
        panic!("the server wants a certificate");
    };
    assert!(error.words().contains("certificate"), "{}", error.words());

    let link = [
        ("url", url.as_str()),
        ("tls_ca_file", &ca),
        ("tls_cert_file", &certificate),
        ("tls_key_file", &key),
    ];
    let postgres = open(&link).await.unwrap();
    assert!(is_encrypted(&postgres).await);
    postgres.check().await.unwrap();
}
