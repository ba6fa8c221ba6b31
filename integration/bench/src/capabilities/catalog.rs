//! Which operations of which capabilities.

use serde_json::{Value, json};

use super::ground::Ground;

/// In which way operations are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// By the backend's own client.
    Native,
    /// By the provider's implementation, without a lattice.
    Sdk,
    /// By a component whose provider runs in its host.
    InHost,
    /// By a component whose provider is a process of its own.
    Process,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Native, Self::Sdk, Self::InHost, Self::Process];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Sdk => "sdk",
            Self::InHost => "in-host",
            Self::Process => "process",
        }
    }
}

/// Where a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Behind a socket.
    Socket,
    /// In the process of the provider.
    Library,
}

impl Backing {
    /// What a component in the host should keep of what it is compared with.
    pub(crate) fn goal(self) -> f64 {
        match self {
            Self::Socket => 0.5,
            Self::Library => 0.9,
        }
    }

    /// What that is.
    pub(crate) fn base(self) -> Way {
        match self {
            Self::Socket => Way::Native,
            Self::Library => Way::Sdk,
        }
    }
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What the guest calls it.
    pub(crate) kind: &'static str,
    /// What has to be done once before, at the same place.
    pub(crate) before: Option<&'static str>,
    /// How often it is done in one batch: for about a twentieth of a second.
    pub(crate) times: u32,
    /// How many bytes it carries.
    pub(crate) size: u32,
    /// Whether all do it at the same place, and where; else each has a place of its own.
    pub(crate) place: Option<fn(&Ground) -> String>,
}

/// A capability with one backend.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) capability: &'static str,
    pub(crate) backend: &'static str,
    /// What it is compared with, in words.
    pub(crate) client: &'static str,
    /// The crate of the provider.
    pub(crate) provider: &'static str,
    /// What the component calls, as a link says it.
    pub(crate) calls: &'static str,
    /// The target config of the component's link, by the way it is for.
    pub(crate) config: fn(&Ground, Way) -> Value,
    pub(crate) backing: Backing,
    pub(crate) operations: &'static [Operation],
}

impl Subject {
    /// What ids and configs are called.
    pub(crate) fn id(&self, way: Way) -> String {
        format!("{}-{}-{}", self.capability, self.backend, way.name())
    }

    /// The ways that there are.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Way> {
        let has_sdk = self.backing == Backing::Library;
        let ways = Way::ALL.into_iter();
        ways.filter(move |way| *way != Way::Sdk || has_sdk)
    }
}

const fn operation(name: &'static str, kind: &'static str, times: u32, size: u32) -> Operation {
    Operation {
        name,
        kind,
        before: None,
        times,
        size,
        place: None,
    }
}

const fn after(before: &'static str, operation: Operation) -> Operation {
    Operation {
        before: Some(before),
        ..operation
    }
}

const fn at(place: fn(&Ground) -> String, operation: Operation) -> Operation {
    Operation {
        place: Some(place),
        ..operation
    }
}

fn nothing(_: &Ground, _: Way) -> Value {
    json!({})
}

fn redis(ground: &Ground, _: Way) -> Value {
    json!({ "url": ground.redis_url() })
}

fn postgres(ground: &Ground, _: Way) -> Value {
    json!({ "url": ground.postgres_url() })
}

/// A folder for each way, so that none waits for the locks of another.
fn folder(ground: &Ground, way: Way) -> Value {
    json!({ "root": ground.folder(way.name()) })
}

fn any_queue(_: &Ground, _: Way) -> Value {
    json!({ "create": "true" })
}

const VALUE: u32 = 64;

const KEY_VALUE: &[Operation] = &[
    after(
        "key-value-set",
        operation("get", "key-value-get", 400, VALUE),
    ),
    operation("set", "key-value-set", 400, VALUE),
];

/// The same where an operation takes less than a microsecond.
const KEY_VALUE_QUICK: &[Operation] = &[
    after(
        "key-value-set",
        operation("get", "key-value-get", 1000, VALUE),
    ),
    operation("set", "key-value-set", 1000, VALUE),
];

const BLOBS: &[Operation] = &[
    after(
        "blob-write",
        operation("read 4 KiB", "blob-read", 200, 4 << 10),
    ),
    operation("write 4 KiB", "blob-write", 20, 4 << 10),
    after(
        "blob-write",
        operation("read 1 MiB", "blob-read", 20, 1 << 20),
    ),
    operation("write 1 MiB", "blob-write", 5, 1 << 20),
];

const MESSAGES: &[Operation] = &[
    at(nobody, operation("publish", "publish", 2000, VALUE)),
    at(echo, operation("request", "request", 200, VALUE)),
];

fn nobody(_: &Ground) -> String {
    "bench.nobody".to_owned()
}

fn echo(_: &Ground) -> String {
    crate::bus::SUBJECT.to_owned()
}

const QUEUE: &[Operation] = &[at(
    one_queue,
    operation("send, receive, acknowledge", "queue-cycle", 50, VALUE),
)];

fn one_queue(_: &Ground) -> String {
    "ops".to_owned()
}

const SQL: &[Operation] = &[
    after(
        "sql-prepare",
        at(table, operation("query one row", "sql-query", 200, VALUE)),
    ),
    after(
        "sql-prepare",
        at(table, operation("change one row", "sql-execute", 20, VALUE)),
    ),
];

fn table(_: &Ground) -> String {
    "ops".to_owned()
}

const LOCK: &[Operation] = &[operation("acquire, release", "lock-cycle", 50, 0)];

const SCHEDULE: &[Operation] = &[operation("put a job", "schedule-put", 50, VALUE)];

const HTTP: &[Operation] = &[at(
    Ground::http_address,
    operation("GET", "http-get", 200, 0),
)];

/// All of them; of each capability the backend that `wash up` links comes first.
pub(crate) const SUBJECTS: &[Subject] = &[
    Subject {
        capability: "key-value",
        backend: "nats",
        client: "async-nats, a JetStream bucket",
        provider: "keyvalue-nats",
        calls: "wasi:keyvalue/store",
        config: nothing,
        backing: Backing::Socket,
        operations: KEY_VALUE,
    },
    Subject {
        capability: "key-value",
        backend: "redis",
        client: "redis, one connection that all share",
        provider: "keyvalue-redis",
        calls: "wasi:keyvalue/store",
        config: redis,
        backing: Backing::Socket,
        operations: KEY_VALUE,
    },
    Subject {
        capability: "key-value",
        backend: "memory",
        client: "a map behind a lock",
        provider: "keyvalue-memory",
        calls: "wasi:keyvalue/store",
        config: nothing,
        backing: Backing::Library,
        operations: KEY_VALUE_QUICK,
    },
    Subject {
        capability: "blobs",
        backend: "folder",
        client: "tokio::fs; a write is synced, then renamed",
        provider: "blobstore-fs",
        calls: "wasi:blobstore/blobstore,container,types",
        config: folder,
        backing: Backing::Library,
        operations: BLOBS,
    },
    Subject {
        capability: "messages",
        backend: "nats",
        client: "async-nats",
        provider: "messaging-nats",
        calls: "wasmcloud:messaging/consumer",
        config: nothing,
        backing: Backing::Socket,
        operations: MESSAGES,
    },
    Subject {
        capability: "queue",
        backend: "nats",
        client: "async-nats: publish, fetch of one, double acknowledgement",
        provider: "queue-nats",
        calls: "lattice:queue/producer,consumer",
        config: any_queue,
        backing: Backing::Socket,
        operations: QUEUE,
    },
    Subject {
        capability: "sql",
        backend: "sqlite",
        client: "rusqlite, prepared, on the thread that asks",
        provider: "sqldb-sqlite",
        calls: "lattice:sql/sql",
        config: folder,
        backing: Backing::Library,
        operations: SQL,
    },
    Subject {
        capability: "sql",
        backend: "postgres",
        client: "tokio-postgres, prepared, a connection for each",
        provider: "sqldb-postgres",
        calls: "lattice:sql/sql",
        config: postgres,
        backing: Backing::Socket,
        operations: SQL,
    },
    Subject {
        capability: "lock",
        backend: "nats",
        client: "async-nats, create and delete of a key",
        provider: "lock-nats",
        calls: "lattice:lock/lock",
        config: nothing,
        backing: Backing::Socket,
        operations: LOCK,
    },
    Subject {
        capability: "schedule",
        backend: "nats",
        client: "async-nats, put of a key",
        provider: "schedule-nats",
        calls: "lattice:schedule/scheduler",
        config: nothing,
        backing: Backing::Socket,
        operations: SCHEDULE,
    },
    Subject {
        capability: "http-out",
        backend: "http",
        client: "hyper, a connection for each",
        provider: "http-client",
        calls: "wasi:http/outgoing-handler",
        config: nothing,
        backing: Backing::Socket,
        operations: HTTP,
    },
];

/// How many do an operation at once.
pub(crate) const IN_FLIGHT: [usize; 2] = [1, 16];

/// The name of a figure.
pub(crate) fn figure_name(
    subject: &Subject,
    operation: &Operation,
    in_flight: usize,
    way: Way,
) -> String {
    let (capability, backend) = (subject.capability, subject.backend);
    let operation = operation.name.replace(',', "").replace(' ', "-");
    format!(
        "{capability}_{backend}_{operation}_{in_flight}_{}",
        way.name()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let mut seen = HashSet::new();
        for subject in SUBJECTS {
            for operation in subject.operations {
                for in_flight in IN_FLIGHT {
                    for way in subject.ways() {
                        let name = figure_name(subject, operation, in_flight, way);
                        assert!(seen.insert(name.clone()), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_compared_with_is_measured() {
        for subject in SUBJECTS {
            let base = subject.backing.base();
            assert!(subject.ways().any(|way| way == base), "{subject:?}");
            assert!(subject.ways().any(|way| way == Way::Native), "{subject:?}");
        }
    }
}
