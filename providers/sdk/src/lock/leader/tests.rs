//! How offices begin and end.

use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_nats_box::NatsBox;
use lattice_rpc::{Limiter, Peer, PeerConfig, Relief, ServeOptions};
use tokio::sync::{Notify, mpsc, watch};

use super::*;
use crate::lock::backend::Holder;

/// How long a test waits for what has to happen. A test machine may compile at the same time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where every lock is free.
#[derive(Default)]
struct Free {
    /// How often one that is asked for is released before it is got, without a word.
    late: usize,
    /// How asking fails then, if it does not wait.
    fails: Option<fn() -> LockError>,
    /// Whether a release never comes to an end.
    is_stuck: bool,
    asked: Notify,
    released: AtomicUsize,
}

impl Locks for Free {
    async fn acquire(&self, _: &Claim, ttl: Duration, _: Instant) -> Result<Granted, LockError> {
        self.asked.notify_one();
        if let Some(error) = self.fails {
            return Err(error());
        }
        if self.late > 0 {
            std::future::pending::<()>().await;
        }
        Ok(Granted { fence: 1, ttl })
    }

    async fn renew(&self, _: &Claim, ttl: Duration) -> Result<Granted, LockError> {
        Ok(Granted { fence: 1, ttl })
    }

    async fn release(&self, _: &Claim) -> Result<(), LockError> {
        let before = self.released.fetch_add(1, Ordering::Relaxed);
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
        match before < self.late {
            true => Err(LockError::NotHeld),
            false => Ok(()),
        }
    }

    async fn inspect(&self, _: &LockName) -> Result<Option<Holder>, LockError> {
        Ok(None)
    }

    fn features(&self) -> Features {
        Features::new()
    }

    async fn check(&self) -> Result<(), LinkError> {
        Ok(())
    }
}

/// What the component does with its election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Waits,
    Leads,
    HasEnded,
}

/// Leads until it is dropped.
struct Leading(watch::Sender<Work>);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.send_replace(Work::HasEnded);
    }
}

async fn peer(nats: &NatsBox) -> Peer {
    let client = nats.client().await.unwrap();
    Peer::new(client, PeerConfig::default()).await.unwrap()
}

fn chief() -> ComponentId {
    ComponentId::new("chief").unwrap()
}

fn options() -> ServeOptions {
    ServeOptions {
        limiter: Arc::new(Limiter::new(100, 100, Duration::from_secs(1))),
        default_deadline: PATIENCE,
        longest_deadline: 2 * PATIENCE,
        relief: Relief::default(),
        takes: None,
    }
}

fn candidate(locks: Free, peer: Peer, stop: &CancellationToken) -> Candidate<Free> {
    let settings = Settings::from_texts([("ttl_ms", "60000")], []);
    let limits = Limits::read(&settings, Duration::from_millis(100)).unwrap();
    let provider = ComponentId::new("locks").unwrap();
    Candidate {
        locks: Arc::new(locks),
        election: Election {
            place: LockName::read("", "chief", "default").unwrap(),
            ttl: limits.usual,
            limits,
        },
        owner: chief().to_string(),
        client: Client::new(peer, &LatticeName::default(), provider, chief(), PATIENCE),
        link_name: "default".to_owned(),
        link: "a link".to_owned(),
        stop: stop.clone(),
        trouble: Arc::new(Trouble::new("a link".to_owned())),
    }
}

#[tokio::test]
async fn an_election_under_way_has_ended_when_the_component_is_told_that_it_has_lost() {
    let nats = NatsBox::start().await.unwrap();
    let component = peer(&nats).await;
    let prefix = RpcPrefix::new(&LatticeName::default(), &chief());
    let subject = |function: &str| prefix.invocation("lattice:lock/leader@0.1.0", function);
    let (on_elected, on_lost) = (subject("on-elected"), subject("on-lost"));
    let queue = prefix.queue_group();
    let (work, mut works) = watch::channel(Work::Waits);
    let (sender, mut told) = mpsc::unbounded_channel();
    let watched = works.clone();
    let elected = component.serve(&on_elected, queue, options(), move |call| {
        let leading = Leading(work.clone());
        leading.0.send_replace(Work::Leads);
        async move {
            let (_call, _leading) = (call, leading);
            std::future::pending::<()>().await;
        }
    });
    let _elected = elected.await.unwrap();
    let lost = component.serve(&on_lost, queue, options(), move |call| {
        let (mut works, sender) = (watched.clone(), sender.clone());
        async move {
            let _call = call;
            let ended = works.wait_for(|work| *work == Work::HasEnded);
            let ended = tokio::time::timeout(LOST_LIMIT / 2, ended).await;
            let _ = sender.send(ended.is_ok());
        }
    });
    let _lost = lost.await.unwrap();
    component.confirm(PATIENCE).await.unwrap();
    let stop = CancellationToken::new();
    let candidate = candidate(Free::default(), peer(&nats).await, &stop);
    let leadership = candidate.win().await.unwrap().unwrap();
    let stopped = async {
        let leads = works.wait_for(|work| *work == Work::Leads);
        let leads = tokio::time::timeout(PATIENCE, leads).await.unwrap();
        assert!(leads.is_ok());
        drop(leads);
        stop.cancel();
    };
    tokio::join!(candidate.hold(leadership), stopped);
    let has_ended = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap();
    assert_eq!(has_ended, Some(true), "it was at its election still");
}

#[tokio::test]
async fn an_office_that_is_won_after_its_campaign_has_ended_is_given_up() {
    let nats = NatsBox::start().await.unwrap();
    let stop = CancellationToken::new();
    let late = Free {
        late: 1,
        ..Free::default()
    };
    let candidate = candidate(late, peer(&nats).await, &stop);
    let stopped = async {
        candidate.locks.asked.notified().await;
        stop.cancel();
    };
    let both = async { tokio::join!(candidate.win(), stopped) };
    let (won, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(won.unwrap().is_none());
    assert_eq!(candidate.locks.released.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_office_that_is_won_long_after_the_attempt_has_failed_is_given_up() {
    let nats = NatsBox::start().await.unwrap();
    let stop = CancellationToken::new();
    let late = Free {
        late: 2,
        fails: Some(no_answer),
        ..Free::default()
    };
    let candidate = candidate(late, peer(&nats).await, &stop);
    let won = tokio::time::timeout(PATIENCE, candidate.win()).await;
    assert!(won.unwrap().is_err());
    assert_eq!(candidate.locks.released.load(Ordering::Relaxed), 3);
}

fn no_answer() -> LockError {
    LockError::unavailable("no answer came")
}

#[tokio::test]
async fn what_keeps_a_campaign_from_its_work_is_told_before_anything_is_given_back() {
    let nats = NatsBox::start().await.unwrap();
    let stop = CancellationToken::new();
    let stuck = Free {
        fails: Some(no_answer),
        is_stuck: true,
        ..Free::default()
    };
    let candidate = candidate(stuck, peer(&nats).await, &stop);
    let released = async {
        while candidate.locks.released.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let first = async {
        tokio::select! {
            _ = candidate.win() => panic!("it was released at once"),
            () = released => {}
        }
    };
    tokio::time::timeout(PATIENCE, first).await.unwrap();
    assert_eq!(candidate.trouble.what().unwrap(), "no answer came");
}

#[tokio::test]
async fn nothing_is_given_back_where_an_attempt_cannot_have_taken_effect() {
    let nats = NatsBox::start().await.unwrap();
    let stop = CancellationToken::new();
    let denied = Free {
        fails: Some(|| LockError::AccessDenied),
        ..Free::default()
    };
    let candidate = candidate(denied, peer(&nats).await, &stop);
    let won = candidate.win().await;
    assert!(matches!(won, Err(LockError::AccessDenied)));
    assert_eq!(candidate.locks.released.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_campaign_ends_in_time_where_nothing_can_be_given_back() {
    let nats = NatsBox::start().await.unwrap();
    let stop = CancellationToken::new();
    let stuck = Free {
        is_stuck: true,
        ..Free::default()
    };
    let candidate = candidate(stuck, peer(&nats).await, &stop);
    stop.cancel();
    let won = tokio::time::timeout(PATIENCE, candidate.win()).await;
    assert!(won.unwrap().unwrap().is_none());
}

fn remote(code: &str) -> CallError {
    RemoteError::new(code, "why").into()
}

fn not_served() -> CallError {
    let subject = "default.chief.wrpc".to_owned();
    CallError::NotServed { subject }
}

#[test]
fn who_failed_or_is_gone_leads_no_more_and_who_was_not_reached_may() {
    assert!(has_stopped(&not_served()));
    for code in [RemoteError::FAILED, RemoteError::INTERRUPTED] {
        assert!(has_stopped(&remote(code)), "{code}");
    }
    let others = [
        RemoteError::STOPPING,
        RemoteError::DENIED,
        RemoteError::DEADLINE,
        "cancelled",
    ];
    for code in RemoteError::OF_CALLERS.into_iter().chain(others) {
        assert!(!has_stopped(&remote(code)), "{code}");
    }
    assert!(!has_stopped(&CallError::Cancelled));
}

#[test]
fn who_was_refused_before_it_began_has_not_heard_of_its_election() {
    assert!(is_unreached(&not_served()));
    for code in [
        RemoteError::OVERLOADED,
        RemoteError::STOPPING,
        RemoteError::DENIED,
        RemoteError::UNTRUSTED,
        RemoteError::STALE,
    ] {
        assert!(is_unreached(&remote(code)), "{code}");
    }
    for code in [
        RemoteError::FAILED,
        RemoteError::INTERRUPTED,
        RemoteError::DEADLINE,
        RemoteError::REPLAYED,
        // It may be late that it cannot read what it is told.
        RemoteError::BAD_REQUEST,
    ] {
        assert!(!is_unreached(&remote(code)), "{code}");
    }
    assert!(!is_unreached(&CallError::Cancelled));
}
