//! What the cases do to the lattice: components, configs and links of their own.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lattice_integration::{component, until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ground::Ground;
use crate::suite::{Suite, Verdict};

/// How long one call may take on a busy machine.
const CALL: Duration = Duration::from_secs(30);

/// A task that ends with its case.
#[derive(Debug)]
pub(super) struct Running(JoinHandle<()>);

impl Running {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for its end.
    pub(super) async fn ended(mut self) {
        // How it ended does not matter to who waits for that.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A link to put.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) source: &'a str,
    pub(super) target: &'a str,
    pub(super) name: &'a str,
    /// `namespace:package/interface`.
    pub(super) interface: &'a str,
    pub(super) source_config: &'a [&'a str],
    pub(super) target_config: &'a [&'a str],
}

impl Ground {
    /// Starts a component with configs of its own.
    pub(super) async fn run_with(&self, id: &str, guest: &str, configs: &[&str]) -> Result<()> {
        let (lattice, host) = (&self.lattice, self.lattice.host(0));
        let mark = lattice.events.len();
        let command = json!({
            "component_ref": component(guest)?, "component_id": id, "count": 20,
            "host_id": host, "config": configs,
        });
        let operation = format!("component.scale.{host}");
        lattice.ctl_ok(&operation, command).await?;
        let scaled = |event: &lattice_integration::Event| {
            event.name.starts_with("component_scale") && event.data("component_id") == id
        };
        let event = lattice.events.wait_after(mark, scaled, CALL).await?;
        ensure!(event.name == "component_scaled", "{}", event.body);
        Ok(())
    }

    /// Puts a link and waits until it is ready.
    pub(super) async fn connect(&self, link: Link<'_>) -> Result<()> {
        self.put(&link).await?;
        until(async || match self.state(&link).await?.as_str() {
            "ready" => Ok(()),
            other => bail!("the link `{}` of {} is {other}", link.name, link.source),
        })
        .await
    }

    async fn put(&self, link: &Link<'_>) -> Result<()> {
        let (package, interface) = link.interface.split_once('/').context("no interface")?;
        let (namespace, package) = package.split_once(':').context("no package")?;
        let body = json!({
            "source_id": link.source, "target": link.target, "name": link.name,
            "wit_namespace": namespace, "wit_package": package, "interfaces": [interface],
            "source_config": link.source_config, "target_config": link.target_config,
        });
        self.lattice.ctl_ok("link.put", body).await.map(drop)
    }

    /// What is told of a link, with the reason where it failed.
    async fn state(&self, link: &Link<'_>) -> Result<String> {
        let reply = self.lattice.ctl_ok("link.get", Value::Null).await?;
        let links = reply["response"].as_array().context("no list of links")?;
        let found = links
            .iter()
            .find(|found| found["source_id"] == link.source && found["name"] == link.name);
        let told = found.and_then(|found| found["status"].as_array());
        let told = told.and_then(|told| told.first()).map(|end| {
            let reason = end["reason"].as_str().unwrap_or_default();
            format!("{} {reason}", end["state"].as_str().unwrap_or_default())
        });
        Ok(told.unwrap_or_default().trim().to_owned())
    }

    /// Has a component of a suite run a case with these settings.
    pub(super) async fn tell(
        &self,
        id: &str,
        case: &str,
        settings: &[(String, String)],
    ) -> Result<()> {
        let suite = Suite::of(self).told(id, settings.to_vec());
        match suite.ask(case, CALL).await? {
            Verdict::Passed => Ok(()),
            Verdict::Failed(why) | Verdict::Refused(why) => bail!(why),
        }
    }
}
