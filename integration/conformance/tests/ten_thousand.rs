//! Ten thousand messages through a lattice whose hosts, provider and handlers die now and then: none is lost, and those
//! that come more than once are counted.

#![expect(clippy::print_stdout, reason = "how much died and came twice is told")]

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, BytesMut};
use lattice_codec::{Reader, write};
use lattice_conformance::Witness;
use lattice_integration::{HostOptions, Lattice, params, subject};
use lattice_rpc::{Invocation, Peer};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const COUNT: usize = 10_000;
/// How many tasks send, and how many messages one of them sends at once.
const SENDERS: usize = 8;
const AT_ONCE: usize = 25;
/// How long the whole may take.
const LIMIT: Duration = Duration::from_secs(90);
/// The seed of what dies when.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const COMPONENT: &str = "suite";
const PROVIDER: &str = "backend";

/// A sequence that is the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What the messages go through.
struct Road {
    guest: &'static str,
    program: &'static str,
    calls: &'static str,
    called: &'static str,
    target: Value,
    source: Value,
    /// Sends those messages, and gives back which of them were not taken.
    send: fn(Peer, Vec<usize>) -> Sending,
}

type Sending = std::pin::Pin<Box<dyn Future<Output = Vec<usize>> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_stream() {
    let road = Road {
        guest: "suite-messaging",
        program: "messaging-nats-provider",
        calls: "wasmcloud:messaging/consumer",
        called: "wasmcloud:messaging/handler",
        target: json!({ "jetstream": "true" }),
        source: json!({
            "stream": "LOAD", "stream_subjects": "suite.kept.>", "ack_wait_ms": "4000",
            "max_deliver": "100", "backoff": "50,400", "max_in_flight": "64",
        }),
        send: |peer, numbers| Box::pin(publish(peer, numbers)),
    };
    all_come(&road).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_queue() {
    let queue = json!({ "create": "true", "queue": "load", "lease_ms": "4000" });
    let mut source = queue.clone();
    for (key, value) in [
        ("backoff_ms", "20"),
        ("max_backoff_ms", "1000"),
        ("max_attempts", "0"),
        ("max_in_flight", "64"),
    ] {
        source[key] = value.into();
    }
    let road = Road {
        guest: "suite-queue",
        program: "queue-nats-provider",
        calls: "lattice:queue/producer,consumer",
        called: "lattice:queue/handler",
        target: queue,
        source,
        send: |peer, numbers| Box::pin(send_many(peer, numbers)),
    };
    all_come(&road).await.unwrap();
}

/// The first host runs the provider, the others the component, each until it dies.
async fn lay(road: &Road) -> Result<(Lattice, Peer, Witness)> {
    let lattice = Lattice::start(3).await?;
    let peer = lattice.peer().await?;
    for host in [1, 2] {
        lattice.run(host, COMPONENT, road.guest, 100).await?;
    }
    let witness = Witness::of(&lattice, &peer, COMPONENT).await?;
    lattice.provide(0, PROVIDER, road.program, &[]).await?;
    for (name, values) in [("target", &road.target), ("source", &road.source)] {
        lattice.config(name, values.clone()).await?;
    }
    lattice
        .link(COMPONENT, PROVIDER, road.calls, &[], &["target"])
        .await?;
    lattice
        .link(PROVIDER, COMPONENT, road.called, &["source"], &[])
        .await?;
    Ok((lattice, peer, witness))
}

async fn all_come(road: &Road) -> Result<()> {
    let (mut lattice, peer, witness) = lay(road).await?;
    let mut senders = JoinSet::new();
    for at in 0..SENDERS {
        let share = COUNT / SENDERS;
        senders.spawn(send_all(
            peer.clone(),
            road.send,
            at * share..(at + 1) * share,
        ));
    }
    let (until, mut chance) = (Instant::now() + LIMIT, Chance(SEED));
    let (mut killed, mut at) = (Killed::default(), [0, 1, 2]);
    let seen = loop {
        sleep(Duration::from_millis(1000 + chance.below(2000))).await;
        let seen = counted(&witness);
        if seen.len() >= COUNT && killed.each() {
            break seen;
        }
        ensure!(
            Instant::now() < until,
            "{} of {COUNT} came, {killed:?}",
            seen.len()
        );
        // In the end all is left alone, so that it ends.
        if seen.len() > COUNT * 2 / 3 && killed.each() {
            continue;
        }
        killed.one(&mut lattice, road, &mut at, &mut chance).await?;
    };
    while let Some(sent) = senders.join_next().await {
        sent?;
    }
    let again: usize = seen.values().map(|times| times - 1).sum();
    println!(
        "{}: {COUNT} messages, {killed:?}, and handlers that trap: all came, {again} once more",
        road.program
    );
    Ok(())
}

/// How often something was killed that was there.
#[derive(Debug, Default)]
struct Killed {
    /// Hosts of the component.
    hosts: usize,
    /// Hosts of the provider.
    homes: usize,
    /// The provider alone.
    providers: usize,
}

impl Killed {
    /// Whether each kind was killed.
    fn each(&self) -> bool {
        self.hosts > 0 && self.homes > 0 && self.providers > 0
    }

    /// Kills something, and has a host in its place if it was one. The provider's is the first of the
    /// hosts, and is killed once.
    async fn one(
        &mut self,
        lattice: &mut Lattice,
        road: &Road,
        at: &mut [usize; 3],
        chance: &mut Chance,
    ) -> Result<()> {
        if chance.below(3) == 0 {
            self.providers += usize::from(kill_provider(lattice, at[0], road.program).await?);
            return Ok(());
        }
        let which = match self.homes {
            0 => chance.below(3),
            _ => 1 + chance.below(2),
        };
        let which = usize::try_from(which)?;
        lattice.hosts[at[which]].kill().await?;
        at[which] = lattice.add_host(HostOptions::default()).await?;
        match which {
            0 => {
                lattice.provide(at[0], PROVIDER, road.program, &[]).await?;
                self.homes += 1;
            }
            _ => {
                let host = at[which];
                lattice.run(host, COMPONENT, road.guest, 100).await?;
                self.hosts += 1;
            }
        }
        Ok(())
    }
}

/// How often each was seen.
fn counted(witness: &Witness) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for seen in witness.seen() {
        *counts.entry(seen).or_default() += 1;
    }
    counts
}

/// Kills the provider's process, if it is there: it may have died just now, and not be there again yet.
async fn kill_provider(lattice: &Lattice, host: usize, program: &str) -> Result<bool> {
    let Ok(pid) = lattice.hosts[host].provider_pid(program) else {
        return Ok(false);
    };
    let mut kill = tokio::process::Command::new("kill");
    let killed = kill.args(["-9", &pid.to_string()]).status().await?;
    Ok(killed.success())
}

/// Sends a share of the messages, each until it is taken.
async fn send_all(peer: Peer, send: fn(Peer, Vec<usize>) -> Sending, share: Range<usize>) {
    let all: Vec<_> = share.collect();
    for some in all.chunks(AT_ONCE) {
        let mut left = some.to_vec();
        while !left.is_empty() {
            left = send(peer.clone(), left).await;
            if !left.is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn call(peer: &Peer, function: &str, fill: impl FnOnce(&mut BytesMut)) -> Result<Reader> {
    let until = Instant::now() + Duration::from_secs(5);
    let call = Invocation::new(subject(PROVIDER, function), until)
        .source(COMPONENT)
        .link_name("default");
    let mut read = Reader::new(peer.call(call, params(fill)).await?);
    ensure!(!read.result_is_err()?, "it was refused");
    Ok(read)
}

async fn publish(peer: Peer, numbers: Vec<usize>) -> Vec<usize> {
    let mut left = Vec::new();
    for number in numbers {
        let taken = call(&peer, "wasmcloud:messaging/consumer@0.2.0.publish", |out| {
            write::string(out, "suite.kept.load");
            write::bytes(out, number.to_string().as_bytes());
            write::option(out, None::<&str>, write::string);
        });
        if taken.await.is_err() {
            left.push(number);
        }
    }
    left
}

async fn send_many(peer: Peer, numbers: Vec<usize>) -> Vec<usize> {
    let sent = call(&peer, "lattice:queue/producer@0.1.0.send-many", |out| {
        write::string(out, "load");
        write::uleb(out, numbers.len() as u64);
        for number in &numbers {
            write::bytes(out, number.to_string().as_bytes());
            write::option(out, None::<&str>, write::string);
            write::uleb(out, 0);
            // So that one whose answer was lost is stored once.
            let id = format!("message-{number}");
            write::option(out, Some(id.as_str()), write::string);
            out.put_u8(0);
        }
    });
    let Ok(mut read) = sent.await else {
        return numbers;
    };
    taken(&mut read, &numbers).unwrap_or(numbers)
}

/// Which messages were not taken, where all were answered. An error ends the reading: the rest is sent again.
fn taken(read: &mut Reader, numbers: &[usize]) -> Result<Vec<usize>> {
    let count = read.count(1)?;
    ensure!(count == numbers.len(), "{count} answers");
    for at in 0..count {
        if read.result_is_err()? {
            return Ok(numbers[at..].to_vec());
        }
        read.string().context("no id")?;
    }
    Ok(Vec::new())
}
