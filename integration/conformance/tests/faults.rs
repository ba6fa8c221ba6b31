//! Backends that are killed while suites work, and those behind slow connections. `cargo xtask conformance --fault killed`
//! and `--fault slow` run all of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_conformance::{CATALOG, Fault, Form, Run, find};

async fn holds(capability: &str, backend: &str, fault: Fault, filter: &str) {
    let found = find(Some(capability), Some(backend));
    let [(capability, backend)] = found[..] else {
        panic!("the catalog has no {backend} for {capability}");
    };
    let run = Run {
        capability,
        backend,
        form: Form::Process,
        fault,
        filter,
    };
    let outcome = run.carry_out().await.unwrap();
    assert!(!outcome.cases.is_empty(), "there is no such case");
    let failures = outcome.failures();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

macro_rules! killed {
    ($($name:ident $capability:literal $backend:literal)*) => {
        mod killed {
            use super::{Fault, holds};

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    holds($capability, $backend, Fault::Killed, "").await;
                }
            )*
        }

        /// What is killed here.
        const KILLED: &[(&str, &str)] = &[$(($capability, $backend),)*];
    };
}

killed! {
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
}

mod slow {
    use super::{Fault, holds};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn key_value_redis() {
        holds("key-value", "redis", Fault::Slow, "number").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn blobs_nats() {
        holds("blobs", "nats", Fault::Slow, "value").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sql_postgres() {
        holds("sql", "postgres", Fault::Slow, "transaction").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queue_nats() {
        holds("queue", "nats", Fault::Slow, "message").await;
    }
}

#[test]
fn every_backend_that_can_be_killed_is() {
    for capability in CATALOG {
        // Other shapes of what is killed already: the same providers serve them.
        let others = [
            "key-value-2",
            "lock-wasi",
            "messages-wasi",
            "messages-0.3",
            "sql-postgres",
        ];
        if others.contains(&capability.name) {
            continue;
        }
        for backend in capability.backends.iter().filter(|it| !it.is_old) {
            let can = Fault::Killed
                .cannot(capability, backend, Form::Process)
                .is_none();
            let wanted = (capability.name, backend.name);
            assert!(!can || KILLED.contains(&wanted), "{wanted:?} is not tested");
        }
    }
}
