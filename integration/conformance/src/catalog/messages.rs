//! What carries messages.

use lattice_services::Kind;
use serde_json::{Value, json};

use super::backend::{Backend, Place, and, url};
use crate::ground::Ground;

pub(super) const MESSAGES: &[Backend] = &[
    Backend {
        source_config: Some(told_of_all),
        ..Backend::nats("nats", "messaging-nats", "cluster_uris")
    },
    Backend {
        source_config: Some(told_by_a_stream),
        ..Backend::nats("jetstream", "messaging-nats", "cluster_uris").with(to_streams)
    },
    Backend {
        source_config: Some(told_by_a_broker),
        ..Backend::of("mqtt", "messaging-mqtt", Kind::Mosquitto, url)
    },
    Backend {
        source_config: Some(told_by_a_queue),
        ..Backend::of("rabbitmq", "messaging-rabbitmq", Kind::RabbitMq, url)
    },
    Backend {
        source_config: Some(told_by_topics),
        place: Place::Told(Kind::Kafka),
        ..Backend::of("kafka", "messaging-kafka", Kind::Kafka, hosts)
    },
    Backend {
        source_config: Some(told_of_all),
        ..Backend::nats("nats", "messaging-nats", "cluster_uris").on_old_nats("nats-2.9")
    },
    Backend {
        source_config: Some(told_by_a_stream),
        ..Backend::nats("jetstream", "messaging-nats", "cluster_uris")
            .with(to_streams)
            .on_old_nats("jetstream-2.9")
    },
];

/// The subjects of the suite that are asked, and those whose messages are kept.
const ASKED: &str =
    "suite.ask.echo,suite.ask.relay,suite.ask.silent,suite.ask.error,suite.ask.about";
const KEPT: &str =
    "suite.kept.note,suite.kept.flaky,suite.kept.error,suite.kept.trap,suite.kept.outage";

fn told(subscriptions: &str) -> Value {
    json!({
        "subscriptions": subscriptions,
        "max_deliver": "3",
        "backoff": "50,400",
        "dead_letter": "suite.kept.dead",
    })
}

fn told_of_all(_: &Ground) -> Value {
    told(&format!("{ASKED},{KEPT},suite.kept.dead"))
}

fn told_by_a_stream(_: &Ground) -> Value {
    let stream = json!({ "stream": "SUITE", "stream_subjects": "suite.kept.>" });
    and(told(ASKED), stream)
}

fn to_streams(_: &Ground) -> Value {
    json!({ "jetstream": "true" })
}

fn told_by_a_broker(ground: &Ground) -> Value {
    and(told_of_all(ground), url(ground))
}

/// Where Kafka's brokers are.
fn hosts(ground: &Ground) -> Value {
    json!({ "hosts": url(ground)["url"] })
}

fn told_by_topics(ground: &Ground) -> Value {
    and(told_of_all(ground), hosts(ground))
}

/// Dead letters go to a queue, which a group names.
fn told_by_a_queue(ground: &Ground) -> Value {
    let all = format!("{ASKED},{KEPT},suite.kept.dead|suite.kept.dead");
    and(told(&all), url(ground))
}
