//! What the tests of holes share: calls, peers as they are on a 1.9 lattice, and the monitor.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use lattice_codec::write;
use lattice_integration::{HostOptions, HttpClient, Lattice, STEP, free_port};
use lattice_nats_box::NatsBoxOptions;
use lattice_rpc::{CallError, IncomingCall, Invocation, Limiter, Peer, ServeHandle, ServeOptions};
use tokio::time::Instant;

/// The echo of the probe that takes and gives a text.
pub(crate) const ECHO: &str = "test:probe/echo@0.1.0.text";

/// Builds parameters out of what `fill` writes.
pub(crate) fn params(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    fill(&mut out);
    out.freeze()
}

/// A text as parameters or result.
pub(crate) fn text(text: &str) -> Bytes {
    params(|out| write::string(out, text))
}

/// Texts, one after the other.
pub(crate) fn texts(texts: &[&str]) -> Bytes {
    params(|out| texts.iter().for_each(|text| write::string(out, text)))
}

/// A number as parameters or result.
pub(crate) fn number(number: u64) -> Bytes {
    params(|out| write::uleb(out, number))
}

/// Bytes after texts, as they are.
pub(crate) fn with_tail(first: &[&str], tail: &[u8]) -> Bytes {
    params(|out| {
        first.iter().for_each(|text| write::string(out, text));
        out.put_slice(tail);
    })
}

/// The subject of a function of an entity in the lattice of the box.
pub(crate) fn subject(id: &str, function: &str) -> String {
    format!("default.{id}.wrpc.0.0.1.{function}")
}

/// Calls a function and gives it `ms` milliseconds.
pub(crate) async fn call(
    peer: &Peer,
    id: &str,
    function: &str,
    params: Bytes,
    ms: u64,
) -> Result<Bytes, CallError> {
    let deadline = Instant::now() + Duration::from_millis(ms);
    peer.call(
        Invocation::new(subject(id, function), deadline).source("test"),
        params,
    )
    .await
}

/// Calls the echo, which has to answer within a second.
pub(crate) async fn answers_at_once(peer: &Peer, id: &str) -> Result<()> {
    let before = Instant::now();
    let answer = call(peer, id, ECHO, text("still here"), 5000).await?;
    ensure!(answer == text("still here"), "another echo: {answer:?}");
    ensure!(
        before.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        before.elapsed()
    );
    Ok(())
}

/// Tries `check` until it holds.
pub(crate) async fn until(mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let limit = Instant::now() + STEP;
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= limit => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Sends what a caller of the 1.9 lattice sends first, and forgets the call: nobody hears the
/// accept, nothing follows.
pub(crate) async fn forget(lattice: &Lattice, subject: String, first: Bytes) -> Result<()> {
    let inbox = lattice.client.new_inbox();
    Ok(lattice
        .client
        .publish_with_reply(subject, inbox, first)
        .await?)
}

/// Serves a function under an id of its own, in the place of a component or provider.
pub(crate) async fn stand_in<H, F>(
    peer: &Peer,
    id: &str,
    function: &str,
    handler: H,
) -> Result<ServeHandle>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let options = ServeOptions {
        limiter: std::sync::Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
    };
    let queue = format!("default.{id}");
    let serving = peer
        .serve(&subject(id, function), &queue, options, handler)
        .await?;
    peer.confirm(Duration::from_secs(5)).await?;
    Ok(serving)
}

/// Links the caller to what stands for its probe.
pub(crate) async fn link_caller(lattice: &Lattice, target: &str) -> Result<()> {
    let interfaces = "test:probe/echo,behave,keyvalue,types";
    lattice.link("caller", target, interfaces, &[], &[]).await
}

/// A lattice of one host that got `arguments`.
pub(crate) async fn lattice_with(arguments: &[&str]) -> Result<Lattice> {
    let mut lattice = Lattice::start(0).await?;
    let arguments = arguments
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
    lattice
        .add_host(HostOptions {
            arguments,
            ..HostOptions::default()
        })
        .await?;
    Ok(lattice)
}

/// A lattice of one host whose server tells how many subscriptions it holds.
#[derive(Debug)]
pub(crate) struct Monitored {
    pub(crate) lattice: Lattice,
    monitor: String,
}

impl Monitored {
    pub(crate) async fn start() -> Result<Self> {
        let monitor = format!("127.0.0.1:{}", free_port()?);
        let options = NatsBoxOptions {
            extra_config: format!("http: \"{monitor}\"\n"),
            ..NatsBoxOptions::default()
        };
        Ok(Self {
            lattice: Lattice::start_with(options, 1).await?,
            monitor,
        })
    }

    pub(crate) async fn subscriptions(&self) -> Result<u64> {
        let varz = HttpClient::connect(&self.monitor)
            .await?
            .get("/varz")
            .await?;
        let varz: serde_json::Value = serde_json::from_slice(varz.body())?;
        varz["subscriptions"]
            .as_u64()
            .context("no count of subscriptions")
    }
}

/// The process of a provider that the first host runs.
pub(crate) fn provider_pid(lattice: &Lattice, program: &str) -> Result<u32> {
    let host = lattice.hosts[0]
        .pid()
        .context("the host has exited")?
        .to_string();
    let list = std::process::Command::new("ps")
        .args(["-o", "pid=,args=", "--ppid", &host])
        .output()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let line = list.lines().find(|line| line.contains(program));
    let pid = line.and_then(|line| line.split_whitespace().next());
    Ok(pid
        .with_context(|| format!("no {program} among:\n{list}"))?
        .parse()?)
}
