//! What a provider process may say and hear on NATS.
//!
//! Exactly its own subjects and those of its links. Whom it answers is as narrow as the wire allows.
//! A right to answer what was asked (a response permission of NATS) is no narrow one: it holds for
//! whatever subject a message names for its answer, and a process may send such a message to
//! itself. So provider processes with credentials of their own have inboxes below the subjects of their
//! ids, where others may write that are linked with them. Hosts ask from inboxes below `_INBOX`, and
//! components call from there; every process may write to `_INBOX.>`, where inboxes and the calls in
//! them have names that cannot be guessed, and nobody listens but their owner.

use std::collections::BTreeSet;

use crate::id::{ComponentId, LatticeName};
use crate::link::Link;

use super::{ProviderSubjects, RpcPrefix};

/// Where those listen that have no inbox of their own.
const COMMON_INBOX: &str = "_INBOX.>";

/// The subjects that one provider process may publish and subscribe to, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderRights {
    /// What it may publish.
    pub publish: BTreeSet<String>,
    /// What it may subscribe to.
    pub subscribe: BTreeSet<String>,
}

impl ProviderRights {
    /// The rights of the process of `provider` with the public curve key `xkey`, which has these
    /// links. Links of others give nothing.
    #[must_use]
    pub fn new(lattice: &LatticeName, provider: &ComponentId, xkey: &str, links: &[Link]) -> Self {
        let own = RpcPrefix::new(lattice, provider);
        let subjects = ProviderSubjects::new(lattice, provider);
        let mut rights = Self {
            publish: [
                subjects.link_status(),
                subjects.credentials_taken(xkey),
                subjects.refused_of(xkey),
                subjects.failed_of(xkey),
                // Other processes of the same provider, and this one itself.
                own.all(),
                below(&own.inbox()),
                COMMON_INBOX.to_owned(),
            ]
            .into(),
            subscribe: [
                subjects.all(),
                subjects.all_of(xkey),
                own.all(),
                below(&own.inbox_of(xkey)),
            ]
            .into(),
        };
        for link in links {
            rights.add(lattice, provider, link);
        }
        rights
    }

    /// The rights of a process of the 1.x generation, which cannot be told of new credentials: it
    /// reaches whatever entity of the lattice, and listens in the common inbox.
    #[must_use]
    pub fn legacy(lattice: &LatticeName, provider: &ComponentId, xkey: &str) -> Self {
        let mut rights = Self::new(lattice, provider, xkey, &[]);
        rights.publish.insert(RpcPrefix::all_calls(lattice));
        rights.publish.insert(RpcPrefix::all_inboxes(lattice));
        rights.subscribe.insert(COMMON_INBOX.to_owned());
        rights
    }

    /// These and those of `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let both = |own: &BTreeSet<String>, others: &BTreeSet<String>| own | others;
        Self {
            publish: both(&self.publish, &other.publish),
            subscribe: both(&self.subscribe, &other.subscribe),
        }
    }

    fn add(&mut self, lattice: &LatticeName, provider: &ComponentId, link: &Link) {
        let (is_source, is_target) = (*provider == *link.source_id, *provider == *link.target);
        let other = match (is_source, is_target) {
            (true, _) => &link.target,
            (false, true) => &link.source_id,
            (false, false) => return,
        };
        // What is no id names no subject either.
        let Ok(other) = ComponentId::new(other) else {
            return;
        };
        let other = RpcPrefix::new(lattice, &other);
        // Nobody keeps the rules of a provider's calls: it is not told of such a link, and not let
        // through either.
        if is_source && link.rules.is_empty() {
            self.publish.insert(other.all());
        }
        self.publish.insert(below(&other.inbox()));
    }
}

fn below(subject: &str) -> String {
    format!("{subject}.>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(source: &str, target: &str) -> Link {
        serde_json::from_value(serde_json::json!({
            "source_id": source, "target": target, "name": "default",
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"],
        }))
        .unwrap()
    }

    fn rights(links: &[Link]) -> ProviderRights {
        let (lattice, id) = (LatticeName::default(), ComponentId::new("kv").unwrap());
        ProviderRights::new(&lattice, &id, "XKEY", links)
    }

    fn texts(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    const ALWAYS: [&str; 7] = [
        "_INBOX.>",
        "default.kv.inbox.>",
        "default.kv.wrpc.>",
        "wasmbus.rpc.default.XKEY.credentials.taken",
        "wasmbus.rpc.default.XKEY.failed",
        "wasmbus.rpc.default.XKEY.refused",
        "wasmbus.rpc.default.kv.linkstatus",
    ];

    #[test]
    fn without_links_it_reaches_nobody() {
        let rights = rights(&[]);
        assert_eq!(texts(&rights.publish), ALWAYS);
        assert_eq!(
            texts(&rights.subscribe),
            [
                "default.kv.inbox.XKEY.>",
                "default.kv.wrpc.>",
                "wasmbus.rpc.default.XKEY.>",
                "wasmbus.rpc.default.kv.>",
            ]
        );
    }

    #[test]
    fn each_link_gives_what_it_needs_and_no_more() {
        let more = |links: &[Link]| {
            let rights = rights(links);
            assert_eq!(rights.subscribe, self::rights(&[]).subscribe);
            let more = rights
                .publish
                .iter()
                .filter(|s| !ALWAYS.contains(&s.as_str()));
            more.cloned().collect::<Vec<_>>()
        };
        let answers = ["default.cart.inbox.>"];
        assert_eq!(more(&[link("cart", "kv")]), answers);
        let calls = ["default.cart.inbox.>", "default.cart.wrpc.>"];
        assert_eq!(more(&[link("kv", "cart")]), calls);
        assert_eq!(more(&[link("kv", "cart"), link("cart", "kv")]), calls);
        assert!(more(&[link("cart", "other"), link("bad.id", "other")]).is_empty());
        assert!(more(&[link("bad.*", "kv"), link("kv", "bad.>")]).is_empty());
    }

    #[test]
    fn nobody_reads_the_store_or_gives_commands() {
        let legacy = {
            let (lattice, id) = (LatticeName::default(), ComponentId::new("kv").unwrap());
            ProviderRights::legacy(&lattice, &id, "XKEY")
        };
        let all = [rights(&[link("kv", "cart"), link("cart", "kv")]), legacy];
        for subject in all
            .iter()
            .flat_map(|r| r.publish.iter().chain(&r.subscribe))
        {
            assert!(
                !subject.starts_with('$') && !subject.contains(".ctl."),
                "{subject}"
            );
            assert!(!subject.contains(".evt."), "{subject}");
        }
    }

    #[test]
    fn a_link_from_it_with_rules_gives_no_right_to_call() {
        let mut ruled = link("kv", "other");
        ruled.rules.rate = Some("1/s".parse().unwrap());
        let found = rights(&[ruled]);
        assert!(!found.publish.contains("default.other.wrpc.>"), "{found:?}");
        let mut to_it = link("other", "kv");
        to_it.rules.read_only = true;
        assert_eq!(rights(&[to_it]), rights(&[link("other", "kv")]));
    }
}
