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

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::{CredentialsTaken, NewCredentials};
use lattice_core::subject::{ProviderSubjects, RpcPrefix};
use lattice_nats::connection::Creds;
use lattice_rpc::{ConnectError, Peer};
use tokio::time::{Instant, sleep, timeout};

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

/// Takes new credentials over until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    peer: Peer,
    own: RpcPrefix,
    unsealer: Unsealer,
    renewing: Renewing,
    taken: Subject,
    incoming: Subscriber,
    /// The latest that came.
    serial: u64,
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
            unsealer,
            renewing,
            taken: subjects.credentials_taken(&xkey).into(),
            incoming,
            serial: 0,
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
        let renewable = &self.renewing.renewable;
        let before = renewable.latest();
        renewable.renew(Creds {
            jwt: new.jwt,
            seed: new.seed,
        });
        match timeout(LIMIT, self.connect_again(&nats)).await {
            Ok(Ok(())) => {
                let taken = CredentialsTaken { serial: new.serial };
                if let Ok(payload) = serde_json::to_vec(&taken) {
                    publish(&nats, self.taken.clone(), payload.into()).await;
                }
                tracing::debug!(serial = new.serial, "connected with new credentials");
            }
            Ok(Err(error)) => {
                // With those that no server takes it could not come back after an outage.
                renewable.renew(before);
                tracing::error!(%error, "could not connect with new credentials");
            }
            Err(_) => tracing::error!("NATS did not take new credentials within {LIMIT:?}"),
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

    /// Whatever is sent meanwhile waits in the client and leaves by the new connection.
    async fn connect_again(&self, nats: &Client) -> Result<(), BoxError> {
        let deputy = Deputy::begin(&self.renewing, &self.own).await?;
        self.quiet().await;
        self.peer.connect_bulk_again().await;
        let connects = || nats.statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        nats.flush().await?;
        nats.force_reconnect().await?;
        while connects() == before {
            sleep(LOOK).await;
        }
        let confirmed = self.peer.confirm(LIMIT).await;
        deputy.end().await?;
        Ok(confirmed?)
    }

    async fn quiet(&self) {
        let until = Instant::now() + QUIET;
        while self.peer.stats().open_calls > 0 && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

/// Another connection that takes in what is called meanwhile.
struct Deputy {
    client: Client,
    calls: Subscriber,
}

impl Deputy {
    async fn begin(renewing: &Renewing, own: &RpcPrefix) -> Result<Self, BoxError> {
        let client = renewing.connect().await?;
        // One of a queue group gets each call, whatever subjects its members listen to.
        let queue = own.queue_group().to_owned();
        let calls = client.queue_subscribe(own.calls(), queue).await?;
        taken_in(&client).await?;
        Ok(Self { client, calls })
    }

    /// Hands on what has come. It was in the hands of nobody yet, so that it is not called twice.
    async fn end(mut self) -> Result<(), BoxError> {
        self.calls.drain().await?;
        let hand_on = async {
            while let Some(call) = self.calls.next().await {
                hand_on(&self.client, call).await?;
            }
            taken_in(&self.client).await
        };
        match timeout(LAST_CALLS, hand_on).await {
            Ok(done) => done,
            Err(_) => Err("not all calls of the meantime could be handed on".into()),
        }
    }
}

async fn hand_on(client: &Client, call: Message) -> Result<(), BoxError> {
    let headers = call.headers.unwrap_or_default();
    let (subject, payload) = (call.subject, call.payload);
    match call.reply {
        Some(reply) => {
            let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
            sent.await?;
        }
        None => {
            client
                .publish_with_headers(subject, headers, payload)
                .await?
        }
    }
    Ok(())
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
