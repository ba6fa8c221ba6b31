//! The binary, as a host starts it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use async_nats::Client;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport, SecretText};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, LinkRules, Locality, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_http-server-provider");

fn host_data(url: &str) -> String {
    host_data_with(url, Vec::new())
}

fn host_data_with(url: &str, links: Vec<ResolvedLink>) -> String {
    let own = nkeys::XKey::new().seed().unwrap();
    let data = HostData {
        host_id: "NHOST".into(),
        lattice_rpc_prefix: "default".into(),
        lattice_rpc_url: SecretText::new(url),
        provider_key: "http".into(),
        link_definitions: links,
        host_xkey_public_key: nkeys::XKey::new().public_key(),
        provider_xkey_private_key: SecretText::new(own),
        ..HostData::default()
    };
    data.to_line().unwrap()
}

fn command() -> Command {
    piped(Command::new(BINARY))
}

/// The binary with the limit of open files that `ulimit` makes of some arguments.
fn limited(limit: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit {limit}; exec \"$1\"");
    command.args(["-c", &script, "sh", BINARY]);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(input: &str) -> Child {
    start_as(command(), input)
}

fn start_as(mut command: Command, input: &str) -> Child {
    let mut child = command.spawn().unwrap();
    // A process that has refused its arguments may have closed its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child
}

fn subjects() -> ProviderSubjects {
    ProviderSubjects::new(&LatticeName::default(), &ComponentId::new("http").unwrap())
}

async fn until_healthy(nats: &Client) {
    let ask = async {
        while nats.request(subjects().health(), "".into()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .expect("the provider is healthy");
}

async fn until_gone(nats: &Client) {
    let ask = async {
        while nats.request(subjects().health(), "".into()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .expect("the provider is gone");
}

fn signal(id: u32, name: &str) {
    let status = Command::new("kill").args([name, &id.to_string()]).status();
    assert!(status.unwrap().success());
}

async fn output(child: Child) -> Output {
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = tokio::time::timeout(PATIENCE, waiting).await;
    output.expect("the process ends").unwrap().unwrap()
}

#[tokio::test]
async fn a_process_ends_by_signal_and_by_message() {
    let nats_box = NatsBox::start().await.unwrap();
    let nats = nats_box.client().await.unwrap();
    let child = start(&host_data(&nats_box.url));
    until_healthy(&nats).await;
    signal(child.id(), "-TERM");
    let ended = output(child).await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.is_empty());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("shutting down"));
    let child = start(&host_data(&nats_box.url));
    until_healthy(&nats).await;
    let request = r#"{"host_id":"NHOST"}"#;
    let reply = nats
        .request(subjects().shutdown(), request.into())
        .await
        .unwrap();
    assert_eq!(reply.payload, "shutting down");
    assert!(output(child).await.status.success());
}

/// A terminal that goes tells the host, too, which drains its providers then.
#[tokio::test]
async fn a_hangup_does_not_end_the_process_of_a_host() {
    let nats_box = NatsBox::start().await.unwrap();
    let nats = nats_box.client().await.unwrap();
    // Whoever runs the tests may have the signal ignored.
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=HUP", BINARY]);
    let child = start_as(piped(command), &host_data(&nats_box.url));
    until_healthy(&nats).await;
    signal(child.id(), "-HUP");
    signal(child.id(), "-TERM");
    let ended = output(child).await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn a_process_does_not_outlive_its_host() {
    let nats_box = NatsBox::start().await.unwrap();
    let nats = nats_box.client().await.unwrap();
    // The shell stands for the host: it starts the provider and is killed.
    let mut host = Command::new("/bin/sh")
        .args(["-c", r#"printf '%s\n' "$2" | "$1" & echo $!; wait"#])
        .args(["sh", BINARY, host_data(&nats_box.url).trim()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut output = BufReader::new(host.stdout.take().unwrap());
    output.read_line(&mut told).unwrap();
    until_healthy(&nats).await;
    host.kill().unwrap();
    host.wait().unwrap();
    until_gone(&nats).await;
    until_ended(told.trim()).await;
}

/// Waits until a process has ended: one that its parent has not waited for has no arguments left.
async fn until_ended(pid: &str) {
    let arguments = format!("/proc/{pid}/cmdline");
    let runs = || std::fs::read(&arguments).is_ok_and(|text| !text.is_empty());
    let ended = async {
        while runs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

/// A link to a component, as a host tells of it.
fn link_at(address: &str) -> ResolvedLink {
    ResolvedLink {
        source_id: "http".into(),
        target: "nobody".into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "http".into(),
        interfaces: vec!["incoming-handler".into()],
        source_config: StringMap::from([("address".to_owned(), address.to_owned())]),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: Locality::default(),
        rules: LinkRules::default(),
        ruled: false,
    }
}

/// What a client is told until its connection is closed, which may ask or not.
async fn told(stream: &mut TcpStream, asked: &str) -> String {
    let mut told = Vec::new();
    let talk = async {
        stream.write_all(asked.as_bytes()).await?;
        stream.read_to_end(&mut told).await
    };
    // One that is let go may be cut off in the middle.
    let _ = tokio::time::timeout(PATIENCE, talk)
        .await
        .expect("the connection is closed");
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test]
async fn clients_that_use_up_the_open_files_are_let_go_and_others_served_after_them() {
    let nats_box = NatsBox::start().await.unwrap();
    let nats = nats_box.client().await.unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let mut reports = nats.subscribe(subjects().link_status()).await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    let data = host_data_with(&nats_box.url, vec![link_at(&address)]);
    let child = start_as(limited("-n 160"), &data);
    let report = tokio::time::timeout(PATIENCE, reports.next()).await;
    let report: LinkReport = serde_json::from_slice(&report.unwrap().unwrap().payload).unwrap();
    assert_eq!(report.state, LinkState::Ready, "{report:?}");
    let mut clients = Vec::new();
    for _ in 0..240 {
        clients.push(TcpStream::connect(&address).await.unwrap());
    }
    // Half of the open files are for connections.
    assert!(told(&mut clients[80], "").await.starts_with("HTTP/1.1 503"));
    told(&mut clients[239], "").await;
    drop(clients);
    let served = async {
        loop {
            let mut client = TcpStream::connect(&address).await.unwrap();
            let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            // It has got as far as the link, and not only to a server without room.
            if told(&mut client, request).await.contains("not-served") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    signal(child.id(), "-TERM");
    assert!(output(child).await.status.success());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_may_open_as_many_files_as_the_system_lets_it() {
    let nats_box = NatsBox::start().await.unwrap();
    let nats = nats_box.client().await.unwrap();
    let child = start_as(limited("-S -n 100"), &host_data(&nats_box.url));
    until_healthy(&nats).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = line.unwrap().split_whitespace().skip(3).collect();
    let most = numbers[1].parse().unwrap_or(u64::MAX);
    assert_eq!(
        numbers[0].parse::<u64>(),
        Ok(most.min(65_536)),
        "{numbers:?}"
    );
    signal(child.id(), "-TERM");
    assert!(output(child).await.status.success());
}

#[tokio::test]
async fn bad_input_is_refused_with_a_hint() {
    for (input, complaint) in [
        ("", "no host data on standard input"),
        ("***\n", "host data is not base64"),
        ("e30=\n", "host data is not the expected JSON"),
        (
            host_data("nats://127.0.0.1:1").as_str(),
            "could not connect to NATS at `nats://127.0.0.1:1`",
        ),
    ] {
        let ended = output(start(input)).await;
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(
            told.contains("error: http-server: ") && told.contains(complaint),
            "{told}"
        );
        assert!(told.contains("\nhint: "), "{told}");
    }
}

#[tokio::test]
async fn arguments_are_few() {
    let run = |argument: &str| command().arg(argument).output().unwrap();
    let version = run("--version");
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stderr).starts_with("http-server "));
    assert_eq!(run("--port").status.code(), Some(2));
}
