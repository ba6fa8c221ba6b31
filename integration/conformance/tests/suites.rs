//! Each suite over each backend of the catalog. `cargo xtask conformance` also runs those over every backend on another
//! host, of which there are a few here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_conformance::{CATALOG, Fault, Form, Run, as_published, find};

async fn holds(capability: &str, backend: &str, form: Form) {
    let found = find(Some(capability), Some(backend));
    let [(capability, backend)] = found[..] else {
        panic!("the catalog has no {backend} for {capability}");
    };
    let run = Run {
        capability,
        backend,
        form,
        fault: Fault::None,
        filter: "",
    };
    let outcome = run.carry_out().await.unwrap();
    assert!(!outcome.cases.is_empty(), "the suite has no cases");
    let failures = outcome.failures();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    as_published(&run, &outcome).unwrap();
}

macro_rules! suites {
    ($($module:ident $capability:literal { $($name:ident $backend:literal $form:ident)* })*) => {
        $(
            mod $module {
                use super::{Form, holds};

                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        holds($capability, $backend, Form::$form).await;
                    }
                )*
            }
        )*

        /// What is tested here.
        const TESTED: &[(&str, &str, Form)] = &[$($(($capability, $backend, Form::$form),)*)*];
    };
}

suites! {
    key_value "key-value" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        redis_inside "redis" InHost
        redis_beside "redis" Process
        redis_far "redis" Remote
        sqlite_inside "sqlite" InHost
        sqlite_beside "sqlite" Process
        postgres_inside "postgres" InHost
        postgres_beside "postgres" Process
        etcd_inside "etcd" InHost
        etcd_beside "etcd" Process
        memory_inside "memory" InHost
        memory_beside "memory" Process
        nats_old "nats-2.9" InHost
    }
    key_value_2 "key-value-2" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        redis_inside "redis" InHost
        redis_beside "redis" Process
        redis_far "redis" Remote
        sqlite_inside "sqlite" InHost
        sqlite_beside "sqlite" Process
        postgres_inside "postgres" InHost
        postgres_beside "postgres" Process
        etcd_inside "etcd" InHost
        etcd_beside "etcd" Process
        memory_inside "memory" InHost
        memory_beside "memory" Process
        nats_old "nats-2.9" InHost
    }
    blobs "blobs" {
        folder_inside "folder" InHost
        folder_beside "folder" Process
        folder_far "folder" Remote
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        s3_inside "s3" InHost
        s3_beside "s3" Process
        azure_inside "azure" InHost
        azure_beside "azure" Process
        memory_inside "memory" InHost
        memory_beside "memory" Process
        nats_old "nats-2.9" InHost
    }
    messages "messages" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        jetstream_inside "jetstream" InHost
        jetstream_beside "jetstream" Process
        jetstream_far "jetstream" Remote
        mqtt_inside "mqtt" InHost
        mqtt_beside "mqtt" Process
        rabbitmq_inside "rabbitmq" InHost
        rabbitmq_beside "rabbitmq" Process
        kafka_inside "kafka" InHost
        kafka_beside "kafka" Process
        nats_old "nats-2.9" InHost
        jetstream_old "jetstream-2.9" InHost
    }
    messages_wasi "messages-wasi" {
        nats_inside "nats" InHost
        jetstream_inside "jetstream" InHost
    }
    messages_3 "messages-0.3" {
        nats_inside "nats" InHost
        jetstream_inside "jetstream" InHost
    }
    sql_postgres "sql-postgres" {
        postgres_inside "postgres" InHost
        postgres_beside "postgres" Process
    }
    queue "queue" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        rabbitmq_inside "rabbitmq" InHost
        rabbitmq_beside "rabbitmq" Process
        rabbitmq_far "rabbitmq" Remote
        sqs_inside "sqs" InHost
        sqs_beside "sqs" Process
        azure_inside "azure" InHost
        azure_beside "azure" Process
        nats_old "nats-2.9" InHost
    }
    sql "sql" {
        sqlite_inside "sqlite" InHost
        sqlite_beside "sqlite" Process
        sqlite_far "sqlite" Remote
        postgres_inside "postgres" InHost
        postgres_beside "postgres" Process
        postgres_far "postgres" Remote
        mariadb_inside "mariadb" InHost
        mariadb_beside "mariadb" Process
    }
    lock "lock" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        etcd_inside "etcd" InHost
        etcd_beside "etcd" Process
        etcd_far "etcd" Remote
        redis_inside "redis" InHost
        redis_beside "redis" Process
        nats_old "nats-2.9" InHost
    }
    lock_wasi "lock-wasi" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        etcd_inside "etcd" InHost
        etcd_beside "etcd" Process
        redis_inside "redis" InHost
        redis_beside "redis" Process
        nats_old "nats-2.9" InHost
    }
    http_in "http-in" {
        server_inside "http-server" InHost
        server_beside "http-server" Process
        server_far "http-server" Remote
    }
    http_out "http-out" {
        client_inside "http-client" InHost
        client_beside "http-client" Process
        client_far "http-client" Remote
    }
    config "config" {
        host "host" InHost
    }
    logging "logging" {
        host "host" InHost
    }
    schedule "schedule" {
        nats_inside "nats" InHost
        nats_beside "nats" Process
        nats_far "nats" Remote
        nats_old "nats-2.9" InHost
    }
}

#[test]
fn every_backend_is_tested_inside_and_beside_its_host() {
    for capability in CATALOG {
        for backend in capability.backends {
            for &form in backend.forms() {
                // How a provider is reached does not depend on how old its NATS is.
                if form == Form::Remote || backend.is_old && form == Form::Process {
                    continue;
                }
                // Shapes of messages that the host carries over the first: which provider it is makes
                // no difference, and `cargo xtask conformance` runs all of them.
                let shapes = ["messages-wasi", "messages-0.3"];
                let first = form == Form::InHost && ["nats", "jetstream"].contains(&backend.name);
                if shapes.contains(&capability.name) && !first {
                    continue;
                }
                let wanted = (capability.name, backend.name, form);
                assert!(TESTED.contains(&wanted), "{wanted:?} is not tested");
            }
        }
    }
}

/// Laying the ground of each suite fails when its provider tells other features than these.
#[test]
fn every_capability_whose_providers_are_asked_has_a_vocabulary() {
    for capability in CATALOG {
        let asked = capability
            .backends
            .iter()
            .any(|backend| !backend.provider.is_empty());
        let asked = asked && !capability.calls.is_empty();
        let name = capability.name;
        assert_eq!(capability.vocabulary().is_some(), asked, "{name}");
    }
}
