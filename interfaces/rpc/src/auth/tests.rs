//! What is let in, what is asked for first and what is refused.

mod confined;

use super::*;

use async_nats::Subject;
use bytes::Bytes;
use lattice_claims::peer::{sign_host, sign_provider};
use lattice_claims::{KeyKind, SigningKey, epoch_seconds};

use crate::error::RemoteError;
use crate::header::Terms;

const DAY: Duration = Duration::from_secs(86_400);

/// A cluster, which vouches for whom it makes.
struct Cluster(SigningKey);

impl Cluster {
    fn new() -> Self {
        Self(SigningKey::generate(KeyKind::Cluster))
    }

    fn trusted(&self) -> Vec<PublicKey> {
        vec![PublicKey::parse(&self.0.public_key()).unwrap()]
    }

    fn host(&self, strict: bool) -> Auth {
        let host = SigningKey::generate(KeyKind::Host);
        let key = CurveKey::generate();
        let tokens = PeerTokens {
            host: self.vouch(&host, &key, epoch_seconds()),
            provider: None,
        };
        auth(key, tokens, self.trusted(), strict)
    }

    fn vouch(&self, host: &SigningKey, key: &CurveKey, now: u64) -> String {
        sign_host(&self.0, &host.public_key(), "l", key, (now, DAY)).unwrap()
    }

    fn provider(&self, id: &str, strict: bool) -> Auth {
        let host = SigningKey::generate(KeyKind::Host);
        let (host_key, key) = (CurveKey::generate(), CurveKey::generate());
        let now = epoch_seconds();
        let provider = sign_provider(&host, id, "i", "l", &key, (now, DAY)).unwrap();
        let tokens = PeerTokens {
            host: self.vouch(&host, &host_key, now),
            provider: Some(provider),
        };
        auth(key, tokens, self.trusted(), strict)
    }
}

fn auth(key: CurveKey, tokens: PeerTokens, trusted: Vec<PublicKey>, strict: bool) -> Auth {
    Auth::new(AuthSettings {
        lattice: "l".to_owned(),
        key,
        tokens,
        trusted,
        strict,
        confined: false,
        links: None,
        reports: None,
    })
}

/// Those of a peer of the cluster where legacy peers are let in.
fn settings(of: &Auth, cluster: &Cluster) -> AuthSettings {
    AuthSettings {
        lattice: "l".to_owned(),
        key: CurveKey::generate(),
        tokens: of.tokens(),
        trusted: cluster.trusted(),
        strict: false,
        confined: false,
        links: None,
        reports: None,
    }
}

/// A host that vouches for itself.
fn alone(strict: bool) -> Auth {
    let host = SigningKey::generate(KeyKind::Host);
    let key = CurveKey::generate();
    let token = sign_host(&host, &host.public_key(), "l", &key, (epoch_seconds(), DAY)).unwrap();
    let tokens = PeerTokens {
        host: token,
        provider: None,
    };
    auth(key, tokens, Vec::new(), strict)
}

/// A call of `source`, as it comes to whoever serves `target`.
fn call(sender: &Auth, source: &str, target: &str, ms: u64) -> Message {
    let mut headers = async_nats::HeaderMap::new();
    header::put(&mut headers, header::SOURCE_ID, source);
    let deadline = Instant::now() + Duration::from_millis(ms);
    Terms::default().until(deadline).write(&mut headers);
    let mut request = Outgoing {
        headers: Some(headers),
        payload: Bytes::from_static(b"parameters"),
        deadline: Some(deadline),
        ..Outgoing::reply(
            format!("l.{target}.wrpc.0.0.1.a:b/c.f").into(),
            Subject::from_static("_INBOX.me.1-1"),
        )
    };
    sender.prove(&mut request);
    request.arrived()
}

/// What `server` makes of a call, after having asked `sender` for the key if need be.
fn check(server: &Auth, sender: &Auth, call: &Message) -> Result<Admission, &'static str> {
    let now = Instant::now();
    for _ in 0..2 {
        match server.check(call, now) {
            Verdict::Admit(admission) => return Ok(admission),
            Verdict::Refuse(refusal) | Verdict::Drop(refusal) => return Err(refusal.code),
            Verdict::Link(..) => return Err("waits for its link"),
            Verdict::Ask(session) => {
                let reply = Subject::from_static("_INBOX.you.2-1");
                let question = server.question(session, 1);
                let answer = sender.answer(&question, &reply).unwrap();
                let learnt = server.read_answer(session, &answer.payload, now);
                let asked = (session, Box::from("_INBOX.me"));
                let asking::Asking::Begin(place, _) = server.inner.table.ask(&asked) else {
                    panic!("somebody asks already");
                };
                server.inner.table.settle(&asked, Some(learnt), place);
            }
        }
    }
    panic!("asked again and again");
}

#[test]
fn a_call_of_the_cluster_is_proven_and_counts_once() {
    let cluster = Cluster::new();
    let (sender, server) = (cluster.host(true), cluster.host(true));
    let first = call(&sender, "any", "t", 5000);
    let admitted = check(&server, &sender, &first).unwrap();
    assert!(admitted.is_proven);
    assert!(
        admitted
            .left
            .is_some_and(|left| left <= Duration::from_secs(5))
    );
    assert_eq!(
        check(&server, &sender, &first).unwrap_err(),
        RemoteError::REPLAYED
    );
    assert!(check(&server, &sender, &call(&sender, "any", "t", 5000)).is_ok());
}

#[test]
fn what_was_changed_on_the_way_is_refused_also_where_legacy_peers_are_let_in() {
    let cluster = Cluster::new();
    for strict in [true, false] {
        let (sender, server) = (cluster.host(strict), cluster.host(strict));
        let mut flipped = call(&sender, "any", "t", 5000);
        flipped.payload = Bytes::from_static(b"Parameters");
        let mut other = call(&sender, "any", "t", 5000);
        let headers = other.headers.as_mut().unwrap();
        header::put(headers, header::SOURCE_ID, "other");
        let mut elsewhere = call(&sender, "any", "t", 5000);
        elsewhere.reply = Some(Subject::from_static("_INBOX.me.6-6"));
        let mut target = call(&sender, "any", "t", 5000);
        target.subject = "l.u.wrpc.0.0.1.a:b/c.f".into();
        let mut garbled = call(&sender, "any", "t", 5000);
        header::put(
            garbled.headers.as_mut().unwrap(),
            header::CALL,
            "proof=v1.x",
        );
        for (at, bad) in [flipped, other, elsewhere, target, garbled]
            .iter()
            .enumerate()
        {
            let refused = check(&server, &sender, bad).unwrap_err();
            assert_eq!(refused, RemoteError::BAD_PROOF, "change {at}");
        }
    }
}

#[test]
fn a_provider_calls_as_itself_alone_and_gets_keys_for_itself_alone() {
    let cluster = Cluster::new();
    let (provider, host) = (cluster.provider("kv", true), cluster.host(true));
    assert!(check(&host, &provider, &call(&provider, "kv", "t", 5000)).is_ok());
    let foreign = check(&host, &provider, &call(&provider, "other", "t", 5000));
    assert_eq!(foreign.unwrap_err(), RemoteError::FOREIGN_SOURCE);
    assert!(check(&provider, &host, &call(&host, "any", "kv", 5000)).is_ok());
    let listener = check(&provider, &host, &call(&host, "any", "t", 5000));
    assert_eq!(listener.unwrap_err(), RemoteError::UNTRUSTED);
}

#[test]
fn a_strict_peer_lets_nobody_in_without_proof_or_cluster() {
    let cluster = Cluster::new();
    let (server, stranger) = (cluster.host(true), alone(false));
    let mut plain = call(&stranger, "any", "t", 5000);
    let unknown = check(&server, &stranger, &plain).unwrap_err();
    assert_eq!(unknown, RemoteError::UNTRUSTED);
    plain.headers = None;
    let unproven = check(&server, &stranger, &plain).unwrap_err();
    assert_eq!(unproven, RemoteError::UNAUTHENTICATED);
    let lenient = cluster.host(false);
    assert!(!check(&lenient, &stranger, &plain).unwrap().is_proven);
    let somebody = check(&lenient, &stranger, &call(&stranger, "any", "t", 5000)).unwrap();
    assert!(!somebody.is_proven);
}

#[test]
fn a_host_of_the_cluster_is_let_in_by_one_that_is_of_none() {
    let (sender, server) = (Cluster::new().host(false), alone(false));
    let withheld = check(&server, &sender, &call(&sender, "any", "t", 5000)).unwrap();
    assert!(!withheld.is_proven);
}

#[test]
fn expired_tokens_prove_nothing() {
    let cluster = Cluster::new();
    let (sender, server) = (cluster.host(true), cluster.host(true));
    let host = SigningKey::generate(KeyKind::Host);
    let old = epoch_seconds() - 2 * DAY.as_secs();
    let old = PeerTokens {
        host: cluster.vouch(&host, &sender.inner.key, old),
        provider: None,
    };
    assert!(!sender.renew(old.clone()));
    *sender.inner.tokens.write() = old;
    let expired = check(&server, &sender, &call(&sender, "any", "t", 5000));
    assert_eq!(expired.unwrap_err(), RemoteError::EXPIRED);
}

#[test]
fn renewed_tokens_are_those_of_the_same_peer() {
    let cluster = Cluster::new();
    let host = SigningKey::generate(KeyKind::Host);
    let key = CurveKey::generate();
    let vouch = |by: &Cluster, host: &SigningKey, key: &CurveKey| PeerTokens {
        host: by.vouch(host, key, epoch_seconds()),
        provider: None,
    };
    let tokens = vouch(&cluster, &host, &key);
    let auth = auth(key.clone(), tokens, cluster.trusted(), true);
    let other = SigningKey::generate(KeyKind::Host);
    assert!(!auth.renew(PeerTokens::default()));
    assert!(!auth.renew(vouch(&cluster, &other, &key)));
    assert!(!auth.renew(vouch(&cluster, &host, &CurveKey::generate())));
    assert!(!auth.renew(vouch(&Cluster::new(), &host, &key)));
    assert!(auth.renew(vouch(&cluster, &host, &key)));
}

#[test]
fn questions_go_to_inboxes_and_nowhere_else() {
    for inbox in ["_INBOX.a.1", "l.kv.inbox.XKEY.a", "_GR_.A.B._INBOX.a.1"] {
        assert!(is_inbox(inbox, "l"), "{inbox}");
    }
    let others = [
        "wasmbus.ctl.v1.l.x",
        "l.kv.wrpc.0.0.1.f",
        "m.kv.inbox.X.a",
        "l.inbox",
        "_GR_.A.B.wasmbus.ctl.v1.l.x",
        "",
    ];
    for other in others {
        assert!(!is_inbox(other, "l"), "{other}");
    }
}

#[test]
fn nobody_can_take_the_name_of_a_session() {
    let cluster = Cluster::new();
    let (sender, thief, server) = (cluster.host(true), cluster.host(true), cluster.host(true));
    let recorded = call(&sender, "any", "t", 5000);
    // The thief has a session for the same target, and tells its key under the other's name.
    let own = call(&thief, "any", "t", 5000);
    let Verdict::Ask(name) = server.check(&recorded, Instant::now()) else {
        panic!("known already");
    };
    let Verdict::Ask(own_name) = server.check(&own, Instant::now()) else {
        panic!("known already");
    };
    let reply = Subject::from_static("_INBOX.you.2-1");
    let answer = thief.answer(&server.question(own_name, 1), &reply).unwrap();
    assert!(
        server
            .read_answer(name, &answer.payload, Instant::now())
            .is_err()
    );
    assert!(
        server
            .read_answer(own_name, &answer.payload, Instant::now())
            .is_ok()
    );
    assert!(check(&server, &sender, &recorded).is_ok());
}

#[test]
fn a_session_that_its_caller_does_not_know_is_refused_everywhere() {
    let cluster = Cluster::new();
    let (sender, other, server) = (
        cluster.host(false),
        cluster.host(false),
        cluster.host(false),
    );
    let forged = call(&sender, "any", "t", 5000);
    let refused = check(&server, &other, &forged).unwrap_err();
    assert_eq!(refused, RemoteError::UNKNOWN_SESSION);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_after_its_time_is_refused() {
    let cluster = Cluster::new();
    let (sender, server) = (cluster.host(true), cluster.host(true));
    assert!(check(&server, &sender, &call(&sender, "any", "t", 5000)).is_ok());
    for ms in [200, 600_000] {
        let recorded = call(&sender, "any", "t", ms);
        tokio::time::advance(FRESH.min(Duration::from_millis(ms)) + Duration::from_secs(1)).await;
        assert_eq!(
            check(&server, &sender, &recorded).unwrap_err(),
            RemoteError::STALE
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_is_proven_anew_by_its_caller_alone() {
    let cluster = Cluster::new();
    let (sender, other, server) = (cluster.host(true), cluster.host(true), cluster.host(true));
    assert!(check(&server, &sender, &call(&sender, "any", "t", 5000)).is_ok());
    let message = call(&sender, "any", "t", 600_000);
    tokio::time::advance(FRESH + Duration::from_secs(1)).await;
    let again = |by: &Auth| {
        let mut request = Outgoing {
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            deadline: Some(Instant::now() + Duration::from_secs(60)),
            ..Outgoing::reply(message.subject.clone(), message.reply.clone().unwrap())
        };
        if by.has_made(&request) {
            by.prove(&mut request);
        }
        request.arrived()
    };
    assert_eq!(
        check(&server, &sender, &again(&other)).unwrap_err(),
        RemoteError::STALE
    );
    assert!(check(&server, &sender, &again(&sender)).is_ok());
}

#[test]
fn a_call_that_only_names_a_session_was_not_made_by_it() {
    let cluster = Cluster::new();
    let sender = cluster.host(true);
    let true_one = call(&sender, "any", "t", 5000);
    let request = |source: &str, payload: &'static [u8]| {
        let mut headers = true_one.headers.clone().unwrap();
        header::set(&mut headers, header::SOURCE_ID, source.to_owned());
        Outgoing {
            headers: Some(headers),
            payload: Bytes::from_static(payload),
            ..Outgoing::reply(true_one.subject.clone(), true_one.reply.clone().unwrap())
        }
    };
    assert!(sender.has_made(&request("any", b"parameters")));
    assert!(!sender.has_made(&request("other", b"parameters")));
    assert!(!sender.has_made(&request("any", b"others")));
}

#[test]
fn strangers_take_no_place_among_the_sessions_of_a_strict_lattice() {
    let cluster = Cluster::new();
    let (stranger, server) = (alone(false), cluster.host(true));
    let refused = check(&server, &stranger, &call(&stranger, "any", "t", 5000));
    assert_eq!(refused.unwrap_err(), RemoteError::UNTRUSTED);
    assert_eq!(server.inner.table.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_refused_is_begun_anew_unless_it_is_new() {
    let cluster = Cluster::new();
    let sender = cluster.host(true);
    let session = |message: &Message| {
        let proof = header::proof(message.headers.as_ref()).unwrap();
        proof.parse::<CallProof>().unwrap().session
    };
    let first = call(&sender, "any", "t", 5000);
    assert_eq!(session(&first), session(&call(&sender, "any", "t", 5000)));
    sender.begin_anew(&first.subject);
    assert_eq!(session(&first), session(&call(&sender, "any", "t", 5000)));
    tokio::time::advance(Duration::from_secs(11)).await;
    sender.begin_anew(&first.subject);
    assert_ne!(session(&first), session(&call(&sender, "any", "t", 5000)));
}

#[test]
fn who_is_at_the_end_of_a_line_calls_as_itself() {
    let cluster = Cluster::new();
    let (strict, lenient) = (cluster.host(true), cluster.host(false));
    let provider = LineEnd::Provider("kv".into());
    let code = |verdict| match verdict {
        Verdict::Refuse(refusal) => refusal.code,
        _ => "let in",
    };
    let of = |source: &str| call(&lenient, source, "t", 5000);
    assert_eq!(code(lenient.check_line(&provider, &of("kv"))), "let in");
    let foreign = code(lenient.check_line(&provider, &of("other")));
    assert_eq!(foreign, RemoteError::FOREIGN_SOURCE);
    assert_eq!(
        code(strict.check_line(&LineEnd::Host, &of("any"))),
        "let in"
    );
    let nobody = code(strict.check_line(&LineEnd::Somebody, &of("kv")));
    assert_eq!(nobody, RemoteError::UNAUTHENTICATED);
    let nobody = code(lenient.check_line(&LineEnd::Somebody, &of("kv")));
    assert_eq!(nobody, "let in");
    // Where providers are held to their links, nobody gets round them by saying less.
    let confined = Auth::new(AuthSettings {
        confined: true,
        ..settings(&lenient, &cluster)
    });
    let nobody = code(confined.check_line(&LineEnd::Somebody, &of("kv")));
    assert_eq!(nobody, RemoteError::UNAUTHENTICATED);
}

#[test]
fn one_who_floods_with_questions_leaves_turns_to_others() {
    let sender = Cluster::new().host(true);
    let asks = |inbox: &str| sender.turn_to_answer(&format!("{inbox}.1-1").into());
    let flood: Vec<_> = (0..ANSWERING).map_while(|_| asks("_INBOX.a")).collect();
    assert_eq!(flood.len(), ANSWERING_OF_OWNER);
    assert!(asks("_INBOX.b").is_some());
    drop(flood);
    assert!(asks("_INBOX.a").is_some());
}
