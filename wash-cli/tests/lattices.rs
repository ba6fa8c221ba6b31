//! Lattices of this machine beside others, and servers that are not theirs, with real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::local::{Local, alive};
use common::{Home, artifacts, free_port};
use lattice_claims::{KeyKind, SigningKey};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use serde_json::Value;

/// An address of no machine.
const ELSEWHERE: &str = "203.0.113.9";

/// This machine, which only looking it up tells.
const BY_NAME: &str = "127.1";

/// The first lattice of the status.
fn status(local: &Local, lattice: &str) -> Value {
    let status = local.home.wash(&format!("status -x {lattice} -o json"));
    status.json()["lattices"][0].clone()
}

fn folder(local: &Local, lattice: &str) -> PathBuf {
    let lattices = local.home.path().join(".local/share/wash/lattices");
    lattices.join(lattice)
}

fn change(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut record = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut record);
    std::fs::write(file, record.to_string()).unwrap();
}

/// Has the records of a lattice be those of one whose hosts use a server elsewhere at this port.
fn note_elsewhere(local: &Local, lattice: &str) {
    let folder = folder(local, lattice);
    change(&folder.join("lattice.json"), |address| {
        address["nats_host"] = ELSEWHERE.into();
    });
    for host in std::fs::read_dir(folder.join("hosts")).unwrap() {
        let record = host.unwrap().path().join("pid.json");
        // Those that have ended have none.
        if record.exists() {
            change(&record, |host| {
                host.as_object_mut().unwrap().remove("port").unwrap();
            });
        }
    }
}

/// Has a lattice to itself, as a command that starts it.
fn lock(local: &Local, lattice: &str) -> File {
    let lock = File::open(folder(local, lattice).join("lock")).unwrap();
    lock.try_lock().unwrap();
    lock
}

#[test]
fn a_server_is_kept_for_who_uses_it_by_another_name() {
    let local = Local::new();
    local.up("").ok();
    local.up(&format!("-x edge --nats-host {BY_NAME}")).ok();
    let down = local.home.wash("down -o json").ok();
    assert_eq!(down.json()["nats_stopped"], false, "{down}");
    assert!(down.stderr.contains("for lattice edge"), "{down}");
    let hosts = local.home.wash("get hosts -x edge -o json").ok().json();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1);
    let down = local.home.wash("down -x edge -o json").ok().json();
    assert_eq!(down["nats_stopped"], true, "{down}");
}

#[test]
fn a_lattice_takes_hosts_by_another_name_of_its_server() {
    let local = Local::new();
    local.up("").ok();
    let up = local.up(&format!("--multi-local --nats-host {BY_NAME}"));
    let hosts = up.ok().json()["hosts"].clone();
    assert_eq!(hosts.as_array().unwrap().len(), 2);
}

#[test]
fn a_server_elsewhere_at_the_same_port_is_not_that_of_a_lattice_here() {
    let local = Local::new();
    let up = local.up("").ok().json();
    local.up("-x edge").ok();
    note_elsewhere(&local, "edge");
    let id = up["hosts"][0]["id"].as_str().unwrap();
    local.home.wash(&format!("stop host {id}")).ok();
    let broker = status(&local, "default")["nats"]["pid"].clone();
    let down = local.home.wash("down -x edge -o json").ok().json();
    assert_eq!(down["nats_stopped"], false, "{down}");
    assert!(alive(&broker), "{broker}");

    // Nor is the own one kept for who uses another.
    local.up("-x edge").ok();
    note_elsewhere(&local, "edge");
    let down = local.home.wash("down -o json").ok();
    assert_eq!(down.json()["nats_stopped"], true, "{down}");
    assert!(!alive(&broker), "{broker}");
}

#[test]
fn a_host_whose_key_is_taken_is_not_started() {
    let local = Local::new();
    let seed = SigningKey::generate(KeyKind::Host).seed();
    let seed = format!("--host-seed {}", seed.expose());
    let up = local.up(&seed).ok().json();
    for more in ["--hosts 2", "--multi-local"] {
        let again = local.up(&format!("{seed} {more}"));
        assert_eq!(again.code, Some(2), "{again}");
        let error = again.json()["error"].clone();
        let id = up["hosts"][0]["id"].as_str().unwrap();
        assert!(error["message"].as_str().unwrap().contains(id), "{error}");
        assert!(error["hint"].to_string().contains("--host-seed"), "{error}");
    }
    assert_eq!(local.up(&seed).ok().json()["already_running"], true);
    let down = local.home.wash("down -o json").ok().json();
    assert_eq!(down["hosts_stopped"].as_array().unwrap().len(), 1);
    assert!(!alive(&up["hosts"][0]["pid"]), "{up}");
}

#[test]
fn a_lattice_with_a_server_of_its_own_is_not_led_elsewhere() {
    let local = Local::new();
    local.up("").ok();
    for elsewhere in [
        format!("--nats-host {ELSEWHERE}"),
        "--ctl-url nats://127.0.0.1:1".to_owned(),
    ] {
        let refused = local.up(&elsewhere);
        assert_eq!(refused.code, Some(2), "{refused}");
        let hint = refused.json()["error"]["hint"].to_string();
        assert!(hint.contains("wash down"), "{hint}");
        local.home.wash("get hosts").ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_has_not_moved_the_lattice() {
    let nats = NatsBox::start().await.unwrap();
    let local = Local {
        home: Home::new(),
        port: nats.port,
    };
    local.up("").ok();
    let nobody = free_port();
    let up = format!("up -d --nats-host {BY_NAME} --nats-port {nobody}");
    let failed = local.home.wash(&up);
    assert_eq!(failed.code, Some(6), "{failed}");
    let hosts = local.home.wash("get hosts -o json").ok().json();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_purge_finds_what_lies_in_the_server_of_another_lattice() {
    let local = Local::new();
    local.up("").ok();
    local.up("-x second").ok();
    for lattice in ["default", "second"] {
        local
            .home
            .wash(&format!("config put kept a=1 -x {lattice}"))
            .ok();
    }
    local.home.wash("down").ok();
    let down = local
        .home
        .wash("down -x second --purge-jetstream wasmcloud -o json")
        .ok()
        .json();
    let purged = down["purged"].to_string();
    assert!(purged.contains("KV_CONFIGDATA_second"), "{down}");
    assert!(!purged.contains("KV_CONFIGDATA_default"), "{down}");
    local.up("").ok();
    local.home.wash("config get kept").ok();
}

#[test]
fn a_purge_that_cannot_be_says_so_and_what_was_stopped() {
    let local = Local::new();
    local.up("").ok();
    local.up("-x second").ok();
    local.home.wash("down").ok();
    // What else lies there is that of the first.
    let down = local
        .home
        .wash("down -x second --purge-jetstream all -o json");
    assert_eq!(down.code, Some(7), "{down}");
    let told = down.json();
    assert_eq!(told["nats_stopped"], true, "{told}");
    assert_eq!(told["hosts_stopped"].as_array().unwrap().len(), 1);
    let again = local
        .home
        .wash("down -x second --purge-jetstream all -o json");
    assert_eq!(again.code, Some(7), "{again}");
    local.home.wash("down --purge-jetstream all -o json").ok();
}

#[test]
fn a_server_with_a_configuration_of_the_user_is_not_stopped_for_a_purge() {
    let local = Local::new();
    // Leaves a configuration of ours behind.
    local.up("").ok();
    local.home.wash("down").ok();
    let store = local.home.path().join("store");
    let config = format!(
        "jetstream {{\n  store_dir: \"{}\"\n  domain: core\n}}\n",
        store.display()
    );
    let config = local.home.file("own.conf", config);
    let own = format!(
        "--nats-host 127.0.0.1 --nats-config-file {}",
        config.display()
    );
    local.up(&own).ok();
    local.home.wash("config put kept a=1").ok();
    for purge in ["wasmcloud", "all", "everything"] {
        let line = format!("down --purge-jetstream {purge} -o json");
        let down = local.home.wash(&line);
        assert_eq!(down.code, Some(7), "{down}");
        let told = down.json();
        assert_eq!(told["nats_stopped"], false, "{told}");
        assert!(told["hosts_stopped"].as_array().unwrap().is_empty());
    }
    local.home.wash("config get kept").ok();
    local.home.wash("down").ok();
    let after = local.home.wash("down --purge-jetstream all -o json");
    assert_eq!(after.code, Some(7), "{after}");
    local.up(&own).ok();
    local.home.wash("config get kept").ok();
    // Nor is it where only another lattice uses it any more.
    local.up("-x second").ok();
    local.home.wash("config put kept a=1 -x second").ok();
    local.home.wash("down").ok();
    let down = local
        .home
        .wash("down -x second --purge-jetstream wasmcloud -o json");
    assert_eq!(down.code, Some(7), "{down}");
    let told = down.json();
    assert_eq!(told["nats_stopped"], false, "{told}");
    assert!(told["hosts_stopped"].as_array().unwrap().is_empty());
    local.home.wash("config get kept -x second").ok();
}

#[test]
fn a_configuration_of_the_user_is_kept_wherever_it_lies() {
    let local = Local::new();
    local.up("").ok();
    local.home.wash("down").ok();
    // The one that was written for the server before.
    let config = folder(&local, "default").join("nats/nats.conf");
    let text = std::fs::read(&config).unwrap();
    let own = format!(
        "--nats-host 127.0.0.1 --nats-config-file {}",
        config.display()
    );
    local.up(&own).ok();
    assert_eq!(std::fs::read(&config).unwrap(), text);
    local.home.wash("down").ok();
    assert_eq!(std::fs::read(&config).unwrap(), text);
    // What the server has stored is where that file says.
    let down = local.home.wash("down --purge-jetstream all -o json");
    assert_eq!(down.code, Some(7), "{down}");
}

#[test]
fn a_server_is_not_stopped_under_who_starts_its_lattice() {
    let local = Local::new();
    local.up("").ok();
    local.up("-x second").ok();
    local.home.wash("config put kept a=1 -x second").ok();
    local.home.wash("down").ok();
    let _starting = lock(&local, "default");
    let down = local
        .home
        .wash("down -x second --purge-jetstream wasmcloud -o json");
    assert_eq!(down.code, Some(7), "{down}");
    let told = down.json();
    assert_eq!(told["nats_stopped"], false, "{told}");
    assert_eq!(told["hosts_stopped"].as_array().unwrap().len(), 1);
    assert!(told["purged"].as_array().unwrap().is_empty(), "{told}");
    let broker = status(&local, "default")["nats"]["pid"].clone();
    assert!(alive(&broker), "{broker}");
}

#[test]
fn nothing_is_purged_under_who_starts_the_lattice() {
    let local = Local::new();
    local.up("").ok();
    local.home.wash("config put kept a=1").ok();
    local.home.wash("down").ok();
    let starting = lock(&local, "default");
    let down = local.home.wash("down --purge-jetstream all -o json");
    assert_eq!(down.code, Some(5), "{down}");
    drop(starting);
    local.up("").ok();
    local.home.wash("config get kept").ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_finds_what_a_lattice_left_in_its_own_server() {
    let nats = NatsBox::start().await.unwrap();
    let local = Local::new();
    local.up("").ok();
    local.home.wash("config put kept a=1").ok();
    local.home.wash("down").ok();
    let other = format!("up -d --nats-port {}", nats.port);
    local.home.wash(&other).ok();
    local.home.wash("down").ok();
    // What it has stored since lies where `wash` deletes nothing.
    let down = local.home.wash("down --purge-jetstream wasmcloud -o json");
    assert_eq!(down.code, Some(7), "{down}");
    let purged = down.json()["purged"].to_string();
    assert!(purged.contains("KV_CONFIGDATA_default"), "{down}");
    local.up("").ok();
    assert_eq!(local.home.wash("config get kept").code, Some(3));
}

#[test]
fn a_component_that_runs_keeps_its_configs_and_its_count() {
    let local = Local::new();
    local.home.file("one.wasm", artifacts::importer());
    local.up("one.wasm").ok();
    local.home.wash("config put greeting a=1").ok();
    local
        .home
        .wash("scale component one.wasm one --max-instances 7 --config greeting")
        .ok();
    local.up("one.wasm").ok();
    let inventory = local.home.wash("get inventory -o json").ok().json();
    let component = &inventory["inventories"][0]["components"][0];
    assert_eq!(component["max_instances"], 7, "{inventory}");
    assert_eq!(component["config"][0], "greeting", "{inventory}");
}

#[test]
fn the_status_does_not_go_by_a_context_of_another_lattice() {
    let local = Local::new();
    local.up("").ok();
    let context = r#"{"name":"far","ctl_credsfile":"/nowhere/far.creds","ctl_tls_first":true}"#;
    local.home.file(".config/wash/contexts/far.json", context);
    local.home.wash("ctx use far").ok();
    let status = local.home.wash("status -o json").ok().json();
    assert_eq!(status["lattices"][0]["healthy"], true, "{status}");
}

/// A lattice beside a server with an account for hosts and another one, of which one has the user of the
/// context `ours`, and the other those without a login.
async fn between_accounts(hosts_have_logins: bool) -> (NatsBox, Local) {
    let user = SigningKey::generate(KeyKind::User);
    let by_key = format!("{{ nkey: {} }}", user.public_key());
    let open = "{ user: open, password: open }".to_owned();
    let (hosts, others) = match hosts_have_logins {
        true => (by_key, open),
        false => (open, by_key),
    };
    let accounts = format!(
        "accounts {{\n  HOSTS {{ jetstream: enabled, users: [{hosts}] }}\n  \
         OTHERS {{ users: [{others}] }}\n}}\nno_auth_user: open\n"
    );
    let options = NatsBoxOptions {
        extra_config: accounts,
        ..NatsBoxOptions::default()
    };
    let nats = NatsBox::start_with(options).await.unwrap();
    let local = Local {
        home: Home::new(),
        port: nats.port,
    };
    let context = format!(r#"{{"name":"ours","ctl_seed":"{}"}}"#, user.seed().expose());
    local.home.file(".config/wash/contexts/ours.json", context);
    (nats, local)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_sees_hosts_where_the_server_takes_in_others_elsewhere() {
    let (_nats, local) = between_accounts(true).await;
    local.home.wash("ctx use ours").ok();
    local.up("").ok();
    let status = local.home.wash("status -o json").ok().json();
    assert_eq!(status["lattices"][0]["healthy"], true, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_sees_hosts_where_a_context_leads_to_elsewhere() {
    let (_nats, local) = between_accounts(false).await;
    local.up("").ok();
    local.home.wash("ctx use ours").ok();
    let status = local.home.wash("status -o json").ok().json();
    assert_eq!(status["lattices"][0]["healthy"], true, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_config_can_be_deleted() {
    let nats = NatsBox::start().await.unwrap();
    let local = Local {
        home: Home::new(),
        port: nats.port,
    };
    local.up("").ok();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let bucket = js.get_key_value("CONFIGDATA_default").await.unwrap();
    for (key, command) in [("odd", "config"), ("SECRET_odd", "secrets")] {
        bucket.put(key, "[1]".into()).await.unwrap();
        let read = local.home.wash(&format!("{command} get odd"));
        assert_ne!(read.code, Some(0), "{read}");
        let deleted = local.home.wash(&format!("{command} del odd -o json"));
        assert_eq!(deleted.ok().json()["existed"], true);
        assert_eq!(bucket.get(key).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_a_secrets_backend_with_their_codes() {
    let nats = NatsBox::start().await.unwrap();
    let home = Home::at_port(nats.port);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = home
            .command()
            .args(["secrets-backend", "serve", "--encryption-xkey-file", "key"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(" answers; ")));
        let pid = child.id().to_string();
        Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_of_a_secrets_backend_are_in_no_domain_of_a_context() {
    let nats = NatsBox::start().await.unwrap();
    let home = Home::at_port(nats.port);
    home.wash("ctx new away --js-domain elsewhere").ok();
    home.wash("ctx default away").ok();
    let mut child = home
        .command()
        .args(["secrets-backend", "serve", "--encryption-xkey-file", "key"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let answers = lines.any(|line| line.unwrap().contains(" answers; "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answers);
    // One that is named is told, also where it is not there.
    let named = "secrets-backend serve --encryption-xkey-file key --js-domain elsewhere";
    let refused = home.wash(named);
    assert_eq!(refused.code, Some(1), "{refused}");
    let told = "JetStream domain `elsewhere`";
    assert!(refused.stderr.contains(told), "{refused}");
    assert!(refused.stderr.contains("WASMCLOUD_JS_DOMAIN"), "{refused}");
}
