//! Feeds what peers say to one another to `lattice-rpc`: frames of the socket, headers of calls and
//! answers, proofs of who calls, questions for the keys of sessions and their answers.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lattice_claims::peer::sign_host;
use lattice_claims::{CurveKey, KeyKind, PublicKey, SigningKey, epoch_seconds};
use lattice_core::identity::{CallProof, PeerTokens, SessionName};
use lattice_rpc::fuzzing::{admits, answer, frames, learn, prove, question, told};
use lattice_rpc::header::{self, Terms};
use lattice_rpc::{Auth, AuthSettings};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 16] = [
    header::SOURCE_ID,
    header::LINK_NAME,
    header::LINK_PACKAGE,
    header::TARGET_ID,
    header::TRACEPARENT,
    header::TRACESTATE,
    header::CALL,
    header::WINDOW,
    header::BULK,
    header::OFFSET,
    header::ENDED,
    header::MORE,
    header::ERROR,
    header::STATUS,
    header::DESCRIPTION,
    "other",
];

/// A host of the one cluster.
struct Peer {
    auth: Auth,
    seed: String,
    token: String,
}

static CLUSTER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(KeyKind::Cluster));
static CALLER: LazyLock<Peer> = LazyLock::new(Peer::new);
static SERVER: LazyLock<Peer> = LazyLock::new(Peer::new);

fuzz_target!(|data: &[u8]| {
    let again = frames(data);
    assert_eq!(frames(&again).len(), again.len());
    if let Ok(text) = std::str::from_utf8(data) {
        let terms = Terms::read(text);
        assert_eq!(Terms::read(&terms.text()), terms);
        let message = message(text);
        told(&message);
        call(message);
        questions(text);
    }
});

/// Lines with the target, the end of the reply subject and the headers, then the payload.
fn message(text: &str) -> Message {
    let (head, payload) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.split('\n');
    let target = lines.next().unwrap_or_default();
    let reply = lines.next().map(|end| format!("_INBOX.{end}").into());
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut chars = line.chars();
        let name = NAMES[chars.next().map_or(0, |c| c as usize) % NAMES.len()];
        if let Ok(value) = chars.as_str().parse::<HeaderValue>() {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    Message {
        subject: format!("l.{target}.wrpc.0.0.1.f").into(),
        reply,
        payload: payload.to_owned().into(),
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    }
}

/// A call is let in as its caller made it, and not when something else came of it.
fn call(message: Message) {
    let _ = admits(&SERVER.auth, &message);
    let call = prove(&CALLER.auth, message);
    let proof = header::proof(call.headers.as_ref());
    let proof = proof.and_then(|proof| proof.parse::<CallProof>().ok());
    let (Some(proof), Some(reply)) = (proof, &call.reply) else {
        return;
    };
    let mut admitted = admits(&SERVER.auth, &call);
    if admitted.is_none() {
        let question = question(&SERVER.auth, proof.session);
        let Some(answer) = answer(&CALLER.auth, &question, "_INBOX.s.1") else {
            return;
        };
        let inbox = reply.rsplit_once('.').map_or("", |(inbox, _)| inbox);
        if !learn(&SERVER.auth, proof.session, inbox, &answer) {
            // What the headers hold is a proof of somebody else.
            return;
        }
        admitted = admits(&SERVER.auth, &call);
    }
    let mut forged = call.clone();
    forged.payload = [&call.payload[..], b"x"].concat().into();
    // Of the many sessions of one peer not all are remembered.
    if admitted == Some(true) {
        assert_eq!(admits(&SERVER.auth, &forged), Some(false));
    }
}

/// A question and an answer, in which some words stand for what nobody can guess.
fn questions(text: &str) {
    let session = SessionName([1; 16]);
    let (text, secret) = text.split_once('\n').unwrap_or((text, ""));
    let _ = answer(&CALLER.auth, text.as_bytes(), "_INBOX.s.1");
    let asked = text.replace("TOKEN", &SERVER.token);
    let _ = answer(&CALLER.auth, asked.as_bytes(), secret);
    let _ = learn(&SERVER.auth, session, "_INBOX.c", text.as_bytes());
    if text.contains("SEALED") {
        let (own, other) = (CALLER.key(), SERVER.key());
        let sealed = own.seal(secret.as_bytes(), &other).unwrap_or_default();
        let told = text.replace("TOKEN", &CALLER.token);
        let told = told.replace("SEALED", &STANDARD.encode(sealed));
        assert!(!learn(&SERVER.auth, session, "_INBOX.c", told.as_bytes()));
    }
}

impl Peer {
    fn new() -> Self {
        let (host, key) = (SigningKey::generate(KeyKind::Host), CurveKey::generate());
        let valid = (epoch_seconds(), Duration::from_secs(86_400));
        let token = sign_host(&CLUSTER, &host.public_key(), "l", &key, valid);
        let token = token.expect("a generated key signs");
        let cluster = PublicKey::parse(&CLUSTER.public_key());
        let seed = key.seed().expose().to_owned();
        let auth = Auth::new(AuthSettings {
            lattice: "l".to_owned(),
            key,
            tokens: PeerTokens {
                host: token.clone(),
                provider: None,
            },
            trusted: cluster.into_iter().collect(),
            strict: true,
            confined: true,
            links: None,
            reports: None,
        });
        Self { auth, seed, token }
    }

    fn key(&self) -> CurveKey {
        CurveKey::from_seed(&self.seed).expect("the seed of a generated key is one")
    }
}
