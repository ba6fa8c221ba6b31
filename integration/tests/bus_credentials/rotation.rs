//! Credentials and certificates that are replaced under a running host and its providers: calls go on,
//! nothing is started again, and what was replaced is good for nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::connection::State;
use async_nats::{ConnectOptions, Subscriber};
use futures::StreamExt as _;
use lattice_integration::{HttpClient, Lattice, STEP, STORE, free_port, get, program, until};
use lattice_nats::connection::{Connection, Creds, Login};
use lattice_nats_box::{Authority, ClientTls, NatsBox, NatsBoxOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{Tenant, arguments, host, server, write_creds};

/// The connections of the host and its two providers, by the names that they give; one of each is for
/// long streams.
const CONNECTIONS: [(&str, usize); 3] = [("wasmbus", 3), ("kv", 2), ("httpserver", 2)];
/// How many calls may have to be made again at each replacement: one on its way over each connection
/// for calls.
const AGAIN: usize = 4;

/// Calls over and over.
pub(crate) struct Caller {
    address: String,
    pub(crate) calls: usize,
    pub(crate) again: usize,
}

impl Caller {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            calls: 0,
            again: 0,
        }
    }

    /// One call. What was on its way when a connection was made again may be called once more.
    pub(crate) async fn call(&mut self) -> Result<()> {
        let mut answer = get(&self.address, "/n").await?;
        if answer.0 != 200 {
            self.again += 1;
            answer = get(&self.address, "/n").await?;
        }
        self.calls += 1;
        ensure!(answer.0 == 200, "call {}: {answer:?}", self.calls);
        sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// Calls until `check` holds.
    async fn until(&mut self, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let limit = Instant::now() + STEP;
        loop {
            self.call().await?;
            match check().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= limit => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// A host with two providers and the counter, on a server that tells who is connected.
struct Running {
    lattice: Lattice,
    caller: Caller,
    monitor: String,
    processes: Vec<u32>,
}

impl Running {
    async fn start(options: NatsBoxOptions, of_host: Vec<String>) -> Result<Self> {
        let (options, monitor) = monitored(options)?;
        let mut lattice = Lattice::start_with(options, 0).await?;
        lattice.add_host(host(of_host)).await?;
        lattice
            .run(0, "counter", "http-keyvalue-counter", 10)
            .await?;
        lattice
            .provide(0, "kv", "keyvalue-memory-provider", &[])
            .await?;
        lattice.link("counter", "kv", STORE, &[], &[]).await?;
        let address = lattice.serve_http(0, "counter").await?;
        lattice.until_status(&address, "/n", 200).await?;
        let processes = processes(&lattice)?;
        Ok(Self {
            caller: Caller::new(&address),
            lattice,
            monitor,
            processes,
        })
    }

    /// Calls until every connection is one of which the server says `who` in a field.
    async fn until_all(&mut self, field: &str, who: &str) -> Result<()> {
        let before = self.caller.again;
        let monitor = &self.monitor;
        let all = async || all_are(monitor, &CONNECTIONS, field, who).await;
        self.caller.until(all).await?;
        let again = self.caller.again - before;
        ensure!(again <= AGAIN, "{again} calls had to be made again");
        Ok(())
    }

    fn nothing_was_started_again(&self) -> Result<()> {
        let now = processes(&self.lattice)?;
        ensure!(now == self.processes, "{now:?} were {:?}", self.processes);
        Ok(())
    }
}

fn processes(lattice: &Lattice) -> Result<Vec<u32>> {
    let host = &lattice.hosts[0];
    let kv = host.provider_pid("keyvalue-memory-provider")?;
    let web = host.provider_pid("http-server-provider")?;
    Ok(vec![host.pid().context("the host has exited")?, kv, web])
}

/// Has the server tell at an address who is connected.
fn monitored(mut options: NatsBoxOptions) -> Result<(NatsBoxOptions, String)> {
    let monitor = format!("127.0.0.1:{}", free_port()?);
    options.extra_config += &format!("http: \"{monitor}\"\n");
    Ok((options, monitor))
}

/// Whether there are as many connections of these names, and the server says `who` of each in a field.
async fn all_are(monitor: &str, named: &[(&str, usize)], field: &str, who: &str) -> Result<()> {
    let mut client = HttpClient::connect(monitor).await?;
    let answer = client.get("/connz?auth=1").await?;
    let answer: Value = serde_json::from_slice(answer.body())?;
    let connections = answer["connections"].as_array().context("a list")?;
    for (name, count) in named {
        let own = connections.iter().filter(|one| one["name"] == *name);
        let is_theirs = |one: &&Value| one[field].to_string().contains(who);
        let (all, theirs) = (own.clone().count(), own.filter(is_theirs).count());
        ensure!(
            all == *count && theirs == *count,
            "{theirs} of {all} connections of {name} are {who}: {connections:#?}"
        );
    }
    Ok(())
}

/// The public key of a user.
fn public(creds: &Creds) -> Result<String> {
    Ok(nkeys::KeyPair::from_seed(creds.seed.expose())?.public_key())
}

#[tokio::test]
async fn a_new_user_in_the_credentials_file_takes_over_while_calls_go_on() -> Result<()> {
    // As long as they may take to be replaced again.
    const SECOND: Duration = Duration::from_secs(15);
    let tenant = Tenant::new("lattice");
    let folder = TempDir::new()?;
    let file = folder.path().join("host.creds");
    write_creds(&tenant.user(None)?, &file)?;
    let of_host = arguments(&[("--nats-creds", &file.display().to_string())]);
    let mut running = Running::start(server(&[&tenant])?, of_host).await?;

    let second = tenant.user(Some(SECOND))?;
    write_creds(&second, &file)?;
    running
        .until_all("authorized_user", &public(&second)?)
        .await?;
    let third = tenant.user(None)?;
    write_creds(&third, &file)?;
    running
        .until_all("authorized_user", &public(&third)?)
        .await?;
    // The server lets the one before in no more, and nobody needs it.
    let url = running.lattice.nats.url.clone();
    let ended = async || {
        let options = ConnectOptions::with_credentials(second.to_text().expose())?;
        ensure!(options.connect(&url).await.is_err(), "it still holds");
        Ok(())
    };
    let before = running.caller.again;
    running.caller.until(ended).await?;
    for _ in 0..10 {
        running.caller.call().await?;
    }
    ensure!(running.caller.again == before, "a connection was lost");
    running.nothing_was_started_again()
}

#[tokio::test]
async fn credentials_of_another_account_are_not_followed() -> Result<()> {
    let (own, other) = (Tenant::new("lattice"), Tenant::new("other"));
    let nats = NatsBox::start_with(server(&[&own, &other])?).await?;
    let folder = TempDir::new()?;
    let file = folder.path().join("host.creds");
    write_creds(&own.user(None)?, &file)?;
    let connection = Connection {
        servers: vec![nats.url.clone()],
        login: Login::CredsFile(file.clone()),
        ..Connection::default()
    };
    let prepared = connection.prepare()?;
    let client = prepared.options().connect(prepared.servers()).await?;
    let _rotation = prepared.rotation(&client).context("a file to watch")?;
    let listen = async |tenant: &Tenant| {
        let options = ConnectOptions::with_credentials(tenant.user(None)?.to_text().expose())?;
        let listener = options.connect(&nats.url).await?;
        let subscription = listener.subscribe("said.>").await?;
        listener.flush().await?;
        anyhow::Ok((listener, subscription))
    };
    let (here, mut heard_here) = listen(&own).await?;
    let (there, mut heard_there) = listen(&other).await?;

    write_creds(&other.user(None)?, &file)?;
    // As when the server goes away for a moment: the client reads the file, whoever watches it.
    client.force_reconnect().await?;
    client.publish("said.by-host", "1".into()).await?;
    for _ in 0..30 {
        sleep(Duration::from_millis(50)).await;
        let state = client.connection_state();
        ensure!(
            state != State::Connected,
            "it has followed the other account"
        );
    }
    write_creds(&own.user(None)?, &file)?;
    let first = async |heard: &mut Subscriber| {
        let message = timeout(STEP, heard.next()).await?;
        anyhow::Ok(message.context("a message")?.subject.to_string())
    };
    ensure!(first(&mut heard_here).await? == "said.by-host");
    drop(here);
    there.publish("said.there", "2".into()).await?;
    let heard = first(&mut heard_there).await?;
    ensure!(heard == "said.there", "the other account has heard {heard}");
    Ok(())
}

#[tokio::test]
async fn no_process_is_started_in_another_account_than_that_of_its_host() -> Result<()> {
    let (own, other) = (Tenant::new("lattice"), Tenant::new("other"));
    let folder = TempDir::new()?;
    let file = folder.path().join("host.creds");
    write_creds(&own.user(None)?, &file)?;
    let of_host = arguments(&[("--nats-creds", &file.display().to_string())]);
    let mut lattice = Lattice::start_with(server(&[&own, &other])?, 0).await?;
    lattice.add_host(host(of_host)).await?;
    write_creds(&other.user(None)?, &file)?;
    let start = async || {
        lattice
            .provide(0, "kv", "keyvalue-memory-provider", &[])
            .await
    };
    let refused = start().await.err().context("it was started")?;
    let text = format!("{refused:#}");
    ensure!(text.contains("another NATS account"), "{text}");
    write_creds(&own.user(None)?, &file)?;
    start().await
}

#[tokio::test]
async fn a_new_user_takes_over_in_commands_that_go_on_too() -> Result<()> {
    let tenant = Tenant::new("lattice");
    let folder = TempDir::new()?;
    let (file, rules) = (
        folder.path().join("wash.creds"),
        folder.path().join("rules"),
    );
    std::fs::write(&rules, "default = \"allow\"\n")?;
    let (options, monitor) = monitored(server(&[&tenant])?)?;
    let nats = NatsBox::start_with(options).await?;
    let users = [tenant.user(None)?, tenant.user(None)?];
    write_creds(&users[0], &file)?;
    let serve = |words: &[&str], of: &Path| {
        let mut wash = Command::new(program("wash")?);
        wash.args(words).arg(of).arg("--ctl-credsfile").arg(&file);
        wash.args(["--ctl-port", &nats.port.to_string()]);
        wash.env("HOME", folder.path()).stdin(Stdio::null());
        anyhow::Ok(wash.kill_on_drop(true).spawn()?)
    };
    let key = folder.path().join("key");
    let backend = ["secrets-backend", "serve", "--encryption-xkey-file"];
    let _commands = [serve(&["policy", "serve"], &rules)?, serve(&backend, &key)?];
    for user in &users {
        write_creds(user, &file)?;
        let who = public(user)?;
        until(async || all_are(&monitor, &[("wash", 2)], "authorized_user", &who).await).await?;
    }
    Ok(())
}

/// Puts one file in the place of another, in one step.
fn put(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    std::fs::copy(from, &new)?;
    Ok(std::fs::rename(new, to)?)
}

#[tokio::test]
async fn a_new_client_certificate_takes_over_while_calls_go_on() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    old.sign("host", "before")?;
    new.sign("host", "after")?;
    // The server knows the authorities of both at first.
    let clients = new.path("clients.pem");
    let both = [old.path("ca.pem"), new.path("ca.pem")].map(std::fs::read);
    let [old_ca, new_ca] = both;
    std::fs::write(&clients, [old_ca?, new_ca?].concat())?;
    let config = new.server_config("verify: true");
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let options = NatsBoxOptions {
        extra_config: config.replace(
            &format!(" ca_file: {}", path(&new.path("ca.pem"))),
            &format!(" ca_file: {}", path(&clients)),
        ),
        tls: Some(ClientTls {
            ca: new.path("ca.pem"),
            cert: new.path("client.pem"),
            key: new.path("client.key"),
        }),
        ..NatsBoxOptions::default()
    };
    ensure!(options.extra_config != config, "{config}");
    let folder = TempDir::new()?;
    let (cert, key) = (
        folder.path().join("host.pem"),
        folder.path().join("host.key"),
    );
    put(&old.path("host.pem"), &cert)?;
    put(&old.path("host.key"), &key)?;
    let of_host = arguments(&[
        ("--nats-tls-cert", &cert.display().to_string()),
        ("--nats-tls-key", &key.display().to_string()),
        ("--tls-ca-path", &new.path("ca.pem").display().to_string()),
    ]);
    let mut running = Running::start(options, of_host).await?;
    running.until_all("tls_peer_certs", "CN=before").await?;

    put(&new.path("host.pem"), &cert)?;
    put(&new.path("host.key"), &key)?;
    running.until_all("tls_peer_certs", "CN=after").await?;
    // The old authority counts no longer, and nobody needs it.
    std::fs::write(&clients, std::fs::read(new.path("ca.pem"))?)?;
    running.lattice.nats.restart().await?;
    let refused = ConnectOptions::new()
        .add_root_certificates(new.path("ca.pem"))
        .add_client_certificate(old.path("host.pem"), old.path("host.key"))
        .connect(&running.lattice.nats.url);
    ensure!(refused.await.is_err(), "the old certificate still holds");
    let address = &running.caller.address;
    until(async || {
        let answer = get(address, "/n").await?;
        ensure!(answer.0 == 200, "{answer:?}");
        Ok(())
    })
    .await?;
    running.nothing_was_started_again()
}
