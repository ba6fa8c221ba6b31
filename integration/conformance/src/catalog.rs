//! Every capability with its backends.

use lattice_services::Kind;
use serde_json::{Value, json};

use crate::ground::Ground;

/// An interface with what can stand behind it.
#[derive(Debug)]
pub struct Capability {
    /// What it is called in reports.
    pub name: &'static str,
    /// The component of its suite.
    pub guest: &'static str,
    /// What the component calls, as a link says it; empty for nothing.
    pub calls: &'static str,
    /// What is called of the component; empty for nothing.
    pub called: &'static str,
    /// The first is what `wash up` links.
    pub backends: &'static [Backend],
}

/// What stands behind an interface.
#[derive(Debug)]
pub struct Backend {
    /// What it is called in reports.
    pub name: &'static str,
    /// The crate of the provider.
    pub provider: &'static str,
    /// The service that it needs besides the lattice's NATS server.
    pub service: Option<Kind>,
    /// The target config of the component's link.
    pub config: fn(&Ground) -> Value,
    /// The source config of the provider's link to the component; none where it does not call.
    pub source_config: Option<fn(&Ground) -> Value>,
    /// Settings that the suite has to know.
    pub settings: fn(&Ground) -> Vec<(String, String)>,
}

impl Backend {
    /// One without a service of its own and without config.
    const fn plain(name: &'static str, provider: &'static str) -> Self {
        Self {
            name,
            provider,
            service: None,
            config: nothing,
            source_config: None,
            settings: no_settings,
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
            service: Some(service),
            config,
            ..Self::plain(name, provider)
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
    let url = ground.service.as_ref().map(lattice_services::Service::url);
    json!({ "url": url.unwrap_or_default() })
}

const KEY_VALUE: &[Backend] = &[
    Backend::plain("nats", "keyvalue-nats")
        .with(many_buckets)
        .watching(),
    Backend::of("redis", "keyvalue-redis", Kind::Redis, url).watching(),
    Backend::plain("sqlite", "keyvalue-sqlite").with(file),
    Backend::of("postgres", "keyvalue-postgres", Kind::Postgres, url),
    Backend::of("etcd", "keyvalue-etcd", Kind::Etcd, url).watching(),
    Backend::plain("memory", "keyvalue-memory")
        .with(many_buckets)
        .watching(),
];

/// The key whose changes are told.
const WATCHED: &str = "suite-watched";

fn watch(ground: &Ground) -> Value {
    let events = format!("SET@{WATCHED},DEL@{WATCHED}");
    and(url(ground), json!({ "watch": events }))
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
    Backend::plain("nats", "blobstore-nats"),
    Backend::of("s3", "blobstore-s3", Kind::Moto, aws).slow(),
    Backend::of("azure", "blobstore-azure", Kind::Azurite, azure_blobs).slow(),
    Backend::plain("memory", "blobstore-memory"),
];

/// A folder of this run, beside what the lattice keeps.
fn folder(ground: &Ground) -> Value {
    json!({ "root": ground.folder("blobs") })
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
    azure(ground, 0)
}

/// Where a service speaks HTTP, by the place of the port among its ports.
fn address(ground: &Ground, port: usize) -> String {
    let ports = ground
        .service
        .as_ref()
        .map(lattice_services::Service::ports);
    let port = ports.and_then(|ports| ports.get(port)).copied();
    format!("http://127.0.0.1:{}", port.unwrap_or_default())
}

const QUEUE: &[Backend] = &[
    Backend::plain("nats", "queue-nats").with(any_queue),
    Backend::of("rabbitmq", "queue-rabbitmq", Kind::RabbitMq, any_queue_at),
    Backend::of("sqs", "queue-sqs", Kind::Moto, any_queue_of_aws),
    Backend::of("azure", "queue-azure", Kind::Azurite, any_queue_of_azure),
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
    config
}

fn any_queue(_: &Ground) -> Value {
    json!({ "create": "true" })
}

const MESSAGES: &[Backend] = &[
    Backend {
        source_config: Some(told_of_all),
        ..Backend::plain("nats", "messaging-nats")
    },
    Backend {
        source_config: Some(told_by_a_stream),
        ..Backend::plain("jetstream", "messaging-nats").with(to_streams)
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
        ..Backend::of("kafka", "messaging-kafka", Kind::Kafka, hosts)
    },
];

/// The subjects of the suite that are asked, and those whose messages are kept.
const ASKED: &str =
    "suite.ask.echo,suite.ask.relay,suite.ask.silent,suite.ask.error,suite.ask.about";
const KEPT: &str = "suite.kept.note,suite.kept.flaky,suite.kept.error,suite.kept.trap";

fn told(subscriptions: &str) -> Value {
    json!({
        "subscriptions": subscriptions,
        "max_deliver": "3",
        "backoff": "50,400",
        "dead_letter": "suite.kept.dead",
    })
}

/// What `more` says besides.
fn and(mut config: Value, more: Value) -> Value {
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

/// The lock that makes the component a leader.
const ELECTION: &str = "suite-chief";

const LOCK: &[Backend] = &[
    Backend::plain("nats", "lock-nats").campaigning(),
    Backend::of("etcd", "lock-etcd", Kind::Etcd, url).campaigning(),
    Backend::of("redis", "lock-redis", Kind::Redis, url).campaigning(),
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
const SCHEDULE: &[Backend] = &[Backend::plain("nats", "schedule-nats")];

/// Every capability, in the order of the issue that asked for them.
pub const CATALOG: &[Capability] = &[
    Capability {
        name: "key-value",
        guest: "suite-keyvalue",
        calls: "wasi:keyvalue/store,atomics,batch",
        called: "wasi:keyvalue/watcher",
        backends: KEY_VALUE,
    },
    Capability {
        name: "key-value-2",
        guest: "suite-keyvalue2",
        calls: "wasi:keyvalue/store,atomics,batch",
        called: "",
        backends: KEY_VALUE,
    },
    Capability {
        name: "blobs",
        guest: "suite-blobstore",
        calls: "wasi:blobstore/blobstore,container,types",
        called: "",
        backends: BLOBS,
    },
    Capability {
        name: "messages",
        guest: "suite-messaging",
        calls: "wasmcloud:messaging/consumer",
        called: "wasmcloud:messaging/handler",
        backends: MESSAGES,
    },
    Capability {
        name: "queue",
        guest: "suite-queue",
        calls: "lattice:queue/producer,consumer",
        called: "",
        backends: QUEUE,
    },
    Capability {
        name: "sql",
        guest: "suite-sqldb",
        calls: "lattice:sql/sql",
        called: "",
        backends: SQL,
    },
    Capability {
        name: "lock",
        guest: "suite-lock",
        calls: "lattice:lock/lock",
        called: "lattice:lock/leader",
        backends: LOCK,
    },
    Capability {
        name: "schedule",
        guest: "suite-schedule",
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
