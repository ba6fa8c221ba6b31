//! A signing key that is replaced: the server takes nothing any more that the one before has signed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{Event, Lattice};
use tempfile::TempDir;

use crate::scene::{LONG, Tenant, arguments, host, server, write_creds};

/// How long it may take until a host has missed three answers of a process.
const NOTICED: Duration = Duration::from_secs(90);

#[tokio::test]
async fn processes_of_a_signing_key_that_was_replaced_are_started_again() -> Result<()> {
    let mut tenant = Tenant::new("lattice");
    let folder = TempDir::new()?;
    let [seed, creds, accounts] =
        ["signing.nk", "host.creds", "accounts.conf"].map(|name| folder.path().join(name));
    std::fs::write(&seed, tenant.signing_seed().expose())?;
    write_creds(&tenant.user(None)?, &creds)?;
    let mut options = server(&[&tenant])?;
    std::fs::write(&accounts, &options.extra_config)?;
    // The folder of the server is a temporary one, too, from which it looks for the file.
    let beside = folder.path().file_name().context("a folder")?;
    let beside = beside.display();
    options.extra_config = format!("include \"../{beside}/accounts.conf\"\n");
    let mut of_host = tenant.signs(LONG);
    of_host[1] = seed.display().to_string();
    of_host.extend(arguments(&[("--nats-creds", &creds.display().to_string())]));
    let mut lattice = Lattice::start_with(options, 0).await?;
    lattice.add_host(host(of_host)).await?;
    lattice
        .provide(0, "kv", "keyvalue-memory-provider", &[])
        .await?;

    tenant.replace_signing_key();
    std::fs::write(&seed, tenant.signing_seed().expose())?;
    std::fs::write(&accounts, server(&[&tenant])?.extra_config)?;
    let mark = lattice.events.len();
    lattice.nats.restart().await?;
    let exited = |event: &Event| event.name == "provider_exited";
    let event = lattice.events.wait_after(mark, exited, NOTICED).await?;
    let status = event.data("status");
    ensure!(status.contains("no longer takes its"), "{status}");
    let passed = |event: &Event| event.name == "health_check_passed";
    lattice.events.wait_after(mark, passed, NOTICED).await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_shuts_no_process_out() -> Result<()> {
    let (tenant, other) = (Tenant::new("lattice"), Tenant::new("other"));
    let folder = TempDir::new()?;
    let [seed, creds] = ["signing.nk", "host.creds"].map(|name| folder.path().join(name));
    std::fs::write(&seed, tenant.signing_seed().expose())?;
    write_creds(&tenant.user(None)?, &creds)?;
    let mut of_host = tenant.signs(LONG);
    of_host[1] = seed.display().to_string();
    of_host.extend(arguments(&[("--nats-creds", &creds.display().to_string())]));
    let mut lattice = Lattice::start_with(server(&[&tenant])?, 0).await?;
    lattice.add_host(host(of_host)).await?;
    std::fs::write(&seed, other.signing_seed().expose())?;
    lattice
        .provide(0, "kv", "keyvalue-memory-provider", &[])
        .await?;
    let exited = |event: &Event| event.name == "provider_exited";
    let none = lattice.events.wait(exited, Duration::ZERO).await;
    ensure!(none.is_err(), "a process was given what the server refuses");
    Ok(())
}
