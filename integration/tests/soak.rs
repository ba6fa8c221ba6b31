//! Many calls, clients that leave in the middle, and everything back at its start value.
//!
//! The suite runs a short form; `LATTICE_SOAK_CALLS` sets the number of calls (ten million for the
//! nightly run) and `LATTICE_SOAK_SECONDS` the length of the abort storm.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use lattice_codec::write;
use lattice_integration::{HttpClient, Lattice, STEP, free_port, usage};
use lattice_nats_box::NatsBoxOptions;
use lattice_rpc::Invocation;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

struct Monitored {
    lattice: Lattice,
    monitor: String,
}

impl Monitored {
    async fn start() -> Result<Self> {
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

    async fn subscriptions(&self) -> Result<u64> {
        let varz = HttpClient::connect(&self.monitor)
            .await?
            .get("/varz")
            .await?;
        let varz: serde_json::Value = serde_json::from_slice(varz.body())?;
        varz["subscriptions"]
            .as_u64()
            .context("no count of subscriptions")
    }

    /// The count of subscriptions once it has stayed the same for a second: watches that belong to
    /// the start are set up in the background.
    async fn settled_subscriptions(&self) -> Result<u64> {
        let until = Instant::now() + STEP;
        let (mut count, mut since) = (self.subscriptions().await?, Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            anyhow::ensure!(Instant::now() < until, "the subscriptions do not settle");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.subscriptions().await?;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(count)
    }

    fn resident(&self) -> Result<u64> {
        Ok(usage(self.lattice.hosts[0].pid().context("the host has exited")?)?.resident)
    }

    /// Waits until the server holds as many subscriptions as at the start.
    async fn subscriptions_back_at(&self, start: u64) -> Result<()> {
        let until = Instant::now() + STEP;
        loop {
            let now = self.subscriptions().await?;
            if now == start {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < until,
                "{now} subscriptions, {start} at the start"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_none_of_which_hangs() -> Result<()> {
    let calls = setting("LATTICE_SOAK_CALLS", 20_000);
    let bed = Monitored::start().await?;
    bed.lattice.run(0, "probe", "probe", 1000).await?;
    let peer = bed.lattice.peer().await?;
    let mut params = BytesMut::new();
    write::string(&mut params, "hello");
    let params: Bytes = params.freeze();
    let subject = "default.probe.wrpc.0.0.1.test:probe/echo@0.1.0.text";
    let batch = async |count: u64| -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (peer, params) = (peer.clone(), params.clone());
            tasks.spawn(async move {
                for _ in 0..count / 64 {
                    let deadline = Instant::now() + Duration::from_secs(20);
                    let call = peer.call(Invocation::new(subject, deadline), params.clone());
                    anyhow::ensure!(call.await? == params, "the echo differs");
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    };
    // The first calls fill pools and caches that stay.
    batch(6400).await?;
    let (subscriptions, resident) = (bed.settled_subscriptions().await?, bed.resident()?);
    batch(calls).await?;
    assert_eq!(peer.stats().open_calls, 0);
    bed.subscriptions_back_at(subscriptions).await?;
    let grown = bed.resident()?.saturating_sub(resident);
    assert!(
        grown < 64 << 20,
        "the host grew by {grown} bytes in {calls} calls"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_in_the_middle_leave_nothing_behind() -> Result<()> {
    let length = Duration::from_secs(setting("LATTICE_SOAK_SECONDS", 8));
    let bed = Monitored::start().await?;
    bed.lattice.run(0, "web", "http-probe", 32).await?;
    let address = bed.lattice.serve_http(0, "web").await?;
    bed.lattice.until_status(&address, "/", 200).await?;
    let start = bed.settled_subscriptions().await?;
    let until = Instant::now() + length;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..32u64 {
        let address = address.clone();
        tasks.spawn(async move {
            while Instant::now() < until {
                let path = ["/wait/2000", "/slow/100/50", "/stream/10000000"][worker as usize % 3];
                let mut stream = tokio::net::TcpStream::connect(&address).await?;
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(5 + worker)).await;
                // Dropping the connection is what this test is about.
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    // All 32 instances are free: as many slow requests at once are all served.
    let until = Instant::now() + STEP;
    loop {
        let requests = (0..32).map(|_| lattice_integration::get(&address, "/wait/200"));
        let answers = futures::future::join_all(requests).await;
        if answers
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 200))
        {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "instances stay taken: {answers:?}");
    }
    bed.subscriptions_back_at(start).await
}
