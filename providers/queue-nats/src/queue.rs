//! One queue: its streams and consumers.
//!
//! The queue `jobs` is the work-queue stream `queue_LATTICE_jobs` on the subjects below the name of the
//! stream: `….one` for messages without a group, which the consumer `workers` gives out, and
//! `….lane.N` for those with one, see [`Lanes`]. Beside it stands the stream `queue_LATTICE_jobs=later`
//! with messages that are delayed, see [`Mover`](crate::later::Mover).

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;

use crate::lanes::Lanes;
use crate::later::Mover;
use crate::leases::SLACK;
use crate::pull::Puller;
use crate::settings::QueueSettings;
use crate::stored_message::DEAD_ROOM;
use crate::wire::Wire;

/// The consumer of messages without a group.
const WORKERS: &str = "workers";

/// The shortest time that a consumer waits: long enough to be told in time that a lease lasts.
const LEAST_PATIENCE: Duration = Duration::from_secs(15);

/// How many receives may wait at once.
const MOST_WAITING: i64 = 10_000;

/// A queue that is there.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) stream: Stream,
    pub(crate) later: Stream,
    pub(crate) workers: Puller,
    pub(crate) lanes: Lanes,
    /// How long the consumers wait for an acknowledgement.
    pub(crate) patience: Duration,
    /// The largest message of the stream, if it has such a limit.
    max_message: Option<usize>,
    _mover: Mover,
}

impl Queue {
    /// Opens a queue, and creates it as `create` says when it is missing.
    pub(crate) async fn open(
        wire: &Wire,
        prefix: &str,
        name: &str,
        create: Option<&QueueSettings>,
    ) -> Result<Self, QueueError> {
        let js = &wire.jetstream;
        let stream_name = stream_name(prefix, name);
        let subjects = format!("{stream_name}.>");
        let stream = stream(js, &stream_name, subjects, create).await?;
        let config = &stream.cached_info().config;
        let max_message = config.max_message_size;
        let lease = create.map_or(Duration::from_secs(30), |settings| settings.lease);
        let patience = (lease + SLACK).max(LEAST_PATIENCE);
        let filter = format!("{stream_name}.one");
        let workers = consumer(&stream, WORKERS, filter, patience, -1).await?;
        // A queue that others made may lack it.
        let later = later_name(&stream_name);
        let settings = create.cloned().unwrap_or_else(|| like(config));
        let later = self::stream(js, &later, later.clone(), Some(&settings)).await?;
        let mover = Mover::start(wire, &stream, &later).await?;
        let patience = workers.consumer.cached_info().config.ack_wait;
        Ok(Self {
            lanes: Lanes::new(stream.clone(), stream_name, patience),
            name: name.to_owned(),
            stream,
            later,
            workers,
            patience,
            max_message: usize::try_from(max_message).ok().filter(|most| *most > 0),
            _mover: mover,
        })
    }

    /// The name of its stream.
    pub(crate) fn stream_name(&self) -> &str {
        &self.stream.cached_info().config.name
    }

    /// The largest message that it takes.
    pub(crate) fn most(&self, wire: &Wire) -> usize {
        let server = wire.max_payload();
        self.max_message.map_or(server, |most| most.min(server))
    }

    /// The largest message that is sent to it: as a dead letter it has to fit too, in a queue without
    /// such a limit.
    pub(crate) fn most_sent(&self, wire: &Wire) -> usize {
        let server = wire.max_payload().saturating_sub(DEAD_ROOM);
        self.most(wire).min(server)
    }

    /// The subject of a message.
    pub(crate) fn subject(&self, group: Option<&str>) -> String {
        match group {
            Some(group) => self.lanes.subject(group),
            None => format!("{}.one", self.stream_name()),
        }
    }
}

/// The name of a queue's stream. Streams take no dots, queues no `=`.
fn stream_name(prefix: &str, queue: &str) -> String {
    format!("{prefix}{}", queue.replace('.', "=d"))
}

/// The name of the stream of delayed messages.
fn later_name(stream: &str) -> String {
    format!("{stream}=later")
}

/// Settings for a stream beside one that is there.
fn like(config: &Config) -> QueueSettings {
    QueueSettings {
        max_messages: config.max_messages,
        max_bytes: config.max_bytes,
        max_message_bytes: config.max_message_size,
        window: config.duplicate_window,
        replicas: config.num_replicas,
        lease: Duration::from_secs(30),
    }
}

async fn stream(
    js: &Context,
    name: &str,
    subjects: String,
    create: Option<&QueueSettings>,
) -> Result<Stream, QueueError> {
    match js.get_stream(name).await {
        Ok(stream) => return usable(stream),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            _ => return Err(QueueError::unavailable(chain(&error))),
        },
    }
    let Some(settings) = create else {
        return Err(QueueError::NoSuchQueue);
    };
    tracing::info!(stream = name, "creating the stream of a queue");
    let config = config(name, subjects, settings);
    match js.create_stream(config).await {
        // Another copy of the provider may have been first, with other settings.
        Err(_) if let Ok(stream) = js.get_stream(name).await => usable(stream),
        Err(error) => Err(QueueError::other(format!(
            "could not create the stream `{name}`: {}",
            chain(&error)
        ))),
        Ok(stream) => Ok(stream),
    }
}

fn config(name: &str, subjects: String, settings: &QueueSettings) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subjects],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        // A full queue says so; nothing that was stored goes.
        discard: DiscardPolicy::New,
        max_messages: settings.max_messages,
        max_bytes: settings.max_bytes,
        max_message_size: settings.max_message_bytes,
        duplicate_window: settings.window,
        num_replicas: settings.replicas,
        description: Some("a queue of lattice:queue".to_owned()),
        ..Config::default()
    }
}

/// A stream of another kind would lose messages, or give them twice.
fn usable(stream: Stream) -> Result<Stream, QueueError> {
    let config = &stream.cached_info().config;
    if config.retention == RetentionPolicy::WorkQueue {
        return Ok(stream);
    }
    Err(QueueError::other(format!(
        "the stream `{}` is none of a queue: its retention is not `workqueue`",
        config.name
    )))
}

/// Changes what a link says about the limits of a queue that is there, and nothing else that somebody may have
/// changed since it was opened. Says whether the streams are as they were then.
pub(crate) async fn adjust(
    js: &Context,
    queue: &Queue,
    settings: &QueueSettings,
) -> Result<bool, QueueError> {
    let mut is_as_opened = true;
    for stream in [&queue.stream, &queue.later] {
        let info = stream.get_info().await;
        let known = info.map_err(|error| QueueError::unavailable(chain(&error)))?;
        let known = known.config;
        let changed = limited(&known, settings);
        is_as_opened &= changed == stream.cached_info().config;
        if changed == known {
            continue;
        }
        js.update_stream(&changed).await.map_err(|error| {
            let name = &changed.name;
            QueueError::other(format!(
                "could not change the limits of the stream `{name}`: {}",
                chain(&error)
            ))
        })?;
    }
    Ok(is_as_opened)
}

/// A stream with the limits that a link says.
fn limited(known: &Config, settings: &QueueSettings) -> Config {
    let said = |said: i64, known: i64| if said == -1 { known } else { said };
    Config {
        max_messages: said(settings.max_messages, known.max_messages),
        max_bytes: said(settings.max_bytes, known.max_bytes),
        max_message_size: match settings.max_message_bytes {
            -1 => known.max_message_size,
            most => most,
        },
        ..known.clone()
    }
}

/// The durable consumer of that name. One that is there keeps its settings.
pub(crate) async fn consumer(
    stream: &Stream,
    name: &str,
    filter: String,
    patience: Duration,
    at_once: i64,
) -> Result<Puller, QueueError> {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: patience,
        filter_subject: filter,
        max_ack_pending: at_once,
        max_waiting: MOST_WAITING,
        ..pull::Config::default()
    };
    let got = stream.get_or_create_consumer(name, config).await;
    got.map(Puller::new).map_err(|error| {
        let why = chain(&error);
        match error.kind() {
            ConsumerErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                QueueError::NoSuchQueue
            }
            ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => {
                QueueError::unavailable(why)
            }
            _ => QueueError::other(format!("could not make the consumer `{name}`: {why}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_are_told_apart() {
        let names = ["a.b", "a-b", "ab", "a"].map(|queue| stream_name("q_", queue));
        assert_eq!(names[0], "q_a=db");
        let later = names.clone().map(|name| later_name(&name));
        let all: std::collections::BTreeSet<_> = names.iter().chain(&later).collect();
        assert_eq!(all.len(), 8);
    }
}
