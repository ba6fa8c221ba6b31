//! What is known of the interfaces of capabilities: which functions change something, and where in
//! their parameters stands what rules are about.
//!
//! The host of the caller looks at calls as they stand on the wire, so that functions are listed by
//! the interfaces of the wire, version and all. Links name interfaces as components import them,
//! without a version; one of those may stand for several on the wire.

use super::Rule;

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

const fn reads(name: &'static str, params: &'static [Param]) -> Function {
    Function {
        name,
        also: &[],
        effect: Effect::Reads,
        params,
        answer: Answer::Plain,
        whole: false,
    }
}

const fn writes(name: &'static str, params: &'static [Param]) -> Function {
    Function {
        effect: Effect::Writes,
        ..reads(name, params)
    }
}

const fn lists(name: &'static str, params: &'static [Param], answer: Answer) -> Function {
    Function {
        answer,
        ..reads(name, params)
    }
}

/// An interface on the wire.
struct Wire {
    instances: &'static [&'static str],
    functions: &'static [Function],
}

use Param::{
    Database, Entries, Job, Key, Keys, Letter, Message, Object, Optional, Statement, Subject,
    Within,
};

const STORE: Wire = Wire {
    instances: &["wrpc:keyvalue/store@0.2.0-draft"],
    functions: &[
        reads("get", &[Within, Key]),
        writes("set", &[Within, Key]),
        writes("delete", &[Within, Key]),
        reads("exists", &[Within, Key]),
        lists("list-keys", &[Within], Answer::Keys),
    ],
};

const ATOMICS: Wire = Wire {
    instances: &["wrpc:keyvalue/atomics@0.2.0-draft"],
    functions: &[writes("increment", &[Within, Key])],
};

const BATCH: Wire = Wire {
    instances: &["wrpc:keyvalue/batch@0.2.0-draft"],
    functions: &[
        reads("get-many", &[Within, Keys]),
        writes("set-many", &[Within, Entries]),
        writes("delete-many", &[Within, Keys]),
    ],
};

const OWN_STORE: Wire = Wire {
    instances: &["lattice:keyvalue/store@0.1.0"],
    functions: &[
        reads("read", &[Within, Key]),
        writes("set", &[Within, Key]),
        lists("list-keys", &[Within], Answer::Keys),
    ],
};

const OWN_ATOMICS: Wire = Wire {
    instances: &["lattice:keyvalue/atomics@0.1.0"],
    functions: &[
        writes("increment", &[Within, Key]),
        writes("swap", &[Within, Key]),
    ],
};

const BLOBSTORE: Wire = Wire {
    instances: &[
        "wrpc:blobstore/blobstore@0.2.0",
        "wrpc:blobstore/blobstore@0.1.0",
    ],
    functions: &[
        Function {
            also: &["clear"],
            whole: true,
            ..writes("clear-container", &[Within])
        },
        writes("create-container", &[Within]),
        Function {
            whole: true,
            ..writes("delete-container", &[Within])
        },
        Function {
            also: &["get-container"],
            ..reads("container-exists", &[Within])
        },
        Function {
            also: &["info"],
            ..reads("get-container-info", &[Within])
        },
        Function {
            also: &["list-objects"],
            ..lists("list-container-objects", &[Within], Answer::Names)
        },
        writes("copy-object", &[Object, Object]),
        writes("move-object", &[Object, Object]),
        writes("delete-object", &[Object]),
        writes("delete-objects", &[Within, Keys]),
        Function {
            also: &["get-data"],
            ..reads("get-container-data", &[Object])
        },
        Function {
            also: &["object-info"],
            ..reads("get-object-info", &[Object])
        },
        reads("has-object", &[Object]),
        Function {
            also: &["write-data"],
            ..writes("write-container-data", &[Object])
        },
    ],
};

const MESSAGING: Wire = Wire {
    instances: &["wasmcloud:messaging/consumer@0.2.0"],
    functions: &[
        Function {
            also: &["send", "reply"],
            ..writes("publish", &[Message])
        },
        writes("request", &[Subject]),
    ],
};

const OWN_MESSAGING: Wire = Wire {
    instances: &["lattice:messaging/producer@0.1.0"],
    functions: &[
        Function {
            also: &["send", "reply"],
            ..writes("publish", &[Letter])
        },
        writes("request", &[Letter]),
    ],
};

const PRODUCER: Wire = Wire {
    instances: &["lattice:queue/producer@0.1.0"],
    functions: &[writes("send", &[Within]), writes("send-many", &[Within])],
};

const CONSUMER: Wire = Wire {
    instances: &["lattice:queue/consumer@0.1.0"],
    functions: &[
        // Whoever receives a message keeps it from others for a while, and uses up an attempt.
        writes("receive", &[Within]),
        writes("settle", &[Within]),
        writes("extend", &[Within]),
        reads("depth-of", &[Within]),
    ],
};

const SQL: Wire = Wire {
    instances: &["lattice:sql/sql@0.1.0"],
    functions: &[
        reads("query", &[Database, Optional, Statement]),
        reads("fetch", &[Database]),
        reads("close", &[Database]),
        writes("execute", &[Database]),
        writes("execute-many", &[Database]),
        reads("begin", &[Database]),
        reads("commit", &[Database]),
        reads("rollback", &[Database]),
        reads("dialect-of", &[Database]),
    ],
};

const POSTGRES_QUERY: Wire = Wire {
    instances: &["wasmcloud:postgres/query@0.1.1-draft"],
    functions: &[reads("query", &[Statement]), writes("query-batch", &[])],
};

const POSTGRES_PREPARED: Wire = Wire {
    instances: &["wasmcloud:postgres/prepared@0.1.1-draft"],
    // What a token stands for is not told when it is used.
    functions: &[reads("prepare", &[Statement]), writes("exec", &[])],
};

const LOCK: Wire = Wire {
    instances: &["lattice:lock/lock@0.1.0"],
    functions: &[
        writes("acquire", &[Within, Key]),
        // The token proves that it was acquired, when the name was looked at.
        writes("renew", &[Within]),
        writes("release", &[Within]),
        reads("inspect", &[Within, Key]),
    ],
};

const SCHEDULER: Wire = Wire {
    instances: &["lattice:schedule/scheduler@0.1.0"],
    functions: &[
        writes("put-job", &[Job]),
        writes("delete-job", &[Key]),
        lists("list-jobs", &[], Answer::Jobs),
    ],
};

const HTTP: Wire = Wire {
    instances: &["wrpc:http/outgoing-handler@0.1.0"],
    functions: &[reads("handle", &[])],
};

/// Each interface on the wire.
const WIRES: &[&Wire] = &[
    &STORE,
    &ATOMICS,
    &BATCH,
    &OWN_STORE,
    &OWN_ATOMICS,
    &BLOBSTORE,
    &MESSAGING,
    &OWN_MESSAGING,
    &PRODUCER,
    &CONSUMER,
    &SQL,
    &POSTGRES_QUERY,
    &POSTGRES_PREPARED,
    &LOCK,
    &SCHEDULER,
    &HTTP,
];

const MESSAGES: &[&Wire] = &[&MESSAGING, &OWN_MESSAGING];

/// What links name, and what stands for it on the wire.
const LOOKUPS: &[(&str, &[&Wire])] = &[
    ("wasi:keyvalue/store", &[&STORE, &OWN_STORE]),
    ("wasi:keyvalue/batch", &[&BATCH]),
    // A value that is to be swapped is read first, through the same link.
    (
        "wasi:keyvalue/atomics",
        &[&ATOMICS, &OWN_ATOMICS, &OWN_STORE],
    ),
    ("wrpc:keyvalue/store", &[&STORE]),
    ("wrpc:keyvalue/batch", &[&BATCH]),
    ("wrpc:keyvalue/atomics", &[&ATOMICS]),
    ("lattice:keyvalue/store", &[&OWN_STORE]),
    ("lattice:keyvalue/atomics", &[&OWN_ATOMICS]),
    ("wasi:blobstore/blobstore", &[&BLOBSTORE]),
    ("wasi:blobstore/container", &[&BLOBSTORE]),
    ("wrpc:blobstore/blobstore", &[&BLOBSTORE]),
    // Messages that are resources travel in either form, through the link of their own package or
    // through that for the consumer.
    ("wasi:messaging/producer", MESSAGES),
    ("wasi:messaging/request-reply", MESSAGES),
    ("wasmcloud:messaging/producer", MESSAGES),
    ("wasmcloud:messaging/request-reply", MESSAGES),
    ("wasmcloud:messaging/consumer", MESSAGES),
    ("lattice:messaging/producer", &[&OWN_MESSAGING]),
    ("lattice:queue/producer", &[&PRODUCER]),
    ("lattice:queue/consumer", &[&CONSUMER]),
    ("lattice:sql/sql", &[&SQL]),
    ("wasmcloud:postgres/query", &[&POSTGRES_QUERY]),
    ("wasmcloud:postgres/prepared", &[&POSTGRES_PREPARED]),
    ("lattice:lock/lock", &[&LOCK]),
    ("wasi:distributed-lock/locker", &[&LOCK]),
    ("lattice:schedule/scheduler", &[&SCHEDULER]),
    ("wasi:http/outgoing-handler", &[&HTTP]),
];

/// Interfaces that components export to providers.
const FROM_PROVIDERS: &[&str] = &[
    "wasi:http/incoming-handler",
    "wasi:keyvalue/watcher",
    "wasi:messaging/incoming-handler",
    "wasmcloud:messaging/handler",
    "wasmcloud:messaging/incoming-handler",
    "lattice:messaging/handler",
    "lattice:queue/handler",
    "lattice:lock/leader",
    "lattice:schedule/handler",
];

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
    FROM_PROVIDERS.contains(&lookup)
}

/// Whether an interface has no functions that are called, only types.
pub(super) fn is_types(lookup: &str) -> bool {
    lookup.ends_with("/types")
}

/// What is known of a function of an interface on the wire, in this very version.
#[must_use]
pub fn function(instance: &str, name: &str) -> Option<&'static Function> {
    let wire = WIRES
        .iter()
        .find(|wire| wire.instances.contains(&instance))?;
    wire.functions.iter().find(|function| function.name == name)
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
