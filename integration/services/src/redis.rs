//! Redis.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe, text};

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let port = ports[0].to_string();
    let line = Line::new(
        find("redis-server", &[])?,
        &[
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            // What was acknowledged is there after a kill.
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--notify-keyspace-events",
            "KEA",
            "--dir",
            &text(dir),
        ],
    );
    Ok(Recipe::of(line, Greeting::Speaks(b"PING\r\n")))
}
