//! Mosquitto.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe, text};

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let config = dir.join("mosquitto.conf");
    let lines = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
         autosave_interval 1\nautosave_on_changes true\nmax_queued_messages 100000\n",
        ports[0],
        text(dir),
    );
    let root = rustix::process::geteuid().is_root();
    let lines = if root { lines + "user root\n" } else { lines };
    std::fs::write(&config, lines).context("could not write mosquitto.conf")?;
    let line = Line::new(find("mosquitto", &["/usr/sbin"])?, &["-c", &text(&config)]);
    Ok(Recipe::of(line, Greeting::Connects))
}
