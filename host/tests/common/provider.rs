//! A provider in two halves: a process that does nothing, and this test on its subjects.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Lattice, until};

/// A program that notes what it reads and then waits, or ends, as told.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    data: PathBuf,
}

impl Program {
    /// Runs `then` after having noted the data.
    pub(crate) fn new(lattice: &Lattice, name: &str, then: &str) -> Self {
        let path = lattice.path(name);
        let data = lattice.path(&format!("{name}.data"));
        let text = format!(
            "#!/bin/sh\nread line\necho \"$line\" >> {}\n{then}\n",
            data.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { path, data }
    }

    pub(crate) fn reference(&self) -> String {
        super::reference(&self.path)
    }

    /// What the process was given at its `n`th start.
    pub(crate) async fn host_data(&self, n: usize) -> Value {
        let line = until("host data", async || {
            let text = std::fs::read_to_string(&self.data).ok()?;
            text.lines().nth(n).map(str::to_owned)
        })
        .await;
        serde_json::from_slice(&STANDARD.decode(line.trim_end()).unwrap()).unwrap()
    }

    /// How often the process was started.
    pub(crate) fn starts(&self) -> usize {
        std::fs::read_to_string(&self.data).map_or(0, |text| text.lines().count())
    }
}
