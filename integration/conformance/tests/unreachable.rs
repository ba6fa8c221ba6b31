//! A link whose backend takes connections and never answers has failed within five seconds, with a reason.
//! One of three tries has to show it, with a second to spare, as other tests run beside it.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::join_all;
use lattice_integration::Lattice;
use lattice_services::Kind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);
/// What it may take longer here, where the lattice hears of links and is asked for them beside other tests.
const MARGIN: Duration = Duration::from_secs(1);
/// A busy machine may be late once, and is not each time.
const TRIES: usize = 3;
/// How long a link may take that breaks the promise.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

const KEY_VALUE: &str = "wasi:keyvalue/store,atomics,batch";
const BLOBS: &str = "wasi:blobstore/blobstore,container,types";
const MESSAGES: &str = "wasmcloud:messaging/consumer";
const QUEUE: &str = "lattice:queue/producer,consumer";

/// A provider and where its link says that its backend is.
struct Backend {
    provider: &'static str,
    calls: &'static str,
    key: &'static str,
    /// Whose address that is.
    kind: Kind,
}

impl Backend {
    const fn of(
        provider: &'static str,
        calls: &'static str,
        key: &'static str,
        kind: Kind,
    ) -> Self {
        Self {
            provider,
            calls,
            key,
            kind,
        }
    }
}

const BACKENDS: &[Backend] = &[
    Backend::of("keyvalue-nats", KEY_VALUE, "cluster_uri", Kind::Nats),
    Backend::of("keyvalue-redis", KEY_VALUE, "url", Kind::Redis),
    Backend::of("keyvalue-postgres", KEY_VALUE, "url", Kind::Postgres),
    Backend::of("keyvalue-etcd", KEY_VALUE, "url", Kind::Etcd),
    Backend::of("blobstore-nats", BLOBS, "cluster_uri", Kind::Nats),
    Backend::of("messaging-kafka", MESSAGES, "hosts", Kind::Kafka),
    Backend::of("queue-nats", QUEUE, "cluster_uri", Kind::Nats),
    Backend::of("queue-rabbitmq", QUEUE, "url", Kind::RabbitMq),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_who_never_answers_has_failed_within_five_seconds() {
    let mut lattice = Lattice::start(1).await.unwrap();
    lattice.inside = true;
    for backend in BACKENDS {
        let program = format!("{}-provider", backend.provider);
        let provided = lattice.provide(0, backend.provider, &program, &[]);
        provided.await.unwrap();
    }
    let tried = BACKENDS.iter().map(|backend| fails(&lattice, backend));
    for (failed, backend) in join_all(tried).await.into_iter().zip(BACKENDS) {
        failed.context(backend.provider).unwrap();
    }
}

/// Puts links until one has failed in time.
async fn fails(lattice: &Lattice, backend: &Backend) -> Result<()> {
    // Whoever connects is kept waiting in its queue.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let port = silent.local_addr()?.port();
    let place = backend.kind.url(port);
    let (provider, calls, key) = (backend.provider, backend.calls, backend.key);
    lattice.config(provider, json!({ key: place })).await?;
    let mut all = Vec::new();
    for number in 0..TRIES {
        let source = format!("{provider}-caller-{number}");
        let began = Instant::now();
        lattice
            .link(&source, provider, calls, &[], &[provider])
            .await?;
        let reason = failure_of(lattice, &source).await?;
        let took = began.elapsed();
        ensure!(!reason.is_empty(), "the link tells no reason");
        if took <= WITHIN + MARGIN {
            return Ok(());
        }
        all.push((took, reason));
    }
    bail!("the links took too long: {all:?}")
}

/// Waits until the link of a component has failed; gives the reason.
async fn failure_of(lattice: &Lattice, source: &str) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let reply = lattice.ctl_ok("link.get", Value::Null).await?;
        let links = reply["response"].as_array().context("no list of links")?;
        let link = links.iter().find(|link| link["source_id"] == source);
        let link = link.with_context(|| format!("there is no link of {source}"))?;
        let mut ends = link["status"].as_array().into_iter().flatten();
        if let Some(end) = ends.find(|end| end["state"] == "failed") {
            return Ok(end["reason"].as_str().unwrap_or_default().to_owned());
        }
        ensure!(Instant::now() < until, "the link has not failed: {link}");
        sleep(LOOK).await;
    }
}
