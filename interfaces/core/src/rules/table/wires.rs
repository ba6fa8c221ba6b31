//! The interfaces on the wire with their functions, and what links name instead.

use super::Param::{
    Batch, Database, Entries, Job, Key, Keys, Letter, Message, Object, Optional, Statement,
    Subject, Within,
};
use super::{Answer, Effect, Function, Param};

/// An interface on the wire.
pub(super) struct Wire {
    pub(super) instances: &'static [&'static str],
    pub(super) functions: &'static [Function],
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
        // `reply` is one as well, but on the wire no other than `send`: a rule that allowed it alone would
        // allow all.
        Function {
            also: &["send"],
            ..writes("publish", &[Message])
        },
        writes("request", &[Subject]),
    ],
};

const OWN_MESSAGING: Wire = Wire {
    instances: &["lattice:messaging/producer@0.1.0"],
    functions: &[
        Function {
            also: &["send"],
            ..writes("publish", &[Letter])
        },
        writes("request", &[Letter]),
    ],
};

const PRODUCER: Wire = Wire {
    instances: &["lattice:queue/producer@0.1.0"],
    functions: &[
        writes("send", &[Within]),
        writes("send-many", &[Within, Batch]),
    ],
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
        writes("execute-many", &[Database, Optional, Statement, Batch]),
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
pub(super) const WIRES: &[&Wire] = &[
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
pub(super) const LOOKUPS: &[(&str, &[&Wire])] = &[
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

/// A message comes in the form of 1.x or in our own, whichever the component has.
const HANDLERS: &[&str] = &["wasmcloud:messaging/handler", "lattice:messaging/handler"];

/// Interfaces that components export to providers, and what providers call instead of them.
pub(super) const FROM_PROVIDERS: &[(&str, &[&str])] = &[
    (
        "wasi:http/incoming-handler",
        &["wrpc:http/incoming-handler"],
    ),
    ("wasi:keyvalue/watcher", &["wrpc:keyvalue/watcher"]),
    ("wasi:messaging/incoming-handler", HANDLERS),
    ("wasmcloud:messaging/handler", HANDLERS),
    ("wasmcloud:messaging/incoming-handler", HANDLERS),
    ("lattice:messaging/handler", HANDLERS),
    ("lattice:queue/handler", &[]),
    ("lattice:lock/leader", &[]),
    ("lattice:schedule/handler", &[]),
];
