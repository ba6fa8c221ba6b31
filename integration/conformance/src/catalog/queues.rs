//! What keeps jobs.

use lattice_services::Kind;
use serde_json::{Value, json};

use super::accounts::{aws, azure};
use super::backend::{Backend, and, url};
use super::stores::{LATE, STAND_IN};
use crate::fault::Fault;
use crate::ground::Ground;

pub(super) const QUEUE: &[Backend] = &[
    Backend::nats("nats", "queue-nats", "cluster_uri").with(any_queue),
    Backend::of("rabbitmq", "queue-rabbitmq", Kind::RabbitMq, any_queue_at),
    Backend::of("sqs", "queue-sqs", Kind::Moto, any_queue_of_aws).forgetting(STAND_IN),
    Backend::of("azure", "queue-azure", Kind::Azurite, any_queue_of_azure).forgetting(LATE),
    Backend::nats("nats", "queue-nats", "cluster_uri")
        .with(any_queue)
        .on_old_nats("nats-2.9"),
];

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
