//! Ten thousand messages through a lattice whose hosts, provider and handlers die now and then: none is lost, and those
//! that come more than once are counted.

#![expect(clippy::print_stdout, reason = "how much died and came twice is told")]

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, BytesMut};
use lattice_codec::{Reader, write};
use lattice_conformance::{Witness, and, aws, azure};
use lattice_integration::{HostOptions, Lattice, params, subject};
use lattice_rpc::{Invocation, Peer};
use lattice_services::{Kind, Service};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const COUNT: usize = 10_000;
/// How many tasks send, and how many messages one of them sends at once.
const SENDERS: usize = 8;
const AT_ONCE: usize = 25;
/// How long the whole may take: six times as long as by the slowest service alone, since other tests run beside it.
const LIMIT: Duration = Duration::from_secs(360);
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
    sends: Sends,
    /// How many go through it.
    count: usize,
    /// How many may be on their way.
    at_most: usize,
    /// How often the provider is killed alone, at most.
    provider_kills: usize,
    /// Behind the provider, where it is not the lattice's NATS.
    _service: Option<Service>,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
enum Sends {
    /// Each by itself, to a subject.
    Messages,
    /// Many at once, to a queue, which stores one whose answer was lost twice, or once if it looks at
    /// their ids.
    Jobs { once: bool },
}

impl Sends {
    /// Sends those messages, and gives back which of them were not taken.
    async fn send(self, peer: &Peer, numbers: Vec<usize>) -> Vec<usize> {
        match self {
            Self::Messages => publish(peer, numbers).await,
            Self::Jobs { once } => send_many(peer, numbers, once).await,
        }
    }
}

impl Road {
    /// By messages that the provider keeps until they are handled.
    fn of_messages(program: &'static str, target: Value, source: Value) -> Self {
        let all = json!({ "max_deliver": "100", "backoff": "50,400", "max_in_flight": "64" });
        Self {
            guest: "suite-messaging",
            program,
            calls: "wasmcloud:messaging/consumer",
            called: "wasmcloud:messaging/handler",
            target,
            source: and(all, source),
            sends: Sends::Messages,
            count: COUNT,
            at_most: COUNT,
            provider_kills: PROVIDERS,
            _service: None,
        }
    }

    /// By a queue at that place.
    fn of_jobs(program: &'static str, place: Value, once: bool) -> Self {
        let queue = json!({ "create": "true", "queue": "load", "lease_ms": "4000" });
        let target = and(queue, place);
        let how = json!({
            "backoff_ms": "20", "max_backoff_ms": "1000", "max_attempts": "0", "max_in_flight": "64",
        });
        Self {
            guest: "suite-queue",
            program,
            calls: "lattice:queue/producer,consumer",
            called: "lattice:queue/handler",
            source: and(target.clone(), how),
            target,
            sends: Sends::Jobs { once },
            count: COUNT,
            at_most: COUNT,
            provider_kills: PROVIDERS,
            _service: None,
        }
    }

    /// The same over a service.
    fn over(self, service: Service) -> Self {
        Self {
            _service: Some(service),
            ..self
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_stream() {
    let source = json!({
        "stream": "LOAD", "stream_subjects": "suite.kept.>", "ack_wait_ms": "4000",
    });
    let target = json!({ "jetstream": "true" });
    let road = Road::of_messages("messaging-nats-provider", target, source);
    all_come(&road).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_an_exchange_of_rabbitmq() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let place = json!({ "url": service.url() });
    let source = and(place.clone(), json!({ "subscriptions": "suite.kept.load" }));
    let road = Road::of_messages("messaging-rabbitmq-provider", place, source).over(service);
    all_come(&road).await.unwrap();
}

/// With QoS 1, and a session that the broker keeps for the provider. Thousands come twice here: once a
/// session is taken up again, Mosquitto 2.0.11 sends all that it has without waiting for acknowledgements
/// (`receive-maximum` or not), and those that it has not read when the provider is killed are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_session_of_mqtt() {
    let service = Service::start(Kind::Mosquitto).await.unwrap();
    let place = json!({ "url": service.url() });
    let source = and(place.clone(), json!({ "subscriptions": "suite.kept.load" }));
    let road = Road::of_messages("messaging-mqtt-provider", place, source).over(service);
    all_come(&road).await.unwrap();
}

/// Whose provider commits what was handled. It is killed alone once: brokers wait ten seconds for a reader that
/// was killed before others get its partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_topic_of_kafka() {
    let service = Service::start(Kind::Kafka).await.unwrap();
    let place = json!({ "hosts": service.url() });
    let source = and(place.clone(), json!({ "subscriptions": "suite.kept.load" }));
    let road = Road {
        provider_kills: 1,
        ..Road::of_messages("messaging-kafka-provider", place, source).over(service)
    };
    all_come(&road).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_queue() {
    let road = Road::of_jobs("queue-nats-provider", json!({}), true);
    all_come(&road).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_queue_of_rabbitmq() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let place = json!({ "url": service.url() });
    let road = Road::of_jobs("queue-rabbitmq-provider", place, false).over(service);
    all_come(&road).await.unwrap();
}

/// Fewer than elsewhere: moto looks at all messages of a queue for each that it stores, gives out and
/// deletes, and takes 8 ms for one while there are hundred, 150 ms while there are two thousand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_queue_of_sqs() {
    let service = Service::start(Kind::Moto).await.unwrap();
    let place = aws(service.port());
    let road = Road {
        count: 2_000,
        at_most: 100,
        ..Road::of_jobs("queue-sqs-provider", place, false).over(service)
    };
    all_come(&road).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_the_way_through_a_queue_of_azure() {
    let service = Service::start(Kind::Azurite).await.unwrap();
    let place = azure(service.ports()[1]);
    let road = Road::of_jobs("queue-azure-provider", place, false).over(service);
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
    // What is published before anybody has subscribed is nobody's.
    lattice.until_ready(2).await?;
    Ok((lattice, peer, witness))
}

async fn all_come(road: &Road) -> Result<()> {
    let (mut lattice, peer, witness) = lay(road).await?;
    let witness = Arc::new(witness);
    let mut senders = JoinSet::new();
    let (count, share) = (road.count, road.count / SENDERS);
    let sender = Sender {
        peer,
        sends: road.sends,
        witness: Arc::clone(&witness),
        sent: Arc::default(),
        at_most: road.at_most,
    };
    for at in 0..SENDERS {
        let share = at * share..(at + 1) * share;
        senders.spawn(sender.clone().send_all(share));
    }
    let (until, mut chance) = (Instant::now() + LIMIT, Chance(SEED));
    let (mut killed, mut at) = (Killed::default(), [0, 1, 2]);
    let seen = loop {
        sleep(Duration::from_millis(1000 + chance.below(2000))).await;
        let seen = counted(&witness);
        if seen.len() >= count && killed.each() {
            break seen;
        }
        ensure!(
            Instant::now() < until,
            "{} of {count} came, {killed:?}",
            seen.len()
        );
        // In the end all is left alone, so that it ends.
        if seen.len() > count * 2 / 3 && killed.each() {
            continue;
        }
        killed.one(&mut lattice, road, &mut at, &mut chance).await?;
    };
    while let Some(sent) = senders.join_next().await {
        sent?;
    }
    let again: usize = seen.values().map(|times| times - 1).sum();
    println!(
        "{}: {count} messages, {killed:?}, and handlers that trap: all came, {again} once more",
        road.program
    );
    Ok(())
}

/// How often the provider is killed alone, at most, where a road does not say: its host waits longer each time
/// before it starts it again, up to half a minute, and on a slow machine a service that is slow as well would have
/// no time in between.
const PROVIDERS: usize = 6;

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
        if chance.below(3) == 0 && self.providers < road.provider_kills {
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

/// One of those who send.
#[derive(Clone)]
struct Sender {
    peer: Peer,
    sends: Sends,
    witness: Arc<Witness>,
    /// How many all of them have sent.
    sent: Arc<AtomicUsize>,
    at_most: usize,
}

impl Sender {
    /// Sends a share of the messages, each until it is taken.
    async fn send_all(self, share: Range<usize>) {
        let all: Vec<_> = share.collect();
        for some in all.chunks(AT_ONCE) {
            self.has_room().await;
            let mut left = some.to_vec();
            while !left.is_empty() {
                left = self.sends.send(&self.peer, left).await;
                if !left.is_empty() {
                    sleep(Duration::from_millis(100)).await;
                }
            }
            self.sent.fetch_add(some.len(), Ordering::Relaxed);
        }
    }

    /// Waits until few enough are on their way; whoever waits for all of them has a limit.
    async fn has_room(&self) {
        let came = || counted(&self.witness).len();
        while self.sent.load(Ordering::Relaxed) > came() + self.at_most {
            sleep(Duration::from_millis(50)).await;
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

async fn publish(peer: &Peer, numbers: Vec<usize>) -> Vec<usize> {
    let mut left = Vec::new();
    for number in numbers {
        let taken = call(peer, "wasmcloud:messaging/consumer@0.2.0.publish", |out| {
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

async fn send_many(peer: &Peer, numbers: Vec<usize>, once: bool) -> Vec<usize> {
    let sent = call(peer, "lattice:queue/producer@0.1.0.send-many", |out| {
        write::string(out, "load");
        write::uleb(out, numbers.len() as u64);
        for number in &numbers {
            write::bytes(out, number.to_string().as_bytes());
            write::option(out, None::<&str>, write::string);
            write::uleb(out, 0);
            let id = once.then(|| format!("message-{number}"));
            write::option(out, id.as_deref(), write::string);
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
