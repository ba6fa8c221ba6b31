//! A Redis server of its own.

use std::process::Stdio;

use anyhow::{Result, anyhow};
use tokio::process::{Child, Command};

use crate::{Lattice, free_port};

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub url: String,
    _process: Child,
}

impl Lattice {
    /// Starts a Redis server and waits until it listens.
    ///
    /// # Errors
    ///
    /// Fails when there is no program, with the command that gets it, or when it does not listen.
    pub async fn redis(&self) -> Result<Redis> {
        let program =
            std::env::var_os("LATTICE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let port = free_port()?;
        let process = Command::new(program)
            .args(["--port", &port.to_string(), "--save", ""])
            .args(["--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| anyhow!("no redis-server ({e}); run `cargo xtask setup`"))?;
        self.until_listening(&format!("127.0.0.1:{port}")).await?;
        Ok(Redis {
            url: format!("redis://127.0.0.1:{port}"),
            _process: process,
        })
    }
}
