//! What tests and suites are run with.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::install::{nats, redis, services};
use crate::workspace::Workspace;

/// Names the nats-server under test; set beforehand, it is left as it is, to test with another one.
const NATS_SERVER: &str = "LATTICE_NATS_SERVER";

/// Names the nats-server that `wash` carries where it is built with its feature `embed-nats`.
const EMBED_NATS_SERVER: &str = "LATTICE_EMBED_NATS_SERVER";

/// Names an older nats-server, on which everything has to hold as well.
const OLD_NATS_SERVER: &str = "LATTICE_OLD_NATS_SERVER";

/// Names the redis-server under test, in the same way.
const REDIS_SERVER: &str = "LATTICE_REDIS_SERVER";

/// The servers and services, installed.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    workspace: &'a Workspace,
    programs: [(&'static str, PathBuf); 4],
}

impl<'a> Tools<'a> {
    /// Installs what is missing.
    pub(super) fn ensure(workspace: &'a Workspace) -> Result<Self> {
        let nats = nats::ensure(workspace)?;
        let old_nats = match env::var_os(OLD_NATS_SERVER) {
            Some(named) => PathBuf::from(named),
            None => nats::ensure_old(workspace)?,
        };
        let redis = redis::ensure(workspace)?;
        services::ensure(workspace)?;
        Ok(Self {
            workspace,
            programs: [
                (EMBED_NATS_SERVER, nats.clone()),
                (NATS_SERVER, nats),
                (OLD_NATS_SERVER, old_nats),
                (REDIS_SERVER, redis),
            ],
        })
    }

    /// Lets a command find them.
    pub(super) fn apply(&self, command: &mut Command) -> Result<()> {
        command
            .current_dir(self.workspace.root())
            .env("PATH", self.workspace.path_with_tools()?);
        for (name, program) in &self.programs {
            if env::var_os(name).is_none() {
                command.env(name, program);
            }
        }
        Ok(())
    }
}
