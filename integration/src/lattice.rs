//! The box itself.

#![expect(
    clippy::disallowed_methods,
    reason = "a client of a lattice speaks the wire itself"
)]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::Client;
use lattice_core::Locality;
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port};
use lattice_rpc::{Peer, PeerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::artifacts::program;
use crate::events::EventLog;
use crate::http_client;
use crate::process::HostProcess;
use crate::{STEP, component, until};

/// How a host differs from the plain one.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Labels, `key=value`.
    pub labels: BTreeMap<String, String>,
    /// Another NATS server than that of the box, such as a leaf node: its port.
    pub nats_port: Option<u16>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A lattice of its own, on a NATS server of its own.
#[derive(Debug)]
pub struct Lattice {
    /// The server.
    pub nats: NatsBox,
    /// The lattice's name.
    pub name: String,
    /// A plain connection.
    pub client: Client,
    /// All events since the start.
    pub events: EventLog,
    /// The hosts, in the order of their start.
    pub hosts: Vec<HostProcess>,
    /// Whether providers run inside their hosts.
    pub inside: bool,
    /// How near calls over links have to stay that are put from now on.
    pub locality: Locality,
    folder: TempDir,
}

impl Lattice {
    /// Starts a server and `hosts` hosts.
    ///
    /// # Errors
    ///
    /// Fails when something is missing, with the command that mends it, or does not get ready.
    pub async fn start(hosts: usize) -> Result<Self> {
        Self::start_with(NatsBoxOptions::default(), hosts).await
    }

    /// Starts a server with options and `hosts` hosts.
    ///
    /// # Errors
    ///
    /// As [`Lattice::start`].
    pub async fn start_with(options: NatsBoxOptions, hosts: usize) -> Result<Self> {
        let nats = NatsBox::start_with(options).await?;
        let client = nats.client().await?;
        let name = "default".to_owned();
        let events = EventLog::open(&client, &name).await?;
        let folder = tempfile::Builder::new().prefix("lattice-box-").tempdir()?;
        let mut lattice = Self {
            nats,
            name,
            client,
            events,
            hosts: Vec::new(),
            inside: false,
            locality: Locality::default(),
            folder,
        };
        for _ in 0..hosts {
            lattice.add_host(HostOptions::default()).await?;
        }
        Ok(lattice)
    }

    /// Starts one more host and waits for its `host_started`; gives its index.
    ///
    /// # Errors
    ///
    /// Fails with the host's log when it does not start.
    pub async fn add_host(&mut self, options: HostOptions) -> Result<usize> {
        let keys = nkeys_server();
        let port = options.nats_port.unwrap_or(self.nats.port);
        let mut arguments: Vec<String> = [
            "--nats-host",
            "127.0.0.1",
            "--nats-port",
            &port.to_string(),
            "--lattice",
            &self.name,
            "--allow-file-load",
            "--host-seed",
            &keys.1,
        ]
        .map(str::to_owned)
        .to_vec();
        for (key, value) in &options.labels {
            arguments.extend(["--label".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(options.arguments);
        let folder = self.folder.path();
        let mut environment = options.environment;
        environment.push((
            "XDG_CACHE_HOME".to_owned(),
            folder.join("cache").display().to_string(),
        ));
        let host = HostProcess::spawn(&keys.0, folder, &arguments, &environment)?;
        self.hosts.push(host);
        let started = |event: &crate::Event| {
            event.name == "host_started" && event.body["source"] == keys.0.as_str()
        };
        if let Err(error) = self.events.wait(started, STEP).await {
            let log = self.hosts.last().map(HostProcess::log).unwrap_or_default();
            return Err(error.context(format!("the host did not start:\n{log}")));
        }
        Ok(self.hosts.len() - 1)
    }

    /// The id of a host.
    pub fn host(&self, index: usize) -> &str {
        &self.hosts[index].id
    }

    /// Sends a control request, `body` as raw JSON (`Null` for an empty payload).
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the answer is no JSON.
    pub async fn ctl(&self, operation: &str, body: Value) -> Result<Value> {
        let subject = format!("wasmbus.ctl.v1.{}.{operation}", self.name);
        let payload = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(&body)?
        };
        let reply = self
            .client
            .request(subject, payload.into())
            .await
            .context(operation.to_owned())?;
        Ok(serde_json::from_slice(&reply.payload)?)
    }

    /// Sends a control request that has to succeed.
    ///
    /// # Errors
    ///
    /// Fails with the reply when it is a refusal.
    pub async fn ctl_ok(&self, operation: &str, body: Value) -> Result<Value> {
        let reply = self.ctl(operation, body).await?;
        ensure!(reply["success"] == true, "{operation} was refused: {reply}");
        Ok(reply)
    }

    /// What a host runs.
    ///
    /// # Errors
    ///
    /// Fails when the host does not answer.
    pub async fn inventory(&self, host: usize) -> Result<Value> {
        let operation = format!("host.get.{}", self.host(host));
        let mut reply = self.ctl_ok(&operation, Value::Null).await?;
        Ok(reply["response"].take())
    }

    /// Scales a component on a host and waits for the event of it.
    ///
    /// # Errors
    ///
    /// Fails when the host reports a failure.
    pub async fn scale(&self, host: usize, id: &str, reference: &str, count: u32) -> Result<()> {
        let command = json!({
            "component_ref": reference, "component_id": id, "count": count,
        });
        self.scale_by(host, id, command).await
    }

    /// The same with a command that says more.
    async fn scale_by(&self, host: usize, id: &str, mut command: Value) -> Result<()> {
        let host = self.host(host);
        command["host_id"] = host.into();
        let mark = self.events.len();
        self.ctl_ok(&format!("component.scale.{host}"), command)
            .await?;
        let event = self
            .events
            .wait_after(
                mark,
                |event| {
                    event.name.starts_with("component_scale")
                        && event.data("component_id") == id
                        && event.body["source"] == host
                },
                STEP,
            )
            .await?;
        ensure!(event.name == "component_scaled", "{}", event.body);
        Ok(())
    }

    /// Starts a component of the target folder, by file stem, under an id.
    ///
    /// # Errors
    ///
    /// As [`Lattice::scale`].
    pub async fn run(&self, host: usize, id: &str, name: &str, count: u32) -> Result<()> {
        self.scale(host, id, &component(name)?, count).await
    }

    /// Starts a component whose instances serve one call after the other.
    ///
    /// # Errors
    ///
    /// As [`Lattice::scale`].
    pub async fn run_reused(&self, host: usize, id: &str, name: &str, count: u32) -> Result<()> {
        let command = json!({
            "component_ref": component(name)?, "component_id": id, "count": count,
            "annotations": { "lattice/reuse-instances": "true" },
        });
        self.scale_by(host, id, command).await
    }

    /// Starts a provider of this workspace, as a program or inside the host, and waits until it is
    /// healthy.
    ///
    /// # Errors
    ///
    /// Fails when the host reports a failure.
    pub async fn provide(&self, host: usize, id: &str, name: &str, config: &[&str]) -> Result<()> {
        match name.strip_suffix("-provider") {
            Some(builtin) if self.inside => self.provide_builtin(host, id, builtin, config).await,
            _ => self.provide_file(host, id, &program(name)?, config).await,
        }
    }

    /// Starts a provider that is part of the host, whatever [`Lattice::provide`] does, and waits until it is
    /// healthy.
    ///
    /// # Errors
    ///
    /// As [`Lattice::provide`].
    pub async fn provide_builtin(
        &self,
        host: usize,
        id: &str,
        name: &str,
        config: &[&str],
    ) -> Result<()> {
        let reference = format!("builtin://{name}");
        self.provide_by(host, id, &reference, config).await
    }

    /// Starts a provider from a file and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// As [`Lattice::provide`].
    pub async fn provide_file(
        &self,
        host: usize,
        id: &str,
        file: &Path,
        config: &[&str],
    ) -> Result<()> {
        let reference = format!("file://{}", file.display());
        self.provide_by(host, id, &reference, config).await
    }

    async fn provide_by(
        &self,
        host: usize,
        id: &str,
        reference: &str,
        config: &[&str],
    ) -> Result<()> {
        let host = self.host(host);
        let mark = self.events.len();
        let command = json!({
            "provider_id": id, "provider_ref": reference, "host_id": host, "config": config,
        });
        self.ctl_ok(&format!("provider.start.{host}"), command)
            .await?;
        let event = self
            .events
            .wait_after(
                mark,
                |event| {
                    event.data("provider_id") == id
                        && event.body["source"] == host
                        && (event.name == "provider_start_failed"
                            || event.name == "health_check_passed")
                },
                STEP,
            )
            .await?;
        ensure!(event.name == "health_check_passed", "{}", event.body);
        Ok(())
    }

    /// Stores a named config.
    ///
    /// # Errors
    ///
    /// Fails when it is refused.
    pub async fn config(&self, name: &str, values: Value) -> Result<()> {
        self.ctl_ok(&format!("config.put.{name}"), values)
            .await
            .map(drop)
    }

    /// Puts a link; `interface` is `namespace:package/one,two`.
    ///
    /// # Errors
    ///
    /// Fails when it is refused.
    pub async fn link(
        &self,
        source: &str,
        target: &str,
        interface: &str,
        source_config: &[&str],
        target_config: &[&str],
    ) -> Result<()> {
        let (package, interfaces) = interface.split_once('/').context("no interface")?;
        let (namespace, package) = package.split_once(':').context("no package")?;
        let link = json!({
            "source_id": source, "target": target, "name": "default",
            "wit_namespace": namespace, "wit_package": package,
            "interfaces": interfaces.split(',').collect::<Vec<_>>(),
            "source_config": source_config, "target_config": target_config,
            "locality": self.locality,
        });
        self.ctl_ok("link.put", link).await.map(drop)
    }

    /// Waits until that many links are ready.
    ///
    /// # Errors
    ///
    /// Fails with the links when they are not in time.
    pub async fn until_ready(&self, wanted: usize) -> Result<()> {
        until(async || {
            let reply = self.ctl_ok("link.get", Value::Null).await?;
            let links = reply["response"].as_array().context("no list of links")?;
            let ready = links.iter().filter(|link| {
                let told = link["status"].as_array();
                told.is_some_and(|told| told.iter().any(|end| end["state"] == "ready"))
            });
            if ready.count() < wanted {
                bail!("the links are not ready: {:?}", reply["response"]);
            }
            Ok(())
        })
        .await
    }

    /// Starts the HTTP server on a free port of the loopback address and links it to a component;
    /// gives the address.
    ///
    /// # Errors
    ///
    /// Fails when one of the steps does.
    pub async fn serve_http(&self, host: usize, component: &str) -> Result<String> {
        self.serve_http_with(host, component, json!({})).await
    }

    /// The same with further settings of the link.
    ///
    /// # Errors
    ///
    /// As [`Lattice::serve_http`].
    pub async fn serve_http_with(
        &self,
        host: usize,
        component: &str,
        mut settings: Value,
    ) -> Result<String> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = format!("http-{component}");
        settings["address"] = address.as_str().into();
        self.config(&config, settings).await?;
        self.provide(host, "httpserver", "http-server-provider", &[])
            .await?;
        self.link(
            "httpserver",
            component,
            "wasi:http/incoming-handler",
            &[&config],
            &[],
        )
        .await?;
        self.until_listening(&address).await?;
        Ok(address)
    }

    /// Waits until somebody listens at an address.
    ///
    /// # Errors
    ///
    /// Fails when nobody does in time.
    pub async fn until_listening(&self, address: &str) -> Result<()> {
        until(async || {
            let connected = TcpStream::connect(address).await.map(drop);
            connected.with_context(|| format!("nobody listens at {address}"))
        })
        .await
    }

    /// Waits until an HTTP GET gives `status`; gives the text.
    ///
    /// # Errors
    ///
    /// Fails with the last answer when it does not in time.
    pub async fn until_status(&self, address: &str, path: &str, status: u16) -> Result<String> {
        until(async || match http_client::get(address, path).await {
            Ok((code, text)) if code == status => Ok(text),
            got => bail!("{address}{path} gives {got:?}, not {status}"),
        })
        .await
    }

    /// A peer on the box's server, to call functions with.
    ///
    /// # Errors
    ///
    /// Fails when the server is stopped.
    pub async fn peer(&self) -> Result<Peer> {
        Ok(Peer::new(self.nats.client().await?, PeerConfig::default()).await?)
    }
}

/// A fresh host key: public part and seed.
fn nkeys_server() -> (String, String) {
    let pair = nkeys::KeyPair::new_server();
    let seed = pair.seed().unwrap_or_default();
    (pair.public_key(), seed)
}
