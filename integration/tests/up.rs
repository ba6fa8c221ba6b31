//! `wash up COMPONENT…`: components that are linked to the first provider of each capability.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use lattice_integration::{component, free_port, get, program};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest time for one command.
const LIMIT: Duration = Duration::from_secs(90);

/// A home of its own for `wash`, whose lattice ends with it.
struct Home {
    folder: TempDir,
    nats_port: u16,
}

impl Home {
    fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("lattice-up-").tempdir()?,
            nats_port: free_port()?,
        })
    }

    async fn wash(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("wash")?);
        command
            .args(arguments)
            .env("HOME", self.folder.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(self.folder.path());
        let output = timeout(LIMIT, command.output()).await;
        output
            .context("wash does not end")?
            .context("wash does not start")
    }

    /// Starts a lattice with these components.
    async fn up(&self, files: &[&str]) -> Result<Output> {
        let port = self.nats_port.to_string();
        let mut arguments = vec!["up", "-d", "-o", "json", "--nats-port", &port];
        arguments.extend(files);
        self.wash(&arguments).await
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let Ok(wash) = program("wash") else { return };
        // What is left of a failed test; there is nobody to tell.
        let _ = std::process::Command::new(wash)
            .arg("down")
            .env("HOME", self.folder.path())
            .output();
    }
}

/// What a command printed, as JSON.
fn json(output: &Output) -> Result<Value> {
    let (told, why) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success(),
        "{} {why}",
        String::from_utf8_lossy(told)
    );
    Ok(serde_json::from_slice(told)?)
}

/// Where a component answers HTTP.
fn address(up: &Value, id: &str) -> Result<String> {
    let components = up["components"].as_array().context("no components")?;
    let found = components.iter().find(|component| component["id"] == id);
    let url = found.and_then(|component| component["url"].as_str());
    let url = url.with_context(|| format!("{id} has no address: {up}"))?;
    Ok(url.replace("http://localhost:", "127.0.0.1:"))
}

/// What a component answers a GET.
async fn text(address: &str, path: &str) -> Result<String> {
    let (status, body) = get(address, path).await?;
    ensure!(status == 200, "{status}: {body}");
    Ok(body)
}

#[tokio::test]
async fn components_work_at_once_and_again_after_the_lattice_was_down() -> Result<()> {
    let home = Home::new()?;
    let counter = component("http-keyvalue-counter")?;
    let hello = component("http-hello")?;
    let up = json(&home.up(&[&counter, &hello]).await?)?;
    let counted = address(&up, "http-keyvalue-counter")?;
    ensure!(text(&counted, "/a").await? == "Counter /a: 1\n");
    let greeted = address(&up, "http-hello")?;
    ensure!(greeted != counted, "both answer at {greeted}");
    text(&greeted, "/").await?;
    let links = &up["components"][0]["links"];
    ensure!(
        links
            .to_string()
            .contains(r#""interface":"wasi:keyvalue","provider":"keyvalue-nats""#),
        "{links}"
    );

    // Nothing is started twice.
    let again = json(&home.up(&[&counter]).await?)?;
    ensure!(again["already_running"] == true, "{again}");
    ensure!(
        address(&again, "http-keyvalue-counter")? == counted,
        "{again}"
    );
    ensure!(text(&counted, "/a").await? == "Counter /a: 2\n");

    ensure!(home.wash(&["down"]).await?.status.success());
    let later = json(&home.up(&[&counter]).await?)?;
    let counted = address(&later, "http-keyvalue-counter")?;
    ensure!(text(&counted, "/a").await? == "Counter /a: 3\n");
    Ok(())
}

/// The commands of the processes that the host of a lattice has started.
async fn children(up: &Value) -> Result<Vec<String>> {
    let pid = up["hosts"][0]["pid"].as_u64().context("no pid")?;
    let pid = pid.to_string();
    let list = Command::new("ps")
        .args(["-o", "args=", "--ppid", &pid])
        .output()
        .await?;
    let list = String::from_utf8(list.stdout)?;
    Ok(list.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn providers_are_in_the_host_unless_they_are_to_be_isolated() -> Result<()> {
    let counter = component("http-keyvalue-counter")?;
    for (isolated, expected) in [(false, 0), (true, 2)] {
        let home = Home::new()?;
        let mut arguments = vec![&*counter];
        arguments.extend(isolated.then_some("--isolated"));
        let up = json(&home.up(&arguments).await?)?;
        let counted = address(&up, "http-keyvalue-counter")?;
        ensure!(text(&counted, "/a").await? == "Counter /a: 1\n");
        let children = children(&up).await?;
        let providers = children.iter().filter(|args| args.contains("provider"));
        ensure!(providers.count() == expected, "{children:?}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_no_components_are_refused_before_anything_starts() -> Result<()> {
    let home = Home::new()?;
    let text = home.folder.path().join("notes.txt");
    std::fs::write(&text, "no component")?;
    let text = text.display().to_string();
    let output = home.up(&[&text]).await?;
    ensure!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        told.contains("notes.txt") && told.contains("is not a component"),
        "{told}"
    );
    let hello = component("http-hello")?;
    let output = home.up(&[&hello, &hello]).await?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        told.contains("two components would get the id `http-hello`"),
        "{told}"
    );
    let status = home.wash(&["status", "-o", "json"]).await?;
    let status: Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["lattices"] == Value::Array(Vec::new()), "{status}");
    Ok(())
}

/// The streams that a user of a secure lattice sees, by the file with its credentials.
async fn streams(keys: &Path, user: &str, port: u16) -> Result<Vec<String>> {
    let creds = keys.join(format!("{user}.creds"));
    let options = async_nats::ConnectOptions::with_credentials_file(creds).await?;
    let options = options.add_root_certificates(keys.join("ca.pem"));
    let client = options.connect(format!("tls://127.0.0.1:{port}")).await?;
    let names = async_nats::jetstream::new(client).stream_names();
    Ok(names.try_collect().await?)
}

#[tokio::test]
async fn a_secure_lattice_lets_in_only_who_has_credentials_and_keeps_its_keys() -> Result<()> {
    let home = Home::new()?;
    let counter = component("http-keyvalue-counter")?;
    let up = json(&home.up(&["--secure", &counter]).await?)?;
    let counted = address(&up, "http-keyvalue-counter")?;
    ensure!(text(&counted, "/a").await? == "Counter /a: 1\n");
    // Other commands find their way in.
    let links = json(&home.wash(&["get", "links", "-o", "json"]).await?)?;
    ensure!(links.to_string().contains("keyvalue-nats"), "{links}");
    // Its calls prove who makes them, which hosts ask for here.
    let call = "call http-keyvalue-counter wasi:http/incoming-handler.handle --http-path /b";
    let called = home.wash(&call.split(' ').collect::<Vec<_>>()).await?;
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    ensure!(said.contains("Counter /b: 1"), "{called:?}");
    let url = format!("nats://127.0.0.1:{}", home.nats_port);
    let stranger = async_nats::connect(url).await;
    ensure!(stranger.is_err(), "the server lets in anybody");

    let keys = home
        .folder
        .path()
        .join(".local/share/wash/lattices/default/keys");
    // The seeds of cluster and account are in files, of which the host is told the paths.
    let pid = &up["hosts"][0]["pid"];
    // Only root may look there.
    if let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) {
        let variables = String::from_utf8_lossy(&environment).into_owned();
        let cluster = std::fs::read_to_string(keys.join("cluster.nk"))?;
        ensure!(
            variables.contains("cluster.nk"),
            "the host knows no cluster"
        );
        ensure!(!variables.contains(cluster.trim()), "the seed stands there");
    }
    let read = || std::fs::read(keys.join("keys.json"));
    let before = read()?;
    for entry in std::fs::read_dir(&keys)? {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = entry?.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
    }
    // What one provider keeps no other provider sees, nor who puts links of their own.
    let kept = streams(&keys, "keyvalue-nats", home.nats_port).await?;
    let is_store = |name: &String| name.starts_with("KV_");
    ensure!(kept.iter().any(is_store), "{kept:?}");
    for other in ["messaging-nats", "queue-nats", "data"] {
        let seen = streams(&keys, other, home.nats_port).await?;
        ensure!(seen.is_empty(), "{other} sees {seen:?}");
    }
    ensure!(home.wash(&["down"]).await?.status.success());
    let up = json(&home.up(&["--secure", &counter]).await?)?;
    let counted = address(&up, "http-keyvalue-counter")?;
    ensure!(text(&counted, "/a").await? == "Counter /a: 2\n");
    ensure!(read()? == before, "the keys are others");

    let down = json(
        &home
            .wash(&["down", "-o", "json", "--purge-jetstream", "all"])
            .await?,
    )?;
    let purged = down["purged"].as_array().context("nothing purged")?;
    ensure!(purged.len() > 2, "{down}");
    let open = home.up(&[]).await?;
    let notice = String::from_utf8_lossy(&open.stderr).into_owned();
    ensure!(
        notice.contains("was secure and lets in everybody"),
        "{notice}"
    );
    Ok(())
}

#[tokio::test]
async fn in_a_secure_lattice_provider_processes_have_a_place_to_keep_things() -> Result<()> {
    let home = Home::new()?;
    let counter = component("http-keyvalue-counter")?;
    let up = json(&home.up(&["--secure", "--isolated", &counter]).await?)?;
    let counted = address(&up, "http-keyvalue-counter")?;
    ensure!(text(&counted, "/a").await? == "Counter /a: 1\n");
    // Those that are started at the same time are one lattice, whoever is first.
    ensure!(home.wash(&["down"]).await?.status.success());
    let files = ["--secure", "--isolated", counter.as_str()];
    let (one, other) = tokio::join!(home.up(&files), home.up(&files));
    for up in [json(&one?)?, json(&other?)?] {
        let counted = address(&up, "http-keyvalue-counter")?;
        text(&counted, "/b").await?;
    }
    ensure!(text(&counted, "/a").await? == "Counter /a: 2\n");
    Ok(())
}
