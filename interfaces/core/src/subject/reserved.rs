//! Subjects that are not for the messages of components.
//!
//! A messaging provider whose backend is the lattice's own NATS says and hears there what its host may,
//! which is everything. What the lattice, its calls, JetStream and the services of hosts go by is
//! therefore not for components.

use crate::id::LatticeName;

/// Calls, of whatever lattice.
const CALLS: &str = "*.*.wrpc.>";

/// What is reserved whole. A token that ends with `*` stands for those that begin so.
const ROOTS: [&str; 6] = [
    "wasmbus.>",
    // JetStream, its buckets and the server itself.
    "$*.>",
    "wasmcloud.secrets",
    "wasmcloud.secrets.>",
    // Where `wash policy serve` is asked unless told otherwise.
    "wasmcloud.policy",
    "wasmcloud.policy.>",
];

/// What is there below them, for patterns that begin with a wildcard: `*.created` is after something
/// else.
const HEARD: [&str; 15] = [
    "wasmbus.ctl.*.*.>",
    "wasmbus.evt.*.>",
    "wasmbus.rpc.*.>",
    CALLS,
    "$JS.*.>",
    "$SYS.*.>",
    "$KV.LATTICE*.>",
    "$KV.CONFIGDATA_*.>",
    "$KV.WASMCLOUD_*.>",
    "$KV.SECRETS_*.>",
    "$O.CODECACHE_*.>",
    "wasmcloud.secrets",
    "wasmcloud.secrets.>",
    "wasmcloud.policy",
    "wasmcloud.policy.>",
];

/// Where answers are waited for.
const INBOX: &str = "_INBOX";

/// What nats-server puts before places for answers on the way between clusters, with two tokens.
const GATEWAY: &str = "_GR_.";

/// Whether a subject, or a pattern of subjects, reaches what the lattice goes by.
///
/// Inboxes below `_INBOX` are not reserved, as messages are answered there, but a pattern that would
/// hear those of others is.
///
/// ```
/// use lattice_core::{LatticeName, subject::is_reserved};
///
/// let lattice = LatticeName::default();
/// assert!(is_reserved("wasmbus.ctl.v1.default.host.ping", &lattice));
/// assert!(is_reserved("$JS.API.STREAM.LIST", &lattice));
/// assert!(is_reserved(">", &lattice));
/// assert!(!is_reserved("orders.>", &lattice));
/// assert!(!is_reserved("_INBOX.Zx31.1", &lattice));
/// ```
#[must_use]
pub fn is_reserved(subject: &str, lattice: &LatticeName) -> bool {
    // Answers of others are on their way there, between clusters.
    if subject.starts_with(GATEWAY) && subject.contains(['*', '>']) {
        return true;
    }
    // Servers of another cluster take what stands before it away.
    let subject = at_home(subject);
    let own = [
        format!("{lattice}.*.wrpc.>"),
        format!("{lattice}.*.inbox.>"),
    ];
    let roots: &[&str] = match subject.split('.').next() {
        Some("*" | ">") => &HEARD,
        _ => &ROOTS,
    };
    reaches(subject, roots)
        || own.iter().any(|shape| meets(subject, shape))
        || walk(subject, CALLS, false)
        || hears_inboxes(subject)
}

/// Whether answers are sent to a subject that somebody has named for them.
///
/// Nobody waits for one where lattices, their calls, JetStream and the services of hosts have theirs:
/// whoever asks for it there wants to have it said by somebody who may say more than he. An empty
/// answer is a command, too (protocol page, 1.5: `host.stop` needs no body).
///
/// ```
/// use lattice_core::subject::takes_answers;
///
/// assert!(takes_answers("_INBOX.Zx31.1"));
/// assert!(takes_answers("answers.of.a.client"));
/// assert!(!takes_answers("wasmbus.ctl.v1.default.host.stop.NABC"));
/// assert!(!takes_answers("default.counter.wrpc.0.0.1.run"));
/// ```
#[must_use]
pub fn takes_answers(place: &str) -> bool {
    let place = at_home(place);
    place.starts_with(INBOX) || !(reaches(place, &ROOTS) || walk(place, CALLS, false))
}

/// The place for an answer as its owner knows it: servers of other clusters put the way back before it.
#[must_use]
pub fn at_home(reply: &str) -> &str {
    let mapped = reply.strip_prefix(GATEWAY);
    let home = mapped.and_then(|rest| rest.splitn(3, '.').nth(2));
    home.unwrap_or(reply)
}

/// Whether a subject or pattern reaches `prefix` or something below it.
#[must_use]
pub fn is_below(subject: &str, prefix: &str) -> bool {
    meets(subject, prefix) || meets(subject, &format!("{prefix}.>"))
}

/// Whether it is a pattern with other people's inboxes in it: whoever waits in one knows its name.
fn hears_inboxes(subject: &str) -> bool {
    let mut tokens = subject.split('.');
    match tokens.next() {
        Some(">") => true,
        Some(INBOX | "*") => matches!(tokens.next(), Some("*" | ">")),
        _ => false,
    }
}

fn reaches(subject: &str, shapes: &[&str]) -> bool {
    shapes.iter().any(|shape| meets(subject, shape))
}

/// Whether there is a subject that both take.
fn meets(subject: &str, shape: &str) -> bool {
    walk(subject, shape, true)
}

/// Whether a subject is as a shape says, word by word, where a wildcard in it may be any word or none.
fn walk(subject: &str, shape: &str, is_wild: bool) -> bool {
    let (mut tokens, mut shape) = (subject.split('.'), shape.split('.'));
    loop {
        match (tokens.next(), shape.next()) {
            (Some(_), Some(">")) | (None, None) => return true,
            (Some(">"), Some(_)) => return is_wild,
            (Some("*"), Some(_)) if is_wild => {}
            (Some(token), Some(wanted)) if is_one(token, wanted) => {}
            _ => return false,
        }
    }
}

fn is_one(token: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => token.starts_with(start),
        None => token == wanted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ControlSubjects, ProviderSubjects, RpcPrefix, SecretsSubjects};
    use super::super::{TopicPrefix, event, store};
    use super::*;
    use crate::id::{BackendName, ComponentId};

    fn reserved(subject: &str) -> bool {
        is_reserved(subject, &LatticeName::new("shop").unwrap())
    }

    #[test]
    fn what_a_lattice_goes_by_is_reserved() {
        for subject in [
            "$SYS.REQ.SERVER.PING",
            "$JS.API.CONSUMER.MSG.NEXT.KV_CONFIGDATA_shop.c",
            "$JS.ACK.ORDERS.c.1.1.1.1.0",
            "$KV.anything.key",
            "other.cart.wrpc.0.0.1.shop:cart/admin@1.0.0.purge",
            "shop.cart.inbox.XKEY.1",
            "wasmcloud.secrets.v1alpha1.nats-kv.add_mapping.MABC",
            "wasmcloud.policy.evaluate",
            "wasmcloud.policy",
            "wasmcloud.secrets",
        ] {
            assert!(reserved(subject), "{subject}");
        }
    }

    #[test]
    fn patterns_that_hear_it_are_reserved() {
        for pattern in [
            ">",
            "*.>",
            "*.*",
            "*.*.>",
            "*.*.wrpc.>",
            "*.cart.wrpc.>",
            "*.cart.>",
            "*.ctl.>",
            "*.API.>",
            "*.CONFIGDATA_shop.>",
            "*.*.created",
            "shop.>",
            "shop.*.>",
            "shop.cart.*.0.0.1.>",
            "wasmbus.>",
            "wasmbus.*.*.*.host_started",
            "_INBOX.>",
            "_INBOX.*.1",
            "wasmcloud.secrets.>",
            "wasmcloud.*",
            "*.policy",
        ] {
            assert!(reserved(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_components_talk_about_is_not() {
        for subject in [
            "orders.>",
            "orders.*.wrpc",
            "*.created",
            "orders.*.created",
            "*",
            "mail.alice.inbox.new",
            "shop.orders.new",
            "shop.*",
            "wasmbusiness.new",
            "wasmcloud.echo",
            "_INBOX.abc.1",
            "orders.$5",
            "",
        ] {
            assert!(!reserved(subject), "{subject}");
        }
    }

    #[test]
    fn answers_go_to_no_subject_that_means_something() {
        for subject in of_the_lattice() {
            let is_inbox = subject.contains(".inbox.") || subject.starts_with(INBOX);
            assert_eq!(takes_answers(&subject), is_inbox, "{subject}");
            let from_afar = format!("_GR_.zone.srv.{subject}");
            assert_eq!(takes_answers(&from_afar), is_inbox, "{from_afar}");
        }
        for subject in ["a", "my.answers.1", "_R_.x", "_GR_.x", ""] {
            assert!(takes_answers(subject), "{subject}");
        }
    }

    #[test]
    fn a_prefix_is_what_is_below_it_and_itself() {
        for subject in ["a.b", "a.b.c", "a.>", "a.*", "*.b.c", ">"] {
            assert!(is_below(subject, "a.b"), "{subject}");
        }
        for subject in ["a", "a.bc", "b.a.b", "*", "*.c", ""] {
            assert!(!is_below(subject, "a.b"), "{subject}");
        }
    }

    /// Whether a NATS pattern takes a subject.
    fn takes(pattern: &str, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in pattern.split('.') {
            match tokens.next() {
                Some(_) if wanted == ">" => return true,
                Some(token) if wanted == "*" || wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Subjects of every kind that a lattice has.
    fn of_the_lattice() -> Vec<String> {
        let lattice = LatticeName::new("shop").unwrap();
        let id = ComponentId::new("cart").unwrap();
        let (call, told) = (
            RpcPrefix::new(&lattice, &id),
            ProviderSubjects::new(&lattice, &id),
        );
        let topic = TopicPrefix::new("wasmcloud.secrets").unwrap();
        let secrets = SecretsSubjects::new(&topic, &BackendName::new("kv").unwrap());
        let control = ControlSubjects::new(&TopicPrefix::default(), &lattice);
        vec![
            control.subject(&super::super::ControlOp::LinkPut),
            event::event(&lattice, "host_started"),
            told.link_put(),
            told.shutdown(),
            call.invocation("a:b/c@0.1.0", "run"),
            call.room(),
            format!("{}.XKEY.1", call.inbox()),
            secrets.get(),
            secrets.add_mapping("MABC"),
            format!("$KV.{}.COMPONENT_cart", store::lattice_bucket(&lattice)),
            format!("$KV.{}.LINK.a", store::status_bucket(&lattice)),
            format!("$KV.{}.http", store::config_bucket(&lattice)),
            format!("$O.{}.C.x", store::code_bucket(&lattice)),
            "$JS.API.INFO".into(),
            "_INBOX.3Z.1".into(),
        ]
    }

    #[test]
    fn all_that_is_said_in_a_lattice_but_answers_is_reserved() {
        for subject in of_the_lattice() {
            assert_eq!(reserved(&subject), !subject.starts_with(INBOX), "{subject}");
            let from_afar = format!("_GR_.zone.srv.{subject}");
            assert_eq!(reserved(&from_afar), reserved(&subject), "{from_afar}");
        }
        for pattern in ["_GR_.>", "_GR_.*.>", "_GR_.*.*.orders", "_GR_.zone.srv.*.x"] {
            assert!(reserved(pattern), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_hears_the_lattice_unseen(
            which in 0_usize..15,
            wild in prop::collection::vec(any::<bool>(), 12),
            cut in prop::option::of(0_usize..6),
        ) {
            let subject = of_the_lattice().swap_remove(which);
            // The name of an inbox is known to nobody but its owner.
            let is_inbox = subject.starts_with(INBOX);
            let mut tokens: Vec<&str> = subject.split('.').collect();
            for (place, token) in tokens.iter_mut().enumerate() {
                if wild[place] || (is_inbox && place == 1) {
                    *token = "*";
                }
            }
            if let Some(cut) = cut.filter(|cut| *cut < tokens.len()) {
                tokens.truncate(cut);
                tokens.push(">");
            }
            let pattern = tokens.join(".");
            prop_assert!(takes(&pattern, &subject));
            prop_assert!(reserved(&pattern), "{pattern}");
        }

        #[test]
        fn words_of_others_are_free(words in prop::collection::vec("[a-rt-v]{1,6}", 1..6)) {
            prop_assume!(words.get(2).is_none_or(|word| word != "wrpc"));
            let subject = words.join(".");
            prop_assert!(!reserved(&subject));
            let pattern = subject + ".>";
            prop_assert!(!reserved(&pattern));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,60}") {
            let _ = reserved(&text);
            let _ = is_below(&text, "a.b");
        }
    }
}
