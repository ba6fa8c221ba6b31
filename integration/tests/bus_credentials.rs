//! Provider processes with NATS users of their own: from a provider's real credentials, everything
//! that is not its own or linked is tried, and refused by the server; what is linked works, also
//! right after the link was put and while credentials are replaced.

#![expect(clippy::disallowed_methods, reason = "an attacker owns no subject")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event, Subscriber};
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_claims::nats::{Account, User, account_token, operator_token, user_token};
use lattice_claims::{CurveKey, KeyKind, SigningKey};
use lattice_core::provider::{HostData, NewCredentials};
use lattice_core::subject::ProviderSubjects;
use lattice_integration::{HostOptions, Lattice, STEP, STORE, get, program, until};
use lattice_nats::connection::Creds;
use lattice_nats_box::NatsBoxOptions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long credentials last where they are to end.
const SHORT: Duration = Duration::from_secs(6);
/// How long they last elsewhere.
const LONG: Duration = Duration::from_secs(3600);

/// A lattice on a server with an operator, whose one host signs for the users of providers.
struct Guarded {
    lattice: Lattice,
    folder: TempDir,
}

impl Guarded {
    async fn start(life: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [account, signing, system] = [(); 3].map(|()| SigningKey::generate(KeyKind::Account));
        let operator = SigningKey::generate(KeyKind::Operator);
        let token = |name: &str, key: &SigningKey, signing_keys, jetstream| {
            let account = Account {
                name: name.to_owned(),
                key: key.public_key(),
                signing_keys,
                jetstream,
            };
            account_token(&account, &operator)
        };
        let (own, sys) = (account.public_key(), system.public_key());
        let extra_config = format!(
            "operator: {}\nsystem_account: {sys}\nresolver: MEMORY\n\
             resolver_preload {{\n {own}: {}\n {sys}: {}\n}}\n",
            operator_token("op", &sys, &operator)?,
            token("lattice", &account, vec![signing.public_key()], true)?,
            token("SYS", &system, vec![], false)?,
        );
        let creds = creds(&account)?;
        let text = creds.to_text();
        let file = folder.path().join("host.creds");
        std::fs::write(&file, text.expose())?;
        let options = NatsBoxOptions {
            extra_config,
            credentials: Some(text.expose().to_owned()),
            ..NatsBoxOptions::default()
        };
        let mut lattice = Lattice::start_with(options, 0).await?;
        let (life, seed) = (life.as_secs().to_string(), signing.seed());
        let arguments = [
            "--nats-creds",
            &file.display().to_string(),
            "--nats-account-seed",
            seed.expose(),
            "--nats-account",
            &own,
            "--provider-credentials-seconds",
            &life,
            "--nats-server-log",
            &lattice.nats.log_file().display().to_string(),
        ];
        let options = HostOptions {
            arguments: arguments.map(str::to_owned).to_vec(),
            ..HostOptions::default()
        };
        lattice.add_host(options).await?;
        Ok(Self { lattice, folder })
    }

    /// A program that runs a provider and leaves what it is told in the file `{name}.data`.
    fn spied_on(&self, name: &str, provider: &str) -> Result<PathBuf> {
        let (path, data) = (self.folder.path().join(name), self.data_file(name));
        let text = format!(
            "#!/bin/sh\nread -r line\nprintf '%s\\n' \"$line\" > {data}.new\n\
             /bin/mv {data}.new {data}\nprintf '%s\\n' \"$line\" | {}\n",
            program(provider)?.display(),
            data = data.display(),
        );
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn data_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.data"))
    }

    /// Starts a key-value store under an id; gives what its process was told.
    async fn store(&self, id: &str) -> Result<HostData> {
        let file = self.spied_on(id, "keyvalue-memory-provider")?;
        self.lattice.provide_file(0, id, &file, &[]).await?;
        read_data(&self.data_file(id))
    }
}

fn creds(account: &SigningKey) -> Result<Creds> {
    let key = SigningKey::generate(KeyKind::User);
    let user = User {
        name: "host".to_owned(),
        key: key.public_key(),
        ..User::default()
    };
    Ok(Creds {
        jwt: user_token(&user, account)?.into(),
        seed: key.seed(),
    })
}

fn read_data(file: &Path) -> Result<HostData> {
    let line = std::fs::read_to_string(file)?;
    let text = base64::engine::general_purpose::STANDARD.decode(line.trim())?;
    Ok(serde_json::from_slice(&text)?)
}

/// Somebody who has the credentials of a provider.
struct Attacker {
    client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
    /// Those that were waited past.
    seen: Vec<String>,
    /// What was refused, with what was tried.
    tried: Vec<(String, String)>,
}

impl Attacker {
    async fn new(data: &HostData) -> Result<Self> {
        let (told, refusals) = mpsc::unbounded_channel();
        let creds = Creds {
            jwt: data.lattice_rpc_user_jwt.clone(),
            seed: data.lattice_rpc_user_seed.clone(),
        };
        let bus = data.lattice_bus.clone().context("nothing about NATS")?;
        let client = ConnectOptions::with_credentials(creds.to_text().expose())?
            .custom_inbox_prefix(bus.inbox.context("no inbox")?)
            .event_callback(move |event| {
                let told = told.clone();
                async move {
                    if let Event::ServerError(error) = event {
                        let _nobody_listens = told.send(error.to_string());
                    }
                }
            })
            .connect(&data.lattice_rpc_url)
            .await?;
        Ok(Self {
            client,
            refusals,
            seen: Vec::new(),
            tried: Vec::new(),
        })
    }

    /// Waits for the refusal of a subject.
    async fn refused(&mut self, verb: &str, subject: &str) -> Result<()> {
        let wanted = format!("permissions violation for {verb} to \"{subject}\"");
        let heard = async {
            while let Some(refusal) = self.refusals.recv().await {
                if refusal.to_lowercase().contains(&wanted.to_lowercase()) {
                    return true;
                }
                self.seen.push(refusal);
            }
            false
        };
        let heard = timeout(STEP, heard).await;
        ensure!(
            heard.unwrap_or(false),
            "{verb} to {subject} was not refused"
        );
        let action = if verb == "publish" { verb } else { "subscribe" };
        self.tried.push((action.to_owned(), subject.to_owned()));
        Ok(())
    }

    /// Sends itself a message that names another's subject for its answer: to answer is no right.
    async fn answer_to_itself(&mut self) -> Result<()> {
        let own = "default.kv.wrpc.0.0.1.x.y";
        let mut heard = self.client.subscribe(own).await?;
        for subject in ["wasmbus.ctl.v1.default.link.del", "$JS.API.INFO"] {
            let sent = self.client.publish_with_reply(own, subject, "".into());
            sent.await?;
            timeout(STEP, heard.next()).await?.context("unsubscribed")?;
            self.publish(subject, "{}").await?;
        }
        Ok(())
    }

    /// Waits until the lattice was told of all that was refused so far, and of who tried. Of those that
    /// are alike and come close together one is named, with their number.
    async fn told(&self, lattice: &Lattice, provider: &str) -> Result<()> {
        let told = async || {
            let events = lattice.events.all();
            let own = events.iter().filter(|event| {
                event.name == "bus_refused" && event.data("provider_id") == provider
            });
            let (mut count, mut named) = (0, 0);
            for event in own {
                let what = (event.data("action"), event.data("subject"));
                let tried = self.tried.iter().find(|(a, s)| (&**a, &**s) == what);
                ensure!(tried.is_some(), "nobody tried {what:?}");
                count += 1 + event.body["data"]["suppressed"]
                    .as_u64()
                    .unwrap_or_default();
                named += 1;
            }
            let all = self.tried.len() as u64;
            ensure!(
                count >= all && named > all / 3,
                "{named} named, {count} of {all}"
            );
            Ok(())
        };
        until(told).await
    }

    async fn publish(&mut self, subject: &str, body: impl Into<Bytes>) -> Result<()> {
        self.client.publish(subject.to_owned(), body.into()).await?;
        self.refused("publish", subject).await
    }

    async fn subscribe(&mut self, subject: &str) -> Result<()> {
        let _heard = self.client.subscribe(subject.to_owned()).await?;
        self.refused("subscription", subject).await
    }
}

#[tokio::test]
async fn a_providers_credentials_reach_no_further_than_its_links() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    let other = guarded.store("vault").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/before", 200).await?;

    let mut attacker = Attacker::new(&data).await?;
    // Call what it is not linked to, a component or another provider.
    let handle = "wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";
    attacker
        .publish(&format!("default.counter.{handle}"), "x")
        .await?;
    let get_key = "wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get";
    attacker
        .publish(&format!("default.vault.{get_key}"), "x")
        .await?;
    // Listen to the calls and the answers of others, and answer in their name.
    attacker.subscribe("default.vault.wrpc.>").await?;
    attacker.subscribe("default.counter.wrpc.>").await?;
    attacker.subscribe("default.>").await?;
    attacker.subscribe("_INBOX.>").await?;
    let inbox = other
        .lattice_bus
        .context("no bus")?
        .inbox
        .context("no inbox")?;
    attacker.subscribe(&format!("{inbox}.>")).await?;
    attacker.publish(&format!("{inbox}.a.1"), "x").await?;
    let queued = "default.vault.wrpc.0.0.1.>";
    let queue = "default.vault".to_owned();
    let _served = attacker
        .client
        .queue_subscribe(queued.to_owned(), queue)
        .await?;
    attacker.refused("subscription", queued).await?;
    // Give commands, to hosts and to other providers.
    let link = json!({
        "source_id": "kv", "target": "counter", "name": "default", "wit_namespace": "wasi",
        "wit_package": "http", "interfaces": ["incoming-handler"], "source_config": [],
        "target_config": [],
    });
    attacker
        .publish("wasmbus.ctl.v1.default.link.put", link.to_string())
        .await?;
    attacker
        .publish("wasmbus.rpc.default.vault.linkdefs.put", link.to_string())
        .await?;
    attacker
        .publish("wasmbus.rpc.default.vault.default.shutdown", "{}")
        .await?;
    attacker
        .publish("wasmbus.evt.default.component_scaled", "{}")
        .await?;
    // Read and write what the lattice stores.
    for bucket in ["CONFIGDATA_default", "LATTICEDATA_default"] {
        attacker.subscribe(&format!("$KV.{bucket}.>")).await?;
        attacker.publish(&format!("$KV.{bucket}.x"), "{}").await?;
        attacker
            .publish(&format!("$JS.API.STREAM.INFO.KV_{bucket}"), "")
            .await?;
        attacker
            .publish(&format!("$JS.API.DIRECT.GET.KV_{bucket}"), "{}")
            .await?;
        attacker
            .publish(&format!("$JS.API.STREAM.MSG.GET.KV_{bucket}"), "{}")
            .await?;
    }
    attacker.answer_to_itself().await?;
    attacker.told(lattice, "kv").await?;
    // Nothing of it has done anything.
    let links = lattice.ctl_ok("link.get", Value::Null).await?;
    ensure!(
        links["response"].as_array().map(Vec::len) == Some(2),
        "{links}"
    );
    let text = lattice.until_status(&address, "/before", 200).await?;
    ensure!(text == "Counter /before: 2\n", "{text}");
    Ok(())
}

#[tokio::test]
async fn links_work_as_soon_as_they_are_put_and_while_credentials_are_replaced() -> Result<()> {
    let guarded = Guarded::start(SHORT).await?;
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    // Both ends of the call get rights by links that came after their start.
    let address = lattice.serve_http(0, "counter").await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    lattice.until_status(&address, "/n", 200).await?;

    let begun = Instant::now();
    let (mut calls, mut again) = (0, 0);
    while begun.elapsed() < SHORT * 2 {
        // What was on its way when a connection was made again may be called once more.
        let mut answer = get(&address, "/n").await?;
        if answer.0 != 200 {
            again += 1;
            answer = get(&address, "/n").await?;
        }
        ensure!(answer.0 == 200, "after {:?}: {answer:?}", begun.elapsed());
        calls += 1;
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(again <= 2, "{again} of {calls} calls had to be made again");

    // What the process was started with has ended.
    ensure!(
        Attacker::new(&data).await.is_err(),
        "the first credentials still hold"
    );
    Ok(())
}

#[tokio::test]
async fn rights_come_and_go_with_links() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let lattice = &guarded.lattice;
    let data = guarded.store("kv").await?;
    let first = Attacker::new(&data).await?;
    // The attacker reads what its process is sent, as it has the key.
    let subjects = ProviderSubjects::new(&lattice.name.parse()?, &data.provider_key.parse()?);
    let subject = subjects.credentials(&data.provider_xkey_public_key);
    let mut sent = first.client.subscribe(subject).await?;
    lattice_nats_box::taken_in(&first.client).await?;
    let call = "default.hello.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";

    lattice.run(0, "hello", "http-hello", 1).await?;
    lattice
        .link("kv", "hello", "wasi:http/incoming-handler", &[], &[])
        .await?;
    let mut linked = Attacker::new(&next(&data, &mut sent).await?).await?;
    linked.client.publish(call, "x".into()).await?;
    // What is refused after it shows that it was not.
    linked.publish("default.other.wrpc.0.0.1.x.y", "x").await?;
    ensure!(
        !linked.seen.iter().any(|refusal| refusal.contains(call)),
        "{:?}",
        linked.seen
    );

    let link = json!({
        "source_id": "kv", "name": "default", "wit_namespace": "wasi", "wit_package": "http",
    });
    lattice.ctl_ok("link.del", link).await?;
    let mut after = Attacker::new(&next(&data, &mut sent).await?).await?;
    after.publish(call, "x").await
}

/// The host data with the credentials that come next.
async fn next(data: &HostData, sent: &mut Subscriber) -> Result<HostData> {
    let message = timeout(STEP, sent.next())
        .await?
        .context("nothing was sent")?;
    let own = CurveKey::from_seed(data.provider_xkey_private_key.expose())?;
    let host = CurveKey::from_public_key(&data.host_xkey_public_key)?;
    let new: NewCredentials = serde_json::from_slice(&own.open(&message.payload, &host)?)?;
    Ok(HostData {
        lattice_rpc_user_jwt: new.jwt,
        lattice_rpc_user_seed: new.seed,
        ..data.clone()
    })
}

#[tokio::test]
async fn the_nats_of_the_lattice_is_no_backend_of_such_a_process() -> Result<()> {
    let guarded = Guarded::start(LONG).await?;
    let lattice = &guarded.lattice;
    lattice
        .provide(0, "kv", "keyvalue-nats-provider", &[])
        .await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    until(async || {
        let links = lattice.ctl_ok("link.get", Value::Null).await?;
        let text = links.to_string();
        ensure!(text.contains("credentials of its own"), "{text}");
        Ok(())
    })
    .await
}
