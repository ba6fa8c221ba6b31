//! How the key of a session gets from the peer that began it to one that serves its target.
//!
//! Who does not know the session of a call asks at [`KEY`] in the inbox that the call is to be answered
//! in, and shows its tokens. The answer has the tokens of the caller, and the key, sealed by the caller
//! for the curve key that the tokens of the asker name: nobody else can read it, and nobody else can
//! have sealed it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lattice_claims::peer::{VerifiedPeer, verify_peer};
use lattice_claims::{CurveKey, epoch_seconds};
use lattice_core::identity::{PeerTokens, SessionName};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Auth;
use super::asking::{Asked, Asking, Place};
use super::crowd::Waits;
use super::known::{Doubt, Known, Learnt};
use super::mac::MacKey;
use super::refusal::Refusal;
use super::sending::{LIFE, Session, millis, name};
use super::window::{OF_CLUSTER, OF_STRANGER, Window};
use crate::error::CallError;
use crate::exchange::Side;
use crate::header;
use crate::inbox::{self, is_inbox};
use crate::outbox::Outgoing;
use crate::peer::{Inner, Peer};

/// What a question goes to, below an inbox; no slot is called so.
pub(crate) const KEY: &str = "key";

/// How long one question waits for its answer.
const ANSWERED: Duration = Duration::from_secs(2);

/// And where many are asked: made-up sessions are not to hold the places of others for long.
const CROWDED: Duration = Duration::from_millis(250);

/// The pauses before it is asked again: what a peer listens to may be known later at other servers
/// than the calls that it makes.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

/// For how long the key of a session is used before its tokens are asked for again.
const MIN_KNOWN: Duration = Duration::from_secs(60);
const MAX_KNOWN: Duration = Duration::from_secs(2 * 3600);

/// The longest question or answer that is read.
const MAX_BYTES: usize = 16 * 1024;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    session: String,
    /// What the answer has to tell in its reply subject.
    turn: u32,
    tokens: PeerTokens,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The tokens of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<PeerTokens>,
    /// A [`Secret`], sealed for the asker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// Why there is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<No>,
}

/// Why a key is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum No {
    /// There is no such session.
    UnknownSession,
    /// The asker does not prove that it may serve the target.
    Untrusted,
}

/// What only the asker may read.
#[derive(Serialize, Deserialize)]
struct Secret {
    target: String,
    /// The key, in base64.
    key: String,
    /// How old the session is.
    age_ms: u64,
}

impl Auth {
    /// Sees to it that a session is known, or that it is known why not; waits for that until
    /// `deadline` at the latest.
    pub(crate) async fn learn(
        &self,
        peer: &Peer,
        reply: &Subject,
        session: SessionName,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let inbox = reply.rsplit_once('.').map_or("", |(inbox, _)| inbox);
        let waits = self.inner.waiting.enter(&inbox::owner(inbox).into());
        let _waits = waits.ok_or_else(Refusal::busy)?;
        let asked = (session, Box::from(inbox));
        loop {
            let (mut done, again) = match self.inner.table.ask(&asked) {
                Asking::Already(done) => (done, false),
                Asking::Begin(place, done) => {
                    self.begin(peer.clone(), asked.clone(), place);
                    (done, false)
                }
                Asking::Behind(other) => (other, true),
                Asking::Busy => return Err(Refusal::busy()),
            };
            // It ends with an error: the one who asks drops the sender when it is done.
            let is_late = timeout_at(deadline, done.changed()).await.is_err();
            if is_late || !again {
                return Ok(());
            }
        }
    }

    fn begin(&self, peer: Peer, asked: Asked, place: Place) {
        let auth = self.clone();
        let tasks = peer.inner.tasks.clone();
        tasks.spawn(async move {
            let stop = peer.inner.stop.clone();
            let asking = stop.run_until_cancelled(auth.ask(&peer, &asked));
            let learnt = place.lost.run_until_cancelled(asking).await.flatten();
            if let Some(Err(doubt)) = &learnt {
                let (session, why) = (asked.0, &doubt.refusal.message);
                tracing::debug!(%session, why, "no key for a session");
            }
            auth.inner.table.settle(&asked, learnt, place);
        });
    }

    /// Asks for the key of a session; once only where many are being asked for.
    async fn ask(&self, peer: &Peer, (session, inbox): &Asked) -> Learnt {
        if !is_inbox(inbox, &self.inner.lattice) {
            return Err(Doubt::open(Refusal::unknown_session()));
        }
        let subject = format!("{inbox}.{KEY}");
        let mut pauses = PAUSES.into_iter();
        loop {
            let within = match self.inner.table.is_crowded() {
                true => CROWDED,
                false => ANSWERED,
            };
            let asked = timeout(within, self.ask_once(peer, &subject, *session)).await;
            let doubt = match asked {
                Ok(Ok((answer, came))) => return self.read_answer(*session, &answer, came),
                Ok(Err(CallError::NotServed { .. })) => Doubt::sure(Refusal::unknown_session()),
                Ok(Err(error)) => Doubt::passing(Refusal::unanswered(&error.to_string())),
                Err(_) => Doubt::passing(Refusal::unanswered("nobody answers")),
            };
            match pauses.next() {
                Some(pause) if !self.inner.table.is_crowded() => sleep(pause).await,
                _ => return Err(doubt),
            }
        }
    }

    pub(super) fn question(&self, session: SessionName, turn: u32) -> Vec<u8> {
        let question = Question {
            session: session.to_string(),
            turn,
            tokens: self.tokens(),
        };
        // Texts and a number always serialise.
        serde_json::to_vec(&question).unwrap_or_default()
    }

    /// Asks; gives the answer and when it came.
    async fn ask_once(
        &self,
        peer: &Peer,
        subject: &str,
        session: SessionName,
    ) -> Result<(Bytes, Instant), CallError> {
        let guard = peer.open(Side::Caller, subject.into())?;
        guard.exchange.is_no_call();
        let message = Outgoing {
            payload: self.question(session, guard.exchange.turn()).into(),
            deadline: Some(Instant::now() + ANSWERED),
            ..Outgoing::reply(subject.into(), guard.root())
        };
        peer.inner.outbox.send(message).await?;
        let answer = poll_fn(|cx| guard.exchange.poll_value(cx)).await?;
        Ok((answer, Instant::now()))
    }

    pub(super) fn read_answer(&self, session: SessionName, answer: &[u8], came: Instant) -> Learnt {
        let bad = |why: &str| Doubt::open(Refusal::bad_tokens(why));
        if answer.len() > MAX_BYTES {
            return Err(bad("its answer is too long"));
        }
        let answer: Answer =
            serde_json::from_slice(answer).map_err(|_| bad("its answer is not readable"))?;
        match answer.refused {
            Some(No::UnknownSession) => return Err(Doubt::sure(Refusal::unknown_session())),
            Some(No::Untrusted) => return Err(Doubt::open(Refusal::withheld())),
            None => {}
        }
        let (Some(tokens), Some(sealed)) = (answer.tokens, answer.sealed) else {
            return Err(bad("its answer holds nothing"));
        };
        let now = epoch_seconds();
        let peer = self.verify(&tokens, now)?;
        // Its calls are refused, so that there is nothing to remember of it.
        if self.inner.strict && peer.cluster.is_none() {
            return Err(Doubt::open(Refusal::untrusted(&peer.name())));
        }
        let secret = self
            .open_secret(&peer, &sealed)
            .ok_or_else(|| bad("the key was not sealed by whom its tokens name"))?;
        let bytes = STANDARD.decode(&secret.key).ok();
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.filter(|bytes| name(&peer.session_key, &secret.target, bytes) == session);
        let key = bytes.and_then(|bytes| MacKey::new(&bytes));
        let key = key.ok_or_else(|| bad("the key is not that of the session"))?;
        if secret.target.len() > header::LONGEST_NAME {
            return Err(bad("the session is for no entity"));
        }
        let age = Duration::from_millis(secret.age_ms);
        if age > LIFE {
            return Err(bad("the session is older than any is used"));
        }
        let lifetime = Duration::from_secs(peer.expires.saturating_sub(now));
        let numbers = match peer.cluster {
            Some(_) => OF_CLUSTER,
            None => OF_STRANGER,
        };
        Ok(Arc::new(Known {
            key,
            peer,
            lattice: self.inner.lattice.clone(),
            target: secret.target.into(),
            began: came.checked_sub(age).unwrap_or(came),
            // One that has just expired still holds for as long as clocks may differ.
            until: came + lifetime.clamp(MIN_KNOWN, MAX_KNOWN),
            window: Mutex::new(Window::new(came, numbers)),
            used_ms: millis(age).into(),
        }))
    }

    fn verify(&self, tokens: &PeerTokens, now: u64) -> Result<VerifiedPeer, Doubt> {
        let inner = &self.inner;
        verify_peer(tokens, &inner.lattice, &inner.trusted, now).map_err(|error| {
            let why = lattice_core::reply::message_chain(&error);
            let refusal = if error.is_expired() {
                Refusal::expired(&why)
            } else {
                Refusal::bad_tokens(&why)
            };
            Doubt::open(refusal)
        })
    }

    fn open_secret(&self, peer: &VerifiedPeer, sealed: &str) -> Option<Secret> {
        let sender = CurveKey::from_public_key(&peer.session_key).ok()?;
        let sealed = STANDARD.decode(sealed).ok()?;
        let opened = self.inner.key.open(&sealed, &sender).ok()?;
        serde_json::from_slice(&opened).ok()
    }
}

/// Takes in a question for the key of a session. It is answered elsewhere, since that takes a few
/// signatures; one too many is dropped, and asked again.
pub(crate) fn asked(inner: &Arc<Inner>, question: Message) {
    let (Some(auth), Some(reply)) = (&inner.config.auth, question.reply) else {
        return;
    };
    let Some(turn) = auth.turn_to_answer(&reply) else {
        tracing::debug!("dropped a question for a key: too many are being answered");
        return;
    };
    let (auth, owner) = (auth.clone(), Arc::clone(inner));
    inner.tasks.spawn(async move {
        if let Some(answer) = auth.answer(&question.payload, &reply)
            && let Err(error) = owner.outbox.send(answer).await
        {
            tracing::debug!(%error, "could not tell the key of a session");
        }
        drop(turn);
    });
}

impl Auth {
    /// The right to answer a question that came from an inbox, until it is dropped.
    pub(super) fn turn_to_answer(&self, reply: &Subject) -> Option<Waits> {
        self.inner.answering.enter(&inbox::owner(reply).into())
    }

    pub(super) fn answer(&self, question: &[u8], reply: &Subject) -> Option<Outgoing> {
        if question.len() > MAX_BYTES || !is_inbox(reply, &self.inner.lattice) {
            return None;
        }
        let question: Question = serde_json::from_slice(question).ok()?;
        let session: Option<SessionName> = question.session.parse().ok();
        let session = session.and_then(|name| self.inner.sessions.named(&name));
        let answer = match session {
            None => no(No::UnknownSession),
            Some(session) => self.tell(&session, &question.tokens).unwrap_or_else(|| {
                tracing::debug!(target = %session.target, "withheld the key of a session");
                no(No::Untrusted)
            }),
        };
        Some(Outgoing {
            payload: serde_json::to_vec(&answer).ok()?.into(),
            ..Outgoing::reply(
                format!("{reply}.results").into(),
                header::write_turn(question.turn),
            )
        })
    }

    /// The key of a session for one who may have it.
    fn tell(&self, session: &Session, tokens: &PeerTokens) -> Option<Answer> {
        let asker = self.verify(tokens, epoch_seconds()).ok()?;
        let is_trusted = self.inner.trusted.is_empty() || asker.cluster.is_some();
        if !is_trusted || !asker.may_serve(&session.target) {
            return None;
        }
        let secret = Secret {
            target: session.target.to_string(),
            key: STANDARD.encode(session.secret),
            age_ms: millis(session.age(Instant::now())),
        };
        let reader = CurveKey::from_public_key(&asker.session_key).ok()?;
        let plain = serde_json::to_vec(&secret).ok()?;
        let sealed = self.inner.key.seal(&plain, &reader).ok()?;
        Some(Answer {
            tokens: Some(self.tokens()),
            sealed: Some(STANDARD.encode(sealed)),
            refused: None,
        })
    }
}

fn no(refused: No) -> Answer {
    Answer {
        tokens: None,
        sealed: None,
        refused: Some(refused),
    }
}
