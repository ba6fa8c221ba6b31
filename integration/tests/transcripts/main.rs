//! Replays the transcripts of the readme files: what a reader pastes works, and prints what is shown.
//!
//! Each runs on a lattice, ports and folders of its own, beside whatever runs on this machine.

mod shell;
mod transcript;

use anyhow::{Context as _, Result};
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
async fn readme_of_greeter() -> Result<()> {
    replay("examples/greeter/README.md").await
}

#[tokio::test]
async fn readme_of_http_greeter_client() -> Result<()> {
    replay("examples/http-greeter-client/README.md").await
}

/// The first readme follows `cargo xtask up`, which this runs on the programs under test.
#[tokio::test]
async fn readme_of_the_repository() -> Result<()> {
    let mut shell = Shell::new(&["6379"])?;
    let said = shell.run("target/debug/xtask up --no-build").await?;
    let address = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl http://localhost:"));
    let port = address
        .and_then(|rest| rest.split('/').next())
        .context("`up` names no address")?;
    shell.map("8000", port);
    Transcript::read("README.md")?.replay(&shell).await
}

async fn replay(path: &str) -> Result<()> {
    let shell = Shell::new(&PORTS)?;
    Transcript::read(path)?.replay(&shell).await
}
