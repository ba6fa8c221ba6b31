//! The program `lattice-host` as its user sees it: exit codes, signals, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::process::Stdio;
use std::time::Duration;

use common::provider::Program;
use common::{Lattice, SOON, until, wat};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

fn program(port: u16, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-host"));
    command
        .args([
            "--nats-port",
            &port.to_string(),
            "--allow-file-load",
            "--no-code-cache",
        ])
        .args(flags)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// Starts the program and returns it with the id of its host.
async fn start(lattice: &Lattice, flags: &[&str]) -> (Child, String) {
    started(lattice, program(lattice.nats.port, flags)).await
}

async fn started(lattice: &Lattice, mut program: Command) -> (Child, String) {
    let mut events = lattice.events().await;
    let child = program.spawn().unwrap();
    loop {
        let (name, event) = events.next().await;
        if name == "host_started" {
            return (child, event["source"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_ends_the_program_with_a_hint() {
    let output = timeout(Duration::from_secs(10), program(1, &[]).output()).await;
    let output = output.expect("an end within 10 s").unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("error: could not start the host"), "{text}");
    assert!(
        text.contains("nats://127.0.0.1:1") && text.contains("hint: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_end_the_program_with_a_hint() {
    for (flags, expected) in [
        (
            &["--lattice", "a.b"][..],
            "`a.b` is not a valid lattice name",
        ),
        (&["--policy-topic", "a.*"], "a.*"),
        (&["--label", "zone"], "`zone` is not of the form"),
    ] {
        let output = timeout(SOON, program(1, flags).output())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(expected) && text.contains("hint: "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_drains_the_host() {
    let lattice = Lattice::start().await;
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let (mut child, id) = start(&lattice, &["--label", "zone=b"]).await;
        let mut events = lattice.events().await;
        let image = lattice.component("add.wasm", &wat::adder(0));
        let command = json!({"component_ref": image, "component_id": "addc", "count": 5});
        lattice
            .done(&format!("component.scale.{id}"), &command)
            .await;
        events.data("component_scaled").await;
        send(&child, signal);
        let stopped = events.data("host_stopped").await;
        assert_eq!(
            (&stopped["reason"], &stopped["labels"]["zone"]),
            (&json!(name), &json!("b"))
        );
        let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

/// As its terminal goes; with `nohup` that changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_drains_the_host_unless_it_is_ignored() {
    let lattice = Lattice::start().await;
    for (how, name) in [
        ("--default-signal=HUP", "SIGHUP"),
        ("--ignore-signal=HUP", "SIGTERM"),
    ] {
        let host = program(lattice.nats.port, &[]);
        let mut command = Command::new("env");
        command
            .arg(how)
            .arg(host.as_std().get_program())
            .args(host.as_std().get_args())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let (mut child, id) = started(&lattice, command).await;
        let mut events = lattice.events().await;
        send(&child, Signal::HUP);
        if name == "SIGTERM" {
            // Answered after the first signal was there.
            lattice.control_raw(&format!("host.get.{id}"), "").await;
            send(&child, Signal::TERM);
        }
        assert_eq!(events.data("host_stopped").await["reason"], name);
        let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

/// A second signal is for those who do not want to wait, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_host_that_waits() {
    let lattice = Lattice::start().await;
    for (provider, second) in [("deaf", Signal::TERM), ("mute", Signal::INT)] {
        let (mut child, id) = start(&lattice, &["--drain-timeout-ms", "600000"]).await;
        pid_of_provider(&lattice, &id, provider).await;
        // In its place the test listens, and says nothing.
        let mut shutdown = lattice.shutdown_of(provider).await;
        send(&child, Signal::TERM);
        timeout(SOON, shutdown.next()).await.unwrap().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        send(&child, second);
        let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

async fn pid_of_provider(lattice: &Lattice, id: &str, name: &str) -> i32 {
    let file = lattice.path(&format!("{name}.pid"));
    let then = format!("echo $$ > {}\nexec sleep 1000", file.display());
    let program = Program::new(lattice, name, &then);
    let command = json!({"provider_id": name, "provider_ref": program.reference()});
    lattice
        .done(&format!("provider.start.{id}"), &command)
        .await;
    until("the process id", async || {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_end_with_the_host_even_when_it_is_killed() {
    let lattice = Lattice::start().await;
    let (child, id) = start(&lattice, &[]).await;
    let provider = pid_of_provider(&lattice, &id, "kv").await;
    send(&child, Signal::KILL);
    until("the provider to be gone", async || {
        is_gone(provider).then_some(())
    })
    .await;

    let (mut child, id) = start(&lattice, &[]).await;
    let provider = pid_of_provider(&lattice, &id, "http").await;
    let inventory = lattice.control_raw(&format!("host.get.{id}"), "").await;
    assert_eq!(inventory["response"]["providers"][0]["id"], "http");
    let reply = lattice.control_raw(&format!("host.stop.{id}"), "").await;
    assert_eq!(reply["message"], "successfully handled stop host");
    let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert!(status.success() && is_gone(provider));
}
