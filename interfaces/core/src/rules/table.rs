//! What is known of the interfaces of capabilities: which functions change something, and where in
//! their parameters stands what rules are about.
//!
//! The host of the caller looks at calls as they stand on the wire, so that functions are listed by
//! the interfaces of the wire, version and all. Links name interfaces as components import them,
//! without a version; one of those may stand for several on the wire.

mod wires;

use self::wires::{FROM_PROVIDERS, LOOKUPS, WIRES, Wire};
use super::Rule;
use crate::subject::rpc::interface_of;

/// Whether a function changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes something, or may.
    Writes,
}

/// A parameter, or one that is passed over to get at those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// `string`: a bucket, container, queue or store.
    Within,
    /// `string`: a database. A statement can name another one (`SELECT * FROM hr.salaries` in MySQL), so
    /// that a rule about this name would promise what nobody keeps.
    Database,
    /// `string`: a key, object, job or lock.
    Key,
    /// `list<string>` of such.
    Keys,
    /// `list<tuple<string, list<u8>>>`: keys with values.
    Entries,
    /// `object-id`: a container and an object.
    Object,
    /// `job`, which begins with its name.
    Job,
    /// `string`: a subject.
    Subject,
    /// `broker-message`: a subject, a body, and perhaps a subject for the reply.
    Message,
    /// `message` of `lattice:messaging`, which begins with a subject and perhaps one for the reply.
    Letter,
    /// `string`: a statement in SQL.
    Statement,
    /// `option<string>` that no rule is about.
    Optional,
    /// A list of which the length matters alone; what follows it is not read.
    Batch,
}

/// What of an answer rules are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Plain,
    /// `result<key-response, _>`, which begins with keys.
    Keys,
    /// A stream of names of objects.
    Names,
    /// `result<list<job>, _>`.
    Jobs,
}

/// A function on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The names that components import it by, where they differ.
    pub also: &'static [&'static str],
    /// Whether it changes something.
    pub effect: Effect,
    /// Its first parameters, as far as rules are about them.
    pub params: &'static [Param],
    /// Its answer.
    pub answer: Answer,
    /// Whether it is about all that a bucket or container holds, whatever the keys.
    pub whole: bool,
}

impl Function {
    /// Whether it goes by a name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.also.contains(&name)
    }

    /// Whether one call of it is about as many things as a list in its parameters has.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        let lists = [Param::Keys, Param::Entries, Param::Batch];
        self.params.iter().any(|param| lists.contains(param))
    }

    /// The name that people know it by.
    pub(super) fn shown(&self) -> &'static str {
        self.also.first().copied().unwrap_or(self.name)
    }

    fn keeps(&self, rule: Rule) -> bool {
        let has = |wanted: &[Param]| self.params.iter().any(|param| wanted.contains(param));
        match rule {
            Rule::Within => has(&[Param::Within, Param::Object]),
            Rule::Prefix => has(&[
                Param::Key,
                Param::Keys,
                Param::Entries,
                Param::Object,
                Param::Job,
            ]),
            Rule::Subject => has(&[Param::Subject, Param::Message, Param::Letter]),
            Rule::ReadOnly => self.effect == Effect::Reads,
            Rule::Allow | Rule::Rate => true,
            Rule::To => false,
        }
    }
}

/// What is known of an interface that a link names.
#[derive(Clone, Copy)]
pub(super) struct Known {
    wires: &'static [&'static Wire],
    is_http: bool,
}

impl Known {
    pub(super) fn functions(&self) -> impl Iterator<Item = &'static Function> + use<> {
        self.wires.iter().flat_map(|wire| wire.functions)
    }

    /// Whether there is something that changes nothing, beside what changes something.
    pub(super) fn reads(&self) -> bool {
        self.functions()
            .any(|function| function.keeps(Rule::ReadOnly))
    }

    pub(super) fn has_meaning(&self, rule: Rule) -> bool {
        match rule {
            Rule::To => self.is_http,
            // It has one function, whose methods are named by grants.
            Rule::Allow => !self.is_http,
            other => self.functions().any(|function| function.keeps(other)),
        }
    }
}

/// What is known of an interface by the name that links have for it.
pub(super) fn known(lookup: &str) -> Option<Known> {
    let (name, wires) = LOOKUPS.iter().find(|(name, _)| *name == lookup)?;
    Some(Known {
        wires,
        is_http: *name == "wasi:http/outgoing-handler",
    })
}

/// Whether providers call the interface, not components.
pub(super) fn is_from_provider(lookup: &str) -> bool {
    FROM_PROVIDERS.iter().any(|(name, _)| *name == lookup)
}

/// Whether a link for an interface, as links name it, is one for calls of an interface of the wire.
/// Versions make no difference.
pub(crate) fn leads_to(lookup: &str, called: &str) -> bool {
    let called = interface_of(called);
    if lookup == called {
        return true;
    }
    let to_component = FROM_PROVIDERS.iter().find(|(name, _)| *name == lookup);
    if let Some((_, wires)) = to_component {
        return wires.contains(&called);
    }
    let to_provider = LOOKUPS.iter().find(|(name, _)| *name == lookup);
    let wires = to_provider.map_or(&[][..], |(_, wires)| *wires);
    let mut instances = wires.iter().flat_map(|wire| wire.instances);
    instances.any(|instance| interface_of(instance) == called)
}

/// Whether an interface has no functions that are called, only types. Of packages that are not known here
/// the name says nothing.
pub(super) fn is_types(lookup: &str) -> bool {
    let is_of = |package: &str, name: &str| {
        let rest = name.strip_prefix(package);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let package = lookup.strip_suffix("/types");
    package.is_some_and(|package| LOOKUPS.iter().any(|(name, _)| is_of(package, name)))
}

/// What is known of a function of an interface on the wire, in this very version.
#[must_use]
pub fn function(instance: &str, name: &str) -> Option<&'static Function> {
    let wire = WIRES
        .iter()
        .find(|wire| wire.instances.contains(&instance))?;
    wire.functions.iter().find(|function| function.name == name)
}

/// Whether a function only asks in which form the other side takes calls, as hosts do. It says nothing
/// of what is behind the link and costs that nothing, and no rule is about it.
#[must_use]
pub fn is_about_form(instance: &str, name: &str) -> bool {
    (instance, name) == ("lattice:messaging/producer@0.1.0", "offered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_that_links_name_is_known_on_the_wire() {
        for (lookup, wires) in LOOKUPS {
            assert!(known(lookup).is_some_and(|known| known.functions().next().is_some()));
            for wire in *wires {
                for (instance, own) in wire.instances.iter().zip(std::iter::repeat(wire.functions))
                {
                    for expected in own {
                        assert_eq!(function(instance, expected.name), Some(expected));
                    }
                }
            }
        }
        assert_eq!(function("wrpc:keyvalue/store@0.3.0", "get"), None);
        assert_eq!(function("wrpc:keyvalue/store@0.2.0-draft", "clear"), None);
    }

    #[test]
    fn a_link_leads_to_its_interface_and_what_stands_for_it_on_the_wire() {
        for (lookup, called, leads) in [
            ("test:probe/echo", "test:probe/echo", true),
            ("test:probe/echo", "test:probe/echo@0.1.0", true),
            ("test:probe/echo", "test:probe/other", false),
            ("test:probe/echo", "test:probe/echo-all@0.1.0", false),
            (
                "wasi:http/incoming-handler",
                "wrpc:http/incoming-handler@0.1.0",
                true,
            ),
            (
                "wasi:http/incoming-handler",
                "wasi:http/incoming-handler@0.2.6",
                true,
            ),
            (
                "wasi:http/incoming-handler",
                "wrpc:http/outgoing-handler@0.1.0",
                false,
            ),
            (
                "wasi:http/outgoing-handler",
                "wrpc:http/outgoing-handler@0.1.0",
                true,
            ),
            (
                "wasi:keyvalue/watcher",
                "wrpc:keyvalue/watcher@0.2.0-draft",
                true,
            ),
            (
                "wasi:keyvalue/watcher",
                "wrpc:http/incoming-handler@0.1.0",
                false,
            ),
            (
                "wasi:keyvalue/store",
                "wrpc:keyvalue/store@0.2.0-draft",
                true,
            ),
            ("wasi:keyvalue/store", "lattice:keyvalue/store@0.1.0", true),
            (
                "wasi:keyvalue/store",
                "wrpc:keyvalue/batch@0.2.0-draft",
                false,
            ),
            (
                "wasi:blobstore/container",
                "wrpc:blobstore/blobstore@0.1.0",
                true,
            ),
            (
                "wasmcloud:messaging/handler",
                "wasmcloud:messaging/handler@0.2.0",
                true,
            ),
            (
                "wasi:messaging/incoming-handler",
                "wasmcloud:messaging/handler@0.2.0",
                true,
            ),
            (
                "wasi:messaging/incoming-handler",
                "lattice:messaging/handler@0.1.0",
                true,
            ),
            (
                "lattice:messaging/handler",
                "lattice:messaging/handler@0.1.0",
                true,
            ),
            ("lattice:queue/handler", "lattice:queue/handler@0.1.0", true),
            (
                "lattice:queue/handler",
                "lattice:messaging/handler@0.1.0",
                false,
            ),
        ] {
            assert_eq!(leads_to(lookup, called), leads, "{lookup} {called}");
        }
    }

    #[test]
    fn a_rule_that_is_kept_for_a_function_has_a_meaning_for_its_interface() {
        let meaning = |lookup, rule| known(lookup).unwrap().has_meaning(rule);
        for (lookup, rules) in [
            (
                "wasi:keyvalue/store",
                &[Rule::Within, Rule::Prefix, Rule::ReadOnly][..],
            ),
            ("wasi:keyvalue/atomics", &[Rule::Within, Rule::Prefix]),
            (
                "wasi:blobstore/container",
                &[Rule::Within, Rule::Prefix, Rule::ReadOnly],
            ),
            ("wasmcloud:messaging/consumer", &[Rule::Subject]),
            ("wasi:messaging/request-reply", &[Rule::Subject]),
            ("lattice:messaging/producer", &[Rule::Subject]),
            ("lattice:queue/producer", &[Rule::Within]),
            ("lattice:sql/sql", &[Rule::ReadOnly]),
            ("wasmcloud:postgres/query", &[Rule::ReadOnly]),
            (
                "wasi:distributed-lock/locker",
                &[Rule::Within, Rule::Prefix],
            ),
            (
                "lattice:schedule/scheduler",
                &[Rule::Prefix, Rule::ReadOnly],
            ),
        ] {
            for rule in Rule::ALL {
                let always = matches!(rule, Rule::Allow | Rule::Rate);
                let reads = rule == Rule::ReadOnly && known(lookup).unwrap().reads();
                let expected = always || reads || rules.contains(&rule);
                assert_eq!(meaning(lookup, rule), expected, "{lookup} {rule}");
            }
        }
        assert!(meaning("wasi:http/outgoing-handler", Rule::To));
        assert!(!meaning("wasi:http/outgoing-handler", Rule::Allow));
    }
}
