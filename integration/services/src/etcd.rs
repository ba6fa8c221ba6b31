//! etcd.

use std::path::Path;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Greeting;
use crate::Service;
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

/// Has an etcd take nobody in from now on but `root` with this password.
///
/// # Errors
///
/// Fails when etcd does not do it.
pub async fn require_login(service: &Service, password: &str) -> Result<()> {
    for (path, body) in [
        (
            "user/add",
            format!(r#"{{"name":"root","password":"{password}"}}"#),
        ),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("enable", "{}".to_owned()),
    ] {
        let request = format!(
            "POST /v3/auth/{path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", service.port())).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    Ok(())
}
