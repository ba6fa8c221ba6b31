//! Compiled code that hosts give one another: who takes whose, and what is refused.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, object_store::ObjectStore};
use lattice_integration::{HostOptions, Lattice, component, echo, until};
use nkeys::{KeyPair, KeyPairType};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

const COMPILED: &str = "compiled a component";
const TAKEN_OVER: &str = "took over code that another host compiled";
const GIVEN: &str = "shared compiled code";
/// Why code is refused that another key has signed.
const NOT_BY_THAT_KEY: &str = "its signature is not by the key that it is filed under";
const BUCKET: &str = "CODECACHE_default";

/// A cluster key: its seed and its public part.
struct Cluster {
    seed: String,
    public: String,
}

impl Cluster {
    fn new() -> Result<Self> {
        let pair = KeyPair::new(KeyPairType::Cluster);
        let public = pair.public_key();
        Ok(Self {
            seed: pair.seed()?,
            public,
        })
    }
}

/// A lattice whose hosts have a folder for compiled code each, as on machines of their own.
struct Machines {
    lattice: Lattice,
    folders: Vec<TempDir>,
}

impl Machines {
    async fn new() -> Result<Self> {
        Ok(Self {
            lattice: Lattice::start(0).await?,
            folders: Vec::new(),
        })
    }

    /// Adds a host with further arguments and starts the probe on it, which has to answer; gives
    /// the host, and how long the start took.
    async fn start(&mut self, arguments: &[&str]) -> Result<(usize, Duration)> {
        let folder = TempDir::new()?;
        let path = folder.path().display().to_string();
        let own = ["--code-cache-dir", &path];
        let arguments = own.iter().chain(arguments).map(ToString::to_string);
        let options = HostOptions {
            arguments: arguments.collect(),
            ..HostOptions::default()
        };
        let host = self.lattice.add_host(options).await?;
        self.folders.push(folder);
        let id = format!("probe{host}");
        let start = Instant::now();
        self.lattice.run(host, &id, "probe", 1).await?;
        let took = start.elapsed();
        echo(&self.lattice.peer().await?, &id).await?;
        Ok((host, took))
    }

    fn log(&self, host: usize) -> String {
        self.lattice.hosts[host].log()
    }

    /// Waits until a host has given its code to the others.
    async fn until_given(&self, host: usize) -> Result<()> {
        until(async || {
            let log = self.log(host);
            ensure!(log.contains(GIVEN), "nothing was given:\n{log}");
            Ok(())
        })
        .await
    }

    /// The host compiled, and took nothing over.
    fn compiled(&self, host: usize) -> Result<()> {
        let log = self.log(host);
        ensure!(log.contains(COMPILED) && !log.contains(TAKEN_OVER), "{log}");
        Ok(())
    }

    /// The host took code over, and compiled nothing.
    fn took_over(&self, host: usize) -> Result<()> {
        let log = self.log(host);
        ensure!(log.contains(TAKEN_OVER) && !log.contains(COMPILED), "{log}");
        Ok(())
    }

    async fn bucket(&self) -> Result<ObjectStore> {
        let js = jetstream::new(self.lattice.client.clone());
        Ok(js.get_object_store(BUCKET).await?)
    }

    /// The name and the bytes of the only object.
    async fn only_object(&self) -> Result<(String, Vec<u8>)> {
        self.object_of("").await
    }

    /// The name and the bytes of the first object of a cluster, by its public key.
    async fn object_of(&self, public: &str) -> Result<(String, Vec<u8>)> {
        let bucket = self.bucket().await?;
        let mut list = bucket.list().await?;
        let name = loop {
            let found = futures::StreamExt::next(&mut list).await;
            let name = found.context("there is no such object")??.name;
            if name.starts_with(public) {
                break name;
            }
        };
        let mut bytes = Vec::new();
        bucket.get(&name).await?.read_to_end(&mut bytes).await?;
        Ok((name, bytes))
    }
}

#[tokio::test]
async fn a_second_host_does_not_compile_what_the_first_has() -> Result<()> {
    let mut machines = Machines::new().await?;
    let cluster = Cluster::new()?;
    let seed = ["--cluster-seed", &cluster.seed];
    let (first, _) = machines.start(&seed).await?;
    machines.compiled(first)?;
    machines.until_given(first).await?;
    let (second, _) = machines.start(&seed).await?;
    machines.took_over(second)?;
    // Who only names the cluster may read, too, and gives nothing.
    let (third, _) = machines
        .start(&["--cluster-issuers", &cluster.public])
        .await?;
    machines.took_over(third)
}

#[tokio::test]
async fn a_host_of_another_cluster_ignores_it() -> Result<()> {
    let mut machines = Machines::new().await?;
    let (one, other) = (Cluster::new()?, Cluster::new()?);
    let (first, _) = machines.start(&["--cluster-seed", &one.seed]).await?;
    machines.until_given(first).await?;
    let (second, _) = machines.start(&["--cluster-seed", &other.seed]).await?;
    machines.compiled(second)?;
    machines.until_given(second).await?;
    let (none, _) = machines.start(&[]).await?;
    machines.compiled(none)?;
    // Each has its own entry; none takes the place of the other.
    let (third, _) = machines.start(&["--cluster-seed", &one.seed]).await?;
    machines.took_over(third)?;
    // Nor is it taken where the other cluster has put it in that place.
    let (_, foreign) = machines.object_of(&other.public).await?;
    let (name, own) = machines.object_of(&one.public).await?;
    ensure!(foreign != own, "both have signed the same");
    let bucket = machines.bucket().await?;
    bucket.put(name.as_str(), &mut &foreign[..]).await?;
    let (fourth, _) = machines.start(&["--cluster-seed", &one.seed]).await?;
    machines.compiled(fourth)?;
    let log = machines.log(fourth);
    ensure!(log.contains(NOT_BY_THAT_KEY), "{log}");
    Ok(())
}

#[tokio::test]
async fn code_that_was_tampered_with_is_refused_and_the_component_starts() -> Result<()> {
    let mut machines = Machines::new().await?;
    let cluster = Cluster::new()?;
    let seed = ["--cluster-seed", &cluster.seed];
    let (first, _) = machines.start(&seed).await?;
    machines.until_given(first).await?;
    let (name, good) = machines.only_object().await?;
    ensure!(name.starts_with(&cluster.public), "{name}");
    let mut tampered = good.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    let bucket = machines.bucket().await?;
    for bytes in [&tampered[..], &good[..good.len() / 2], b""] {
        bucket.put(name.as_str(), &mut &bytes[..]).await?;
        let (host, _) = machines.start(&seed).await?;
        machines.compiled(host)?;
        let log = machines.log(host);
        ensure!(log.contains("refused shared code"), "{log}");
        // What was refused is replaced.
        machines.until_given(host).await?;
        ensure!(machines.only_object().await?.1 == good);
    }
    let (last, _) = machines.start(&seed).await?;
    machines.took_over(last)
}

#[tokio::test]
async fn code_with_parts_missing_holds_up_a_start_for_a_moment_only() -> Result<()> {
    let mut machines = Machines::new().await?;
    let cluster = Cluster::new()?;
    let seed = ["--cluster-seed", &cluster.seed];
    let (first, compiling) = machines.start(&seed).await?;
    machines.until_given(first).await?;
    let js = jetstream::new(machines.lattice.client.clone());
    let stream = js.get_stream(format!("OBJ_{BUCKET}")).await?;
    let parts = format!("$O.{BUCKET}.C.>");
    stream.purge().filter(parts).await?;
    let (second, took) = machines.start(&seed).await?;
    machines.compiled(second)?;
    // As long as compiling took before, and some for a machine that has other work.
    let bound = compiling * 3 + Duration::from_secs(5);
    ensure!(took < bound, "{took:?} for what takes {compiling:?}");
    Ok(())
}

#[tokio::test]
async fn without_a_cluster_key_nothing_is_shared() -> Result<()> {
    let mut machines = Machines::new().await?;
    let (first, _) = machines.start(&[]).await?;
    machines.compiled(first)?;
    let (second, _) = machines.start(&[]).await?;
    machines.compiled(second)?;
    ensure!(machines.bucket().await.is_err(), "there is a bucket");
    Ok(())
}

#[tokio::test]
async fn hosts_of_one_machine_share_their_folder_without_being_told() -> Result<()> {
    // Both at once: the second waits for the first instead of compiling as well.
    let lattice = Lattice::start(2).await?;
    let probe = component("probe")?;
    tokio::try_join!(
        lattice.scale(0, "one", &probe, 1),
        lattice.scale(1, "two", &probe, 1),
    )?;
    let compiled = lattice
        .hosts
        .iter()
        .filter(|host| host.log().contains(COMPILED));
    ensure!(compiled.count() == 1, "{}", lattice.hosts[1].log());
    Ok(())
}
