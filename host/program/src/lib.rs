//! The providers that every host program has inside, under the names after `builtin://`.
//!
//! Hosts and providers do not know each other's code; they meet here.

use std::error::Error;
use std::marker::PhantomData;
use std::process::ExitCode;

use http_server::HttpServer;
use keyvalue_memory::KeyValueMemory;
use keyvalue_nats::KeyValueNats;
use keyvalue_redis::KeyValueRedis;
use lattice_host::builtin::{AS_PROCESS, Builtin, BuiltinContext, Builtins};
use lattice_provider_sdk::{Provider, process, run_inside};

/// All of our providers.
#[must_use]
pub fn builtins() -> Builtins {
    Builtins::none()
        .with(HttpServer::NAME, Inside::<HttpServer>::new())
        .with(KeyValueMemory::NAME, Inside::<KeyValueMemory>::new())
        .with(KeyValueNats::NAME, Inside::<KeyValueNats>::new())
        .with(KeyValueRedis::NAME, Inside::<KeyValueRedis>::new())
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
    Some(match name.to_str() {
        Some(HttpServer::NAME) => process::serve::<HttpServer>(),
        Some(KeyValueMemory::NAME) => process::serve::<KeyValueMemory>(),
        Some(KeyValueNats::NAME) => process::serve::<KeyValueNats>(),
        Some(KeyValueRedis::NAME) => process::serve::<KeyValueRedis>(),
        _ => {
            eprintln!("error: `{}` is no provider of this program", name.display());
            ExitCode::from(2)
        }
    })
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
            data,
            local,
            stop,
        } = context;
        Ok(run_inside::<P>(nats, local, data, stop).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_its_name() {
        let names: Vec<_> = builtins().names().collect();
        let expected = [
            "http-server",
            "keyvalue-memory",
            "keyvalue-nats",
            "keyvalue-redis",
        ];
        assert_eq!(names, expected);
    }
}
