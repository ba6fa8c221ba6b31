//! What the library says of connections that fail, which its own answers leave out.

use std::sync::Arc;

use lattice_provider_sdk::BoxError;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Keeps the last thing that was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Option<String>>>);

/// An answer that did not come, and what the library said before.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Explained {
    why: String,
    source: KafkaError,
}

impl Told {
    /// Forgets it, when the brokers answer.
    pub(crate) fn forget(&self) {
        *self.0.lock() = None;
    }

    /// An error with what was said.
    pub(crate) fn explain(&self, error: KafkaError) -> BoxError {
        match self.0.lock().clone() {
            Some(why) => Explained { why, source: error }.into(),
            None => error.into(),
        }
    }
}

impl ClientContext for Told {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a Kafka client has trouble");
        // That none is left says less than what was said of the last one.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock() = Some(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_explains_what_did_not_come() {
        let told = Told::default();
        let error = |code| KafkaError::Global(code);
        let explain = || told.explain(error(RDKafkaErrorCode::OperationTimedOut));
        let plain = explain().to_string();
        told.error(error(RDKafkaErrorCode::SSL), "the certificate has expired");
        told.error(
            error(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
        );
        assert_eq!(explain().to_string(), "the certificate has expired");
        told.forget();
        assert_eq!(explain().to_string(), plain);
    }
}
