//! etcd.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe, text};

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let [clients, peers] = [ports[0], ports[1]].map(|port| format!("http://127.0.0.1:{port}"));
    let line = Line::new(
        find("etcd", &["/usr/bin"])?,
        &[
            "--data-dir",
            &text(&dir.join("data")),
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
            "--initial-cluster",
            &format!("default={peers}"),
            "--enable-v2=false",
        ],
    );
    Ok(Recipe::of(
        line,
        Greeting::Speaks(b"GET /health HTTP/1.0\r\n\r\n"),
    ))
}
