//! A lattice with a backend, a server with a password, and keys to sign with.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use lattice_claims::archive::{ArchiveBuilder, native_target};
use lattice_claims::component::ValidTimes;
use lattice_claims::{
    BuiltinIssuer, ComponentMetadata, KeyKind, ProviderMetadata, SigningKey, epoch_seconds,
    sign_component,
};
use lattice_core::StringMap;
use lattice_core::config::SecretReference;
use lattice_integration::{HostOptions, Lattice, Redis, STEP, program, until};
use lattice_rpc::{Invocation, Peer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// Gets a secret and reveals it, and answers with as many zeros as it has bytes.
const REVEAL: &str = include_str!("../../../host/runtime/tests/wat/secret.wat");

pub(crate) struct Scene {
    pub(crate) lattice: Lattice,
    pub(crate) component: SigningKey,
    pub(crate) provider: SigningKey,
    cluster: SigningKey,
    redis: Redis,
    peer: Peer,
    backend: Child,
    folder: TempDir,
}

impl Scene {
    pub(crate) async fn start() -> Result<Self> {
        let cluster = SigningKey::generate(KeyKind::Cluster);
        let seed = cluster.seed();
        let mut lattice = Lattice::start(0).await?;
        lattice
            .add_host(HostOptions {
                arguments: ["--secrets-topic", "wasmcloud.secrets"]
                    .into_iter()
                    .chain(["--secrets-refresh-seconds", "1", "--log-level", "trace"])
                    .map(str::to_owned)
                    .collect(),
                // Everything, from every library.
                environment: vec![
                    ("RUST_LOG".to_owned(), "trace".to_owned()),
                    // What signs for the providers that are part of it.
                    (
                        "WASMCLOUD_CLUSTER_SEED".to_owned(),
                        seed.expose().to_owned(),
                    ),
                ],
                ..HostOptions::default()
            })
            .await?;
        let folder = tempfile::tempdir()?;
        let scene = Self {
            redis: lattice.redis().await?,
            peer: lattice.peer().await?,
            component: SigningKey::generate(KeyKind::Component),
            provider: SigningKey::generate(KeyKind::Provider),
            cluster,
            backend: backend(&lattice, &folder)?,
            lattice,
            folder,
        };
        until(async || scene.map("none", &scene.provider).await).await?;
        scene.reveal_component().await?;
        Ok(scene)
    }

    /// Runs `wash secrets-backend` with a text as its input; gives what it warns of.
    async fn wash(&self, words: &[&str], input: &str) -> Result<String> {
        let mut wash = Command::new(program("wash")?);
        wash.arg("secrets-backend").args(words);
        wash.env("HOME", self.folder.path()).kill_on_drop(true);
        wash.env("WASMCLOUD_CTL_PORT", self.lattice.nats.port.to_string());
        wash.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut wash = wash.spawn()?;
        let mut stdin = wash.stdin.take().context("no input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = timeout(STEP, wash.wait_with_output()).await??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "wash {words:?}: {said}");
        Ok(said)
    }

    /// Gives the backend a value, in a way that nobody sees.
    pub(crate) async fn put(&self, key: &str, value: &str) -> Result<()> {
        self.wash(&["put", key], value).await.map(drop)
    }

    /// Lets an entity have a secret; gives what `wash` warns of.
    pub(crate) async fn map(&self, key: &str, entity: &SigningKey) -> Result<String> {
        self.map_named(key, &entity.public_key()).await
    }

    /// The same for an entity that is named.
    async fn map_named(&self, key: &str, entity: &str) -> Result<String> {
        self.wash(&["add-mapping", entity, key], "").await
    }

    /// The same for a provider that is part of the hosts, for which they sign.
    pub(crate) async fn map_builtin(&self, key: &str, name: &str) -> Result<()> {
        let entity = format!("builtin://{name}");
        let unsigned = self.map_named(key, &entity).await;
        ensure!(
            unsigned.is_err(),
            "a mapping without an issuer: {unsigned:?}"
        );
        let issuer = BuiltinIssuer::of(&self.cluster)?.public_key();
        let words = ["add-mapping", &entity, key, "--issuer", &issuer];
        self.wash(&words, "").await.map(drop)
    }

    /// Stores a reference.
    pub(crate) async fn refer(&self, name: &str, key: &str) -> Result<()> {
        let reference = SecretReference::new(name, "nats-kv", key, &StringMap::new());
        let stored = serde_json::to_value(reference.to_map())?;
        self.lattice.config(&format!("SECRET_{name}"), stored).await
    }

    /// The address of the server with a password in it.
    pub(crate) fn url(&self, password: &str) -> String {
        self.redis
            .url
            .replace("redis://", &format!("redis://:{password}@"))
    }

    /// Has the server take another password, and end the connections that it has.
    pub(crate) async fn password(&self, old: Option<&str>, new: &str) -> Result<()> {
        let address = self.redis.url.trim_start_matches("redis://");
        let mut server = TcpStream::connect(address).await?;
        let login = old.map(|old| format!("AUTH {old}\r\n")).unwrap_or_default();
        let words = format!("{login}CONFIG SET requirepass {new}\r\nCLIENT KILL TYPE normal\r\n");
        server.write_all(words.as_bytes()).await?;
        let mut answer = [0; 256];
        let read = timeout(STEP, server.read(&mut answer)).await??;
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        ensure!(answer.contains("+OK"), "{answer}");
        Ok(())
    }

    /// Makes sure that somebody uses the server with this password.
    pub(crate) async fn with_new_password(&self, password: &str) -> Result<()> {
        let address = self.redis.url.trim_start_matches("redis://");
        let mut server = TcpStream::connect(address).await?;
        let words = format!("AUTH {password}\r\nCLIENT LIST\r\n");
        server.write_all(words.as_bytes()).await?;
        let mut answer = Vec::new();
        let lines = async {
            while !String::from_utf8_lossy(&answer).contains("cmd=client") {
                let read = server.read_buf(&mut answer).await?;
                ensure!(read > 0, "the server ended the connection");
            }
            anyhow::Ok(())
        };
        timeout(STEP, lines).await??;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let clients = text.lines().filter(|line| line.contains("addr=")).count();
        ensure!(clients > 1, "nobody uses the server: {text}");
        Ok(())
    }

    /// Packs a provider of this workspace into a signed archive.
    pub(crate) fn signed_provider(&self, name: &str) -> Result<PathBuf> {
        let metadata = ProviderMetadata {
            name: Some(name.to_owned()),
            vendor: "test".to_owned(),
            ..ProviderMetadata::default()
        };
        let library = std::fs::read(program(name)?)?;
        let archive = ArchiveBuilder::new(metadata).library(&native_target(), library)?;
        let path = self.folder.path().join("provider.par");
        let issuer = SigningKey::generate(KeyKind::Account);
        let times = ValidTimes::from(epoch_seconds());
        let file = std::fs::File::create(&path)?;
        archive.write(file, false, &issuer, &self.provider, times)?;
        Ok(path)
    }

    /// Writes the component that reveals a secret without telling it.
    async fn reveal_component(&self) -> Result<()> {
        let quiet = REVEAL.replace("(i32.load (i32.const 100))", "(i32.const 0)");
        ensure!(quiet != REVEAL, "the component would tell the secret");
        let wasm = ::wat::parse_str(quiet)?;
        let issuer = SigningKey::generate(KeyKind::Account);
        let times = ValidTimes::from(epoch_seconds());
        let metadata = ComponentMetadata::default();
        let signed = sign_component(&wasm, metadata, &issuer, &self.component, times)?;
        Ok(std::fs::write(
            self.folder.path().join("reveal.wasm"),
            signed,
        )?)
    }

    /// Runs that component if it does not run yet, and waits until it reveals as many bytes.
    pub(crate) async fn reveals(&self, secret: &str) -> Result<()> {
        let running = self.lattice.inventory(0).await?["components"].to_string();
        if !running.contains("\"reveal\"") {
            let path = self.folder.path().join("reveal.wasm");
            self.scale_reveal(&path.display().to_string()).await?;
        }
        until(async || {
            let call = Invocation::new("default.reveal.wrpc.0.0.1.run", Instant::now() + STEP);
            let params = b"\x05token".to_vec();
            let answer = self.peer.call(call.source("test"), params.into()).await?;
            let length = usize::from(*answer.get(1).context("a short answer")?);
            let zeros = answer[2..].iter().all(|byte| *byte == 0);
            ensure!(answer[0] == 0 && zeros, "{answer:?}");
            ensure!(length == secret.len(), "revealed {length} bytes");
            Ok(())
        })
        .await
    }

    async fn scale_reveal(&self, path: &str) -> Result<()> {
        let host = self.lattice.host(0);
        let mark = self.lattice.events.len();
        let command = serde_json::json!({
            "component_ref": format!("file://{path}"), "component_id": "reveal", "count": 1,
            "host_id": host, "config": ["SECRET_token"],
        });
        let operation = format!("component.scale.{host}");
        self.lattice.ctl_ok(&operation, command).await?;
        let events = &self.lattice.events;
        let ours = |event: &lattice_integration::Event| event.data("component_id") == "reveal";
        let event = events.wait_after(mark, ours, STEP).await?;
        ensure!(event.name == "component_scaled", "{event:?}");
        Ok(())
    }

    pub(crate) fn backend_pid(&self) -> Result<u32> {
        self.backend.id().context("the backend has ended")
    }

    pub(crate) fn backend_log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }
}

/// Starts the backend, with a key that it makes for itself.
fn backend(lattice: &Lattice, folder: &TempDir) -> Result<Child> {
    let log = std::fs::File::create(folder.path().join("log"))?;
    let key = folder.path().join("key");
    let mut backend = Command::new(program("wash")?);
    backend.args(["secrets-backend", "serve", "--encryption-xkey-file"]);
    backend.arg(&key).env("HOME", folder.path());
    backend.env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string());
    backend.env("RUST_LOG", "trace");
    let spawned = backend
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    match spawned {
        Ok(backend) => Ok(backend),
        Err(error) => bail!("could not start the backend: {error}"),
    }
}
