//! Brokers of Kafka's protocol, as librdkafka brings them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Greeting;
use crate::recipe::{Line, Recipe};

pub(crate) fn recipe(ports: &[u16], delay: Duration) -> Result<Recipe> {
    let (port, delay) = (ports[0].to_string(), delay.as_millis().to_string());
    let line = Line::new(program()?, &[&port, &delay]);
    Ok(Recipe::of(line, Greeting::Connects))
}

/// The program that `messaging-kafka` builds.
fn program() -> Result<PathBuf> {
    let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folders = ["debug", "release"].map(|profile| target.join(profile));
    let found = folders.map(|folder| folder.join("kafka-mock-brokers"));
    found
        .into_iter()
        .find(|program| program.is_file())
        .context("there is no `kafka-mock-brokers`; run `cargo build -p messaging-kafka --bins`")
}
