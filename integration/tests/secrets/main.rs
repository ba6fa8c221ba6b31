//! Secrets with real processes: `wash secrets-backend serve`, hosts, a provider and its server.
//!
//! A component uses a store whose password is a secret of the link; the password is changed while
//! everything runs; and whatever anybody can look at shows neither the old nor the new one.

mod memory;
mod observe;
mod scene;

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{STORE, until};
use observe::{Spy, assert_hidden};
use scene::Scene;

const FIRST: &str = "correct-horse-battery-staple";
const SECOND: &str = "troubador-four-three-zebra";

/// The start of a provider has failed, because its secret is mapped to others.
fn is_not_for_it(started: Result<()>) -> Result<()> {
    let why = started.err().context("it has started")?.to_string();
    ensure!(why.contains("is not for this"), "{why}");
    Ok(())
}

#[tokio::test]
async fn a_password_is_rotated_under_a_running_provider_and_component_and_shows_nowhere()
-> Result<()> {
    let scene = Scene::start().await?;
    let spy = Spy::start(&scene.lattice).await?;
    scene.password(None, FIRST).await?;
    scene.put("kv-url", &scene.url(FIRST)).await?;
    scene.map("kv-url", &scene.provider).await?;
    scene.refer("URL", "kv-url").await?;
    scene.put("token", FIRST).await?;
    scene.map("token", &scene.component).await?;
    scene.refer("token", "token").await?;

    let lattice = &scene.lattice;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 4)
        .await?;
    let archive = scene.signed_provider("keyvalue-redis-provider")?;
    let unmapped = lattice
        .provide_file(0, "kv", &archive, &["SECRET_token"])
        .await;
    is_not_for_it(unmapped)?;
    lattice.provide_file(0, "kv", &archive, &[]).await?;
    lattice
        .link("counter", "kv", STORE, &[], &["SECRET_URL"])
        .await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    scene.reveals(FIRST).await?;

    // The old password does not do any more, and nothing is started again.
    let provider = lattice.hosts[0].provider_pid("provider")?;
    scene.password(Some(FIRST), SECOND).await?;
    scene.put("kv-url", &scene.url(SECOND)).await?;
    scene.put("token", SECOND).await?;
    until(async || {
        scene.with_new_password(SECOND).await?;
        let (status, text) = lattice_integration::get(&address, "/x").await?;
        ensure!(status == 200, "{status}: {text}");
        Ok(())
    })
    .await?;
    scene.reveals(SECOND).await?;
    ensure!(
        lattice.hosts[0].provider_pid("provider")? == provider,
        "the provider was started again"
    );

    for secret in [FIRST, SECOND] {
        assert_hidden(&scene, &spy, provider, secret).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_part_of_the_host_has_secrets_too() -> Result<()> {
    let scene = Scene::start().await?;
    scene.password(None, FIRST).await?;
    scene.put("kv-url", &scene.url(FIRST)).await?;
    scene.refer("URL", "kv-url").await?;
    let lattice = &scene.lattice;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 4)
        .await?;
    let unmapped = lattice
        .provide_builtin(0, "kv", "keyvalue-redis", &["SECRET_URL"])
        .await;
    is_not_for_it(unmapped)?;
    scene.map_builtin("kv-url", "keyvalue-redis").await?;
    lattice
        .provide_builtin(0, "kv", "keyvalue-redis", &["SECRET_URL"])
        .await?;
    lattice
        .link("counter", "kv", STORE, &[], &["SECRET_URL"])
        .await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;

    scene.password(Some(FIRST), SECOND).await?;
    scene.put("kv-url", &scene.url(SECOND)).await?;
    until(async || {
        scene.with_new_password(SECOND).await?;
        let (status, text) = lattice_integration::get(&address, "/x").await?;
        ensure!(status == 200, "{status}: {text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_counts_for_having_asked_first_is_told_of_aloud() -> Result<()> {
    let scene = Scene::start().await?;
    scene.put("token", FIRST).await?;
    let said = scene.map("token", &scene.component).await?;
    ensure!(said.contains("warning: nobody is named"), "{said}");
    scene.refer("token", "token").await?;
    scene.reveals(FIRST).await?;
    let log = scene.backend_log()?;
    for entity in [
        "ENTITY KEY",
        &format!("{} token", scene.component.public_key()),
    ] {
        let command = format!("`wash secrets-backend add-mapping {entity} --issuer A…`");
        let warned = |line: &str| line.contains("WARN") && line.contains(&command);
        ensure!(log.lines().any(warned), "{command}");
    }
    Ok(())
}
