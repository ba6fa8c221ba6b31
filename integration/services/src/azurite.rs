//! Azurite, which speaks the protocols of Azure's blobs, queues and tables.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe, text};

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let [blobs, queues, tables] = [ports[0], ports[1], ports[2]].map(|port| port.to_string());
    let line = Line::new(
        find("azurite", &[])?,
        &[
            "--location",
            &text(&dir.join("data")),
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &blobs,
            "--queueHost",
            "127.0.0.1",
            "--queuePort",
            &queues,
            "--tableHost",
            "127.0.0.1",
            "--tablePort",
            &tables,
        ],
    );
    let mut recipe = Recipe::of(line, Greeting::Speaks(b"GET / HTTP/1.0\r\n\r\n"));
    recipe.all_ports = true;
    Ok(recipe)
}
