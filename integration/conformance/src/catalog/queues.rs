//! What keeps jobs.

use lattice_services::Kind;
use serde_json::{Value, json};

use super::accounts::{aws, azure};
use super::backend::{Backend, and, url};
use super::stores::{LATE, STAND_IN};
use crate::fault::Fault;
use crate::ground::Ground;

impl Backend {
    /// One that calls the component for what comes to a queue.
    const fn handling(self, how: fn(&Ground) -> Value) -> Self {
        Self {
            source_config: Some(how),
            settings: handled_queue,
            ..self
        }
    }
}

pub(super) const QUEUE: &[Backend] = &[
    Backend::nats("nats", "queue-nats", "cluster_uri")
        .with(any_queue)
        .handling(handled),
    Backend::of("rabbitmq", "queue-rabbitmq", Kind::RabbitMq, any_queue_at).handling(handled_at),
    Backend::of("sqs", "queue-sqs", Kind::Moto, any_queue_of_aws)
        .handling(handled_of_aws)
        .forgetting(STAND_IN),
    Backend::of("azure", "queue-azure", Kind::Azurite, any_queue_of_azure)
        .handling(handled_of_azure)
        .forgetting(LATE),
    Backend::nats("nats", "queue-nats", "cluster_uri")
        .with(any_queue)
        .handling(handled)
        .on_old_nats("nats-2.9"),
];

/// The queue whose messages the component is called for.
const HANDLED: &str = "suite-handled";

fn handled_queue(_: &Ground) -> Vec<(String, String)> {
    vec![("handled".to_owned(), HANDLED.to_owned())]
}

/// The same queues for who is called, with pauses as short as can be.
fn handling(queues: Value) -> Value {
    let how = json!({
        "queue": HANDLED, "max_attempts": "3", "backoff_ms": "50", "max_backoff_ms": "400",
    });
    and(queues, how)
}

fn handled(ground: &Ground) -> Value {
    handling(any_queue(ground))
}

fn handled_at(ground: &Ground) -> Value {
    handling(any_queue_at(ground))
}

fn handled_of_aws(ground: &Ground) -> Value {
    handling(any_queue_of_aws(ground))
}

fn handled_of_azure(ground: &Ground) -> Value {
    handling(any_queue_of_azure(ground))
}

fn any_queue_of_aws(ground: &Ground) -> Value {
    and(aws(ground.port(0)), any_queue(ground))
}

fn any_queue_of_azure(ground: &Ground) -> Value {
    and(azure(ground.port(1)), any_queue(ground))
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
