//! Every capability with its backends.

use lattice_provider_sdk::vocabulary::{self, Vocabulary};
use lattice_services::Kind;
use serde_json::{Value, json};

use crate::driven::{Driven, config, http_in, http_out, logging};
use crate::fault::Fault;
use crate::ground::{Form, Ground};

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
            "wasmcloud:messaging" => &vocabulary::MESSAGES,
            "lattice:queue" => &vocabulary::QUEUE,
            "lattice:sql" | "wasmcloud:postgres" => &vocabulary::SQL,
            "lattice:lock" | "wasi:distributed-lock" => &vocabulary::LOCK,
            "lattice:schedule" => &vocabulary::SCHEDULE,
            "wasi:http" => &vocabulary::HTTP_OUT,
            _ => return None,
        })
    }
}

/// What stands behind an interface.
#[derive(Debug)]
pub struct Backend {
    /// What it is called in reports.
    pub name: &'static str,
    /// The crate of the provider; empty for what the host does itself.
    pub provider: &'static str,
    /// Where it is.
    pub place: Place,
    /// Why it keeps nothing over its end, where it does not.
    pub forgets: Option<&'static str>,
    /// The target config of the component's link.
    pub config: fn(&Ground) -> Value,
    /// The source config of the provider's link to the component; none where it does not call.
    pub source_config: Option<fn(&Ground) -> Value>,
    /// Settings that the suite has to know.
    pub settings: fn(&Ground) -> Vec<(String, String)>,
    /// Arguments of the hosts.
    pub host: &'static [&'static str],
    /// Whether the lattice's NATS is of version 2.9, which the provider has to make do with.
    pub is_old: bool,
}

/// Where a backend is: what goes down when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a service of its own.
    Service(Kind),
    /// In one whose clients go where it tells them, not where their link says. Its stand-in forgets
    /// its topics and how far readers were, as no real one does, and is frozen in place of killed.
    Told(Kind),
    /// In the lattice's NATS, or in another that a link names by this key.
    Nats(&'static str),
    /// In the lattice's NATS.
    Lattice,
    /// In the provider, with its files or its memory.
    Provider,
}

impl Place {
    /// The service that has to be there besides the lattice's NATS.
    #[must_use]
    pub fn service(self) -> Option<Kind> {
        match self {
            Self::Service(kind) | Self::Told(kind) => Some(kind),
            Self::Nats(_) | Self::Lattice | Self::Provider => None,
        }
    }

    /// Whether calls of the lattice get lost with it.
    #[must_use]
    pub fn is_lattice(self) -> bool {
        matches!(self, Self::Nats(_) | Self::Lattice)
    }
}

impl Backend {
    /// Where it can run.
    #[must_use]
    pub fn forms(&self) -> &'static [Form] {
        if self.provider.is_empty() {
            &[Form::InHost]
        } else {
            &Form::ALL
        }
    }

    /// One that is in its provider, without config.
    const fn plain(name: &'static str, provider: &'static str) -> Self {
        Self {
            name,
            provider,
            place: Place::Provider,
            forgets: None,
            config: nothing,
            source_config: None,
            settings: no_settings,
            host: &[],
            is_old: false,
        }
    }

    /// The same on a lattice with an old NATS.
    const fn on_old_nats(self, name: &'static str) -> Self {
        Self {
            name,
            is_old: true,
            ..self
        }
    }

    /// One with a service that links name.
    const fn of(
        name: &'static str,
        provider: &'static str,
        service: Kind,
        config: fn(&Ground) -> Value,
    ) -> Self {
        Self {
            place: Place::Service(service),
            config,
            ..Self::plain(name, provider)
        }
    }

    /// One in the lattice's NATS, or in another that the link names by `key`.
    const fn nats(name: &'static str, provider: &'static str, key: &'static str) -> Self {
        Self {
            place: Place::Nats(key),
            ..Self::plain(name, provider)
        }
    }

    /// One in the lattice's NATS.
    const fn lattice(name: &'static str, provider: &'static str) -> Self {
        Self {
            place: Place::Lattice,
            ..Self::plain(name, provider)
        }
    }

    /// One that keeps nothing over its end.
    const fn forgetting(self, why: &'static str) -> Self {
        Self {
            forgets: Some(why),
            ..self
        }
    }

    /// One that has the component lead.
    const fn campaigning(self) -> Self {
        Self {
            source_config: Some(election),
            settings: elected,
            ..self
        }
    }

    /// One that tells the component of changes.
    const fn watching(self) -> Self {
        Self {
            source_config: Some(watch),
            settings: watched,
            ..self
        }
    }

    /// One whose stand-in takes long for many objects.
    const fn slow(self) -> Self {
        Self {
            settings: fewer,
            ..self
        }
    }

    /// The same with another config.
    const fn with(self, config: fn(&Ground) -> Value) -> Self {
        Self { config, ..self }
    }
}

fn nothing(_: &Ground) -> Value {
    json!({})
}

fn no_settings(_: &Ground) -> Vec<(String, String)> {
    Vec::new()
}

/// The address of the service.
fn url(ground: &Ground) -> Value {
    json!({ "url": ground.url() })
}

const MEMORY: &str = "it is the memory of the provider";
const STAND_IN: &str = "its stand-in keeps all in memory";
const LATE: &str = "its stand-in writes what it has every five seconds";

const KEY_VALUE: &[Backend] = &[
    Backend::nats("nats", "keyvalue-nats", "cluster_uri")
        .with(many_buckets)
        .watching(),
    Backend::of("redis", "keyvalue-redis", Kind::Redis, url).watching(),
    Backend {
        source_config: Some(watch_file),
        ..Backend::plain("sqlite", "keyvalue-sqlite")
            .with(file)
            .watching()
    },
    Backend::of("postgres", "keyvalue-postgres", Kind::Postgres, url).watching(),
    Backend::of("etcd", "keyvalue-etcd", Kind::Etcd, url).watching(),
    Backend::plain("memory", "keyvalue-memory")
        .with(many_buckets)
        .watching()
        .forgetting(MEMORY),
    Backend::nats("nats", "keyvalue-nats", "cluster_uri")
        .with(many_buckets)
        .watching()
        .on_old_nats("nats-2.9"),
];

/// The key whose changes are told.
const WATCHED: &str = "suite-watched";

fn watch(ground: &Ground) -> Value {
    let events = format!("SET@{WATCHED},DEL@{WATCHED}");
    and(url(ground), json!({ "watch": events }))
}

fn watch_file(ground: &Ground) -> Value {
    and(watch(ground), file(ground))
}

fn watched(_: &Ground) -> Vec<(String, String)> {
    vec![("watched".to_owned(), WATCHED.to_owned())]
}

/// A file of this run.
fn file(ground: &Ground) -> Value {
    json!({ "path": ground.folder("values.sqlite3") })
}

fn many_buckets(_: &Ground) -> Value {
    json!({ "enable_bucket_auto_create": "true" })
}

const BLOBS: &[Backend] = &[
    Backend::plain("folder", "blobstore-fs").with(folder),
    Backend::nats("nats", "blobstore-nats", "cluster_uri").with(limited),
    Backend::of("s3", "blobstore-s3", Kind::Moto, aws_blobs)
        .slow()
        .forgetting(STAND_IN),
    Backend::of("azure", "blobstore-azure", Kind::Azurite, azure_blobs)
        .slow()
        .forgetting(LATE),
    Backend::plain("memory", "blobstore-memory")
        .with(limited)
        .forgetting(MEMORY),
    Backend::nats("nats", "blobstore-nats", "cluster_uri")
        .with(limited)
        .on_old_nats("nats-2.9"),
];

/// The largest object: more than a backend takes at once, and little enough to be tried.
fn limited(_: &Ground) -> Value {
    json!({ "max_object_bytes": (33 << 20).to_string() })
}

/// A folder of this run, beside what the lattice keeps.
fn folder(ground: &Ground) -> Value {
    and(limited(ground), json!({ "root": ground.folder("blobs") }))
}

fn fewer(_: &Ground) -> Vec<(String, String)> {
    vec![("many".to_owned(), "1500".to_owned())]
}

/// An account of moto, which believes anybody.
fn aws(ground: &Ground) -> Value {
    json!({
        "access_key_id": "lattice", "secret_access_key": "lattice", "region": "us-east-1",
        "endpoint": address(ground, 0),
    })
}

/// The account that Azurite has, whose key is in its documentation.
fn azure(ground: &Ground, port: usize) -> Value {
    let account = "devstoreaccount1";
    json!({
        "STORAGE_ACCOUNT": account,
        "STORAGE_ACCESS_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                               K1SZFPTOtr/KBHBeksoGMGw==",
        "endpoint": format!("{}/{account}", address(ground, port)),
    })
}

fn azure_blobs(ground: &Ground) -> Value {
    and(azure(ground, 0), limited(ground))
}

fn aws_blobs(ground: &Ground) -> Value {
    and(aws(ground), limited(ground))
}

/// Where a service speaks HTTP, by the place of the port among its ports.
fn address(ground: &Ground, port: usize) -> String {
    format!("http://127.0.0.1:{}", ground.port(port))
}

const QUEUE: &[Backend] = &[
    Backend::nats("nats", "queue-nats", "cluster_uri").with(any_queue),
    Backend::of("rabbitmq", "queue-rabbitmq", Kind::RabbitMq, any_queue_at),
    Backend::of("sqs", "queue-sqs", Kind::Moto, any_queue_of_aws).forgetting(STAND_IN),
    Backend::of("azure", "queue-azure", Kind::Azurite, any_queue_of_azure).forgetting(LATE),
    Backend::nats("nats", "queue-nats", "cluster_uri")
        .with(any_queue)
        .on_old_nats("nats-2.9"),
];

fn any_queue_of_aws(ground: &Ground) -> Value {
    and(aws(ground), any_queue(ground))
}

fn any_queue_of_azure(ground: &Ground) -> Value {
    and(azure(ground, 1), any_queue(ground))
}

/// The address of the service, where the suite makes queues.
fn any_queue_at(ground: &Ground) -> Value {
    let mut config = url(ground);
    config["create"] = "true".into();
    if ground.fault == Fault::Killed {
        // A quorum queue of RabbitMQ 3.10 that is written to when its only broker is killed may not
        // find a leader again, whoever asks.
        config["queue_type"] = "classic".into();
    }
    config
}

fn any_queue(_: &Ground) -> Value {
    json!({ "create": "true" })
}

const MESSAGES: &[Backend] = &[
    Backend {
        source_config: Some(told_of_all),
        ..Backend::nats("nats", "messaging-nats", "cluster_uris")
    },
    Backend {
        source_config: Some(told_by_a_stream),
        ..Backend::nats("jetstream", "messaging-nats", "cluster_uris").with(to_streams)
    },
    Backend {
        source_config: Some(told_by_a_broker),
        ..Backend::of("mqtt", "messaging-mqtt", Kind::Mosquitto, url)
    },
    Backend {
        source_config: Some(told_by_a_queue),
        ..Backend::of("rabbitmq", "messaging-rabbitmq", Kind::RabbitMq, url)
    },
    Backend {
        source_config: Some(told_by_topics),
        place: Place::Told(Kind::Kafka),
        ..Backend::of("kafka", "messaging-kafka", Kind::Kafka, hosts)
    },
    Backend {
        source_config: Some(told_of_all),
        ..Backend::nats("nats", "messaging-nats", "cluster_uris").on_old_nats("nats-2.9")
    },
    Backend {
        source_config: Some(told_by_a_stream),
        ..Backend::nats("jetstream", "messaging-nats", "cluster_uris")
            .with(to_streams)
            .on_old_nats("jetstream-2.9")
    },
];

/// The subjects of the suite that are asked, and those whose messages are kept.
const ASKED: &str =
    "suite.ask.echo,suite.ask.relay,suite.ask.silent,suite.ask.error,suite.ask.about";
const KEPT: &str =
    "suite.kept.note,suite.kept.flaky,suite.kept.error,suite.kept.trap,suite.kept.outage";

fn told(subscriptions: &str) -> Value {
    json!({
        "subscriptions": subscriptions,
        "max_deliver": "3",
        "backoff": "50,400",
        "dead_letter": "suite.kept.dead",
    })
}

/// What `more` says besides.
pub(crate) fn and(mut config: Value, more: Value) -> Value {
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    config
}

fn told_of_all(_: &Ground) -> Value {
    told(&format!("{ASKED},{KEPT},suite.kept.dead"))
}

fn told_by_a_stream(_: &Ground) -> Value {
    let stream = json!({ "stream": "SUITE", "stream_subjects": "suite.kept.>" });
    and(told(ASKED), stream)
}

fn to_streams(_: &Ground) -> Value {
    json!({ "jetstream": "true" })
}

fn told_by_a_broker(ground: &Ground) -> Value {
    and(told_of_all(ground), url(ground))
}

/// Where Kafka's brokers are.
fn hosts(ground: &Ground) -> Value {
    json!({ "hosts": url(ground)["url"] })
}

fn told_by_topics(ground: &Ground) -> Value {
    and(told_of_all(ground), hosts(ground))
}

/// Dead letters go to a queue, which a group names.
fn told_by_a_queue(ground: &Ground) -> Value {
    let all = format!("{ASKED},{KEPT},suite.kept.dead|suite.kept.dead");
    and(told(&all), url(ground))
}

const SQL: &[Backend] = &[
    Backend::plain("sqlite", "sqldb-sqlite").with(folder),
    Backend::of("postgres", "sqldb-postgres", Kind::Postgres, url),
    Backend::of("mariadb", "sqldb-mysql", Kind::MariaDb, url),
];

/// The package of 1.x, which is for one database.
const SQL_POSTGRES: &[Backend] = &[Backend::of(
    "postgres",
    "sqldb-postgres",
    Kind::Postgres,
    url,
)];

/// The lock that makes the component a leader.
const ELECTION: &str = "suite-chief";

const LOCK: &[Backend] = &[
    Backend::lattice("nats", "lock-nats").campaigning(),
    Backend::of("etcd", "lock-etcd", Kind::Etcd, url).campaigning(),
    Backend::of("redis", "lock-redis", Kind::Redis, url).campaigning(),
    Backend::lattice("nats", "lock-nats")
        .campaigning()
        .on_old_nats("nats-2.9"),
];

/// The same for who does not want to lead.
const LOCK_WASI: &[Backend] = &[
    Backend::lattice("nats", "lock-nats"),
    Backend::of("etcd", "lock-etcd", Kind::Etcd, url),
    Backend::of("redis", "lock-redis", Kind::Redis, url),
];

fn election(ground: &Ground) -> Value {
    and(
        url(ground),
        json!({ "election": ELECTION, "ttl_ms": "3000" }),
    )
}

fn elected(_: &Ground) -> Vec<(String, String)> {
    vec![("election".to_owned(), ELECTION.to_owned())]
}

/// Ticks come through the link of the one who puts the jobs.
const SCHEDULE: &[Backend] = &[
    Backend::lattice("nats", "schedule-nats"),
    Backend::lattice("nats", "schedule-nats").on_old_nats("nats-2.9"),
];

const HTTP_IN: &[Backend] = &[Backend {
    source_config: Some(some_address),
    ..Backend::plain("http-server", "http-server")
}];

/// An address that nobody asks; each case has its own.
fn some_address(_: &Ground) -> Value {
    json!({ "address": "127.0.0.1:0" })
}

const HTTP_OUT: &[Backend] = &[Backend::plain("http-client", "http-client")];

const CONFIG: &[Backend] = &[Backend::plain("host", "")];

const LOGGING: &[Backend] = &[Backend {
    host: &["--enable-structured-logging"],
    ..Backend::plain("host", "")
}];

/// The other shapes of messages, which the host carries over the first.
const OTHER_MESSAGES: Capability = Capability {
    name: "",
    guest: "",
    driven: &[],
    calls: "wasmcloud:messaging/consumer",
    called: "wasmcloud:messaging/handler",
    backends: MESSAGES,
};

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
        called: "",
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
        ..OTHER_MESSAGES
    },
    Capability {
        name: "messages-0.3",
        guest: "suite-messaging-wasmcloud",
        ..OTHER_MESSAGES
    },
    Capability {
        name: "queue",
        guest: "suite-queue",
        driven: &[],
        calls: "lattice:queue/producer,consumer",
        called: "",
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
