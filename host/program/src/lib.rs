//! The providers that a host program has inside, under the names after `builtin://`.
//!
//! Hosts and providers do not know each other's code; they meet here. Which providers there are is
//! said by the features of this crate, one for each, so that nobody builds a client that is not used.

use std::error::Error;
use std::marker::PhantomData;
use std::process::ExitCode;

use lattice_host::builtin::{AS_PROCESS, Builtin, BuiltinContext, Builtins};
use lattice_provider_sdk::{Provider, process, run_inside};

/// Raises the limit of open files of this process, for the start of a program: the providers inside it have
/// connections of their own.
pub use lattice_provider_sdk::process::raise_file_limit;

/// Makes the two functions below of a list of features and providers.
macro_rules! providers {
    ($($feature:literal: $krate:ident::$provider:ident,)+) => {
        /// The providers that this program was built with.
        #[must_use]
        pub fn builtins() -> Builtins {
            let builtins = Builtins::none();
            $(
                #[cfg(feature = $feature)]
                let builtins = builtins.with(
                    <$krate::$provider as Provider>::NAME,
                    Inside::<$krate::$provider>::new(),
                );
            )+
            builtins
        }

        /// Serves the provider of a name until its host ends it; `None` when there is none.
        fn serve(name: &str) -> Option<ExitCode> {
            match name {
                $(
                    #[cfg(feature = $feature)]
                    $feature => Some(process::serve::<$krate::$provider>()),
                )+
                _ => None,
            }
        }
    };
}

providers! {
    "blobstore-azure": blobstore_azure::BlobstoreAzure,
    "blobstore-fs": blobstore_fs::BlobstoreFs,
    "blobstore-memory": blobstore_memory::BlobstoreMemory,
    "blobstore-nats": blobstore_nats::BlobstoreNats,
    "blobstore-s3": blobstore_s3::BlobstoreS3,
    "http-client": http_client::HttpClient,
    "http-server": http_server::HttpServer,
    "keyvalue-etcd": keyvalue_etcd::KeyValueEtcd,
    "keyvalue-memory": keyvalue_memory::KeyValueMemory,
    "keyvalue-nats": keyvalue_nats::KeyValueNats,
    "keyvalue-postgres": keyvalue_postgres::KeyValuePostgres,
    "keyvalue-redis": keyvalue_redis::KeyValueRedis,
    "keyvalue-sqlite": keyvalue_sqlite::KeyValueSqlite,
    "lock-etcd": lock_etcd::LockEtcd,
    "lock-nats": lock_nats::LockNats,
    "lock-redis": lock_redis::LockRedis,
    "messaging-kafka": messaging_kafka::MessagingKafka,
    "messaging-mqtt": messaging_mqtt::MessagingMqtt,
    "messaging-nats": messaging_nats::MessagingNats,
    "messaging-rabbitmq": messaging_rabbitmq::MessagingRabbitMq,
    "queue-azure": queue_azure::QueueAzure,
    "queue-nats": queue_nats::QueueNats,
    "queue-rabbitmq": queue_rabbitmq::QueueRabbitmq,
    "queue-sqs": queue_sqs::QueueSqs,
    "schedule-nats": schedule_nats::ScheduleNats,
    "sqldb-mysql": sqldb_mysql::SqldbMysql,
    "sqldb-postgres": sqldb_postgres::SqldbPostgres,
    "sqldb-sqlite": sqldb_sqlite::SqldbSqlite,
}

/// Runs the provider that this process was started for by a host, if it was; gives its exit code.
///
/// To be called before anything else of the program.
#[must_use]
pub fn as_provider() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != AS_PROCESS {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    Some(name.to_str().and_then(serve).unwrap_or_else(|| {
        eprintln!("error: `{}` is no provider of this program", name.display());
        ExitCode::from(2)
    }))
}

/// Runs a provider on the connection of its host.
struct Inside<P>(PhantomData<fn() -> P>);

impl<P> Inside<P> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

#[async_trait::async_trait]
impl<P: Provider> Builtin for Inside<P> {
    async fn run(&self, context: BuiltinContext) -> Result<(), Box<dyn Error + Send + Sync>> {
        let BuiltinContext {
            nats,
            bulk,
            data,
            local,
            stop,
        } = context;
        Ok(run_inside::<P>(nats, bulk, local, data, stop).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_that_are_linked_by_default_are_inside() {
        let names: Vec<_> = builtins().names().collect();
        for name in [
            "blobstore-fs",
            "blobstore-memory",
            "blobstore-nats",
            "http-client",
            "http-server",
            "keyvalue-memory",
            "keyvalue-nats",
            "keyvalue-redis",
            "keyvalue-sqlite",
            "lock-nats",
            "lock-redis",
            "messaging-nats",
            "queue-nats",
            "schedule-nats",
            "sqldb-sqlite",
        ] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
