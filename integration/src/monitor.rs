//! What the server and the host of a lattice hold, to see that nothing stays behind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lattice_nats_box::NatsBoxOptions;
use tokio::time::Instant;

use crate::{HostOptions, HttpClient, Lattice, STEP, free_port, usage};

/// How often a count is looked at that is waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// By how many bytes a warmed-up process may grow while it serves `calls`.
///
/// A quarter of a kilobyte for each, so that the half of one that providers of old lattices lost
/// stands out, up to what no run may lose however long it is; and what pages and pools of the
/// allocator come and go by. In 20,000 calls the latter has to stay below a leak of half a
/// kilobyte each, or the short form could not fail.
#[must_use]
pub fn growth_allowed(calls: u64) -> u64 {
    const EACH: u64 = 256;
    const AT_MOST: u64 = 64 << 20;
    const ALLOCATOR: u64 = 4 << 20;
    (calls * EACH).min(AT_MOST) + ALLOCATOR
}

/// A lattice of one host whose server tells how many subscriptions it holds, and whose host how
/// many tasks.
#[derive(Debug)]
pub struct Monitored {
    /// The lattice.
    pub lattice: Lattice,
    /// Where the server is asked.
    address: String,
    /// Where the host is asked.
    metrics: String,
}

impl Monitored {
    /// Starts the server and one host.
    ///
    /// # Errors
    ///
    /// As [`Lattice::start`].
    pub async fn start() -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let options = NatsBoxOptions {
            extra_config: format!("http: \"{address}\"\n"),
            ..NatsBoxOptions::default()
        };
        let mut lattice = Lattice::start_with(options, 0).await?;
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let arguments = vec!["--http-admin".to_owned(), metrics.clone()];
        lattice
            .add_host(HostOptions {
                arguments,
                ..HostOptions::default()
            })
            .await?;
        Ok(Self {
            lattice,
            address,
            metrics,
        })
    }

    /// How many subscriptions the server holds.
    ///
    /// # Errors
    ///
    /// Fails when the server does not tell.
    pub async fn subscriptions(&self) -> Result<u64> {
        let mut client = HttpClient::connect(&self.address).await?;
        let varz = client.get("/varz").await?;
        let varz: serde_json::Value = serde_json::from_slice(varz.body())?;
        varz["subscriptions"]
            .as_u64()
            .context("no count of subscriptions")
    }

    /// The count of subscriptions once it has stayed the same for a second: watches that belong to
    /// the start are set up in the background.
    ///
    /// # Errors
    ///
    /// Fails when it keeps changing.
    pub async fn settled_subscriptions(&self) -> Result<u64> {
        let until = Instant::now() + STEP;
        let (mut count, mut since) = (self.subscriptions().await?, Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            ensure!(Instant::now() < until, "the subscriptions do not settle");
            tokio::time::sleep(PAUSE).await;
            let now = self.subscriptions().await?;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(count)
    }

    /// Waits until the server holds as many subscriptions as at the start.
    ///
    /// # Errors
    ///
    /// Fails with the count when it does not in time.
    pub async fn subscriptions_back_at(&self, start: u64) -> Result<()> {
        crate::until(async || {
            let now = self.subscriptions().await?;
            ensure!(now == start, "{now} subscriptions, {start} at the start");
            Ok(())
        })
        .await
    }

    /// How many tasks of the host have not ended, those of this question among them.
    ///
    /// # Errors
    ///
    /// Fails when the host does not tell.
    pub async fn tasks(&self) -> Result<u64> {
        let mut client = HttpClient::connect(&self.metrics).await?;
        let text = client.get("/metrics").await?;
        let text = std::str::from_utf8(text.body())?;
        let counts = text
            .lines()
            .filter(|line| line.starts_with("lattice_tasks{"))
            .map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
        let counts: Vec<u64> = counts.collect::<Result<_, _>>()?;
        ensure!(!counts.is_empty(), "no count of tasks in {text}");
        Ok(counts.iter().sum())
    }

    /// Waits until the host has no more tasks than at the start.
    ///
    /// # Errors
    ///
    /// Fails with the count when it has in time.
    pub async fn tasks_back_at(&self, start: u64) -> Result<()> {
        crate::until(async || {
            let now = self.tasks().await?;
            ensure!(now <= start, "{now} tasks, {start} at the start");
            Ok(())
        })
        .await
    }

    /// Bytes of memory that the host holds.
    ///
    /// # Errors
    ///
    /// Fails when the host has exited.
    pub fn resident(&self) -> Result<u64> {
        let pid = self.lattice.hosts[0].pid();
        Ok(usage(pid.context("the host has exited")?)?.resident)
    }
}

#[cfg(test)]
mod tests {
    use super::growth_allowed;

    #[test]
    fn half_a_kilobyte_for_each_call_is_too_much() {
        for calls in [20_000, 100_000, 10_000_000] {
            assert!(growth_allowed(calls) < calls * 512, "{calls} calls");
        }
        assert!(growth_allowed(10_000_000) < 10_000_000 * 8);
    }
}
