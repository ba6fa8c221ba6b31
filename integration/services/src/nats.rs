//! NATS with JetStream: the version that everything runs on, and an older one.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Greeting;
use crate::recipe::{Line, Recipe, text};

/// `program` is the server of one version.
pub(crate) fn recipe(program: PathBuf, dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let port = ports[0].to_string();
    let line = Line::new(
        program,
        &[
            "--addr",
            "127.0.0.1",
            "--port",
            &port,
            "--jetstream",
            "--store_dir",
            &text(&dir.join("jetstream")),
        ],
    );
    // It begins with `INFO`.
    Ok(Recipe::of(line, Greeting::Says(b"", b'I')))
}
