//! Providers that reach no further than their links, and places for answers that are none.

use super::*;

/// The links of a lattice, none of which is ever heard of later.
#[derive(Debug)]
struct Fixed(&'static [(&'static str, &'static str, &'static str)]);

impl Links for Fixed {
    fn is_linked(&self, source: &str, target: &str, interface: &str) -> bool {
        self.0.contains(&(source, target, interface))
    }

    fn linked<'a>(
        &'a self,
        source: &'a str,
        target: &'a str,
        interface: &'a str,
        _within: Duration,
    ) -> futures::future::BoxFuture<'a, bool> {
        Box::pin(std::future::ready(
            self.is_linked(source, target, interface),
        ))
    }
}

#[tokio::test]
async fn a_provider_calls_what_it_is_linked_to_and_its_own_kind() {
    let cluster = Cluster::new();
    let sender = cluster.provider("kv", true);
    let host = SigningKey::generate(KeyKind::Host);
    let key = CurveKey::generate();
    let server = Auth::new(AuthSettings {
        links: Some(Arc::new(Fixed(&[
            ("kv", "linked", "a:b/c"),
            ("kv", "otherwise", "a:b/d"),
        ]))),
        tokens: PeerTokens {
            host: cluster.vouch(&host, &key, epoch_seconds()),
            provider: None,
        },
        key,
        lattice: "l".to_owned(),
        trusted: cluster.trusted(),
        strict: true,
        confined: false,
        reports: None,
    });
    for target in ["linked", "kv"] {
        let admitted = check(&server, &sender, &call(&sender, "kv", target, 5000));
        assert!(admitted.unwrap().is_proven, "{target}");
    }
    // What a component has asked it goes to another of its kind in the component's name.
    assert!(check(&server, &sender, &call(&sender, "cart", "kv", 5000)).is_ok());
    let other = call(&sender, "kv", "other", 5000);
    // A link for another interface of the target is none for this one.
    let otherwise = call(&sender, "kv", "otherwise", 5000);
    for unlinked in [&other, &otherwise] {
        let waits = check(&server, &sender, unlinked).unwrap_err();
        assert_eq!(waits, "waits for its link");
    }
    // A host knows the links of its components, and is believed.
    let host = cluster.host(true);
    assert!(check(&server, &host, &call(&host, "any", "other", 5000)).is_ok());
    // Over a socket it is the same.
    let end = LineEnd::Provider("kv".into());
    for unlinked in [&other, &otherwise] {
        let Verdict::Link(needed, admission) = server.check_line(&end, unlinked) else {
            panic!("let in without a link");
        };
        let Verdict::Refuse(refusal) = server.settle_link(&needed, admission).await else {
            panic!("let in without a link");
        };
        assert_eq!(refusal.code, RemoteError::NOT_LINKED);
        assert!(
            refusal.message.contains("for `a:b/c`"),
            "{}",
            refusal.message
        );
    }
    let linked = call(&sender, "kv", "linked", 5000);
    let verdict = server.check_line(&end, &linked);
    assert!(matches!(verdict, Verdict::Admit(_)));
}

#[test]
fn an_answer_goes_to_an_inbox_or_nowhere() {
    let cluster = Cluster::new();
    let (sender, strict, lenient) = (cluster.host(true), cluster.host(true), cluster.host(false));
    let place = |reply: &'static str| Message {
        reply: Some(Subject::from_static(reply)),
        ..call(&sender, "any", "t", 5000)
    };
    for reply in [
        "wasmbus.ctl.v1.l.link.put",
        "$KV.CONFIGDATA_l.x",
        "_LINE.1._INBOX.a.1-1",
    ] {
        let verdict = strict.check(&place(reply), Instant::now());
        assert!(matches!(verdict, Verdict::Drop(_)), "{reply}");
    }
    // Who may write everywhere needs nobody for it.
    let verdict = lenient.check(&place("custom.inbox"), Instant::now());
    assert!(matches!(verdict, Verdict::Ask(_)));
    let verdict = lenient.check(&place("_LINE.1._INBOX.a.1-1"), Instant::now());
    assert!(matches!(verdict, Verdict::Drop(_)));
}
