//! Rules in the commands of `wash`.

use anyhow::{Result, ensure};
use lattice_integration::{Lattice, STEP, program};
use serde_json::{Value, json};
use tokio::process::Command;

/// What a `wash` command prints, and whether it worked.
async fn wash(lattice: &Lattice, words: &[&str]) -> Result<(bool, String)> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program("wash")?);
    command.args(words).env("HOME", home.path());
    command.env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string());
    let output = tokio::time::timeout(STEP, command.output()).await??;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[tokio::test]
async fn wash_puts_rules_and_shows_them() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let put = "link put cart kv wasi:keyvalue/store --allow get,list-keys --prefix orders/ \
               --prefix carts/ --within shop --read-only --rate 100/s -o json";
    let words: Vec<&str> = put.split_whitespace().collect();
    let (worked, text) = wash(&lattice, &words).await?;
    ensure!(worked, "{text}");
    let rules = json!({
        "allow": ["get", "list-keys"], "read_only": true, "within": ["shop"],
        "prefix": ["orders/", "carts/"], "rate": "100/s",
    });
    let document: Value = serde_json::from_str(&text)?;
    ensure!(document["rules"] == rules, "{document}");
    let (_, text) = wash(&lattice, &["get", "links", "-o", "json"]).await?;
    let document: Value = serde_json::from_str(&text)?;
    ensure!(document["links"][0]["rules"] == rules, "{document}");
    let (_, text) = wash(&lattice, &["get", "links", "-o", "wide"]).await?;
    let shown = "allow get,list-keys; read-only; within shop; prefix orders/,carts/; rate 100/s";
    ensure!(text.contains("Rules") && text.contains(shown), "{text}");
    let meaningless = ["link", "put", "cart", "x", "my:own/thing", "--prefix", "a"];
    let (worked, text) = wash(&lattice, &meaningless).await?;
    ensure!(
        !worked && text.contains("`prefix` has no meaning for `my:own/thing`"),
        "{text}"
    );
    let without = ["link", "put", "cart", "kv", "wasi:keyvalue/store"];
    ensure!(wash(&lattice, &without).await?.0);
    let (_, text) = wash(&lattice, &["get", "links", "-o", "wide"]).await?;
    ensure!(!text.contains("Rules"), "{text}");
    Ok(())
}
