//! A Mosquitto that wants a login, over TLS, and one that lets users at some topics only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Stdio;

use lattice_nats_box::free_port;
use messaging_mqtt::MessagingMqtt;
use support::{Lattice, Said, until};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The broker, its folder, its port, and the certificate of its authority.
struct Private {
    _broker: Child,
    _folder: TempDir,
    url: String,
    authority: String,
}

async fn run(program: &str, folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().await;
    let status =
        status.unwrap_or_else(|e| panic!("`{program}`: {e}; run `cargo xtask services install`"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// Makes an authority, and a certificate of `127.0.0.1` by it.
async fn certify(folder: &Path) {
    let new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let own = [
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=authority",
        "-days",
        "2",
    ];
    run("openssl", folder, &[&new[..], &own[..]].concat()).await;
    let signed = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ];
    let end = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let own = [
        "-keyout",
        "own.key",
        "-out",
        "own.pem",
        "-subj",
        "/CN=broker",
        "-days",
        "2",
    ];
    let all = [&new[..], &own[..], &signed[..], &end[..]].concat();
    run("openssl", folder, &all).await;
}

async fn start() -> Private {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certify(dir).await;
    run(
        "mosquitto_passwd",
        dir,
        &["-c", "-b", "users", "shop", "open sesame"],
    )
    .await;
    let port = free_port().unwrap();
    let shown = dir.display();
    let user = if is_roots() { "user root\n" } else { "" };
    let config = format!(
        "listener {port} 127.0.0.1\ncafile {shown}/ca.pem\ncertfile {shown}/own.pem\n\
         keyfile {shown}/own.key\nallow_anonymous false\npassword_file {shown}/users\n{user}"
    );
    let broker = spawn(dir, &config);
    until(async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    Private {
        _broker: broker,
        authority: std::fs::read_to_string(dir.join("ca.pem")).unwrap(),
        url: format!("mqtts://127.0.0.1:{port}"),
        _folder: folder,
    }
}

fn spawn(folder: &Path, config: &str) -> Child {
    std::fs::write(folder.join("mosquitto.conf"), config).unwrap();
    let program = ["/usr/sbin/mosquitto", "mosquitto"];
    let program = program
        .into_iter()
        .find(|p| Path::new(p).is_file())
        .unwrap_or("mosquitto");
    Command::new(program)
        .args(["-c", "mosquitto.conf"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Whether this is root's process, whom Mosquitto would else leave.
fn is_roots() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    })
}

#[tokio::test]
async fn a_private_broker_takes_who_knows_the_password_and_trusts_it() {
    let private = start().await;
    let mut lattice = Lattice::start::<MessagingMqtt>().await;
    let url = ("url", &*private.url);
    let authority = ("tls_ca", &*private.authority);
    let login = [("username", "shop"), ("password", "open sesame")];
    let subscriptions = ("subscriptions", "a");
    // Nobody vouches for the broker.
    lattice
        .source("one", &[url, subscriptions, login[0], login[1]])
        .await;
    let reason = lattice.failed().await;
    assert!(reason.contains("certificate"), "{reason}");
    let wrong = [
        url,
        subscriptions,
        authority,
        login[0],
        ("password", "wrong"),
    ];
    lattice.source("two", &wrong).await;
    let reason = lattice.failed().await;
    assert!(
        reason.contains("NotAuthorized") || reason.contains("BadUser"),
        "{reason}"
    );
    assert!(!reason.contains("wrong"), "{reason}");
    let mut heard = lattice.handler("three", |_| Said::Done).await;
    let right = [url, subscriptions, authority, login[0], login[1]];
    lattice.source("three", &right).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &right).await;
    lattice.ready().await;
    publisher.publish("a", b"private").await.unwrap();
    assert_eq!(heard.next().await.text(), "private");
}

#[tokio::test]
async fn a_group_whose_members_may_not_speak_with_each_other_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let allowed = "topic readwrite orders\ntopic readwrite lattice/answers/#\n";
    std::fs::write(folder.path().join("allowed"), allowed).unwrap();
    let port = free_port().unwrap();
    let user = if is_roots() { "user root\n" } else { "" };
    let shown = folder.path().display();
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {shown}/allowed\n{user}"
    );
    let _broker = spawn(folder.path(), &config);
    until(async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut lattice = Lattice::start::<MessagingMqtt>().await;
    let config = [("url", &*url), ("subscriptions", "orders|g")];
    lattice.source("listener", &config).await;
    let reason = lattice.failed().await;
    let expected = "could not ask who has which session of the group";
    assert!(
        reason.contains(expected) && reason.contains("lattice/sessions/"),
        "{reason}"
    );
    // The only session of a link is taken all the same.
    let config = [("url", &*url), ("subscriptions", "orders")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
}
