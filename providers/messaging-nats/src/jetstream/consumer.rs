//! Finding and making consumers.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, FromConsumer as _, PullConsumer};
use async_nats::jetstream::stream::{self, ConsumerUpdateErrorKind, Stream};
use lattice_provider_sdk::BoxError;

use super::failures::REMEMBERED;
use super::origins::{self, check_reach};
use crate::reach::Reach;
use crate::settings::{ConsumerSettings, NewConsumer};

/// What servers take for consumers that say nothing.
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
    /// It was made otherwise than the link says, in what stays as it is.
    #[error(
        "the consumer `{name}` of the stream `{stream}` was made with another `deliver` than `{wanted}`, \
         and keeps it: name another `durable`, or delete the consumer; one of your own that shall \
         be used as it is belongs in `consumers`"
    )]
    Made {
        stream: String,
        name: String,
        wanted: &'static str,
    },
    /// The server does not change it to what the link says.
    #[error(
        "NATS does not change {what} of the consumer `{name}` of the stream `{stream}`: name another \
         `durable`, or delete the consumer"
    )]
    Change {
        stream: String,
        name: String,
        what: String,
        source: BoxError,
    },
    /// The component would hear of the lattice by it.
    #[error(
        "the stream `{stream}` has `{what}`, which is not for components: the lattice itself goes by \
         it; name other subjects in the consumer's filter (`filter_subjects`), or say \
         `lattice_subjects=allowed` in the link, which leaves that to the component"
    )]
    Reserved { stream: String, what: String },
    /// Whether the component would hear of the lattice cannot be told.
    #[error(
        "the stream `{stream}` has messages of more than {} others, which are not all looked at for what is \
         not for components: name another stream, or say `lattice_subjects=allowed` in the link, which \
         leaves to the component whatever there is",
        origins::MOST
    )]
    Origins { stream: String },
    /// The server knows one filter only.
    #[error("this NATS server takes one subject in `filter_subjects`, several from 2.10 on")]
    Filters,
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

/// The subjects that a consumer lets through; none for all.
fn filter_of(consumer: &PullConsumer) -> Vec<String> {
    let config = &consumer.cached_info().config;
    let one = Some(config.filter_subject.clone()).filter(|one| !one.is_empty());
    config.filter_subjects.iter().cloned().chain(one).collect()
}

/// Finds the consumer as the link says it is, or makes it so where the link says how.
pub(super) async fn open(
    jetstream: &Context,
    settings: &ConsumerSettings,
    reach: &Reach,
) -> Result<PullConsumer, ConsumerError> {
    let stream = stream(jetstream, settings).await;
    let stream = stream.map_err(|source| ConsumerError::Stream {
        stream: settings.stream.clone(),
        source,
    })?;
    let consumer = match &settings.create {
        None => {
            let theirs = stream.get_consumer(&settings.name).await;
            let theirs = theirs.map_err(|source| unusable(settings, source))?;
            check_reach(jetstream, &stream, &filter_of(&theirs), reach).await?;
            theirs
        }
        Some(new) => {
            check_reach(jetstream, &stream, &new.filter, reach).await?;
            made(&stream, settings, new).await?
        }
    };
    let known = &consumer.cached_info().config;
    if known.ack_policy != AckPolicy::Explicit {
        return Err(ConsumerError::Policy {
            stream: settings.stream.clone(),
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

fn unusable(settings: &ConsumerSettings, source: impl Into<BoxError>) -> ConsumerError {
    ConsumerError::Consumer {
        stream: settings.stream.clone(),
        name: settings.name.clone(),
        source: source.into(),
    }
}

/// Makes a durable, or has one that is there be as the link says.
async fn made(
    stream: &Stream,
    settings: &ConsumerSettings,
    new: &NewConsumer,
) -> Result<PullConsumer, ConsumerError> {
    let wanted = config(&settings.name, new);
    let found = stream.get_or_create_consumer(&settings.name, wanted.clone());
    let found = found.await.map_err(|error| unusable(settings, error))?;
    let known = &found.cached_info().config;
    if (known.deliver_policy == DeliverPolicy::New) == new.all {
        return Err(ConsumerError::Made {
            stream: settings.stream.clone(),
            name: settings.name.clone(),
            wanted: if new.all { "all" } else { "new" },
        });
    }
    let known = Config::try_from_consumer_config(known.clone());
    let known = known.map_err(|error| unusable(settings, error))?;
    let Some((changed, what)) = changed(known, wanted) else {
        return Ok(found);
    };
    let (name, stream_name) = (&*settings.name, &*settings.stream);
    tracing::info!(
        stream = stream_name,
        consumer = name,
        what,
        "changing a consumer"
    );
    let updated = stream.update_consumer(changed).await;
    updated.map_err(|error| match error.kind() {
        ConsumerUpdateErrorKind::JetStream(_) => ConsumerError::Change {
            stream: stream_name.to_owned(),
            name: name.to_owned(),
            what,
            source: error.into(),
        },
        _ => unusable(settings, error),
    })
}

/// What a consumer has to become, and which values of the link that are; `None` when it is so.
fn changed(known: Config, wanted: Config) -> Option<(Config, String)> {
    let filter = |config: &Config| {
        let mut all = config.filter_subjects.clone();
        all.extend(Some(config.filter_subject.clone()).filter(|one| !one.is_empty()));
        all.sort_unstable();
        all
    };
    // Where there is a list of pauses, that is how soon a message comes again.
    let other_wait = known.backoff.is_empty() && known.ack_wait != wanted.ack_wait;
    let other_filter = filter(&known) != filter(&wanted);
    let what = match (other_filter, other_wait) {
        (false, false) => return None,
        (true, false) => "`filter_subjects`",
        (false, true) => "`ack_wait_ms`",
        (true, true) => "`filter_subjects` and `ack_wait_ms`",
    };
    let mut changed = Config {
        filter_subject: wanted.filter_subject,
        filter_subjects: wanted.filter_subjects,
        ..known
    };
    if other_wait {
        changed.ack_wait = wanted.ack_wait;
    }
    Some((changed, what.to_owned()))
}

/// What a consumer does by itself with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manners {
    /// How soon one that nobody acknowledges comes again.
    pub(super) ack_wait: Duration,
    /// After how many deliveries it gives one up.
    pub(super) gives_up_after: Option<u32>,
}

impl Manners {
    pub(super) fn of(consumer: &PullConsumer) -> Self {
        let config = &consumer.cached_info().config;
        let gives_up_after = u32::try_from(config.max_deliver).ok();
        Self {
            ack_wait: soonest(config.ack_wait, &config.backoff),
            gives_up_after: gives_up_after.filter(|most| *most > 0),
        }
    }

    /// Whether a message that was delivered so often is not delivered again.
    pub(super) fn is_last(self, delivered: i64) -> bool {
        self.gives_up_after
            .is_some_and(|most| delivered >= i64::from(most))
    }
}

/// A list of pauses stands for the time to acknowledge where there is one.
fn soonest(ack_wait: Duration, backoff: &[Duration]) -> Duration {
    let times = backoff.iter().chain([&ack_wait]).copied();
    let times = times.filter(|time| !time.is_zero());
    times.min().unwrap_or(USUAL_ACK_WAIT)
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
        max_ack_pending: REMEMBERED as i64,
        filter_subject,
        filter_subjects,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_alive_within_the_shortest_time_that_the_consumer_gives() {
        let of = |millis: u64| Duration::from_millis(millis);
        assert_eq!(soonest(of(2000), &[]), of(2000));
        assert_eq!(soonest(of(2000), &[of(300), of(5000)]), of(300));
        assert_eq!(soonest(of(0), &[]), USUAL_ACK_WAIT);
    }

    #[test]
    fn the_last_delivery_is_known_where_there_is_one() {
        let manners = |gives_up_after| Manners {
            ack_wait: USUAL_ACK_WAIT,
            gives_up_after,
        };
        assert!(!manners(None).is_last(i64::MAX));
        assert!(!manners(Some(3)).is_last(2));
        assert!(manners(Some(3)).is_last(3));
    }
}
