//! Who makes a call: what others on the bus, and providers with credentials of their own, can do
//! about it.

#![expect(
    clippy::disallowed_methods,
    reason = "an attacker speaks the wire itself"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{HeaderMap, Message, Subscriber};
use futures::StreamExt as _;
use lattice_core::provider::{HostData, SecretText};
use lattice_integration::{
    ECHO, HostOptions, Lattice, STEP, call, echo, get, subject, text, texts, until,
};
use lattice_rpc::{Auth, CallError, Peer, PeerConfig, Switchboard, header, keep_connected};
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A function of a store.
const GET: &str = "wrpc:keyvalue/store@0.2.0-draft.get";

/// What the probe exports.
const PROBE: &str = "test:probe/echo";

/// What hosts of one strict lattice are started with.
struct Strict(String);

impl Strict {
    fn new() -> Result<Self> {
        Ok(Self(KeyPair::new(KeyPairType::Cluster).seed()?))
    }

    fn options(&self) -> HostOptions {
        HostOptions {
            arguments: vec!["--allow-legacy-peers=false".to_owned()],
            environment: vec![("WASMCLOUD_CLUSTER_SEED".to_owned(), self.0.clone())],
            ..HostOptions::default()
        }
    }

    async fn lattice(&self, hosts: usize) -> Result<Lattice> {
        let mut lattice = Lattice::start(0).await?;
        for _ in 0..hosts {
            lattice.add_host(self.options()).await?;
        }
        Ok(lattice)
    }
}

/// Waits for the event that a call to `target` was refused.
async fn refused(lattice: &Lattice, mark: usize, target: &str, code: &str) -> Result<()> {
    let matches = |event: &lattice_integration::Event| {
        event.name == "call_refused"
            && event.data("target_id") == target
            && event.data("code") == code
    };
    lattice
        .events
        .wait_after(mark, matches, STEP)
        .await
        .map(drop)
}

/// The code of an error that the called side gave.
fn code<T>(result: Result<T, CallError>) -> Result<String> {
    match result {
        Err(CallError::Remote(error)) => Ok(error.code),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("the call was let in"),
    }
}

#[tokio::test]
async fn who_proves_nothing_is_let_in_unless_the_lattice_is_strict() -> Result<()> {
    let lenient = Lattice::start(1).await?;
    lenient.run(0, "probe", "probe", 1).await?;
    echo(&lenient.peer().await?, "probe").await?;

    let lattice = Strict::new()?.lattice(1).await?;
    lattice.run(0, "probe", "probe", 1).await?;
    let peer = lattice.peer().await?;
    let answer = call(&peer, "probe", ECHO, text("let me in"), 10_000).await;
    assert_eq!(code(answer)?, "unauthenticated");
    refused(&lattice, 0, "probe", "unauthenticated").await?;
    // A provider refuses it as well, and its host tells of it.
    lattice.provide_store(0).await?;
    let answer = call(&peer, "kv", GET, texts(&["bucket", "key"]), 10_000).await;
    assert_eq!(code(answer)?, "unauthenticated");
    refused(&lattice, 0, "kv", "unauthenticated").await
}

#[tokio::test]
async fn hosts_and_providers_of_a_strict_lattice_call_one_another() -> Result<()> {
    let lattice = Strict::new()?.lattice(2).await?;
    lattice.run_counter(0, &[1], 10).await?;
    // From the second host's provider to the first, and back to a provider of the second.
    let address = lattice.serve_http(1, "counter").await?;
    for n in 1..=5 {
        let text = lattice.until_status(&address, "/hello", 200).await?;
        assert_eq!(text, format!("Counter /hello: {n}\n"));
    }
    let seen = lattice.events.all();
    let bad = seen.iter().find(|event| event.name == "call_refused");
    assert!(bad.is_none(), "{bad:?}");
    Ok(())
}

#[tokio::test]
async fn a_host_of_another_cluster_is_refused() -> Result<()> {
    let mut lattice = Strict::new()?.lattice(1).await?;
    let stranger = lattice.add_host(Strict::new()?.options()).await?;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(stranger, "hello").await?;
    until(async || {
        let (status, _) = get(&address, "/").await?;
        ensure!(status >= 500, "{status}");
        Ok(())
    })
    .await?;
    refused(&lattice, 0, "hello", "untrusted").await
}

#[tokio::test]
async fn a_host_that_goes_and_one_that_comes_lose_no_call() -> Result<()> {
    let strict = Strict::new()?;
    let mut lattice = strict.lattice(3).await?;
    for host in [0, 1] {
        lattice.run(host, "hello", "http-hello", 50).await?;
    }
    let address = lattice.serve_http(2, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    let stop = CancellationToken::new();
    let asking = tokio::spawn(ask_on(address, stop.clone()));
    let ended = lattice.hosts[0].terminate(STEP).await?;
    ensure!(ended.success(), "{ended}");
    let again = lattice.add_host(strict.options()).await?;
    lattice.run(again, "hello", "http-hello", 50).await?;
    let ended = lattice.hosts[1].terminate(STEP).await?;
    ensure!(ended.success(), "{ended}");
    stop.cancel();
    let answered = asking.await??;
    assert!(answered > 0);
    Ok(())
}

/// Makes requests, all of which have to be answered, until told to stop; gives how many.
async fn ask_on(address: String, stop: CancellationToken) -> Result<usize> {
    let mut answered = 0;
    while !stop.is_cancelled() {
        let (status, text) = get(&address, "/").await?;
        ensure!(status == 200, "{status} {text}");
        answered += 1;
    }
    Ok(answered)
}

/// Calls of the counter, as somebody on the bus overhears them.
async fn overhear(lattice: &Lattice) -> Result<Subscriber> {
    let calls = subject("counter", ">").replace("wrpc.0.0.1.>", ">");
    let overheard = lattice.client.subscribe(calls).await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    Ok(overheard)
}

/// Sends a call again, as it was but for what `change` does to it.
async fn replay(
    lattice: &Lattice,
    call: &Message,
    change: impl FnOnce(&mut HeaderMap, &mut Vec<u8>),
) -> Result<()> {
    let mut headers = call.headers.clone().context("no headers")?;
    let mut payload = call.payload.to_vec();
    change(&mut headers, &mut payload);
    let reply = call.reply.clone().context("no place for an answer")?;
    let client = &lattice.client;
    client
        .publish_with_reply_and_headers(call.subject.clone(), reply, headers, payload.into())
        .await?;
    Ok(())
}

/// A lattice in which the provider of the second host calls the component of the first.
async fn counting(lattice: &Lattice) -> Result<(String, Message)> {
    lattice.run_counter(0, &[0], 10).await?;
    let mut overheard = overhear(lattice).await?;
    let address = lattice.serve_http(1, "counter").await?;
    let first = lattice.until_status(&address, "/n", 200).await?;
    assert_eq!(first, "Counter /n: 1\n");
    let proven = async {
        while let Some(call) = overheard.next().await {
            if header::proof(call.headers.as_ref()).is_some() {
                return Ok(call);
            }
        }
        bail!("the connection has ended")
    };
    let call = timeout(STEP, proven).await??;
    Ok((address, call))
}

#[tokio::test]
async fn recorded_and_changed_calls_do_nothing() -> Result<()> {
    // Also in a lattice that was told nothing: hosts vouch for themselves then.
    for lattice in [Lattice::start(2).await?, Strict::new()?.lattice(2).await?] {
        let (address, call) = counting(&lattice).await?;
        let mark = lattice.events.len();
        replay(&lattice, &call, |_, _| {}).await?;
        refused(&lattice, mark, "counter", "replayed").await?;
        let mark = lattice.events.len();
        replay(&lattice, &call, |_, payload| payload[0] ^= 1).await?;
        refused(&lattice, mark, "counter", "bad-proof").await?;
        let mark = lattice.events.len();
        replay(&lattice, &call, |headers, _| {
            headers.insert(header::SOURCE_ID, "somebody");
        })
        .await?;
        refused(&lattice, mark, "counter", "bad-proof").await?;
        assert_eq!(get(&address, "/n").await?, (200, "Counter /n: 2\n".into()));
    }
    Ok(())
}

#[tokio::test]
async fn a_foreign_source_written_by_a_bus_client_is_refused_in_a_strict_lattice() -> Result<()> {
    let lattice = Strict::new()?.lattice(2).await?;
    let (address, recorded) = counting(&lattice).await?;
    let mark = lattice.events.len();
    // With an inbox of its own: what is sent to that of a call, its caller may take for the answer.
    let recorded = Message {
        reply: Some(lattice.client.new_inbox().into()),
        ..recorded
    };
    replay(&lattice, &recorded, |headers, _| {
        *headers = HeaderMap::new();
        headers.insert(header::SOURCE_ID, "httpserver");
    })
    .await?;
    refused(&lattice, mark, "counter", "unauthenticated").await?;
    assert_eq!(get(&address, "/n").await?, (200, "Counter /n: 2\n".into()));
    Ok(())
}

/// Has a host start a provider that hands its host data to the test, and lives on.
async fn steal(lattice: &Lattice, host: usize, id: &str, folder: &Path) -> Result<HostData> {
    let (program, loot) = (folder.join("thief"), folder.join("loot"));
    let script = format!(
        "#!/bin/sh\nread -r line\nprintf '%s' \"$line\" > '{0}.new'\nmv '{0}.new' '{0}'\nexec sleep 600\n",
        loot.display()
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let host = lattice.host(host);
    let command = json!({
        "provider_id": id, "provider_ref": format!("file://{}", program.display()),
        "host_id": host, "config": [],
    });
    lattice
        .ctl_ok(&format!("provider.start.{host}"), command)
        .await?;
    until(async || Ok(HostData::from_line(&std::fs::read(&loot)?)?)).await
}

#[tokio::test]
async fn a_provider_with_its_own_credentials_calls_as_nobody_else() -> Result<()> {
    let lattice = Strict::new()?.lattice(2).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let folder = TempDir::new()?;
    let data = steal(&lattice, 1, "thief", folder.path()).await?;
    let identity = data.lattice_identity.context("no identity")?;
    let auth = Auth::of_provider(&data.lattice_rpc_prefix, &identity, None)?;
    let config = PeerConfig {
        auth: Some(auth),
        ..PeerConfig::default()
    };
    let peer = Peer::new(lattice.nats.client().await?, config).await?;
    let foreign = call_as(&peer, "test").await;
    assert_eq!(code(foreign)?, "foreign-source");
    refused(&lattice, 0, "probe", "foreign-source").await?;
    // As itself it may call what it is linked to.
    assert_eq!(code(call_as(&peer, "thief").await)?, "not-linked");
    refused(&lattice, 0, "probe", "not-linked").await?;
    linked_otherwise(&lattice, &peer).await?;
    lattice.link("thief", "probe", PROBE, &[], &[]).await?;
    assert_eq!(call_as(&peer, "thief").await?, text("psst"));
    Ok(())
}

async fn call_as(peer: &Peer, source: &str) -> Result<bytes::Bytes, CallError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let invocation = lattice_rpc::Invocation::new(subject("probe", ECHO), deadline);
    peer.call(invocation.source(source), text("psst")).await
}

/// A link to the target for another interface, and one with rules that nobody keeps, are none for the
/// call.
async fn linked_otherwise(lattice: &Lattice, thief: &Peer) -> Result<()> {
    let mut link = json!({
        "source_id": "thief", "target": "probe", "name": "default", "wit_namespace": "test",
        "wit_package": "probe", "interfaces": ["other"], "source_config": [], "target_config": [],
    });
    lattice.ctl_ok("link.put", link.clone()).await?;
    assert_eq!(code(call_as(thief, "thief").await)?, "not-linked");
    link["interfaces"] = json!(["echo"]);
    link["rules"] = json!({"rate": "1/s"});
    lattice.ctl_ok("link.put", link).await?;
    assert_eq!(code(call_as(thief, "thief").await)?, "not-linked");
    Ok(())
}

/// A peer on the socket of a host, which shows `ticket`, and a way there that is sure to stand.
async fn on_the_socket(
    lattice: &Lattice,
    path: &str,
    ticket: SecretText,
) -> Result<(Peer, AbortOnDropHandle<()>)> {
    let board = Switchboard::default();
    board.show(ticket);
    let (path, stop) = (path.into(), CancellationToken::new());
    let line = tokio::spawn(keep_connected(path, board.clone(), stop));
    let config = PeerConfig {
        local: Some(board.clone()),
        ..PeerConfig::default()
    };
    let peer = Peer::new(lattice.nats.client().await?, config).await?;
    until(async || {
        ensure!(
            board.reaches(&subject("probe", ECHO)),
            "no way to the probe"
        );
        Ok(())
    })
    .await?;
    Ok((peer, AbortOnDropHandle::new(line)))
}

#[tokio::test]
async fn a_process_on_the_socket_is_who_its_ticket_says() -> Result<()> {
    let lattice = Strict::new()?.lattice(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let folder = TempDir::new()?;
    let data = steal(&lattice, 0, "thief", folder.path()).await?;
    let path = data.lattice_socket.context("no socket")?;
    let ticket = data.lattice_identity.context("no identity")?.ticket;
    let (thief, _line) = on_the_socket(&lattice, &path, ticket).await?;
    assert_eq!(code(call_as(&thief, "thief").await)?, "not-linked");
    refused(&lattice, 0, "probe", "not-linked").await?;
    linked_otherwise(&lattice, &thief).await?;
    lattice.link("thief", "probe", PROBE, &[], &[]).await?;
    assert_eq!(call_as(&thief, "thief").await?, text("psst"));
    assert_eq!(code(call_as(&thief, "test").await)?, "foreign-source");
    // Who shows a ticket that nobody was given is cut off, which `lattice-rpc` tests.
    let (nobody, _line) = on_the_socket(&lattice, &path, SecretText::default()).await?;
    assert_eq!(code(call_as(&nobody, "thief").await)?, "unauthenticated");
    Ok(())
}
