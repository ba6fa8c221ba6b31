//! New NATS credentials for a process that runs.
//!
//! The host sends them sealed, before the old ones end and whenever the links of the provider
//! change. Another connection is made with them first, which takes the calls of the provider in
//! while the process's own is made again, and hands them on to it then. The calls that the process
//! makes itself could miss their answers meanwhile, so a moment without any is waited for.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects by which credentials come, and stands in for the peer"
)]

mod calls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::{CredentialsTaken, NewCredentials};
use lattice_core::subject::{ProviderSubjects, RpcPrefix};
use lattice_nats::connection::Creds;
use lattice_rpc::{ConnectError, Peer};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::calls::WaitingCalls;
use crate::error::BoxError;
use crate::link::Unsealer;
use crate::nats::Renewing;
use crate::session::Session;

/// How long a moment without calls is waited for.
const QUIET: Duration = Duration::from_secs(1);
/// How often is looked for one, and for the new connection.
const LOOK: Duration = Duration::from_millis(2);
/// How long all of it may take; the host tells again what it has heard nothing of.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the last calls that another connection has taken in may be on their way to it.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// How long calls are taken in for a connection that is late. Most callers do not wait for longer, and
/// other copies of the provider could do what is taken in here.
const OUTAGE: Duration = Duration::from_secs(10);
/// How often is looked for that one.
const LATE_LOOK: Duration = Duration::from_millis(50);

/// Takes new credentials over until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    peer: Peer,
    own: RpcPrefix,
    /// How long calls may take that do not say it.
    default_time: Duration,
    unsealer: Unsealer,
    renewing: Renewing,
    taken: Subject,
    incoming: Subscriber,
    /// The latest that came.
    serial: u64,
    /// Those that stand in for a connection that is late.
    standing_in: JoinSet<()>,
}

impl Renewal {
    pub(crate) async fn new(
        session: &Session,
        unsealer: Unsealer,
        renewing: Renewing,
    ) -> Result<Self, ConnectError> {
        let subjects = ProviderSubjects::new(session.lattice(), session.id());
        let xkey = unsealer.public_key();
        let subject = subjects.credentials(&xkey);
        let incoming = session.peer().nats().subscribe(subject.clone()).await;
        let incoming = incoming.map_err(|error| ConnectError::Subscribe {
            subject,
            reason: error.to_string(),
        })?;
        Ok(Self {
            peer: session.peer().clone(),
            own: RpcPrefix::new(session.lattice(), session.id()),
            default_time: session.default_deadline(),
            unsealer,
            renewing,
            taken: subjects.credentials_taken(&xkey).into(),
            incoming,
            serial: 0,
            standing_in: JoinSet::new(),
        })
    }

    pub(crate) async fn run(mut self) {
        while let Some(message) = self.incoming.next().await {
            self.take(message).await;
        }
    }

    async fn take(&mut self, message: Message) {
        // Only the host can have sealed them; an old message that somebody repeats is not taken.
        let Some(new) = self.read(&message.payload) else {
            return;
        };
        self.serial = new.serial;
        let nats = self.peer.nats().clone();
        if let Some(reply) = message.reply {
            publish(&nats, reply, Bytes::new()).await;
        }
        let renewable = self.renewing.renewable.clone();
        let before = renewable.latest();
        renewable.renew(Creds {
            jwt: new.jwt,
            seed: new.seed,
        });
        match self.connect_again(&nats).await {
            Ok(()) => {
                let taken = CredentialsTaken { serial: new.serial };
                if let Ok(payload) = serde_json::to_vec(&taken) {
                    publish(&nats, self.taken.clone(), payload.into()).await;
                }
                tracing::debug!(serial = new.serial, "connected with new credentials");
            }
            Err(NotRenewed::Failed(error)) => {
                // With those that no server takes it could not come back after an outage.
                renewable.renew(before);
                tracing::error!(%error, "could not connect with new credentials");
            }
            Err(NotRenewed::Late) => {
                tracing::error!("NATS did not take new credentials within {LIMIT:?}");
            }
        }
    }

    fn read(&self, sealed: &[u8]) -> Option<NewCredentials> {
        let text = self.unsealer.open_bytes(sealed).ok();
        // What is wrong with the text would repeat part of it.
        let new: Option<NewCredentials> = text.and_then(|text| serde_json::from_slice(&text).ok());
        match new {
            Some(new) if new.serial > self.serial => Some(new),
            Some(_) => {
                tracing::warn!("credentials that were replaced came again, they are not taken");
                None
            }
            None => {
                tracing::error!("credentials came that the host has not sealed");
                None
            }
        }
    }

    async fn connect_again(&mut self, nats: &Client) -> Result<(), NotRenewed> {
        let until = Instant::now() + LIMIT;
        let begin = Deputy::begin(&self.renewing, &self.own, self.default_time);
        let mut deputy = timeout_at(until, begin).await??;
        let least = AtomicU64::new(0);
        let done = deputy.during(until, self.reconnect(nats, &least)).await;
        let back = connected(self.peer.clone(), least.into_inner());
        deputy.end_after(done, back, &mut self.standing_in).await
    }

    /// Whatever is sent meanwhile waits in the client and leaves by the new connection. In `least` it
    /// leaves of how many connections the new one is, as soon as it is asked for.
    async fn reconnect(&self, nats: &Client, least: &AtomicU64) -> Result<(), BoxError> {
        self.quiet().await;
        self.peer.connect_bulk_again().await;
        let connects = || nats.statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        nats.flush().await?;
        nats.force_reconnect().await?;
        least.store(before + 1, Ordering::Relaxed);
        while connects() == before {
            sleep(LOOK).await;
        }
        Ok(self.peer.confirm(LIMIT).await?)
    }

    async fn quiet(&self) {
        let until = Instant::now() + QUIET;
        while self.peer.stats().open_calls > 0 && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

/// Why the connection is not made with new credentials.
#[derive(Debug)]
enum NotRenewed {
    Failed(BoxError),
    Late,
}

impl From<BoxError> for NotRenewed {
    fn from(error: BoxError) -> Self {
        Self::Failed(error)
    }
}

impl From<Elapsed> for NotRenewed {
    fn from(_: Elapsed) -> Self {
        Self::Late
    }
}

/// Another connection that takes in what is called meanwhile.
struct Deputy {
    client: Client,
    calls: WaitingCalls,
}

impl Deputy {
    async fn begin(
        renewing: &Renewing,
        own: &RpcPrefix,
        default_time: Duration,
    ) -> Result<Self, BoxError> {
        Self::on(renewing.connect().await?, own, default_time).await
    }

    /// It may get calls from now on.
    async fn on(client: Client, own: &RpcPrefix, default_time: Duration) -> Result<Self, BoxError> {
        // One of a queue group gets each call, whatever subjects its members listen to.
        let queue = own.queue_group().to_owned();
        let calls = client.queue_subscribe(own.calls(), queue).await?;
        let calls = WaitingCalls::new(calls, default_time);
        Ok(Self { client, calls })
    }

    /// Stands in while something is done, until a deadline.
    async fn during(
        &mut self,
        until: Instant,
        work: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), NotRenewed> {
        let client = &self.client;
        let work = async {
            taken_in(client).await?;
            work.await
        };
        Ok(self.calls.during(timeout_at(until, work)).await??)
    }

    /// Hands on what has come, when all is `done`. What has come is handed on also when that failed, but
    /// not before the connection is `back`: until then nobody may listen, and NATS would drop it.
    async fn end_after(
        self,
        done: Result<(), NotRenewed>,
        back: impl Future<Output = ()> + Send + 'static,
        standing_in: &mut JoinSet<()>,
    ) -> Result<(), NotRenewed> {
        if done.is_ok() {
            // The new credentials work whatever becomes of those calls.
            if let Err(error) = self.end().await {
                tracing::error!(%error, "calls of the meantime may be lost");
            }
        } else {
            while standing_in.try_join_next().is_some() {}
            standing_in.spawn(self.until_back(back));
        }
        done
    }

    /// Stands in until the connection is back.
    async fn until_back(mut self, back: impl Future<Output = ()> + Send) {
        let is_back = self.calls.during(timeout(OUTAGE, back)).await.is_ok();
        match self.end().await {
            Ok(count) if count > 0 && !is_back => tracing::warn!(
                count,
                "the connection was not back within {OUTAGE:?}: calls of the meantime are lost, \
                 unless the provider also runs elsewhere"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "calls of the meantime may be lost"),
        }
    }

    /// Hands on what has come and is still waited for, and says how much that is. It was in the hands of
    /// nobody yet, so that it is not called twice.
    async fn end(mut self) -> Result<usize, BoxError> {
        let hand_on = async {
            let (mut count, mut late) = (0, 0);
            self.calls.stop_taking().await?;
            while let Some(call) = self.calls.next().await {
                match call.hand_on(&self.client).await? {
                    true => count += 1,
                    false => late += 1,
                }
            }
            if late > 0 {
                tracing::debug!(late, "calls of the meantime came too late to be handed on");
            }
            taken_in(&self.client).await.map(|()| count)
        };
        match timeout(LAST_CALLS, hand_on).await {
            Ok(done) => done,
            Err(_) => Err("not all calls of the meantime could be handed on".into()),
        }
    }
}

/// Waits until there were at least so many connections, and the server knows what is listened to by
/// the latest.
async fn connected(peer: Peer, least: u64) {
    let connects = || peer.nats().statistics().connects.load(Ordering::Relaxed);
    while connects() < least || peer.confirm(LAST_CALLS).await.is_err() {
        sleep(LATE_LOOK).await;
    }
}

/// Waits until the server has taken in what was sent: it keeps the order of a connection.
async fn taken_in(client: &Client) -> Result<(), BoxError> {
    let inbox = client.new_inbox();
    let mut own = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Bytes::new()).await?;
    match own.next().await {
        Some(_) => Ok(()),
        None => Err("the connection ended".into()),
    }
}

async fn publish(nats: &Client, subject: Subject, payload: Bytes) {
    if let Err(error) = nats.publish(subject, payload).await {
        tracing::debug!(%error, "a word to the host was not sent");
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use lattice_core::{ComponentId, LatticeName};
    use lattice_nats_box::NatsBox;
    use lattice_rpc::PeerConfig;
    use lattice_rpc::header::{CALL, Terms};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn own() -> RpcPrefix {
        RpcPrefix::new(&LatticeName::default(), &ComponentId::new("kv").unwrap())
    }

    /// One on a connection of its own.
    async fn deputy(nats: &NatsBox) -> Deputy {
        deputy_with(nats, SOON).await
    }

    async fn deputy_with(nats: &NatsBox, default_time: Duration) -> Deputy {
        let deputy = Deputy::on(nats.client().await.unwrap(), &own(), default_time).await;
        let deputy = deputy.unwrap();
        taken_in(&deputy.client).await.unwrap();
        deputy
    }

    /// Calls, and waits until that has come.
    async fn call(caller: &Client, payload: &'static str) {
        let call = own().invocation("a:b/c", "get");
        let sent = caller.publish_with_reply(call, "answers", payload.into());
        sent.await.unwrap();
        taken_in(caller).await.unwrap();
    }

    async fn next(calls: &mut Subscriber) -> Message {
        timeout(SOON, calls.next()).await.unwrap().unwrap()
    }

    /// What becomes of `work`, if a call is handed on that came meanwhile.
    async fn called_while(
        within: Duration,
        work: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), NotRenewed> {
        let nats = NatsBox::start().await.unwrap();
        let mut deputy = deputy(&nats).await;
        call(&nats.client().await.unwrap(), "call").await;
        let callee = nats.client().await.unwrap();
        let mut calls = callee.subscribe(own().calls()).await.unwrap();
        taken_in(&callee).await.unwrap();
        let done = deputy.during(Instant::now() + within, work).await;
        let (back, mut standing_in) = (std::future::ready(()), JoinSet::new());
        let done = deputy.end_after(done, back, &mut standing_in).await;
        let call = next(&mut calls).await;
        assert_eq!(call.payload, "call");
        assert_eq!(call.reply, Some("answers".into()));
        done
    }

    #[tokio::test]
    async fn calls_of_the_meantime_are_handed_on_whatever_becomes_of_the_connection() {
        assert!(called_while(SOON, async { Ok(()) }).await.is_ok());
        let failed = called_while(SOON, async { Err("refused".into()) }).await;
        assert!(matches!(failed, Err(NotRenewed::Failed(_))));
        let late = called_while(Duration::from_millis(200), std::future::pending()).await;
        assert!(matches!(late, Err(NotRenewed::Late)));
    }

    #[tokio::test]
    async fn calls_are_not_handed_on_before_a_connection_that_is_late_is_back() {
        let nats = NatsBox::start().await.unwrap();
        let deputy = deputy(&nats).await;
        let caller = nats.client().await.unwrap();
        let callee = nats.client().await.unwrap();
        let peer = Peer::new(callee.clone(), PeerConfig::default());
        let peer = peer.await.unwrap();
        let connects = callee.statistics().connects.load(Ordering::Relaxed);
        call(&caller, "in time").await;
        let (back, mut standing_in) = (connected(peer, connects + 1), JoinSet::new());
        let late = deputy.end_after(Err(NotRenewed::Late), back, &mut standing_in);
        assert!(matches!(late.await, Err(NotRenewed::Late)));
        // By then it would have been handed on, and nobody has listened.
        let gone = timeout(LATE_LOOK * 4, standing_in.join_next()).await;
        assert!(gone.is_err());
        call(&caller, "late").await;
        let mut calls = callee.subscribe(own().calls()).await.unwrap();
        callee.flush().await.unwrap();
        callee.force_reconnect().await.unwrap();
        assert_eq!(next(&mut calls).await.payload, "in time");
        assert_eq!(next(&mut calls).await.payload, "late");
        let ended = timeout(SOON, standing_in.join_next()).await.unwrap();
        ended.unwrap().unwrap();
    }

    #[tokio::test]
    async fn credentials_that_work_stay_whatever_becomes_of_the_calls_of_the_meantime() {
        let nats = NatsBox::start().await.unwrap();
        let deputy = deputy(&nats).await;
        // Nothing can be handed on any more.
        drop(nats);
        let mut standing_in = JoinSet::new();
        let done = deputy.end_after(Ok(()), std::future::ready(()), &mut standing_in);
        assert!(done.await.is_ok());
    }

    #[tokio::test]
    async fn calls_are_handed_on_with_what_is_left_of_their_time() {
        let nats = NatsBox::start().await.unwrap();
        let (default_time, wait) = (Duration::from_millis(50), Duration::from_millis(200));
        let mut deputy = deputy_with(&nats, default_time).await;
        let caller = nats.client().await.unwrap();
        let subject = || own().invocation("a:b/c", "get");
        for (terms, payload) in [("left=50", "over"), ("left=60000;turn=3", "in time")] {
            let mut headers = HeaderMap::new();
            headers.insert(CALL, terms);
            let sent = caller.publish_with_headers(subject(), headers, payload.into());
            sent.await.unwrap();
        }
        call(&caller, "untold").await;
        let work = async {
            sleep(wait).await;
            Ok(())
        };
        let done = deputy.during(Instant::now() + SOON, work).await;
        let callee = nats.client().await.unwrap();
        let mut calls = callee.subscribe(own().calls()).await.unwrap();
        taken_in(&callee).await.unwrap();
        let mut standing_in = JoinSet::new();
        let done = deputy.end_after(done, std::future::ready(()), &mut standing_in);
        assert!(done.await.is_ok());
        let handed_on = next(&mut calls).await;
        assert_eq!(handed_on.payload, "in time");
        let terms = Terms::of(&handed_on.headers.unwrap()).unwrap();
        assert!(terms.left.unwrap() <= Duration::from_secs(60) - wait);
        assert_eq!(terms.turn, Some(3));
        // None of the others came before.
        call(&caller, "last").await;
        assert_eq!(next(&mut calls).await.payload, "last");
    }
}
