//! Links that change behind a provider's back (weaknesses 4 to 7, B4).

use anyhow::{Result, ensure};
use async_nats::jetstream::{self, kv};
use lattice_core::ComponentId;
use lattice_core::subject::store::{component_key, lattice_bucket};
use lattice_integration::{Lattice, free_port, until};
use serde_json::json;
use tokio::net::TcpStream;

async fn bucket(lattice: &Lattice) -> Result<kv::Store> {
    let context = jetstream::new(lattice.client.clone());
    Ok(context
        .get_key_value(lattice_bucket(&lattice.name.parse()?))
        .await?)
}

/// The key of the record that holds the links of the HTTP server.
fn key() -> Result<String> {
    Ok(component_key(&ComponentId::new("httpserver")?))
}

async fn until_nobody_listens(address: &str) -> Result<()> {
    until(async || {
        ensure!(
            TcpStream::connect(address).await.is_err(),
            "{address} is still served"
        );
        Ok(())
    })
    .await
}

/// A lattice that serves HTTP over a link whose source is the provider.
async fn served() -> Result<(Lattice, String)> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "web", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "web").await?;
    lattice.until_status(&address, "/", 200).await?;
    Ok((lattice, address))
}

#[tokio::test]
async fn a_link_that_another_host_takes_away_reaches_the_provider() -> Result<()> {
    let (lattice, address) = served().await?;
    let (bucket, key) = (bucket(&lattice).await?, key()?);
    let record = bucket.get(&key).await?.unwrap();
    // This is all that other hosts see when one of a 1.9 lattice deletes a link.
    let mut without: serde_json::Value = serde_json::from_slice(&record)?;
    without["links"] = json!([]);
    bucket.put(&key, without.to_string().into()).await?;
    until_nobody_listens(&address).await?;
    bucket.put(&key, record).await?;
    lattice.until_status(&address, "/", 200).await?;
    Ok(())
}

#[tokio::test]
async fn deleted_and_purged_records_take_their_links_along() -> Result<()> {
    let (lattice, address) = served().await?;
    let (bucket, key) = (bucket(&lattice).await?, key()?);
    let record = bucket.get(&key).await?.unwrap();
    for purge in [false, true] {
        match purge {
            false => bucket.delete(&key).await?,
            true => bucket.purge(&key).await?,
        }
        until_nobody_listens(&address).await?;
        let links = lattice.ctl_ok("link.get", json!(null)).await?;
        assert_eq!(links["response"], json!([]), "purged: {purge}");
        bucket.put(&key, record.clone()).await?;
        lattice.until_status(&address, "/", 200).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_config_of_a_link_reaches_the_provider() -> Result<()> {
    let (lattice, old) = served().await?;
    let new = format!("127.0.0.1:{}", free_port()?);
    lattice
        .config("http-web", json!({ "address": new }))
        .await?;
    lattice.until_listening(&new).await?;
    lattice.until_status(&new, "/", 200).await?;
    until_nobody_listens(&old).await
}

#[tokio::test]
async fn a_host_survives_the_loss_of_its_bucket() -> Result<()> {
    let (lattice, address) = served().await?;
    let context = jetstream::new(lattice.client.clone());
    context
        .delete_key_value(lattice_bucket(&lattice.name.parse()?))
        .await?;
    for _ in 0..5 {
        lattice.until_status(&address, "/", 200).await?;
    }
    lattice
        .link("later", "somewhere", "test:pkg/a", &[], &[])
        .await?;
    until(async || {
        let links = lattice.ctl_ok("link.get", json!(null)).await?;
        ensure!(
            links["response"].as_array().map(Vec::len) == Some(2),
            "{links}"
        );
        Ok(())
    })
    .await?;
    lattice.until_status(&address, "/", 200).await?;
    Ok(())
}
