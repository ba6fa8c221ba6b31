//! A server that lets calls wait for long leaves its queue group to one that cannot be handed any,
//! and comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use lattice_rpc::{
    CallError, IncomingCall, Limiter, Others, Peer, PeerConfig, Relief, RemoteError, ServeHandle,
    ServeOptions, Switchboard, Watching,
};
use support::{Pair, options, soon, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long a call takes at the one who has too many.
const WORK: Duration = Duration::from_millis(20);

/// Whether the other is there that knows nothing of relief.
#[derive(Debug, Default)]
struct Known(AtomicBool);

impl Others for Known {
    fn serve(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(self.0.load(Ordering::Relaxed)))
    }
}

/// Answers each call with its parameters, and counts it.
#[derive(Debug, Clone, Default)]
struct Echo(Arc<AtomicUsize>);

impl Echo {
    fn served(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Each call takes a permit of the gate; one that is closed holds nobody up for long.
    fn handler(
        &self,
        gate: Arc<Semaphore>,
    ) -> impl Fn(IncomingCall) -> BoxFuture<'static, ()> + Send + Sync + 'static {
        let count = Arc::clone(&self.0);
        move |mut call: IncomingCall| {
            count.fetch_add(1, Ordering::Relaxed);
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                let params = call.params.all(Duration::from_secs(1)).await.unwrap();
                match gate.acquire().await {
                    Ok(permit) => permit.forget(),
                    Err(_) => sleep(WORK).await,
                }
                // A caller that has given up needs no answer.
                _ = call.responder.reply(params).await;
            })
        }
    }
}

/// A server of ours that answers one call at a time.
struct Narrow {
    peer: Peer,
    options: ServeOptions,
    echo: Echo,
    gate: Arc<Semaphore>,
    known: Arc<Known>,
    serving: ServeHandle,
    watching: Watching,
}

impl Narrow {
    async fn start(pair: &Pair, peer: &Peer, max_queued: usize) -> Self {
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(1, max_queued, Duration::from_secs(20))),
            relief: Relief::default(),
            ..options()
        };
        let (echo, known) = (Echo::default(), Arc::<Known>::default());
        let gate = Arc::new(Semaphore::new(0));
        let handler = echo.handler(Arc::clone(&gate));
        let (subject, queue) = (pair.subject("work"), pair.prefix.queue_group());
        let serving = peer.serve(&subject, queue, options.clone(), handler);
        let serving = serving.await.unwrap();
        let limiter = Arc::clone(&options.limiter);
        let others = Arc::clone(&known) as Arc<dyn Others>;
        let watching = options.relief.watch(peer, &pair.prefix, limiter, others);
        let watching = watching.await.unwrap();
        peer.confirm(Duration::from_secs(5)).await.unwrap();
        Self {
            peer: peer.clone(),
            options,
            echo,
            gate,
            known,
            serving,
            watching,
        }
    }

    /// Its inbox, the question for room, and its function unless that is away.
    fn is_away(&self) -> bool {
        self.peer.stats().subscriptions == 2
    }

    /// Has so many calls wait here that it leaves to the stranger.
    async fn fill(&self, pair: &Arc<Pair>) -> JoinSet<Result<Bytes, CallError>> {
        self.known.0.store(true, Ordering::Relaxed);
        let mut calls = JoinSet::new();
        let limit = soon(10_000);
        while self.options.limiter.stats().queued < 4 {
            assert!(Instant::now() < limit, "it gets no calls");
            let pair = Arc::clone(pair);
            calls.spawn(async move {
                let call = pair.invocation("work").until(soon(20_000));
                pair.caller.call(call, Bytes::new()).await
            });
            sleep(Duration::from_millis(1)).await;
        }
        until(|| self.is_away()).await;
        calls
    }

    /// Lets all calls that wait here end but one, which keeps it full.
    async fn empty_but_one(&self) {
        while self.options.limiter.stats().queued > 0 {
            let served = self.echo.served();
            self.gate.add_permits(1);
            until(|| self.echo.served() > served).await;
        }
    }

    /// Waits until it has left, and until it is back.
    async fn goes_and_comes(&self) {
        until(|| self.is_away()).await;
        until(|| !self.is_away()).await;
    }
}

/// One that serves the same, and has never heard of relief.
async fn stranger(pair: &Pair) -> (Peer, Echo, ServeHandle) {
    let peer = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let (peer, echo) = (peer.await.unwrap(), Echo::default());
    let (subject, queue) = (pair.subject("work"), pair.prefix.queue_group());
    let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let handler = echo.handler(gate);
    let serving = peer.serve(&subject, queue, options(), handler);
    let serving = serving.await.unwrap();
    peer.confirm(Duration::from_secs(5)).await.unwrap();
    (peer, echo, serving)
}

/// Forty callers, each of which makes one call after the other.
struct Load {
    callers: JoinSet<usize>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Load {
    fn start(pair: &Arc<Pair>) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut callers = JoinSet::new();
        for caller in 0..40_u64 {
            let (pair, stop, done) = (Arc::clone(pair), Arc::clone(&stop), Arc::clone(&done));
            callers.spawn(async move {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    let params = Bytes::from(format!("{caller} {made}"));
                    let call = pair.invocation("work").until(soon(20_000));
                    let answer = pair.caller.call(call, params.clone()).await.unwrap();
                    assert_eq!(answer, params);
                    made += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                made
            });
        }
        Self {
            callers,
            stop,
            done,
        }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// How many calls there were, all of which were answered.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await.into_iter().sum()
    }
}

async fn pair() -> Arc<Pair> {
    let config = PeerConfig {
        linger: Duration::from_secs(1),
        ..PeerConfig::default()
    };
    Arc::new(Pair::with_config(config).await)
}

#[tokio::test]
async fn no_call_is_lost_or_served_twice_by_one_who_leaves_and_comes_back() {
    let pair = pair().await;
    let narrow = Narrow::start(&pair, &pair.callee, 1000).await;
    narrow.gate.close();
    narrow.known.0.store(true, Ordering::Relaxed);
    let (_peer, other, _serving) = stranger(&pair).await;
    let load = Load::start(&pair);
    for _ in 0..3 {
        narrow.goes_and_comes().await;
    }
    until(|| load.done() >= 5000).await;
    let made = load.end().await;
    assert_eq!(narrow.echo.served() + other.served(), made);
    assert!(narrow.echo.served() > 50 && other.served() > 1000);
    pair.settle().await;
}

#[tokio::test]
async fn calls_of_this_process_are_served_by_one_who_is_away() {
    let pair = pair().await;
    let config = PeerConfig {
        local: Some(Switchboard::default()),
        ..PeerConfig::default()
    };
    let nats = &pair.nats;
    let here = Peer::new(nats.client().await.unwrap(), config.clone());
    let near = Peer::new(nats.client().await.unwrap(), config);
    let (here, near) = (here.await.unwrap(), near.await.unwrap());
    let narrow = Narrow::start(&pair, &here, 1000).await;
    let (_peer, other, _serving) = stranger(&pair).await;
    let waiting = narrow.fill(&pair).await;
    narrow.empty_but_one().await;
    assert!(narrow.is_away());
    let before = (narrow.echo.served(), other.served());
    let far = pair.caller.call(pair.invocation("work"), Bytes::new());
    far.await.unwrap();
    let invocation = pair.invocation("work");
    let call = tokio::spawn(async move { near.call(invocation, Bytes::new()).await });
    until(|| narrow.options.limiter.stats().queued == 1).await;
    assert!(narrow.is_away());
    narrow.gate.close();
    call.await.unwrap().unwrap();
    let after = (narrow.echo.served(), other.served());
    assert_eq!(after, (before.0 + 1, before.1 + 1));
    waiting.join_all().await;
}

#[tokio::test]
async fn who_is_alone_or_beside_a_full_one_of_its_kind_goes_on_refusing() {
    let pair = pair().await;
    let other = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let other = other.await.unwrap();
    let both = [
        Narrow::start(&pair, &pair.callee, 2).await,
        Narrow::start(&pair, &other, 2).await,
    ];
    both.iter().for_each(|one| one.gate.close());
    let mut refused = 0;
    let end = soon(3000);
    let mut calls = JoinSet::new();
    while Instant::now() < end {
        let pair = Arc::clone(&pair);
        calls.spawn(async move {
            let call = pair.caller.call(pair.invocation("work"), Bytes::new());
            call.await
        });
        if calls.len() < 20 {
            continue;
        }
        match calls.join_next().await.unwrap().unwrap() {
            Ok(_) => {}
            Err(CallError::Remote(error)) if error.code == RemoteError::OVERLOADED => refused += 1,
            Err(other) => panic!("{other}"),
        }
        sleep(Duration::from_millis(1)).await;
        assert!(both.iter().all(|one| !one.is_away()));
    }
    assert!(refused > 100, "{refused}");
    calls.join_all().await;
    pair.settle().await;
}

#[tokio::test]
async fn what_is_served_anew_while_others_are_away_stays() {
    let pair = pair().await;
    let narrow = Narrow::start(&pair, &pair.callee, 1000).await;
    let _stranger = stranger(&pair).await;
    let waiting = narrow.fill(&pair).await;
    // Whether others serve it nobody has asked.
    let subject = pair.subject("added");
    let handler = Echo::default().handler(Arc::clone(&narrow.gate));
    let options = narrow.options.clone();
    let queue = pair.prefix.queue_group();
    let added = pair.callee.serve(&subject, queue, options, handler);
    let _added = added.await.unwrap();
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    let count = || pair.callee.stats().subscriptions;
    assert_eq!(count(), 3);
    narrow.gate.close();
    for _ in 0..20 {
        let call = pair.caller.call(pair.invocation("added"), Bytes::new());
        call.await.unwrap();
    }
    until(|| count() == 4).await;
    waiting.join_all().await;
    pair.settle().await;
}

#[tokio::test]
async fn one_who_is_away_ends_at_once() {
    let pair = pair().await;
    let narrow = Narrow::start(&pair, &pair.callee, 1000).await;
    let _stranger = stranger(&pair).await;
    let waiting = narrow.fill(&pair).await;
    narrow.gate.close();
    let began = Instant::now();
    narrow.watching.end(soon(10_000)).await;
    narrow.serving.drain(soon(10_000)).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    for answer in waiting.join_all().await {
        answer.unwrap();
    }
    until(|| pair.callee.stats().subscriptions == 1).await;
    pair.settle().await;
}
