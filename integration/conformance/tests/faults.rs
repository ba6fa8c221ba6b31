//! Backends that are killed while suites work, and those behind slow connections. `cargo xtask conformance --fault killed`
//! and `--fault slow` run all of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_conformance::{Backend, CATALOG, Capability, Fault, Form, Run, as_published, find};

async fn holds(capability: &str, backend: &str, fault: Fault, filter: &str) {
    let found = find(Some(capability), Some(backend));
    let [(capability, backend)] = found[..] else {
        panic!("the catalog has no {backend} for {capability}");
    };
    let run = Run {
        capability,
        backend,
        form: form(backend),
        fault,
        filter,
    };
    let outcome = run.carry_out().await.unwrap();
    assert!(!outcome.cases.is_empty(), "there is no such case");
    let failures = outcome.failures();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    as_published(&run, &outcome).unwrap();
}

/// Processes are what can be killed, wherever there are any.
fn form(backend: &Backend) -> Form {
    let forms = backend.forms();
    match forms.contains(&Form::Process) {
        true => Form::Process,
        false => forms[0],
    }
}

macro_rules! faults {
    ($module:ident $fault:ident $all:ident { $($name:ident $capability:literal $backend:literal $($filter:literal)?)* }) => {
        mod $module {
            use super::{Fault, holds};

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    holds($capability, $backend, Fault::$fault, concat!("" $(, $filter)?)).await;
                }
            )*
        }

        /// What is tested so.
        const $all: &[(&str, &str)] = &[$(($capability, $backend),)*];
    };
}

faults! { killed Killed KILLED {
    key_value_nats "key-value" "nats"
    key_value_redis "key-value" "redis"
    key_value_sqlite "key-value" "sqlite"
    key_value_postgres "key-value" "postgres"
    key_value_etcd "key-value" "etcd"
    key_value_memory "key-value" "memory"
    key_value_2_nats "key-value-2" "nats"
    key_value_2_redis "key-value-2" "redis"
    blobs_folder "blobs" "folder"
    blobs_nats "blobs" "nats"
    blobs_s3 "blobs" "s3"
    blobs_azure "blobs" "azure"
    blobs_memory "blobs" "memory"
    messages_nats "messages" "nats"
    messages_jetstream "messages" "jetstream"
    messages_mqtt "messages" "mqtt"
    messages_rabbitmq "messages" "rabbitmq"
    messages_kafka "messages" "kafka"
    queue_nats "queue" "nats"
    queue_rabbitmq "queue" "rabbitmq"
    queue_sqs "queue" "sqs"
    queue_azure "queue" "azure"
    sql_sqlite "sql" "sqlite"
    sql_postgres "sql" "postgres"
    sql_mariadb "sql" "mariadb"
    lock_nats "lock" "nats"
    lock_etcd "lock" "etcd"
    lock_redis "lock" "redis"
    schedule_nats "schedule" "nats"
    http_in_server "http-in" "http-server"
    http_out_client "http-out" "http-client"
    config_host "config" "host"
} }

// Where words follow, the cases that have them run. Of most backends that is one, since all of them take minutes
// over such a connection, which `cargo xtask conformance --fault slow` has.
faults! { slow Slow SLOW {
    key_value_nats "key-value" "nats"
    key_value_redis "key-value" "redis" "an absent number"
    key_value_postgres "key-value" "postgres" "an absent number"
    key_value_etcd "key-value" "etcd" "an absent number"
    blobs_nats "blobs" "nats" "value"
    blobs_s3 "blobs" "s3" "written after it is stored"
    blobs_azure "blobs" "azure" "written after it is stored"
    messages_nats "messages" "nats"
    messages_jetstream "messages" "jetstream" "a handler publishes"
    messages_mqtt "messages" "mqtt" "a handler publishes"
    messages_rabbitmq "messages" "rabbitmq" "a handler publishes"
    messages_kafka "messages" "kafka" "a handler publishes"
    queue_nats "queue" "nats"
    queue_rabbitmq "queue" "rabbitmq" "rejected"
    queue_sqs "queue" "sqs" "rejected"
    queue_azure "queue" "azure" "rejected"
    sql_postgres "sql" "postgres" "transaction"
    sql_mariadb "sql" "mariadb" "what is committed"
    lock_nats "lock" "nats"
    lock_etcd "lock" "etcd" "one holder"
    lock_redis "lock" "redis" "one holder"
    http_in_server "http-in" "http-server"
    http_out_client "http-out" "http-client"
    config_host "config" "host"
    schedule_nats "schedule" "nats"
} }

/// Other shapes of what is tested already: the same providers serve them.
const SHAPES: [&str; 5] = [
    "key-value-2",
    "lock-wasi",
    "messages-wasi",
    "messages-0.3",
    "sql-postgres",
];

fn can(fault: Fault, capability: &Capability, backend: &Backend) -> bool {
    !backend.is_old && fault.cannot(capability, backend, form(backend)).is_none()
}

/// Compares what is tested with what the catalog has.
fn are_all_that_can_be(fault: Fault, tested: &[(&str, &str)]) {
    let capabilities = CATALOG.iter().filter(|it| !SHAPES.contains(&it.name));
    for capability in capabilities {
        for backend in capability.backends {
            let wanted = (capability.name, backend.name);
            let is_tested = tested.contains(&wanted);
            assert_eq!(is_tested, can(fault, capability, backend), "{wanted:?}");
        }
    }
}

#[test]
fn every_backend_that_can_be_killed_is() {
    are_all_that_can_be(Fault::Killed, KILLED);
}

#[test]
fn every_backend_that_can_be_slow_is() {
    are_all_that_can_be(Fault::Slow, SLOW);
}

/// What stands behind these is not apart from what is asked, so that nothing can befall it alone.
#[test]
fn logging_alone_meets_no_fault() {
    let unharmed = CATALOG.iter().filter(|capability| {
        let can_be = |fault| {
            capability
                .backends
                .iter()
                .any(|it| can(fault, capability, it))
        };
        !can_be(Fault::Killed) && !can_be(Fault::Slow)
    });
    let names: Vec<_> = unharmed.map(|capability| capability.name).collect();
    assert_eq!(names, ["logging"]);
}
