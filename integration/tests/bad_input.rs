//! Bad input is refused by name with a hint and loses nothing.

use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{Event, Lattice, STEP, component, free_port, program, until};
use serde_json::{Value, json};
use tokio::process::Command;

/// What a host says about a component it cannot start, by the event that every client sees.
async fn scale_fails(lattice: &Lattice, id: &str, reference: &str) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": reference, "component_id": id, "count": 1, "host_id": host,
    });
    lattice
        .ctl(&format!("component.scale.{host}"), command)
        .await?;
    let about = |event: &Event| event.data("component_id") == id;
    let event = lattice.events.wait_after(mark, about, STEP).await?;
    ensure!(event.name == "component_scale_failed", "{event:?}");
    Ok(event)
}

/// A run of `wash` that fails: its exit code and its document.
struct Failure {
    exit: i32,
    document: Value,
}

impl Failure {
    fn hint(&self) -> &str {
        self.document["error"]["hint"].as_str().unwrap_or_default()
    }

    /// Message and causes.
    fn text(&self) -> String {
        let error = &self.document["error"];
        format!("{} {}", error["message"], error["causes"])
    }

    /// Checks that the run of `what` ended with this exit code and a text that names `named`, and
    /// that it says what to do.
    #[track_caller]
    fn expect(&self, what: &dyn Debug, exit: i32, named: &str) {
        assert_eq!(self.exit, exit, "{what:?}: {}", self.document);
        assert!(self.text().contains(named), "{what:?}: {}", self.document);
        assert!(!self.hint().is_empty(), "{what:?}: {}", self.document);
    }
}

/// Runs `wash` in `home` against the server at `port`.
async fn wash(home: &Path, port: u16, words: &[&str]) -> Result<Failure> {
    let mut command = Command::new(program("wash")?);
    command.args(words).args(["-o", "json"]).current_dir(home);
    command.env("HOME", home).kill_on_drop(true);
    command.env("WASMCLOUD_CTL_PORT", port.to_string());
    let output = tokio::time::timeout(STEP, command.output()).await??;
    let exit = output.status.code().unwrap_or_default();
    let document = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(Failure { exit, document })
}

/// A component that imports a core module, which nothing in a lattice can provide.
const UNSATISFIED: &[u8] = b"\0asm\x0d\0\x01\0\x03\x03\x01\x50\0\x0a\x07\x01\0\x01x\0\x11\0";

#[tokio::test]
async fn files_that_are_no_components_are_refused_by_name_with_a_hint() -> Result<()> {
    const LIMIT: usize = 4 << 20;
    let lattice = Lattice::start_host(&["--max-component-size-bytes", &LIMIT.to_string()]).await?;
    lattice.run(0, "good", "http-hello", 1).await?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, content: &[u8]| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, content)?;
        Ok(format!("file://{}", path.display()))
    };
    let missing = format!("file://{}/nothing.wasm", folder.path().display());
    let core: &[u8] = b"\0asm\x01\0\0\0";
    let truncated = &std::fs::read(component("http-hello")?.trim_start_matches("file://"))?[..5000];
    for (id, reference, says, exit) in [
        ("missing", missing, "No such file", 3),
        ("text", file("text.wasm", b"hello")?, "wasm", 4),
        ("empty", file("empty.wasm", b"")?, "wasm", 4),
        ("core", file("core.wasm", core)?, "module", 4),
        ("cut", file("cut.wasm", truncated)?, "wasm", 4),
        ("big", file("big.wasm", &vec![0; LIMIT + 1])?, "limit", 4),
        ("import", file("import.wasm", UNSATISFIED)?, "import", 4),
        ("registry", "ghcr.io/x/y:1".to_owned(), "registr", 4),
    ] {
        let event = scale_fails(&lattice, id, &reference).await?;
        let error = event.data("error");
        let (lower, says) = (error.to_lowercase(), says.to_lowercase());
        assert!(lower.contains(&says), "{id}: {error}");
        assert!(error.contains(&reference), "{id}: {error}");
        assert!(!event.data("hint").is_empty(), "{id}: {event:?}");

        let words = ["start", "component", &reference, id];
        let failure = wash(folder.path(), lattice.nats.port, &words).await?;
        failure.expect(&id, exit, &reference);
        assert_eq!(failure.hint(), event.data("hint"), "{id}");
    }
    let inventory = lattice.inventory(0).await?;
    let running = inventory["components"].as_array().unwrap();
    assert_eq!(running.len(), 1, "{inventory}");
    Ok(())
}

#[tokio::test]
async fn a_missing_file_ends_alike_however_it_is_named() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let home = tempfile::tempdir()?;
    let absolute = home.path().join("none.wasm").display().to_string();
    for path in [absolute.as_str(), "none.wasm", "build/none"] {
        for words in [
            ["start", "component", path, "demo"].as_slice(),
            &["start", "provider", path, "demo"],
            &["scale", "provider", path, "demo", "--per-host"],
        ] {
            let failure = wash(home.path(), lattice.nats.port, words).await?;
            failure.expect(&words, 3, path);
        }
    }
    Ok(())
}

#[tokio::test]
async fn ids_and_addresses_that_cannot_be_used_are_refused_with_a_hint() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let home = tempfile::tempdir()?;
    let port = lattice.nats.port;
    let none = free_port()?;
    let none_text = format!("127.0.0.1:{none}");
    for (port, words, names, exit) in [
        (
            port,
            ["start", "component", "/x.wasm", "a.b"].as_slice(),
            "a.b",
            2,
        ),
        (port, &["stop", "provider", ""], "id", 2),
        (port, &["get", "hosts", "-x", "a.b"], "a.b", 2),
        (
            port,
            &["link", "put", "a.b", "kv", "wasi:keyvalue/store"],
            "a.b",
            2,
        ),
        (none, &["get", "hosts"], &none_text, 6),
    ] {
        let failure = wash(home.path(), port, words).await?;
        failure.expect(&words, exit, names);
    }
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_refused_with_a_hint() -> Result<()> {
    let home = tempfile::tempdir()?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port();
    let words = ["up", "-d"];
    let failure = wash(home.path(), port, &words).await;
    // Nothing may be left running, also when this did not fail.
    wash(home.path(), port, &["down"]).await?;
    let failure = failure?;
    failure.expect(&words, 1, &port.to_string());
    let hint = failure.hint();
    assert!(hint.contains("--nats-port"), "{hint}");
    Ok(())
}

/// Commands that do not parse or name what cannot be, with what the refusal says.
fn malformed_commands(host: &str) -> Vec<(String, Value, &'static str)> {
    let scale = format!("component.scale.{host}");
    let scale = |body: Value, says| (scale.clone(), body, says);
    let other = |operation: &str, body: Value, says| (operation.to_owned(), body, says);
    vec![
        scale(
            json!("text"),
            "failed to deserialize component scale command",
        ),
        scale(json!({ "component_id": 5 }), "failed to deserialize"),
        scale(json!({ "component_id": "a.b", "count": 1 }), "a.b"),
        scale(json!({ "component_id": "", "count": 1 }), "component"),
        other("link.put", json!({ "source_id": "a" }), "deserialize"),
        other(
            "config.put.x",
            json!(["no", "map"]),
            "config data should be a map",
        ),
        other("config.get.a.b", Value::Null, "unsupported subject"),
    ]
}

/// Commands that parse, but name what is not there or must not change.
fn impossible_commands(host: &str) -> [(String, Value); 4] {
    let link = json!({
        "source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "http",
        "interfaces": ["incoming-handler"], "source_config": ["nothing"],
    });
    let label = json!({ "key": "hostcore.arch", "value": "x" });
    let stop = json!({ "provider_id": "nothing" });
    [
        ("link.put".to_owned(), link),
        (format!("label.put.{host}"), label),
        (
            format!("label.del.{host}"),
            json!({ "key": "hostcore.arch" }),
        ),
        (format!("provider.stop.{host}"), stop),
    ]
}

#[tokio::test]
async fn malformed_commands_are_refused_with_a_hint() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    for (operation, body, says) in malformed_commands(lattice.host(0)) {
        let reply = lattice.ctl(&operation, body.clone()).await?;
        assert_eq!(reply["success"], false, "{operation} {body}: {reply}");
        assert!(
            reply["message"].as_str().unwrap().contains(says),
            "{operation} {body}: {reply}"
        );
        let hint = reply["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "{operation} {body}: {reply}");
    }
    for (operation, body) in impossible_commands(lattice.host(0)) {
        let reply = lattice.ctl(&operation, body).await?;
        assert_eq!(reply["success"], false, "{operation}: {reply}");
    }
    let links = lattice.ctl_ok("link.get", Value::Null).await?;
    assert_eq!(links["response"], json!([]));
    Ok(())
}

#[tokio::test]
async fn links_put_at_once_on_two_hosts_are_all_kept() -> Result<()> {
    let lattice = std::sync::Arc::new(Lattice::start(3).await?);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let lattice = std::sync::Arc::clone(&lattice);
        tasks.spawn(async move {
            lattice
                .link(
                    "source",
                    &format!("target{n}"),
                    &format!("test:pkg{n}/a"),
                    &[],
                    &[],
                )
                .await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    until(async || {
        let links = lattice.ctl_ok("link.get", Value::Null).await?;
        let count = links["response"].as_array().unwrap().len();
        ensure!(count == 60, "only {count} links are left");
        Ok(())
    })
    .await
}
