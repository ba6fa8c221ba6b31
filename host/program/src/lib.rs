//! The providers that every host program has inside, under the names after `builtin://`.
//!
//! Hosts and providers do not know each other's code; they meet here.

use std::error::Error;
use std::marker::PhantomData;

use http_server::HttpServer;
use keyvalue_nats::KeyValueNats;
use keyvalue_redis::KeyValueRedis;
use lattice_host::builtin::{Builtin, BuiltinContext, Builtins};
use lattice_provider_sdk::{Provider, run_inside};

/// All of our providers.
#[must_use]
pub fn builtins() -> Builtins {
    Builtins::none()
        .with(HttpServer::NAME, Inside::<HttpServer>::new())
        .with(KeyValueNats::NAME, Inside::<KeyValueNats>::new())
        .with(KeyValueRedis::NAME, Inside::<KeyValueRedis>::new())
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
        assert_eq!(names, ["http-server", "keyvalue-nats", "keyvalue-redis"]);
    }
}
