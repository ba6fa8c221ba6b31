//! Where a link with `begin = latest` begins: the end of each partition that has no position is committed
//! before the link is ready, so that a restart continues there even if nothing was handled.

use std::time::Duration;

use lattice_provider_sdk::BoxError;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Told;
use crate::client::{ClientError, Kafka};
use crate::settings::ReaderSettings;
use crate::workers::Partition;

/// How long brokers may take for each answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Nobody waits any more for a reader to begin.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka brokers took too long over where the link begins")]
pub(super) struct TooLate;

/// How long somebody waits for a reader to begin.
#[derive(Debug)]
pub(super) struct StartDeadline {
    until: Instant,
    gone: CancellationToken,
}

impl StartDeadline {
    /// Until then, unless the guard is dropped before.
    pub(super) fn until(until: Instant) -> (Self, DropGuard) {
        let gone = CancellationToken::new();
        let waits = gone.clone().drop_guard();
        (Self { until, gone }, waits)
    }

    /// How much of it is left.
    pub(super) fn left(&self) -> Result<Duration, TooLate> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.gone.is_cancelled() {
            return Err(TooLate);
        }
        Ok(left)
    }

    /// How long the next answer may take.
    fn for_answer(&self) -> Result<Duration, TooLate> {
        self.left().map(|left| left.min(ANSWER_WITHIN))
    }
}

/// The partitions that there are of those that the link may read; `None` where we are not told which.
pub(super) async fn partitions(
    kafka: &Kafka,
    settings: &ReaderSettings,
) -> Result<Option<Vec<Partition>>, ClientError> {
    use RDKafkaErrorCode as Code;
    let listed = &settings.partitions;
    let mut all = Vec::new();
    for topic in &settings.topics {
        // A topic that nobody named may be missing.
        let known = match listed.is_empty() || settings.is_usual {
            true => kafka.ask(Some(topic.clone())).await,
            false => Ok(listed.clone()),
        };
        let known = match known {
            Err(error) if settings.is_usual => match error.code() {
                // What comes to a topic that is made later is new.
                Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Vec::new(),
                // The link may be there for publishing alone.
                Some(Code::TopicAuthorizationFailed) => return Ok(None),
                _ => return Err(error),
            },
            known => known?,
        };
        let read = |number: &i32| listed.is_empty() || listed.contains(number);
        let known = known.into_iter().filter(read);
        all.extend(known.map(|number| (topic.clone(), number)));
    }
    Ok(Some(all))
}

/// Commits the end of each of these partitions that has no position yet as the position of the group,
/// before the consumer joins it. `false` where the brokers refuse that, since the group has members
/// already.
pub(super) fn commit_ends(
    consumer: &StreamConsumer<Told>,
    partitions: &[Partition],
    deadline: &StartDeadline,
) -> Result<bool, BoxError> {
    if partitions.is_empty() {
        return Ok(true);
    }
    let mut all = TopicPartitionList::new();
    for (topic, number) in partitions {
        all.add_partition(topic, *number);
    }
    let stored = consumer.committed_offsets(all, deadline.for_answer()?)?;
    let mut without = TopicPartitionList::new();
    for element in stored.elements() {
        element.error()?;
        if element.offset() == Offset::Invalid {
            without.add_partition_offset(element.topic(), element.partition(), Offset::End)?;
        }
    }
    if without.count() == 0 {
        return Ok(true);
    }
    // Who says this is asked about topics: it says nothing of the group.
    let ends = consumer.offsets_for_times(without, deadline.for_answer()?);
    let ends = ends.map_err(|error| error.to_string())?;
    for element in ends.elements() {
        element.error()?;
    }
    // It waits for the brokers on its own terms.
    deadline.left()?;
    match consumer.commit(&ends, CommitMode::Sync) {
        Err(error) if is_of_others(&error) => Ok(false),
        committed => {
            committed?;
            Ok(true)
        }
    }
}

/// Whether brokers may not let us use the group. Where they do not even say who coordinates it the library
/// goes on asking, until it took too long.
pub(super) fn lacks_group_rights(error: &BoxError) -> bool {
    use RDKafkaErrorCode as Code;
    let told: Option<&KafkaError> = error.downcast_ref();
    matches!(
        told.and_then(KafkaError::rdkafka_error_code),
        Some(Code::GroupAuthorizationFailed | Code::OperationTimedOut)
    )
}

/// Whether a position is refused since the group has members.
fn is_of_others(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress)
    )
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaRespErr as Says;

    use super::*;
    use crate::settings::{Form, ServerSettings};

    const UNKNOWN: Says = Says::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    const NO_LEADER: Says = Says::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    const NOT_FOR_US: Says = Says::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

    #[tokio::test]
    async fn a_topic_that_brokers_do_not_tell_of_does_not_count_as_one_that_is_new() {
        let brokers = MockCluster::new(1).unwrap();
        let hosts = brokers.bootstrap_servers();
        let server = Settings::from_texts([("hosts", &*hosts)], []);
        let server = ServerSettings::read(&server).unwrap();
        let kafka = Kafka::connect(&server).await.unwrap();
        let reads = |topic| {
            let texts = Settings::from_texts([("topic", topic), ("begin", "latest")], []);
            ReaderSettings::read(&texts, Form::Old, "own".into()).unwrap()
        };
        let (named, usual) = (reads("orders"), reads(""));
        for topic in ["orders", "my-topic"] {
            brokers.create_topic(topic, 1, 1).unwrap();
        }
        for read in [&named, &usual] {
            let found = partitions(&kafka, read).await.unwrap();
            assert_eq!(found, Some(vec![(read.topics[0].clone(), 0)]));
        }
        for says in [UNKNOWN, NO_LEADER, NOT_FOR_US] {
            brokers.topic_error("orders", says).unwrap();
            assert!(partitions(&kafka, &named).await.is_err(), "{says:?}");
        }
        // It may be missing, or be none of ours.
        brokers.topic_error("my-topic", UNKNOWN).unwrap();
        let missing = partitions(&kafka, &usual).await.unwrap();
        assert_eq!(missing, Some(Vec::new()));
        brokers.topic_error("my-topic", NOT_FOR_US).unwrap();
        assert_eq!(partitions(&kafka, &usual).await.unwrap(), None);
        brokers.topic_error("my-topic", NO_LEADER).unwrap();
        assert!(partitions(&kafka, &usual).await.is_err());
    }
}
