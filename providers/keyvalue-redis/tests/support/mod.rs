//! A private `redis-server`.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a part of each test binary"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyvalue_redis::KeyValueRedis;
use lattice_keyvalue_suite::{Lattice, PATIENCE};
use tempfile::TempDir;

/// A server on a port of its own, gone when dropped. Its data survives a restart.
pub struct RedisBox {
    pub url: String,
    pub port: u16,
    dir: TempDir,
    process: Option<Child>,
}

const VARIABLE: &str = "LATTICE_REDIS_SERVER";
const INSTALLED: &str = "target/tools/bin/redis-server";

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        assert!(path.is_file(), "{VARIABLE}={} is no file", path.display());
        return path;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = own.ancestors().nth(2).unwrap();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(workspace.join(INSTALLED))
        .chain(std::env::split_paths(&on_path).map(|dir| dir.join("redis-server")))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no `redis-server` found (looked at {VARIABLE}, `{INSTALLED}`, PATH); \
                 hint: run `cargo xtask setup`"
            )
        })
}

pub fn free_port() -> u16 {
    lattice_nats_box::free_port().unwrap()
}

impl RedisBox {
    pub async fn start() -> Self {
        let mut this = Self::reserve();
        this.launch(&[]).await;
        this
    }

    /// An address without a server.
    pub fn reserve() -> Self {
        let port = free_port();
        Self {
            url: format!("redis://127.0.0.1:{port}"),
            port,
            dir: tempfile::tempdir().unwrap(),
            process: None,
        }
    }

    /// Starts the server with further options and waits until it answers.
    pub async fn launch(&mut self, options: &[&str]) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let process = Command::new(program())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .arg("--dir")
            .arg(self.dir.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let answers = async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answers).await;
        answered.unwrap_or_else(|_| {
            let log = std::fs::read_to_string(self.dir.path().join("log"));
            panic!("redis-server does not answer; its log: {log:?}")
        });
    }

    /// Whether commands are answered, if only with a refusal.
    async fn answers(&self) -> bool {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
            return false;
        };
        let answer: Result<(), _> = redis::cmd("PING").query_async(&mut connection).await;
        match answer {
            Ok(()) => true,
            Err(error) => error.code() == Some("NOAUTH"),
        }
    }

    /// Starts a server that also takes TLS, and returns the address for that.
    pub async fn start_tls() -> (Self, String) {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../http-server/tests/data");
        let file = |name: &str| data.join(name).display().to_string();
        let mut this = Self::reserve();
        let port = free_port().to_string();
        let (certificate, key) = (file("localhost.pem"), file("localhost.key"));
        this.launch(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            &certificate,
        ])
        .await;
        (this, format!("rediss://localhost:{port}"))
    }

    /// Kills the server, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Asks the server past the provider.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for RedisBox {
    fn drop(&mut self) {
        self.stop();
    }
}

pub async fn lattice(config: &[(&str, &str)]) -> Lattice {
    Lattice::start::<KeyValueRedis>(config).await
}
