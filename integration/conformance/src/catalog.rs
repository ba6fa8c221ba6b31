//! Every capability with its backends.

mod accounts;
mod backend;
mod coordination;
mod databases;
mod messages;
mod outside;
mod queues;
mod stores;

use lattice_provider_sdk::vocabulary::{self, Vocabulary};

pub use accounts::{aws, azure};
pub use backend::{Backend, Place, and};
use coordination::{LOCK, LOCK_WASI, SCHEDULE};
use databases::{SQL, SQL_POSTGRES};
use messages::MESSAGES;
use outside::{CONFIG, HTTP_IN, HTTP_OUT, LOGGING};
use queues::QUEUE;
use stores::{BLOBS, KEY_VALUE};

use crate::driven::{Driven, config, http_in, http_out, logging};

/// An interface with what can stand behind it.
#[derive(Debug)]
pub struct Capability {
    /// What it is called in reports.
    pub name: &'static str,
    /// The component of its suite, or the one that driven cases use.
    pub guest: &'static str,
    /// Cases that are driven from outside; where there are any, the component has none of its own.
    pub driven: &'static [Driven],
    /// What the component calls, as a link says it; empty for nothing.
    pub calls: &'static str,
    /// What is called of the component; empty for nothing.
    pub called: &'static str,
    /// The first is what `wash up` links.
    pub backends: &'static [Backend],
}

impl Capability {
    /// The features that its providers tell of a component's link; none where there is no such link.
    #[must_use]
    pub fn vocabulary(&self) -> Option<&'static Vocabulary> {
        let (package, _) = self.calls.split_once('/')?;
        Some(match package {
            "wasi:keyvalue" => &vocabulary::KEY_VALUE,
            "wasi:blobstore" => &vocabulary::BLOBS,
            "wasmcloud:messaging" | "wasi:messaging" => &vocabulary::MESSAGES,
            "lattice:queue" => &vocabulary::QUEUE,
            "lattice:sql" | "wasmcloud:postgres" => &vocabulary::SQL,
            "lattice:lock" | "wasi:distributed-lock" => &vocabulary::LOCK,
            "lattice:schedule" => &vocabulary::SCHEDULE,
            "wasi:http" => &vocabulary::HTTP_OUT,
            _ => return None,
        })
    }
}

/// Every capability, in the order of the issue that asked for them.
pub const CATALOG: &[Capability] = &[
    Capability {
        name: "key-value",
        guest: "suite-keyvalue",
        driven: &[],
        calls: "wasi:keyvalue/store,atomics,batch",
        called: "wasi:keyvalue/watcher",
        backends: KEY_VALUE,
    },
    Capability {
        name: "key-value-2",
        guest: "suite-keyvalue2",
        driven: &[],
        calls: "wasi:keyvalue/store,atomics,batch",
        called: "wasi:keyvalue/watcher",
        backends: KEY_VALUE,
    },
    Capability {
        name: "blobs",
        guest: "suite-blobstore",
        driven: &[],
        calls: "wasi:blobstore/blobstore,container,types",
        called: "",
        backends: BLOBS,
    },
    Capability {
        name: "messages",
        guest: "suite-messaging",
        driven: &[],
        calls: "wasmcloud:messaging/consumer",
        called: "wasmcloud:messaging/handler",
        backends: MESSAGES,
    },
    Capability {
        name: "messages-wasi",
        guest: "suite-messaging-wasi",
        driven: &[],
        calls: "wasi:messaging/producer,request-reply",
        called: "wasi:messaging/incoming-handler",
        backends: MESSAGES,
    },
    Capability {
        name: "messages-0.3",
        guest: "suite-messaging-wasmcloud",
        driven: &[],
        // As in 1.x, where links name the interfaces of the first shape for this one too.
        calls: "wasmcloud:messaging/consumer",
        called: "wasmcloud:messaging/handler",
        backends: MESSAGES,
    },
    Capability {
        name: "queue",
        guest: "suite-queue",
        driven: &[],
        calls: "lattice:queue/producer,consumer",
        called: "lattice:queue/handler",
        backends: QUEUE,
    },
    Capability {
        name: "sql",
        guest: "suite-sqldb",
        driven: &[],
        calls: "lattice:sql/sql",
        called: "",
        backends: SQL,
    },
    Capability {
        name: "sql-postgres",
        guest: "suite-postgres",
        driven: &[],
        calls: "wasmcloud:postgres/query,prepared",
        called: "",
        backends: SQL_POSTGRES,
    },
    Capability {
        name: "lock",
        guest: "suite-lock",
        driven: &[],
        calls: "lattice:lock/lock",
        called: "lattice:lock/leader",
        backends: LOCK,
    },
    Capability {
        name: "lock-wasi",
        guest: "suite-lock-wasi",
        driven: &[],
        calls: "wasi:distributed-lock/locker",
        called: "",
        backends: LOCK_WASI,
    },
    Capability {
        name: "http-in",
        guest: "http-probe",
        driven: http_in::CASES,
        calls: "",
        called: "wasi:http/incoming-handler",
        backends: HTTP_IN,
    },
    Capability {
        name: "http-out",
        guest: "http-probe",
        driven: http_out::CASES,
        calls: "wasi:http/outgoing-handler",
        called: "",
        backends: HTTP_OUT,
    },
    Capability {
        name: "config",
        guest: "suite-config",
        driven: config::CASES,
        calls: "",
        called: "",
        backends: CONFIG,
    },
    Capability {
        name: "logging",
        guest: "suite-logging",
        driven: logging::CASES,
        calls: "",
        called: "",
        backends: LOGGING,
    },
    Capability {
        name: "schedule",
        guest: "suite-schedule",
        driven: &[],
        calls: "lattice:schedule/scheduler",
        called: "",
        backends: SCHEDULE,
    },
];

/// The backends that a capability and a backend name; all where nothing is named.
#[must_use]
pub fn find(
    capability: Option<&str>,
    backend: Option<&str>,
) -> Vec<(&'static Capability, &'static Backend)> {
    let is = |name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| wanted == name);
    CATALOG
        .iter()
        .filter(|found| is(found.name, capability))
        .flat_map(|found| found.backends.iter().map(move |backend| (found, backend)))
        .filter(|(_, found)| is(found.name, backend))
        .collect()
}
