//! Replays the transcripts of the readme files: what a reader pastes works, and prints what is shown.
//!
//! Each runs on a lattice, ports and folders of its own, beside whatever runs on this machine.

mod shell;
mod transcript;

use anyhow::{Context as _, Result, ensure};
use shell::Shell;
use transcript::Transcript;

/// The ports that the readme files name.
const PORTS: [&str; 4] = ["8000", "8001", "8002", "6379"];

#[tokio::test]
async fn readme_of_http_hello() -> Result<()> {
    replay("examples/http-hello/README.md").await
}

#[tokio::test]
async fn readme_of_http_keyvalue_counter() -> Result<()> {
    replay("examples/http-keyvalue-counter/README.md").await
}

#[tokio::test]
async fn readme_of_http_blobs() -> Result<()> {
    replay("examples/http-blobs/README.md").await
}

#[tokio::test]
async fn readme_of_messaging_echo() -> Result<()> {
    replay("examples/messaging-echo/README.md").await
}

#[tokio::test]
async fn readme_of_greeter() -> Result<()> {
    replay("examples/greeter/README.md").await
}

#[tokio::test]
async fn readme_of_http_greeter_client() -> Result<()> {
    replay("examples/http-greeter-client/README.md").await
}

#[tokio::test]
async fn readme_of_provider_custom() -> Result<()> {
    replay("examples/provider-custom/README.md").await
}

#[tokio::test]
async fn readme_of_provider_component() -> Result<()> {
    replay("examples/provider-component/README.md").await
}

#[tokio::test]
async fn readme_of_provider_python() -> Result<()> {
    replay("examples/provider-python/README.md").await
}

/// The first readme follows `cargo xtask up`, which this runs on the programs under test. It leaves
/// a link to a provider that is gone, which a second `up` has to cope with. A third finds the lattice of
/// the second and says that nothing new was started.
#[tokio::test]
async fn readme_of_the_repository() -> Result<()> {
    let mut shell = Shell::new(&["6379"])?;
    let port = up(&shell).await?;
    shell.map("8000", &port);
    Transcript::read("README.md")?.replay(&shell).await?;
    let port = up(&shell).await?;
    let counted = shell
        .run(&format!("curl http://localhost:{port}/hello"))
        .await?;
    ensure!(counted.starts_with("Counter /hello: "), "{counted:?}");
    let links = shell.run("wash get links").await?;
    ensure!(!links.contains("kv2"), "{links}");
    let said = shell.run("cargo xtask up --no-build").await?;
    ensure!(said.contains("a lattice runs already"), "{said}");
    shell.run("wash down").await?;
    Ok(())
}

/// Starts a lattice with the counter and returns the port it answers at.
async fn up(shell: &Shell) -> Result<String> {
    let said = shell.run("cargo xtask up --no-build").await?;
    let address = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl http://localhost:"));
    let port = address.and_then(|rest| rest.split('/').next());
    Ok(port.context("`up` names no address")?.to_owned())
}

/// On a machine that has a Redis of its own, no replay would tell that the step is missing.
#[test]
fn readme_files_fetch_redis_before_they_start_it() -> Result<()> {
    for path in ["README.md", "examples/http-keyvalue-counter/README.md"] {
        let transcript = Transcript::read(path)?;
        let fetched = transcript.position("cargo xtask setup redis");
        let started = transcript.position("redis-server ");
        ensure!(
            fetched.is_some() && fetched < started,
            "{path} does not run `cargo xtask setup redis` before `redis-server`"
        );
    }
    Ok(())
}

async fn replay(path: &str) -> Result<()> {
    let shell = Shell::new(&PORTS)?;
    // What the readme of all examples says to do first, apart from what the tests have built.
    shell.run("cargo xtask setup nats").await?;
    Transcript::read(path)?.replay(&shell).await
}
