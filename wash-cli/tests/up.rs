//! `wash up`, `status` and `down` with real processes: a NATS server and hosts of this program.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::local::{Local, alive};
use common::{Home, free_port};
use lattice_nats_box::NatsBox;
use serde_json::Value;

#[test]
fn hosts_are_started_shown_and_stopped() {
    let local = Local::new();
    let up = local
        .up("--hosts 2 --label tier=edge --label-each zone=a,b")
        .ok()
        .json();
    assert_eq!(up["nats_url"], format!("127.0.0.1:{}", local.port));
    assert_eq!(up["kill_cmd"], "wash down");
    assert_eq!(up["hosts"].as_array().unwrap().len(), 2);
    let log = up["wasmcloud_log"].as_str().unwrap();
    assert!(
        log.starts_with("[HOME]/.local/share/wash/lattices/default/hosts/N"),
        "{log}"
    );

    // Without flags, commands find the lattice at its port.
    let hosts = local.home.wash("get hosts -o json").ok().json();
    let hosts = hosts["hosts"].as_array().unwrap().clone();
    let mut zones: Vec<&str> = hosts
        .iter()
        .map(|host| host["labels"]["zone"].as_str().unwrap())
        .collect();
    zones.sort_unstable();
    assert_eq!(zones, ["a", "b"]);
    assert!(hosts.iter().all(|host| host["labels"]["tier"] == "edge"));

    let status = local.status();
    assert_eq!(status["lattices"][0]["healthy"], true, "{status}");
    let again = local.up("").ok().json();
    assert_eq!(again["already_running"], true);
    assert_eq!(again["hosts"].as_array().unwrap().len(), 2);
    let third = local.up("--hosts 3").ok().json();
    assert_eq!(third["hosts"].as_array().unwrap().len(), 3);

    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["hosts_stopped"].as_array().unwrap().len(), 3);
    assert_eq!(down["nats_stopped"], true);
    for host in third["hosts"].as_array().unwrap() {
        assert!(!alive(&host["pid"]), "{host}");
    }
    assert_eq!(local.home.wash("status").code, Some(3));
}

#[test]
fn a_dead_host_shows_in_the_status_and_can_be_replaced() {
    let local = Local::new();
    let up = local.up("").ok().json();
    let pid = up["hosts"][0]["pid"].to_string();
    std::process::Command::new("kill")
        .args(["-9", &pid])
        .status()
        .unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        // A killed process stands in the list, not answering, until its memory is given back.
        let outcome = local.home.wash("status -o json");
        let status = outcome.json();
        if outcome.code == Some(7) && status["lattices"][0]["hosts"][0]["state"] == "died" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
    }
    let again = local.up("").ok().json();
    assert_eq!(again["already_running"], false);
    assert_ne!(again["hosts"][0]["id"], up["hosts"][0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_is_used_and_left_alone() {
    let nats = NatsBox::start().await.unwrap();
    let local = Local {
        home: Home::new(),
        port: nats.port,
    };
    let up = local.up("").ok().json();
    assert_eq!(up["nats_started"], false);
    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["hosts_stopped"].as_array().unwrap().len(), 1);
    assert_eq!(down["nats_stopped"], false);
    assert!(nats.client().await.is_ok());
}

#[test]
fn a_server_is_kept_for_another_lattice_that_uses_it() {
    let local = Local::new();
    local.up("").ok();
    local.up("-x second").ok();
    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["nats_stopped"], false, "{down}");
    let hosts = local.home.wash("get hosts -x second -o json").ok().json();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1);
    let down = local.home.wash("down -x second -o json").ok().json();
    assert_eq!(down["nats_stopped"], true, "{down}");
}

#[test]
fn a_taken_port_is_refused_when_it_was_asked_for() {
    let local = Local::new();
    let _taken = TcpListener::bind(("127.0.0.1", local.port)).unwrap();
    let outcome = local.up("");
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = &outcome.json()["error"];
    assert_eq!(error["code"], "WASH0082");
    assert!(error["hint"].as_str().unwrap().contains("--nats-port"));
}

#[test]
fn a_taken_port_of_a_context_is_stepped_over_and_commands_follow() {
    let local = Local::new();
    let _taken = TcpListener::bind(("127.0.0.1", local.port)).unwrap();
    local
        .home
        .wash(&format!("ctx new here --port {}", local.port))
        .ok();
    local.home.wash("ctx use here").ok();
    let outcome = local.home.wash("up -d -o json").ok();
    assert!(
        outcome
            .stderr
            .contains(&format!("port {} is taken", local.port)),
        "{outcome}"
    );
    assert_ne!(
        outcome.json()["nats_url"],
        format!("127.0.0.1:{}", local.port)
    );
    let hosts = local.home.wash("get hosts -o json").ok().json();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_missing_server_program_is_named() {
    let local = Local::new();
    let outcome = local.up("--nats-server /nowhere/nats-server");
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert_eq!(outcome.json()["error"]["code"], "WASH0080");
    let outcome = local.up("--nats-connect-only");
    assert_eq!(outcome.code, Some(6), "{outcome}");
}

#[test]
fn a_host_that_cannot_start_says_why_and_leaves_nothing() {
    let local = Local::new();
    let outcome = local.up("--cluster-issuers loudest");
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.json()["error"].clone();
    assert_eq!(error["code"], "WASH0083", "{error}");
    let causes = error["causes"].to_string();
    assert!(causes.contains("loudest"), "{causes}");
    assert_eq!(local.home.wash("status").code, Some(3));
    let outcome = local.up("--log-level loudest");
    assert_eq!(outcome.code, Some(2), "{outcome}");
}

#[test]
fn a_lattice_gets_no_second_server() {
    let local = Local::new();
    local.up("").ok();
    let other = free_port();
    let second = local
        .home
        .wash(&format!("up -d --nats-port {other} -o json"));
    assert_eq!(second.code, Some(2), "{second}");
    let hint = second.json()["error"]["hint"].to_string();
    assert!(hint.contains("wash down"), "{hint}");
    let elsewhere = local.home.wash(&format!("down -p {other}"));
    assert_eq!(elsewhere.code, Some(2), "{elsewhere}");
    let again = local.up("--label a=b").ok();
    assert!(again.stderr.contains("`wash down`"), "{again}");
    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["nats_stopped"], true, "{down}");
    assert_eq!(local.home.wash("status").code, Some(3));
}

/// Runs `wash up` in the foreground until its block is printed.
fn foreground(local: &Local) -> (Child, Vec<String>) {
    let mut child = local
        .home
        .command()
        .args(["up", "--nats-port", &local.port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        let last = line.starts_with("  Stop");
        lines.push(line);
        if last {
            break;
        }
    }
    (child, lines)
}

/// Sends `wash up` in the foreground a signal, which ends it with this code and takes all along.
fn ends_in_order(signal: &str, code: i32) {
    let local = Local::new();
    let (mut child, lines) = foreground(&local);
    assert!(lines[0].starts_with("Lattice `default` is up"), "{lines:?}");
    let status = local.status();
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(code));
    let lattice = &status["lattices"][0];
    assert!(!alive(&lattice["hosts"][0]["pid"]), "{status}");
    assert!(!alive(&lattice["nats"]["pid"]), "{status}");
    assert_eq!(local.home.wash("status").code, Some(3));
}

#[test]
fn both_signals_end_the_foreground_in_order() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        ends_in_order(signal, code);
    }
}

/// Whether the end of a terminal is told to what this program starts: it is not under `nohup`.
fn hears_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored & 1 == 0)
}

#[test]
fn the_end_of_the_terminal_ends_the_foreground_in_order() {
    if hears_hangups() {
        ends_in_order("HUP", 129);
    }
}

#[test]
fn stored_data_outlives_down_unless_it_is_purged() {
    let local = Local::new();
    local.up("").ok();
    local.home.wash("config put kept a=1").ok();
    local.home.wash("down").ok();
    local.up("").ok();
    let kept = local.home.wash("config get kept -o json").ok().json();
    assert_eq!(kept["a"], "1");
    let down = local
        .home
        .wash("down --purge-jetstream wasmcloud -o json")
        .ok()
        .json();
    assert!(
        down["purged"].to_string().contains("KV_CONFIGDATA_default"),
        "{down}"
    );
    local.up("").ok();
    assert_eq!(local.home.wash("config get kept").code, Some(3));
}

#[test]
fn a_host_alone_needs_a_server() {
    let home = Home::at_port(free_port());
    let outcome = home.wash("host");
    assert_eq!(outcome.code, Some(6), "{outcome}");
    let usage = home.wash("host --label novalue");
    assert_eq!(usage.code, Some(2), "{usage}");
}

#[test]
fn a_component_runs_from_start_to_stop() {
    let local = Local::new();
    local.home.file("one.wasm", common::artifacts::importer());
    local.home.file(
        "two.wasm",
        common::artifacts::signed(&common::artifacts::importer()).0,
    );
    local.up("--hosts 2 --label-each zone=a,b").ok();
    let started = local
        .home
        .wash("start component one.wasm demo -c zone=b -o json")
        .ok()
        .json();
    assert_eq!(started["component_ref"], "file://[HOME]/one.wasm");

    local
        .home
        .wash("scale component one.wasm demo --max-instances 50")
        .ok();
    local.home.wash("update component demo two.wasm").ok();
    let inventory = local.home.wash("get inventory -o json").ok().json();
    let components: Vec<&Value> = inventory["inventories"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|host| host["components"].as_array().unwrap())
        .collect();
    assert_eq!(components.len(), 1, "{inventory}");
    assert_eq!(components[0]["max_instances"], 50);
    assert_eq!(components[0]["image_ref"], "file://[HOME]/two.wasm");
    assert_eq!(components[0]["name"], "demo");
    let claims = local.home.wash("get claims -o json").ok().json();
    assert_eq!(claims["claims"][0]["name"], "demo");

    local.home.wash("stop component demo").ok();
    assert_eq!(local.home.wash("stop component demo -t 300").code, Some(3));
}

#[test]
fn images_that_cannot_run_are_refused_by_name_with_a_hint() {
    let local = Local::new();
    local.up("").ok();
    local.home.file("note.wasm", "not wasm at all");
    local.home.file("empty.wasm", "");
    local.home.file("core.wasm", b"\0asm\x01\0\0\0");
    let component = common::artifacts::importer();
    local
        .home
        .file("cut.wasm", &component[..component.len() - 9]);
    for (image, code, part) in [
        ("note.wasm", 4, "`wash "),
        ("empty.wasm", 4, "`wash "),
        ("core.wasm", 4, "wasm32-wasip2"),
        ("cut.wasm", 4, "`wash "),
        ("/nowhere/x.wasm", 3, "check the path"),
        ("nowhere/x.wasm", 3, "check the path"),
        ("nowhere/x", 3, "check the path"),
    ] {
        for what in ["component", "provider"] {
            // A provider is refused for another reason than a component, but as clearly.
            let part = if what == "provider" && code == 4 {
                ""
            } else {
                part
            };
            let outcome = local
                .home
                .wash(&format!("start {what} {image} demo -o json"));
            assert_eq!(outcome.code, Some(code), "{outcome}");
            let error = outcome.json()["error"].clone();
            let text = format!("{} {}", error["message"], error["causes"]);
            assert!(text.contains(image), "{text}");
            let hint = error["hint"].as_str().unwrap_or_default();
            assert!(
                !hint.is_empty() && hint.contains(part),
                "{image}: {outcome}"
            );
        }
    }
    let scaled = local
        .home
        .wash("scale provider /nowhere/kv kv --per-host -o json");
    assert_eq!(scaled.code, Some(3), "{scaled}");
    let error = scaled.json()["error"].clone();
    assert!(
        error["causes"].to_string().contains("/nowhere/kv"),
        "{error}"
    );
    assert!(
        error["hint"].to_string().contains("check the path"),
        "{error}"
    );
}

#[test]
fn a_component_that_runs_is_started_again_on_a_single_host() {
    let local = Local::new();
    let importer = common::artifacts::importer();
    local.home.file("one.wasm", &importer);
    local
        .home
        .file("two.wasm", common::artifacts::signed(&importer).0);
    local.up("").ok();
    local.home.wash("start component one.wasm p").ok();
    local.home.wash("start component one.wasm p --max 3").ok();
    let other = local.home.wash("start component two.wasm p -o json");
    assert_eq!(other.code, Some(4), "{other}");
    let hint = other.json()["error"]["hint"].to_string();
    assert!(hint.contains("wash update component p"), "{hint}");
    local
        .home
        .wash("start component two.wasm p --allow-update")
        .ok();
    let inventory = local.home.wash("get inventory -o json").ok().json();
    let component = &inventory["inventories"][0]["components"][0];
    assert_eq!(
        component["image_ref"], "file://[HOME]/two.wasm",
        "{inventory}"
    );
}

#[test]
fn a_host_that_was_stopped_in_order_is_no_dead_host() {
    let local = Local::new();
    let up = local.up("--hosts 2").ok().json();
    for n in 0..2 {
        let id = up["hosts"][n]["id"].as_str().unwrap();
        // Without waiting for it, the host itself removes its record.
        let wait = if n == 0 { "" } else { "--no-wait" };
        local.home.wash(&format!("stop host {id} {wait}")).ok();
        let gone = || !alive(&up["hosts"][n]["pid"]);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while n == 1 && !gone() {
            assert!(tokio::time::Instant::now() < deadline, "host {id} runs on");
            std::thread::yield_now();
        }
        assert!(gone(), "host {id}");
        let status = local.home.wash("status -o json").ok().json();
        let hosts = status["lattices"][0]["hosts"].as_array().unwrap().clone();
        assert_eq!(hosts.len(), 1 - n, "{status}");
    }
    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["nats_stopped"], true, "{down}");
}

#[test]
fn options_of_older_scripts_work_or_say_what_they_do() {
    let local = Local::new();
    let wash = env!("CARGO_BIN_EXE_wash");
    // Another program as host: this one, through a script.
    let script = local
        .home
        .file("host.sh", format!("#!/bin/sh\nexec {wash} host \"$@\"\n"));
    let runnable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, runnable).unwrap();
    let up = local
        .up(
            "--host-path host.sh --host-log-path own.log --nats-version 2.11.3 \
             --wasmcloud-version 1.9.1 --wasmcloud-start-only --wadm-version 0.21.0 \
             --wadm-js-domain x --disable-wadm --enable-ipv6 --label a=b",
        )
        .ok();
    for flag in [
        "nats-version",
        "wasmcloud-version",
        "wasmcloud-start-only",
        "wadm-version",
        "wadm-js-domain",
        "enable-ipv6",
    ] {
        let notes = up.stderr.lines().filter(|line| line.contains(flag));
        assert_eq!(notes.count(), 1, "{flag}: {up}");
    }
    let log = std::fs::read_to_string(local.home.path().join("own.log")).unwrap();
    assert!(
        log.contains(up.json()["hosts"][0]["id"].as_str().unwrap()),
        "{log}"
    );
    let hosts = local.home.wash("get hosts -o json").ok().json();
    assert_eq!(hosts["hosts"][0]["labels"]["a"], "b");
    let missing = local.up("--multi-local --host-path /nowhere/host");
    assert_eq!(missing.code, Some(3), "{missing}");
    let shared = local.up("--multi-local --hosts 2 --host-log-path own.log");
    assert_eq!(shared.code, Some(2), "{shared}");
}
