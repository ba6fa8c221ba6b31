//! Topics whose messages a component gets.

mod beginning;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::messaging::{Again, Arriving, Deliverer, Intake, Tasks, Verdict};
use lattice_provider_sdk::{Backoff, BoxError, Shared};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Kafka, config};
use crate::settings::ReaderSettings;
use crate::workers::{Partition, Work, Workers};
use crate::{attempts, dead_letters, message};
use beginning::StartDeadline;
pub(crate) use unread::Unread;

/// The first and the longest pause after an error.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wrong with the posting of dead letters at the moment.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// What the library tells a consumer.
struct Told {
    workers: Workers,
    unread: Arc<Unread>,
}

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Before others have them: what is under way is handled by them again.
        if let Rebalance::Revoke(partitions) = rebalance {
            let paused = self.workers.revoke(partitions);
            self.unread.revoke(partitions);
            if paused.count() > 0
                && let Err(error) = consumer.resume(&paused)
            {
                tracing::debug!(%error, "could not resume partitions that go");
            }
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Who is given partitions may read them, as far as anybody knows.
        if matches!(rebalance, Rebalance::Assign(partitions) if partitions.count() > 0) {
            self.unread.passes();
        }
    }
}

/// A consumer that closes where waiting for that blocks nobody.
struct Consumer(Option<StreamConsumer<Told>>);

impl Consumer {
    fn get(&self) -> &StreamConsumer<Told> {
        self.0.as_ref().expect("only gone while it is dropped")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let consumer = self.0.take();
        std::thread::spawn(move || drop(consumer));
    }
}

/// One reader of a link.
pub(crate) struct Reader {
    pub(crate) kafka: Arc<Shared<Kafka>>,
    pub(crate) deliverer: Deliverer,
    pub(crate) settings: ReaderSettings,
    /// Why it cannot read.
    pub(crate) unread: Arc<Unread>,
    /// Why it cannot post dead letters.
    pub(crate) unposted: Trouble,
}

/// Joins the group, by then, and hands messages to the component until the link goes.
pub(crate) async fn begin(reader: Reader, intake: &Intake, by: Instant) -> Result<(), BoxError> {
    let kafka = Arc::clone(&reader.kafka);
    let settings = reader.settings.clone();
    let unread = Arc::clone(&reader.unread);
    let without_past = match settings.earliest {
        true => Some(Vec::new()),
        false => beginning::partitions(&kafka, &settings).await?,
    };
    let (deadline, _waits) = StartDeadline::until(by);
    // The library may block the thread meanwhile.
    let made = tokio::task::spawn_blocking(move || {
        open(
            &kafka,
            &settings,
            &unread,
            without_past.as_deref(),
            &deadline,
        )
    });
    let consumer = Arc::new(made.await??);
    let reader = Arc::new(reader);
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    intake.tasks().spawn(reader.run(consumer, leaving, tasks));
    Ok(())
}

/// Makes a consumer that reads, of the partitions `without_past` only what is new. Where nobody knows
/// which those are, it does of all.
fn open(
    kafka: &Kafka,
    settings: &ReaderSettings,
    unread: &Arc<Unread>,
    without_past: Option<&[Partition]>,
    deadline: &StartDeadline,
) -> Result<Consumer, BoxError> {
    // From the first on what has no position: with those of the ends stored, what came after them.
    let mut consumer = make(kafka, settings, unread, "earliest")?;
    let is_stored = match without_past {
        Some(partitions) => match beginning::commit_ends(&consumer, partitions, deadline) {
            // The link may be there for publishing alone.
            Err(error) if settings.is_usual && beginning::lacks_group_rights(&error) => false,
            stored => stored?,
        },
        None => false,
    };
    if !is_stored {
        consumer = make(kafka, settings, unread, "latest")?;
    }
    // Who joins takes partitions from others, which is in vain when nobody waits for it.
    deadline.left()?;
    if settings.partitions.is_empty() {
        let topics: Vec<_> = settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        return Ok(Consumer(Some(consumer)));
    }
    let mut assigned = TopicPartitionList::new();
    for topic in &settings.topics {
        for partition in &settings.partitions {
            assigned.add_partition_offset(topic, *partition, Offset::Stored)?;
        }
    }
    consumer.assign(&assigned)?;
    Ok(Consumer(Some(consumer)))
}

/// Makes a consumer that begins at that end of partitions without a position.
fn make(
    kafka: &Kafka,
    settings: &ReaderSettings,
    unread: &Arc<Unread>,
    begin: &str,
) -> KafkaResult<StreamConsumer<Told>> {
    let told = Told {
        workers: Workers::default(),
        unread: Arc::clone(unread),
    };
    config(&kafka.settings)
        .set("group.id", &settings.group)
        .set("auto.offset.reset", begin)
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "500")
        .set("session.timeout.ms", "10000")
        .set("fetch.wait.max.ms", "100")
        .set("queued.max.messages.kbytes", "16384")
        .create_with_context(told)
}

impl Reader {
    async fn run(
        self: Arc<Self>,
        consumer: Arc<Consumer>,
        leaving: CancellationToken,
        tasks: Tasks,
    ) {
        let (resume, mut resumed) = mpsc::unbounded_channel();
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let received = tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                Some(partition) = resumed.recv() => {
                    match read_on(&consumer, &partition) {
                        Ok(()) => resume_one(&consumer, &partition),
                        Err(error) => tasks.spawn(self.stands(&error, partition, resume.clone())),
                    }
                    continue;
                }
                received = consumer.get().recv() => received.map(|message| message.detach()),
            };
            match received {
                Ok(message) => {
                    backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                    self.unread.passes();
                    let partition = (message.topic().to_owned(), message.partition());
                    let begin = |work| {
                        let (this, consumer) = (Arc::clone(&self), Arc::clone(&consumer));
                        let breaks = Breaks(resume.clone(), partition);
                        let working = this.work(work, consumer, leaving.clone(), resume.clone());
                        tasks.spawn(async move {
                            // It goes last, when the worker takes no more.
                            let _breaks = breaks;
                            working.await;
                        });
                    };
                    give(&consumer, message, begin);
                }
                Err(error) => {
                    let link = self.deliverer.link();
                    tracing::warn!(link, %error, "could not read messages");
                    self.note(&error);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Notes that a partition cannot be read on, which is tried again after a pause. Until then nothing of it
    /// is handled, or what waited would be skipped.
    fn stands(
        &self,
        error: &KafkaError,
        partition: Partition,
        resume: mpsc::UnboundedSender<Partition>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (topic, number) = (&partition.0, partition.1);
        tracing::warn!(%error, topic, partition = number, "could not read a partition on");
        let what = format!("could not read partition {number} of `{topic}` on: {error}");
        self.unread.stands(&partition, what);
        async move {
            tokio::time::sleep(LONGEST_PAUSE).await;
            // A reader that has ended needs no more messages.
            let _ = resume.send(partition);
        }
    }

    /// Keeps what the brokers said, for the state of the link. That they are not there is found out
    /// by asking them, and passes without a message that would say so; nor is a topic needed that
    /// the link does not name.
    fn note(&self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let passes = match error.rdkafka_error_code() {
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut,
            ) => true,
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => self.settings.is_usual,
            _ => false,
        };
        if !passes {
            self.unread
                .note(format!("could not read messages: {error}"));
        }
    }

    /// Handles the messages of one partition in their order, until it goes to another reader or the
    /// link goes.
    async fn work(
        self: Arc<Self>,
        mut work: Work,
        consumer: Arc<Consumer>,
        leaving: CancellationToken,
        resume: mpsc::UnboundedSender<Partition>,
    ) {
        let revoked = work.revoked.clone();
        loop {
            let given = tokio::select! {
                biased;
                () = revoked.cancelled() => return,
                () = leaving.cancelled() => return,
                Some(next) = work.next() => next,
                else => return,
            };
            let message = &given.message;
            let (topic, partition) = (message.topic(), message.partition());
            if given.resume {
                // A reader that has ended needs no more messages.
                let _ = resume.send((topic.to_owned(), partition));
            }
            tokio::select! {
                biased;
                () = revoked.cancelled() => return,
                handled = self.handle(message, &leaving) => if !handled {
                    return;
                }
            }
            // It may have gone to another reader meanwhile, who handles it again.
            let stored = consumer
                .get()
                .store_offset(topic, partition, message.offset());
            if let Err(error) = stored {
                tracing::debug!(%error, "could not store a position");
            }
        }
    }

    /// Has one message handled; says whether the position may move on.
    async fn handle(&self, message: &OwnedMessage, leaving: &CancellationToken) -> bool {
        let _room = self.deliverer.room().await;
        let rules = self.deliverer.rules();
        // One at a time: what panics takes the count of attempts with it.
        let attempt = move |before| async move {
            let arriving = self.arriving(message);
            let attempted = self.deliverer.settle(&arriving, before, Again::Broker);
            attempted.await
        };
        let letter = match attempts::settle(rules, leaving, attempt).await {
            Ok(Verdict::Done | Verdict::Again(_)) => return true,
            Ok(Verdict::Left) => return false,
            Ok(Verdict::Dead(letter)) => letter,
            Err(broke) => {
                let (arriving, cause) = (self.arriving(message), broke.to_string());
                self.deliverer.letter(&arriving, broke.attempts, cause)
            }
        };
        let to = &rules.dead_letter;
        dead_letters::post(&self.kafka, to, message, &letter, &self.unposted).await;
        true
    }

    fn arriving(&self, message: &OwnedMessage) -> Arriving {
        message::arriving(message, self.settings.keys_in_subject)
    }
}

/// Tells the reader of a worker that breaks: it is the only one who would give it more messages.
struct Breaks(mpsc::UnboundedSender<Partition>, Partition);

impl Drop for Breaks {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A reader that has ended needs no more messages.
            let _ = self.0.send(self.1.clone());
        }
    }
}

/// Has a partition read on whose worker has broken, if it has.
fn read_on(consumer: &Consumer, partition: &Partition) -> KafkaResult<()> {
    let consumer = consumer.get();
    let workers = &consumer.context().workers;
    let Some(next) = workers.broken(partition) else {
        return Ok(());
    };
    let (topic, number) = partition;
    // Without waiting: what was read before is not given any more.
    consumer.seek(topic, *number, Offset::Offset(next), Duration::ZERO)?;
    workers.forget(partition);
    consumer.context().unread.goes_on(partition);
    tracing::error!(
        topic,
        partition = number,
        next,
        "the worker of a partition broke: gave up on a message"
    );
    Ok(())
}

/// Gives a message to the worker of its partition, and pauses one that has enough to do.
fn give(consumer: &Consumer, message: OwnedMessage, begin: impl FnOnce(Work)) {
    let mut partition = TopicPartitionList::new();
    partition.add_partition(message.topic(), message.partition());
    let consumer = consumer.get();
    if consumer.context().workers.give(message, begin)
        && let Err(error) = consumer.pause(&partition)
    {
        tracing::debug!(%error, "could not pause a partition");
    }
}

fn resume_one(consumer: &Consumer, (topic, partition): &Partition) {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, *partition);
    if let Err(error) = consumer.get().resume(&list) {
        tracing::debug!(%error, "could not resume a partition");
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;
    use rdkafka::mocking::MockCluster;
    use rdkafka::{ClientConfig, Timestamp};

    use super::*;
    use crate::settings::{Form, ServerSettings};

    #[tokio::test]
    async fn a_reader_that_nobody_waits_for_does_not_join_its_group() {
        let brokers = MockCluster::new(1).unwrap();
        let hosts = brokers.bootstrap_servers();
        let texts = [("hosts", &*hosts), ("subscriptions", "orders")];
        let texts = Settings::from_texts(texts, []);
        let settings = ReaderSettings::read(&texts, Form::Own, "own".into()).unwrap();
        let server = ServerSettings::read(&texts).unwrap();
        let kafka = Kafka::connect(&server).await.unwrap();
        let open = |deadline: &StartDeadline| {
            open(&kafka, &settings, &Arc::default(), Some(&[]), deadline)
        };
        let is_late = |error: BoxError| error.is::<beginning::TooLate>();
        let (deadline, waits) = StartDeadline::until(Instant::now() + Duration::from_secs(60));
        assert!(open(&deadline).is_ok());
        drop(waits);
        assert!(open(&deadline).err().is_some_and(is_late));
        let (deadline, _waits) = StartDeadline::until(Instant::now());
        assert!(open(&deadline).err().is_some_and(is_late));
    }

    #[tokio::test]
    async fn nothing_is_skipped_of_a_partition_that_cannot_be_read_on() {
        let told = Told {
            workers: Workers::default(),
            unread: Arc::default(),
        };
        let mut config = ClientConfig::new();
        let consumer = config.set("group.id", "g").create_with_context(told);
        let consumer = Consumer(Some(consumer.unwrap()));
        let at = |offset| {
            let time = Timestamp::NotAvailable;
            OwnedMessage::new(None, None, "t".to_owned(), time, 0, offset, None)
        };
        let workers = &consumer.get().context().workers;
        // It breaks at once.
        assert!(workers.give(at(7), drop));
        // The partition is not one of this consumer, which cannot move in it.
        let partition = ("t".to_owned(), 0);
        assert!(read_on(&consumer, &partition).is_err());
        assert_eq!(workers.broken(&partition), Some(7));
        assert!(workers.give(at(9), |_| unreachable!("what waited would be skipped")));
    }
}
