//! Finding and making consumers.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::{self, Stream};
use lattice_provider_sdk::BoxError;

use crate::settings::{ConsumerSettings, NewConsumer};

/// What consumers have that say nothing.
const USUAL_ACK_WAIT: Duration = Duration::from_secs(30);

/// Why a consumer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumerError {
    /// There is no such stream, or JetStream does not answer.
    #[error("could not use the stream `{stream}`")]
    Stream { stream: String, source: BoxError },
    /// It is missing, or cannot be made.
    #[error("could not use the consumer `{name}` of the stream `{stream}`")]
    Consumer {
        stream: String,
        name: String,
        source: BoxError,
    },
    /// It would acknowledge by itself.
    #[error(
        "the consumer `{name}` of the stream `{stream}` has the ack policy {policy}, expected explicit"
    )]
    Policy {
        stream: String,
        name: String,
        policy: String,
    },
    /// The server knows one filter only.
    #[error("this NATS server takes one subject in `filter_subjects`, several from 2.10 on")]
    Filters,
}

impl ConsumerError {
    /// Whether the link has to change for it to go away.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Policy { .. } | Self::Filters)
    }
}

/// When a message that nobody acknowledges comes again, as far as known.
pub(super) fn ack_wait(settings: &ConsumerSettings) -> Duration {
    let new = settings.create.as_ref();
    // Those that are there may be hastier than usual, which a third of this still serves.
    new.map_or(USUAL_ACK_WAIT / 3, |new| new.ack_wait)
}

/// Finds the stream, or makes it where the link says its subjects.
async fn stream(jetstream: &Context, settings: &ConsumerSettings) -> Result<Stream, BoxError> {
    let subjects = settings.create.as_ref().map(|new| &new.stream_subjects);
    match subjects.filter(|subjects| !subjects.is_empty()) {
        None => Ok(jetstream.get_stream(&settings.stream).await?),
        Some(subjects) => {
            let config = stream::Config {
                name: settings.stream.clone(),
                subjects: subjects.clone(),
                ..stream::Config::default()
            };
            Ok(jetstream.get_or_create_stream(config).await?)
        }
    }
}

/// Finds the consumer, or makes it where the link says how.
pub(super) async fn open(
    jetstream: &Context,
    settings: &ConsumerSettings,
) -> Result<PullConsumer, ConsumerError> {
    let stream_name = || settings.stream.clone();
    let failed = |source: BoxError| ConsumerError::Consumer {
        stream: stream_name(),
        name: settings.name.clone(),
        source,
    };
    let stream = stream(jetstream, settings).await;
    let stream = stream.map_err(|source| ConsumerError::Stream {
        stream: stream_name(),
        source,
    })?;
    let consumer: PullConsumer = match &settings.create {
        None => stream.get_consumer(&settings.name).await.map_err(failed)?,
        Some(new) => {
            let config = config(&settings.name, new);
            let made = stream.get_or_create_consumer(&settings.name, config).await;
            made.map_err(|error| failed(error.into()))?
        }
    };
    let known = &consumer.cached_info().config;
    if known.ack_policy != AckPolicy::Explicit {
        return Err(ConsumerError::Policy {
            stream: stream_name(),
            name: settings.name.clone(),
            policy: format!("{:?}", known.ack_policy).to_lowercase(),
        });
    }
    let wanted = settings.create.as_ref().map_or(0, |new| new.filter.len());
    if wanted > 1 && known.filter_subjects.is_empty() {
        return Err(ConsumerError::Filters);
    }
    Ok(consumer)
}

/// After how many deliveries the consumer itself gives a message up.
pub(super) fn gives_up_after(consumer: &PullConsumer) -> Option<u32> {
    let most = consumer.cached_info().config.max_deliver;
    u32::try_from(most).ok().filter(|most| *most > 0)
}

fn config(name: &str, new: &NewConsumer) -> Config {
    let (filter_subject, filter_subjects) = match &new.filter[..] {
        [] => (String::new(), Vec::new()),
        [one] => (one.clone(), Vec::new()),
        several => (String::new(), several.to_vec()),
    };
    Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: match new.all {
            true => DeliverPolicy::All,
            false => DeliverPolicy::New,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: new.ack_wait,
        // The provider counts, as it has to keep what it gives up on.
        max_deliver: -1,
        // It is the room of each provider that bounds what is under way.
        max_ack_pending: 100_000,
        filter_subject,
        filter_subjects,
        ..Config::default()
    }
}
