//! Connections to NATS.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use lattice_claims::SigningKey;
use tokio::time::timeout;

use crate::config::NatsConfig;
use crate::host::StartHostError;

/// The name of both connections, as 1.x hosts give it.
const CLIENT_NAME: &str = "wasmbus";
/// How long the first connection may take. A wrong address is told in good time.
const FIRST: Duration = Duration::from_secs(8);
/// The longest pause between two attempts to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the server is asked whether it is still there, to notice a dead line.
const PING: Duration = Duration::from_secs(20);

/// Connects for `purpose`. Once it stands, the connection comes back by itself for ever.
pub(crate) async fn connect(
    purpose: &'static str,
    config: &NatsConfig,
    request_timeout: Duration,
) -> Result<Client, StartHostError> {
    let url = config.url();
    let options = options(purpose, config, request_timeout);
    match timeout(FIRST, options.connect(url.as_str())).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(source)) => Err(StartHostError::Connect {
            purpose,
            url,
            source,
        }),
        Err(_) => Err(StartHostError::ConnectTimeout {
            purpose,
            url,
            within: FIRST,
        }),
    }
}

fn options(purpose: &'static str, config: &NatsConfig, request: Duration) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .name(CLIENT_NAME)
        .request_timeout(Some(request))
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(pause)
        .require_tls(config.require_tls)
        .event_callback(move |event| async move { log_event(purpose, &event) });
    for file in &config.ca_files {
        options = options.add_root_certificates(file.clone());
    }
    let Some(user) = &config.user else {
        return options;
    };
    let seed = user.seed.clone();
    options.jwt(user.jwt.expose().to_owned(), move |nonce| {
        let seed = seed.clone();
        async move {
            let key = SigningKey::from_seed(seed.expose()).map_err(async_nats::AuthError::new)?;
            key.sign(&nonce).map_err(async_nats::AuthError::new)
        }
    })
}

/// Grows from 50 ms, so that a restarted server is found soon and a lost one is not besieged.
fn pause(attempt: usize) -> Duration {
    let exponent = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(10);
    (Duration::from_millis(50) * 2_u32.pow(exponent)).min(LONGEST_PAUSE)
}

fn log_event(purpose: &'static str, event: &Event) {
    match event {
        Event::Connected => tracing::info!(purpose, "connected to NATS"),
        Event::Disconnected => tracing::warn!(purpose, "lost NATS, coming back by itself"),
        Event::SlowConsumer(id) => {
            tracing::error!(
                purpose,
                subscription = id,
                "messages were dropped: read too slowly"
            );
        }
        other => tracing::debug!(purpose, %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert_eq!(pause(1), Duration::from_millis(50));
        assert_eq!(pause(2), Duration::from_millis(100));
        assert_eq!(pause(usize::MAX), LONGEST_PAUSE);
    }
}
