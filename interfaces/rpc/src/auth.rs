//! Who makes a call that comes over the bus.
//!
//! Anybody on the bus can write a `source-id`. Between peers of our kind a call carries a proof
//! besides ([`header::proof`](crate::header::proof)): a code, made with the key of a session, over who
//! calls whom through which link, the function, the place for the answer, the deadline, a number that
//! is used once, and the first message of the parameters.
//!
//! - The key is made by the caller, one for each target, and told to those who may serve that target
//!   and to nobody else: who gets a call of a session that it does not know asks the caller's inbox,
//!   showing its own tokens, and is sent the key sealed to the curve key that they name
//!   ([`ask`]). So nothing is agreed upon before the first call, and a queue group may have any members.
//! - The tokens of the caller, which come with the key, say whom it may call as.
//! - Time is counted from the birth of the session, which the answer tells, so that clocks need not
//!   agree.
//!
//! Calls within a process need no proof, and those over a socket have the line's ([`crate::socket`]).
//! What cannot be checked, as it comes from a peer that proves nothing or that nobody vouches for, is let
//! in where legacy peers are, and refused in a strict lattice; what is checked and is wrong is refused.

pub(crate) mod ask;
mod asking;
mod crowd;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod known;
mod links;
mod mac;
mod refusal;
mod reports;
mod sending;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use lattice_claims::peer::verify_peer;
use lattice_claims::{CurveKey, KeyError, PublicKey, epoch_seconds};
use lattice_core::event::CallRefused;
use lattice_core::identity::{CallProof, PeerTokens, ProviderIdentity, SessionName};
use lattice_core::subject::rpc::parse_invocation;
use lattice_core::subject::takes_answers;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::header;
use crate::inbox::is_inbox;
use crate::outbox::Outgoing;
use crate::socket::is_line;
use crowd::Crowd;
use known::{Known, Table};
pub use links::Links;
pub(crate) use links::Needed;
use mac::Covered;
pub(crate) use refusal::Refusal;
use reports::CallReports;
use sending::Sessions;
use window::Window;

/// The longest that a call may be on its way, whatever its deadline; a recorded one is of no use
/// after that.
pub(crate) const FRESH: Duration = Duration::from_secs(30);

/// How many calls may wait for the keys of their sessions, and how many of one owner of inboxes.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_OF_OWNER: usize = MAX_WAITING / 2;

/// How many calls of one provider wait for links at the same time.
const MAX_LINKING: usize = 32;

/// How many questions for keys are answered at the same time, and how many of one owner of inboxes; each
/// costs a few signatures. A process that has just started asks for the key of every caller at once.
const ANSWERING: usize = 256;
const ANSWERING_OF_OWNER: usize = 64;

/// How many bytes of a message the proof takes.
pub(crate) const ROOM: usize = header::LONGEST_PROOF;

/// What a peer proves who it is with, and whom it believes.
#[derive(Debug)]
pub struct AuthSettings {
    /// The lattice.
    pub lattice: String,
    /// The curve key that the tokens name.
    pub key: CurveKey,
    /// The peer's own tokens.
    pub tokens: PeerTokens,
    /// The clusters whose hosts are believed; empty to talk with whoever has a key of its own.
    pub trusted: Vec<PublicKey>,
    /// Whether calls that prove nothing are refused.
    pub strict: bool,
    /// Whether there are callers who may not write to every subject: a place for answers has to be an
    /// inbox then, also where legacy peers are let in, or they would have this peer write for them.
    pub confined: bool,
    /// The links that calls of providers need; `None` to let them call whatever they can reach.
    pub links: Option<Arc<dyn Links>>,
    /// Who is told of refused calls, as far as there is room, also of those of [`Peer::denied`].
    ///
    /// [`Peer::denied`]: crate::Peer::denied
    pub reports: Option<mpsc::Sender<CallRefused>>,
}

/// What a peer proves who it is with, and what it knows of others. Clones share everything.
#[derive(Debug, Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lattice: String,
    key: CurveKey,
    tokens: RwLock<PeerTokens>,
    trusted: Vec<PublicKey>,
    strict: bool,
    confined: bool,
    links: Option<Arc<dyn Links>>,
    reports: Option<CallReports>,
    sessions: Sessions,
    table: Table,
    /// Questions for keys that are answered, by the owners of the inboxes that they come from.
    answering: Crowd,
    /// Calls that wait for keys, by the owners of their inboxes.
    waiting: Crowd,
    /// Calls that wait for links, by the providers that make them.
    linking: Crowd,
}

/// Where a call came from.
#[derive(Debug, Clone)]
pub(crate) enum Came {
    /// It was made in this process.
    Here,
    /// Over the line of a process.
    Line(LineEnd),
    /// Over NATS.
    Bus,
}

/// Who is at the other end of a line.
#[derive(Debug, Clone)]
pub(crate) enum LineEnd {
    /// The host that started this process.
    Host,
    /// A provider that has shown its ticket.
    Provider(Arc<str>),
    /// A process of the same user.
    Somebody,
}

/// What is to be done with a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is let in.
    Admit(Admission),
    /// The key of its session has to be asked for.
    Ask(SessionName),
    /// It needs a link that may be heard of in a moment.
    Link(Needed, Admission),
    /// It is refused.
    Refuse(Refusal),
    /// It is refused, and nobody is told where the answer would lead.
    Drop(Refusal),
}

/// A call that is let in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Admission {
    /// Whether its source is certain.
    pub(crate) is_proven: bool,
    /// How much time it has at most, as was proven.
    pub(crate) left: Option<Duration>,
}

impl Auth {
    /// Begins with no sessions.
    #[must_use]
    pub fn new(settings: AuthSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                lattice: settings.lattice,
                sessions: Sessions::new(settings.key.public_key()),
                key: settings.key,
                tokens: RwLock::new(settings.tokens),
                trusted: settings.trusted,
                strict: settings.strict,
                confined: settings.confined || settings.strict,
                links: settings.links,
                reports: settings.reports.map(CallReports::new),
                table: Table::default(),
                answering: Crowd::new(ANSWERING, ANSWERING_OF_OWNER),
                waiting: Crowd::new(MAX_WAITING, MAX_WAITING_OF_OWNER),
                linking: Crowd::new(usize::MAX, MAX_LINKING),
            }),
        }
    }

    /// What a provider was given by its host in the lattice.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for keys that are none.
    pub fn of_provider(
        lattice: &str,
        identity: &ProviderIdentity,
        reports: Option<mpsc::Sender<CallRefused>>,
    ) -> Result<Self, KeyError> {
        let trusted = identity.trusted.iter();
        Ok(Self::new(AuthSettings {
            lattice: lattice.to_owned(),
            key: CurveKey::from_seed(identity.session_seed.expose())?,
            tokens: identity.tokens.clone(),
            trusted: trusted
                .map(|key| PublicKey::parse(key))
                .collect::<Result<_, _>>()?,
            strict: identity.strict,
            confined: identity.confined,
            // A provider knows its links itself, and serves nobody else.
            links: None,
            reports,
        }))
    }

    /// Shows other tokens from now on, which hold for longer; false when they are not of the same
    /// peer and key, or do not hold.
    pub fn renew(&self, tokens: PeerTokens) -> bool {
        let now = epoch_seconds();
        let inner = &self.inner;
        let verify =
            |tokens: &PeerTokens, now| verify_peer(tokens, &inner.lattice, &inner.trusted, now);
        let Ok(new) = verify(&tokens, now) else {
            return false;
        };
        // The old ones may have expired meanwhile.
        let is_same = verify(&inner.tokens.read(), 0).is_ok_and(|old| {
            let mine = new.session_key == inner.key.public_key();
            mine && (&old.host, &old.provider) == (&new.host, &new.provider)
                && (old.cluster.is_none() || old.cluster == new.cluster)
        });
        if is_same {
            *inner.tokens.write() = tokens;
        }
        is_same
    }

    fn tokens(&self) -> PeerTokens {
        self.inner.tokens.read().clone()
    }

    /// Forgets, every now and then, sessions of others that are not used.
    pub(crate) fn sweep(&self) {
        self.inner.table.sweep();
    }

    /// Adds the proof to a request that leaves for the bus, in place of one that is there.
    pub(crate) fn prove(&self, request: &mut Outgoing) {
        let Some(reply) = &request.reply else {
            return;
        };
        let Some(target) = target_of(&request.subject, &self.inner.lattice) else {
            return;
        };
        let Some(session) = self.inner.sessions.of(target) else {
            return;
        };
        let headers = request.headers.get_or_insert_default();
        let now = Instant::now();
        let left = request
            .deadline
            .map_or(FRESH, |at| at.saturating_duration_since(now));
        let covered = Covered::read(Some(headers), &request.subject, reply);
        let proof = session.prove(&covered, &request.payload, now, left);
        header::write_proof(headers, &proof);
    }

    /// Whether this peer has made a request as it is, and proven it: others are handed on as they
    /// came, and may name any session.
    pub(crate) fn has_made(&self, request: &Outgoing) -> bool {
        let Some(reply) = &request.reply else {
            return false;
        };
        let covered = Covered::read(request.headers.as_ref(), &request.subject, reply);
        let proof: Option<CallProof> = covered.proof.and_then(|text| text.parse().ok());
        proof.is_some_and(|proof| {
            let session = self.inner.sessions.named(&proof.session);
            session.is_some_and(|session| session.has_made(&covered, &proof, &request.payload))
        })
    }

    /// Begins a new session with whoever is called by `subject`: the one until now may be of no use
    /// there, for example because this machine was asleep. One that is new stays, since its calls are
    /// refused for another reason.
    pub(crate) fn begin_anew(&self, subject: &str) {
        if let Some(target) = target_of(subject, &self.inner.lattice) {
            self.inner.sessions.outlive(target);
        }
    }

    /// Whether a place for answers that somebody has named over the bus is written to.
    pub(crate) fn may_write_to(&self, place: &str) -> bool {
        takes_answers(place) && (!self.inner.confined || is_inbox(place, &self.inner.lattice))
    }

    /// What is to be done with a call that came over the bus.
    pub(crate) fn check(&self, call: &Message, arrived: Instant) -> Verdict {
        let Some(reply) = &call.reply else {
            // It is refused without an answer anyway.
            return Verdict::Admit(Admission::default());
        };
        if is_line(reply) || !self.may_write_to(reply) {
            return Verdict::Drop(Refusal::no_inbox(reply));
        }
        let covered = Covered::read(call.headers.as_ref(), &call.subject, reply);
        let Some(text) = covered.proof else {
            return self.unproven(Refusal::unauthenticated());
        };
        let Ok(proof) = text.parse::<CallProof>() else {
            return Verdict::Refuse(Refusal::malformed());
        };
        match self
            .inner
            .table
            .get(&proof.session, covered.inbox(), arrived)
        {
            None => Verdict::Ask(proof.session),
            Some(Err(doubt)) if doubt.is_sure => Verdict::Refuse(doubt.refusal),
            Some(Err(doubt)) => self.unproven(doubt.refusal),
            Some(Ok(known)) => self.check_proof(&known, &covered, &proof, call, arrived),
        }
    }

    fn check_proof(
        &self,
        known: &Known,
        covered: &Covered<'_>,
        proof: &CallProof,
        call: &Message,
        arrived: Instant,
    ) -> Verdict {
        let is_trusted = known.peer.cluster.is_some();
        if self.inner.strict && !is_trusted {
            return Verdict::Refuse(Refusal::untrusted(&known.peer.name()));
        }
        let left = match known.check(covered, proof, &call.payload, arrived) {
            Ok(left) => left,
            Err(refusal) => return Verdict::Refuse(refusal),
        };
        let admission = Admission {
            is_proven: is_trusted,
            left: Some(left),
        };
        self.admit_proven(&known.peer, &call.subject, admission)
    }

    /// Takes back that a call has come, which has proven who makes it and goes on elsewhere: it may come
    /// once more.
    pub(crate) fn give_back(&self, call: &Message) {
        let now = Instant::now();
        self.at_window(call, now, |window, number| window.give_back(number));
    }

    /// Notes again that it has come, as it has not gone on.
    pub(crate) fn keep_back(&self, call: &Message) {
        let now = Instant::now();
        self.at_window(call, now, |window, number| {
            window.take(number, now);
        });
    }

    fn at_window(&self, call: &Message, now: Instant, work: impl FnOnce(&mut Window, u64)) {
        let Some(reply) = &call.reply else {
            return;
        };
        let covered = Covered::read(call.headers.as_ref(), &call.subject, reply);
        let proof: Option<CallProof> = covered.proof.and_then(|text| text.parse().ok());
        let Some(proof) = proof else {
            return;
        };
        let known = self.inner.table.get(&proof.session, covered.inbox(), now);
        if let Some(Ok(known)) = known {
            work(&mut known.window.lock(), proof.number);
        }
    }

    /// What becomes of a call that cannot be checked.
    pub(crate) fn unproven(&self, refusal: Refusal) -> Verdict {
        if self.inner.strict {
            Verdict::Refuse(refusal)
        } else {
            Verdict::Admit(Admission::default())
        }
    }

    /// What is to be done with a call that came over a line.
    pub(crate) fn check_line(&self, end: &LineEnd, call: &Message) -> Verdict {
        let proven = Admission {
            is_proven: true,
            left: None,
        };
        match end {
            LineEnd::Host => Verdict::Admit(proven),
            LineEnd::Provider(id) => match header::source(call) {
                Some(source) if source != &**id => {
                    let name = format!("provider `{id}` of this host");
                    Verdict::Refuse(Refusal::foreign_source(&name, source).by(id, true))
                }
                _ => self.admit_provider(id, &call.subject, proven),
            },
            // The path of the socket is told together with a ticket, so that this is nobody's provider.
            LineEnd::Somebody if self.inner.confined => Verdict::Refuse(Refusal::unauthenticated()),
            LineEnd::Somebody => self.unproven(Refusal::unauthenticated()),
        }
    }

    /// Tells of a refused call.
    pub(crate) fn report(&self, call: &Message, refusal: &Refusal) {
        let called = parse_invocation(&call.subject);
        let (target, operation) = match &called {
            Some((_, target, operation)) => (target.as_str(), *operation),
            None => ("", call.subject.as_str()),
        };
        let ends = Ends {
            source: header::source(call),
            caller: refusal.caller.as_deref(),
            target,
        };
        self.tell_refused(ends, operation, refusal.code, &refusal.message);
    }

    /// Tells of a call that is refused.
    pub(crate) fn tell_refused(&self, ends: Ends<'_>, operation: &str, code: &str, why: &str) {
        self.tell_for(ends, operation, (code, why), 0);
    }

    /// The same of one that stands for others, too.
    fn tell_for(&self, ends: Ends<'_>, operation: &str, (code, why): (&str, &str), others: u64) {
        let Some(reports) = &self.inner.reports else {
            return;
        };
        // Callers choose the texts.
        let some = |text: &str| text.chars().take(256).collect();
        reports.send(CallRefused {
            host_id: String::new(),
            target_id: some(ends.target),
            source_id: ends.source.map(some),
            caller_id: ends.caller.map(str::to_owned),
            operation: some(operation),
            code: code.to_owned(),
            error: some(why),
            suppressed: others,
        });
    }
}

/// Between whom a call is that is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'a> {
    /// Who it says that it is from.
    pub(crate) source: Option<&'a str>,
    /// Who makes it, where that is certain.
    pub(crate) caller: Option<&'a str>,
    /// The entity that is called.
    pub(crate) target: &'a str,
}

/// The entity that a subject calls, if it is a call in this lattice.
fn target_of<'a>(subject: &'a str, lattice: &str) -> Option<&'a str> {
    let (of, target) = entity(subject)?;
    (of == lattice).then_some(target)
}

/// The lattice and the entity that a subject calls, if it is a call.
pub(crate) fn entity(subject: &str) -> Option<(&str, &str)> {
    let (lattice, rest) = subject.split_once('.')?;
    let (target, rest) = rest.split_once('.')?;
    rest.starts_with("wrpc.").then_some((lattice, target))
}

#[cfg(test)]
mod tests;
