//! The counter example: HTTP comes in through a provider, the count is kept by another.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Files;
use super::links::Link;
use super::wash::Wash;
use crate::shell;

const COMPONENT: &str = "counter";
const HTTP: &str = "http";
const KEYVALUE: &str = "kv";
const HTTP_SERVER: &str = "builtin://http-server";
const KEYVALUE_NATS: &str = "builtin://keyvalue-nats";
const HTTP_CONFIG: &str = "counter-http";
const KEYVALUE_CONFIG: &str = "counter-kv";

/// Ports for HTTP: the usual one, and those to fall forward to.
const PORTS: std::ops::Range<u16> = 8000..8100;

/// How long a new lattice may take until the first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the counter answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Url {
    port: u16,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://localhost:{}", self.port)
    }
}

/// Puts configs and links and starts what does not run yet.
pub(super) fn deploy(wash: &Wash, files: &Files) -> Result<Url> {
    let running = running_ids(&wash.ask(&["get", "inventory"])?);
    let runs = |id: &str| running.iter().any(|running| running == id);
    let url = if runs(HTTP) {
        url_in_use(wash)?
    } else {
        free_url()?
    };

    let address = format!("address=127.0.0.1:{}", url.port);
    wash.run(&["config", "put", HTTP_CONFIG, &address])?;
    let nats = format!("cluster_uri={}", wash.nats_url());
    let bucket = ["bucket=counter", "enable_bucket_auto_create=true"];
    wash.run(&[
        "config",
        "put",
        KEYVALUE_CONFIG,
        &nats,
        bucket[0],
        bucket[1],
    ])?;

    for (id, image) in [(HTTP, HTTP_SERVER), (KEYVALUE, KEYVALUE_NATS)] {
        if !runs(id) {
            wash.run(&["start", "provider", image, id])?;
        }
    }
    if !runs(COMPONENT) {
        let reference = file_url(&files.counter);
        wash.run(&[
            "start",
            "component",
            &reference,
            COMPONENT,
            "--max-instances",
            "10",
        ])?;
    }
    link(wash, running)?;
    Ok(url)
}

/// The count is kept by the provider of `up`.
const TO_KEYVALUE: Link = Link {
    source: COMPONENT,
    target: KEYVALUE,
    package: "keyvalue",
    interfaces: &["store", "atomics"],
    config: ["--target-config", KEYVALUE_CONFIG],
};

/// Requests go to the counter.
const FROM_HTTP: Link = Link {
    source: HTTP,
    target: COMPONENT,
    package: "http",
    interfaces: &["incoming-handler"],
    config: ["--source-config", HTTP_CONFIG],
};

/// Puts the two links, unless the user has put others that lead to something in their place.
fn link(wash: &Wash, mut running: Vec<String>) -> Result<()> {
    running.extend([HTTP, KEYVALUE, COMPONENT].map(str::to_owned));
    let links = wash.ask(&["get", "links"])?;
    for link in [TO_KEYVALUE, FROM_HTTP] {
        link.ensure(wash, &links, &running)?;
    }
    Ok(())
}

/// Ids of every component and provider on every host.
fn running_ids(inventory: &Value) -> Vec<String> {
    let hosts = inventory["inventories"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    hosts
        .iter()
        .flat_map(|host| [&host["components"], &host["providers"]])
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect()
}

/// The address that the running HTTP provider was given.
fn url_in_use(wash: &Wash) -> Result<Url> {
    let config = wash.ask(&["config", "get", HTTP_CONFIG])?;
    let port = config["address"]
        .as_str()
        .and_then(|address| address.rsplit(':').next()?.parse().ok());
    let port = port.with_context(|| {
        format!("provider `{HTTP}` runs, but config `{HTTP_CONFIG}` has no address; run `wash down` and try again")
    })?;
    Ok(Url { port })
}

/// The first port that nobody listens on.
fn free_url() -> Result<Url> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = PORTS.into_iter().find(free).with_context(|| {
        format!(
            "ports {} to {} are all taken; free one of them",
            PORTS.start,
            PORTS.end - 1
        )
    })?;
    if port != PORTS.start {
        shell::note(&format!(
            "port {} is taken, HTTP listens on {port}",
            PORTS.start
        ));
    }
    Ok(Url { port })
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Asks until the whole way works: HTTP, component, store.
///
/// The path is one of its own, so that the user's first count is 1.
pub(super) fn wait_until_it_answers(url: &Url) -> Result<()> {
    shell::note("waiting for the first answer");
    let deadline = Instant::now() + FIRST_ANSWER;
    let mut pause = Duration::from_millis(50);
    loop {
        let last = match status_line(url) {
            Ok(line) if line.contains(" 200 ") => return Ok(()),
            Ok(line) => line,
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause > deadline {
            let seconds = FIRST_ANSWER.as_secs();
            bail!(
                "{url} gave no good answer within {seconds} s, the last was `{last}`; see `wash get links` and the host's log"
            );
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "polls another process, with a deadline"
        )]
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn status_line(url: &Url) -> std::io::Result<String> {
    let patience = Duration::from_secs(10);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, url.port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream
        .write_all(b"GET /first-answer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn components_and_providers_of_all_hosts_count_as_running() {
        let inventory = json!({"inventories": [
            {"components": [{"id": "counter"}], "providers": []},
            {"components": [], "providers": [{"id": "http"}, {"id": "kv"}]},
        ]});
        assert_eq!(running_ids(&inventory), ["counter", "http", "kv"]);
    }
}
