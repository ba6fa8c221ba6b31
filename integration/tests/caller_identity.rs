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
use futures::{FutureExt as _, StreamExt as _};
use lattice_core::provider::{HostData, SecretText};
use lattice_integration::{
    ECHO, Event, HostOptions, Lattice, STEP, STORE, call, echo, get, subject, text, texts, until,
};
use lattice_rpc::{Auth, CallError, Peer, PeerConfig, Switchboard, header, keep_connected};
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
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

/// Waits for the event that a call by a provider was refused, as a text says.
async fn refused_by(lattice: &Lattice, mark: usize, caller: &str, why: &str) -> Result<()> {
    let matches = |event: &Event| is_by(event, caller, why);
    let told = lattice.events.wait_after(mark, matches, STEP).await;
    told.map(drop)
}

fn is_by(event: &Event, caller: &str, why: &str) -> bool {
    event.name == "call_refused"
        && event.data("code") == "foreign-source"
        && event.data("caller_id") == caller
        && event.data("error").contains(why)
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

/// Calls of an entity, as somebody on the bus overhears them.
async fn overhear(lattice: &Lattice, id: &str) -> Result<Subscriber> {
    let calls = subject(id, ">").replace("wrpc.0.0.1.>", ">");
    let overheard = lattice.client.subscribe(calls).await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    Ok(overheard)
}

/// The first of them that proves who makes it.
async fn proven(mut overheard: Subscriber) -> Result<Message> {
    let proven = async {
        while let Some(call) = overheard.next().await {
            if header::proof(call.headers.as_ref()).is_some() {
                return Ok(call);
            }
        }
        bail!("the connection has ended")
    };
    timeout(STEP, proven).await?
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
    let overheard = overhear(lattice, "counter").await?;
    let address = lattice.serve_http(1, "counter").await?;
    let first = lattice.until_status(&address, "/n", 200).await?;
    assert_eq!(first, "Counter /n: 1\n");
    Ok((address, proven(overheard).await?))
}

/// Makes sure that a call is refused when it comes once more, or with something else in it.
async fn refused_when_changed(lattice: &Lattice, call: &Message, target: &str) -> Result<()> {
    let mark = lattice.events.len();
    replay(lattice, call, |_, _| {}).await?;
    refused(lattice, mark, target, "replayed").await?;
    let mark = lattice.events.len();
    replay(lattice, call, |_, payload| payload[0] ^= 1).await?;
    refused(lattice, mark, target, "bad-proof").await?;
    let mark = lattice.events.len();
    replay(lattice, call, |headers, _| {
        headers.insert(header::SOURCE_ID, "somebody");
    })
    .await?;
    refused(lattice, mark, target, "bad-proof").await
}

#[tokio::test]
async fn recorded_and_changed_calls_do_nothing() -> Result<()> {
    // Also in a lattice that was told nothing: hosts vouch for themselves then.
    for lattice in [Lattice::start(2).await?, Strict::new()?.lattice(2).await?] {
        let (address, call) = counting(&lattice).await?;
        refused_when_changed(&lattice, &call, "counter").await?;
        assert_eq!(get(&address, "/n").await?, (200, "Counter /n: 2\n".into()));
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_process_refuses_recorded_and_changed_calls_by_itself() -> Result<()> {
    for lattice in [Lattice::start(2).await?, Strict::new()?.lattice(2).await?] {
        let overheard = overhear(&lattice, "kv").await?;
        lattice.run_counter(0, &[1], 10).await?;
        let address = lattice.serve_http(0, "counter").await?;
        let first = lattice.until_status(&address, "/n", 200).await?;
        assert_eq!(first, "Counter /n: 1\n");
        let call = proven(overheard).await?;
        refused_when_changed(&lattice, &call, "kv").await?;
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
    refused_by(&lattice, 0, "thief", "may not call as `test`").await?;
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
    let mark = lattice.events.len();
    assert_eq!(code(call_as(&thief, "test").await)?, "foreign-source");
    refused_by(&lattice, mark, "thief", "may not call as `test`").await?;
    let (nobody, _line) = on_the_socket(&lattice, &path, SecretText::default()).await?;
    assert_eq!(code(call_as(&nobody, "thief").await)?, "unauthenticated");
    Ok(())
}

/// Kinds of frames of a line.
const HAVE: u8 = 2;
const DECLINED: u8 = 5;
const MESSAGE: u8 = 6;
const HELLO: u8 = 7;

fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len() as u32 + 1;
    [&len.to_be_bytes()[..], &[kind], content].concat()
}

/// A frame of a kind that carries a message.
fn message(kind: u8, subject: &str, reply: &str) -> Vec<u8> {
    let mut content = vec![0];
    content.extend((subject.len() as u16).to_be_bytes());
    content.extend((reply.len() as u16).to_be_bytes());
    content.extend([0; 4]);
    for part in [subject, reply, "forged"] {
        content.extend(part.as_bytes());
    }
    framed(kind, &content)
}

/// Says something on a line to a host, on which a ticket was shown.
async fn say(path: &str, ticket: &str, frame: &[u8]) -> Result<UnixStream> {
    let mut line = UnixStream::connect(path).await?;
    let hello = framed(HELLO, ticket.as_bytes());
    let said = [&b"lattice1"[..], &hello, frame].concat();
    line.write_all(&said).await?;
    Ok(line)
}

/// A call that the host has under way to somebody who says nothing: the next one that comes there, since those
/// that have come may have ended.
async fn under_way(calls: &mut Subscriber) -> Result<(String, String)> {
    while calls.next().now_or_never().flatten().is_some() {}
    let call = async {
        while let Some(call) = calls.next().await {
            if let Some(reply) = call.reply {
                return Ok((call.subject.to_string(), reply.to_string()));
            }
        }
        bail!("the connection has ended")
    };
    timeout(STEP, call).await?
}

#[tokio::test]
async fn what_a_process_on_the_socket_does_to_the_calls_of_others_is_told() -> Result<()> {
    // Providers that are part of the host have peers of their own there.
    for inside in [false, true] {
        let mut lattice = Strict::new()?.lattice(1).await?;
        lattice.inside = inside;
        meddling_is_told(&lattice).await?;
    }
    Ok(())
}

async fn meddling_is_told(lattice: &Lattice) -> Result<()> {
    let folder = TempDir::new()?;
    let data = steal(lattice, 0, "thief", folder.path()).await?;
    let path = data.lattice_socket.context("no socket")?;
    let ticket = data.lattice_identity.context("no identity")?.ticket;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    let link = lattice.link("counter", "elsewhere", STORE, &[], &[]);
    link.await?;
    let mut calls = lattice.client.subscribe(subject("elsewhere", ">")).await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    let address = lattice.serve_http(0, "counter").await?;
    let _asking = AbortOnDropHandle::new(tokio::spawn(keep_asking(address)));
    for kind in [HAVE, MESSAGE, DECLINED] {
        meddle(lattice, &mut calls, (&path, ticket.expose()), kind).await?;
    }
    // And a ticket that nobody was given.
    let mark = lattice.events.len();
    let _line = say(&path, "made up", &[]).await?;
    refused(lattice, mark, "", "unauthenticated").await
}

/// Has calls made again and again.
async fn keep_asking(address: String) {
    loop {
        // The door may not be open yet, and nobody answers the call.
        let _unanswered = timeout(Duration::from_secs(2), get(&address, "/n")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Meddles with a call until that is told: one may have ended before the host hears of it.
async fn meddle(
    lattice: &Lattice,
    calls: &mut Subscriber,
    (path, ticket): (&str, &str),
    kind: u8,
) -> Result<()> {
    for _ in 0..8 {
        let (function, reply) = under_way(calls).await?;
        let (frame, why) = match kind {
            HAVE => (framed(HAVE, function.as_bytes()), "says that it serves"),
            MESSAGE => {
                let results = format!("{reply}.results");
                (message(MESSAGE, &results, ""), "wrote to a call")
            }
            _ => (message(kind, &function, &reply), "has declined a call"),
        };
        let mark = lattice.events.len();
        let _line = say(path, ticket, &frame).await?;
        let told = |event: &Event| is_by(event, "thief", why);
        let events = &lattice.events;
        if let Ok(event) = events.wait_after(mark, told, Duration::from_secs(5)).await {
            assert_eq!(event.data("target_id"), "elsewhere");
            return Ok(());
        }
    }
    bail!("frames of kind {kind} are not told")
}
